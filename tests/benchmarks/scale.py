"""What a fleet costs its broker, counted on the wire: ``python -m tests.benchmarks.scale --devices 1000``.

Parts, each named by a word (default: all): ``daemon`` (a real daemon at rest, its link through a relay that
counts), ``poll`` (a poll of a repository that has nothing new), ``fleet`` (so many simulated devices:
connecting, steady load, a command to each), ``tls`` (the same with TLS), ``rollout`` (the real driver: 10 %
bad halts, 1 % bad completes though it is killed in the middle). Results are JSON lines; docs/scale.md has
them.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from edge_agent.fleet.rollout.rollout_state import parse
from edge_agent.link.address import BrokerAddress
from edge_agent.link.connection import Connection
from edge_agent.link.protocol import Accepted, ConnectOptions, Incoming
from edge_agent.update.poll import ask
from tests.benchmarks.wire_meter import Meter, Wire
from tests.fleet.simulation.simulated import SimulatedFleet
from tests.testbeds.broker import HOST, Mosquitto
from tests.testbeds.certificates import Authority
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

DAY = 86_400.0
_MODELS = Path(__file__).resolve().parents[2] / "models"
_SYS = {
    "bytes_in": "$SYS/broker/bytes/received",
    "bytes_out": "$SYS/broker/bytes/sent",
    "packets_in": "$SYS/broker/messages/received",
    "packets_out": "$SYS/broker/messages/sent",
}
_PROGRAM = (sys.executable, "-c", "from edge_agent.cli.main import main; main()", "fleet", "rollout")


def say(part: str, **figures: object) -> None:
    rounded = {name: round(v, 3) if isinstance(v, float) else v for name, v in figures.items()}
    print(json.dumps({"part": part, **rounded}), flush=True)  # noqa: T201


def wait(seconds: float) -> None:
    Event().wait(seconds)


def process_of(broker: Mosquitto) -> psutil.Process:
    assert broker._process is not None
    return psutil.Process(broker._process.pid)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# One real daemon


def measure_daemon(folder: Path, minutes: float) -> None:
    """Its first minute, and then at rest, with every default but where things lie."""
    with Mosquitto(folder / "broker") as broker, Meter(broker.port) as meter:
        settings: dict[str, dict[str, Any]] = {
            "health": {"interval_seconds": 30},
            "mqtt": {"will_delay_seconds": 2},
            "power": {"idle_watts": 3.0, "full_watts": 6.0},
            "home_assistant": {"enabled": False},
        }
        daemon = Daemon(folder, meter.port, (_MODELS,), settings=settings)
        with daemon, Probe(broker.port, "edge-agent/#") as probe:
            wait(60.0)
            start = meter.read()
            probe.forget()
            wait(60.0 * minutes)
            rest = meter.read().since(start)
            heard = list(probe.heard)
            daemon.stop()
        counts = Counter(one.topic.split("/")[2] for one in heard)
        sizes = {one.topic.split("/")[2]: len(one.payload) for one in heard}
        say_wire("daemon", rest, 60.0 * minutes, counts=dict(counts), payload_bytes=sizes)
        say("daemon_first_minute", mqtt_bytes=start.up + start.down, on_the_wire=start.on_the_wire)


def say_wire(part: str, wire: Wire, seconds: float, **more: object) -> None:
    scale = DAY / seconds
    say(
        part,
        seconds=seconds,
        up_per_day_mb=wire.up * scale / 1e6,
        down_per_day_mb=wire.down * scale / 1e6,
        segments_per_day=wire.segments * scale,
        on_the_wire_per_day_mb=wire.on_the_wire * scale / 1e6,
        **more,
    )


# One poll


class _Repository(http.server.BaseHTTPRequestHandler):
    """Says the headers of a usual web server."""

    protocol_version = "HTTP/1.1"
    body = b'{"signed":' + b"x" * 780 + b"}"

    def do_GET(self) -> None:
        is_known = self.headers.get("If-None-Match") == '"66f1a2b3-318"'
        self.send_response(304 if is_known else 200)
        self.send_header("Last-Modified", "Tue, 24 Nov 2026 08:00:00 GMT")
        self.send_header("ETag", '"66f1a2b3-318"')
        if not is_known:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if not is_known:
            self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def measure_poll(folder: Path) -> None:
    """A conditional GET over HTTP, and over HTTPS with a new connection, as the daemon makes it."""
    issued = Authority(folder / "ca")
    certificate = issued.issue("web")
    for scheme in ("http", "https"):
        server = http.server.ThreadingHTTPServer((HOST, 0), _Repository)
        if scheme == "https":
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            os.environ["SSL_CERT_FILE"] = str(issued.ca_file)
        Thread(target=server.serve_forever, daemon=True).start()
        with Meter(server.server_address[1]) as meter:
            base = f"{scheme}://{HOST}:{meter.port}/"
            first = ask(base, None)
            assert first.fault is None, first.fault
            before, cpu = meter.read(), time.process_time()
            for _ in range(20):
                again = ask(base, first.tag)
                assert not again.is_new, again
                assert again.fault is None, again.fault
            cpu = time.process_time() - cpu
            wait(0.5)
            wire = meter.read().since(before)
        server.shutdown()
        server.server_close()
        say(
            f"poll_{scheme}",
            up=wire.up / 20,
            down=wire.down / 20,
            on_the_wire=wire.on_the_wire / 20,
            cpu_ms_both_sides=cpu / 20 * 1e3,
        )


# A fleet


class Counters:
    """The broker's own counters; its reports are a few hundred bytes every ten seconds."""

    def __init__(self, port: int) -> None:
        self._probe = Probe(port, *_SYS.values())

    def read(self) -> dict[str, int]:
        """As they are told next."""
        before = len(self._probe.heard)

        def told() -> bool:
            return {one.topic for one in self._probe.heard[before:]} >= set(_SYS.values())

        eventually(told, 60, "$SYS")
        latest = {one.topic: int(one.payload) for one in self._probe.heard}
        return {name: latest[topic] for name, topic in _SYS.items()}

    def close(self) -> None:
        self._probe.close()


class Commander:
    """Publishes a command to each device as fast as the broker confirms."""

    def __init__(self, port: int) -> None:
        self._connection = Connection(
            BrokerAddress(HOST, port), ConnectOptions("commander", inflight=500), self
        )
        self._is_in = False
        self._confirmed = 0

    def tell(self, topics: list[str], payload: bytes) -> float:
        """Seconds until the broker had confirmed all."""
        self._connection.open()
        while not self._is_in:
            self._connection.pump(1.0)
        begun = time.monotonic()
        for topic in topics:
            self._connection.publish(topic, payload, retain=True, may_wait=True)
        while self._confirmed < len(topics):
            self._connection.pump(1.0)
        took = time.monotonic() - begun
        self._connection.disconnect()
        self._connection.close()
        return took

    def on_accepted(self, accepted: Accepted) -> None:
        self._is_in = True

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        raise AssertionError(reason)

    def on_subscribed(self, fault: str | None) -> None:
        """It subscribes to nothing."""

    def on_message(self, message: Incoming) -> None:
        """Nothing comes."""

    def on_confirmed(self, token: object, fault: str | None) -> None:
        self._confirmed += 1

    def on_lost(self, reason: str) -> None:
        """It leaves by itself."""


def measure_fleet(
    folder: Path, devices: int, minutes: float, rate: int, *, tls: bool = False, extra: tuple[str, ...] = ()
) -> None:
    """Connecting, steady load, and a command to each device; ``extra`` are words for ``fleet simulate``."""
    authority = Authority(folder / "ca")
    certificate = authority.issue("broker") if tls else None
    part = "tls" if tls else "fleet"
    with Mosquitto(folder / part, extra=("sys_interval 10",), certificate=certificate) as broker:
        process = process_of(broker)
        empty = process.memory_info().rss
        flags = extra
        if tls:
            os.environ["SSL_CERT_FILE"] = str(authority.ca_file)
            flags = (*extra, f"--broker=mqtts://{HOST}:{broker.tls_port}")
        fleet = SimulatedFleet(folder, broker.port, *flags, devices=devices, connect_rate=rate)
        cpu, begun = cpu_seconds(process), time.monotonic()
        with fleet:
            say(
                f"{part}_connect",
                devices=devices,
                seconds=time.monotonic() - begun,
                broker_cpu_seconds=cpu_seconds(process) - cpu,
                broker_kb_per_device=(process.memory_info().rss - empty) / devices / 1e3,
                broker_rss_mb=process.memory_info().rss / 1e6,
                simulator_rss_mb=psutil.Process(fleet.pid).memory_info().rss / 1e6,
            )
            _steady(part, broker, fleet, devices, minutes)
            _fan_out(part, broker, fleet, devices)
            begun = time.monotonic()
            code = fleet.stop(within_seconds=180)
            say(f"{part}_goodbye", seconds=time.monotonic() - begun, exit_code=code)


def _steady(part: str, broker: Mosquitto, fleet: SimulatedFleet, devices: int, minutes: float) -> None:
    process, simulator = process_of(broker), psutil.Process(fleet.pid)
    counters = Counters(broker.port)
    counters.read()
    before, cpu, own, begun = (
        counters.read(),
        cpu_seconds(process),
        cpu_seconds(simulator),
        time.monotonic(),
    )
    wait(60.0 * minutes)
    after, seconds = counters.read(), time.monotonic() - begun
    counters.close()
    scale = DAY / seconds / devices
    say(
        f"{part}_steady",
        devices=devices,
        seconds=seconds,
        per_device_and_day={name: round((after[name] - before[name]) * scale) for name in _SYS},
        packets_in_per_second=(after["packets_in"] - before["packets_in"]) / seconds,
        broker_cpu_percent=100 * (cpu_seconds(process) - cpu) / seconds,
        simulator_cpu_percent=100 * (cpu_seconds(simulator) - own) / seconds,
        broker_rss_mb=process.memory_info().rss / 1e6,
    )


def _fan_out(part: str, broker: Mosquitto, fleet: SimulatedFleet, devices: int) -> None:
    """A command that asks for what is served already: so only the messages take time."""
    width = max(4, len(str(devices)))
    topics = [
        f"edge-agent/sim-{number:0{width}}/cmd/model-update/fan-out" for number in range(1, devices + 1)
    ]
    process = process_of(broker)
    cpu = cpu_seconds(process)
    with Probe(broker.port, "edge-agent/+/cmd/model-update/fan-out") as probe:

        def answered() -> bool:
            return sum(b'"successful"' in one.payload for one in list(probe.heard)) >= devices

        begun = time.monotonic()
        took = Commander(broker.port).tell(topics, b'{"status":"init","name":"home","version":"1.0.0"}')
        eventually(answered, 300, "an answer from each")
        say(
            f"{part}_fan_out",
            devices=devices,
            broker_has_all_seconds=took,
            all_answered_seconds=time.monotonic() - begun,
            broker_cpu_seconds=cpu_seconds(process) - cpu,
        )


# A rollout


def measure_rollout(folder: Path, devices: int, rate: int) -> None:
    """The real driver as a process: halts at 10 % bad, completes at 1 % though it is killed in the middle."""
    for bad, kills in (("10%", False), ("1%", True)):
        place = folder / f"rollout-{bad.strip('%')}"
        with Mosquitto(place / "broker") as broker:
            shares = {"bad": bad, "off": "2%", "vanishing": "1%", "slow": "1%"}
            times = {"update": "5s", "away": "20s", "connect_rate": rate}
            options: dict[str, object] = {"devices": devices, "group": "all-of-them", **shares, **times}
            fleet = SimulatedFleet(place, broker.port, **options)
            with fleet:
                _roll_out(place, broker, fleet, bad, kills)


def _roll_out(folder: Path, broker: Mosquitto, fleet: SimulatedFleet, bad: str, kills: bool) -> None:
    file = folder / "rollout.json"
    terms = ("--waves", "1%,5%,25%,100%", "--max-failures", "4%", "--soak", "5s", "--deadline", "120s")
    words = ("start", "home", "1.1.0", "--to", "all-of-them", "--state", str(file), *terms)
    begun = time.monotonic()
    driver = _operator(folder, broker, *words)
    most_rss = 0.0
    if kills:
        devices = fleet.counts()["devices"]
        fleet.wait_for(lambda counts: counts["answered"] >= devices // 2, 600)
        most_rss = psutil.Process(driver.pid).memory_info().rss / 1e6
        driver.kill()
        driver.wait(10)
        driver = _operator(folder, broker, "resume", str(file))
    process = psutil.Process(driver.pid)
    cpu = 0.0
    while driver.poll() is None:
        try:
            cpu, rss = cpu_seconds(process), process.memory_info().rss / 1e6
        except psutil.Error:
            break
        most_rss = max(most_rss, rss)
        wait(0.25)
    code, rollout = driver.wait(600), parse(file.read_bytes())
    say(
        "rollout",
        bad=bad,
        was_killed=kills,
        exit_code=code,
        phase=rollout.phase.value,
        reason=rollout.reason,
        wave=rollout.wave + 1,
        sizes=rollout.terms.sizes,
        table=dict(Counter(member.standing.value for member in rollout.members.values())),
        seconds=time.monotonic() - begun,
        operator_cpu_seconds=cpu,
        operator_rss_mb=most_rss,
        state_file_kb=file.stat().st_size / 1e3,
    )


def _operator(folder: Path, broker: Mosquitto, *words: str) -> subprocess.Popen[bytes]:
    with (folder / "operator.log").open("ab") as log:
        command = [*_PROGRAM, *words, "--broker", broker.url, "--json"]
        return subprocess.Popen(command, stdout=log, stderr=log)


def main() -> None:
    """Measures the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["daemon", "poll", "fleet", "tls", "rollout"])
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--connect-rate", type=int, default=1000)
    parser.add_argument("--simulate", nargs=argparse.REMAINDER, default=[], help="words for fleet simulate")
    asked = parser.parse_args()
    extra = tuple(asked.simulate)
    devices, minutes, rate = asked.devices, asked.minutes, asked.connect_rate
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], None]] = {
            "daemon": lambda: measure_daemon(folder, minutes),
            "poll": lambda: measure_poll(folder),
            "fleet": lambda: measure_fleet(folder, devices, minutes, rate, extra=extra),
            "tls": lambda: measure_fleet(folder, devices, minutes, rate, tls=True, extra=extra),
            "rollout": lambda: measure_rollout(folder, devices, rate),
        }
        for part in asked.parts:
            parts[part]()


if __name__ == "__main__":
    main()
