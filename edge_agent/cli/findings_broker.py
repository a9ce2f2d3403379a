"""The broker, the daemon as it tells of itself there, and Home Assistant.

What the daemon and Home Assistant have left on the broker, retained, is read with the device's own rights. A
strict access list (deploy/mosquitto/acl) lets a device write its ``health`` and not read it: then nothing is
seen, and that is said, not taken for an absent daemon.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edge_agent.cli.findings import Finding, ok, problem, warning
from edge_agent.cli.findings_reasons import remedy_words
from edge_agent.errors import BrokerError, EdgeAgentError

if TYPE_CHECKING:
    from edge_agent.link.address import BrokerAddress
    from edge_agent.settings import Settings

SLOW_ROUND_TRIP_MS = 30.0
"""Slower than this on the same machine is the 40 ms of a delayed acknowledgement, not work."""

PROBE_SECONDS = 5.0
LOOK_SECONDS = 2.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_JOURNAL = "journalctl -u edge-agent -e"
_CREDENTIAL = (
    "check has no password; where it is the service's credential: "
    "sudo CREDENTIALS_DIRECTORY=/etc/credstore edge-agent check"
)
_LONGEST_REASON = 300


class Broker:
    """The broker of the settings.

    Attributes:
        is_well: it lets us in, once :meth:`check` has tried.
    """

    def __init__(self, settings: Settings) -> None:
        from edge_agent.link.topics import Topics

        self.is_well = False
        self._settings = settings
        self._root = Topics(settings.mqtt.base_topic, settings.device.id).root

    def check(self) -> Iterator[Finding]:
        """It lets us in, and answers without the delay of a missing ``set_tcp_nodelay``."""
        from edge_agent.cli.probe import probe_broker

        address: BrokerAddress | str = self._settings.mqtt.host
        try:
            address = self._address()
            report = probe_broker(address, f"{self._root}/canary", timeout_seconds=PROBE_SECONDS)
        except EdgeAgentError as error:
            remedy = self._remedy(error, address)
            yield problem("broker", str(error), remedy)
            return
        self.is_well = True
        yield ok("broker", f"{address} lets us in, {report.protocol}")
        mqtt = self._settings.mqtt
        is_near = mqtt.host in _LOOPBACK or mqtt.transport == "unix"
        yield judge_speed(report.round_trip_ms, is_near=is_near)

    def check_daemon(self, is_active: bool) -> Iterator[Finding]:
        """The daemon says that it is well, and Home Assistant knows of it.

        Args:
            is_active: systemd says that the daemon runs.
        """
        from edge_agent.cli.findings_look import look_at_retained
        from edge_agent.link.discovery import BIRTH_TOPIC

        home = self._settings.home_assistant
        device = self._settings.device.id
        discovery = f"{home.discovery_prefix}/device/{device}/config"
        topics = [
            f"{self._root}/status",
            f"{self._root}/health",
            *([BIRTH_TOPIC, discovery] if home.enabled else []),
        ]
        try:
            seen = look_at_retained(self._address(), topics, LOOK_SECONDS)
        except BrokerError as error:
            yield warning("daemon", f"what it told the broker cannot be read: {error}", _JOURNAL)
            return
        status = seen.get(f"{self._root}/status")
        yield from judge_daemon(device, status, seen.get(f"{self._root}/health"), is_active=is_active)
        if home.enabled:
            is_online = status == b"online"
            yield judge_home_assistant(
                BIRTH_TOPIC, seen.get(BIRTH_TOPIC), seen.get(discovery), is_online=is_online
            )
        else:
            yield ok("home assistant", "home_assistant.enabled is false: the device is not announced")

    def _remedy(self, error: EdgeAgentError, address: object) -> str:
        """What to do. Where we are refused, the looking itself may lack what only the service is given."""
        from edge_agent.settings import read_password

        mqtt = self._settings.mqtt
        if "refused us" in str(error) and mqtt.username is not None and read_password(mqtt) is None:
            return _CREDENTIAL
        return error.hint or f"start it (sudo systemctl start mosquitto), or set mqtt.host; tried {address}"

    def _address(self) -> BrokerAddress:
        from edge_agent.link.address import BrokerAddress
        from edge_agent.settings import read_password

        return BrokerAddress.from_settings(self._settings.mqtt, read_password(self._settings.mqtt))


def judge_speed(round_trip_ms: float, *, is_near: bool) -> Finding:
    """Whether a QoS 1 round trip is as quick as it should be; ``is_near``: the broker is on this machine."""
    measured = f"a QoS 1 round trip takes {round_trip_ms:.1f} ms"
    if round_trip_ms <= SLOW_ROUND_TRIP_MS:
        return ok("broker speed", measured)
    if is_near:
        remedy = "put `set_tcp_nodelay true` into the broker's configuration (Mosquitto) and restart it"
        return problem("broker speed", f"{measured}: it delays small packets", remedy)
    remedy = "the network is slow, or the broker lacks `set_tcp_nodelay true` (Mosquitto)"
    return warning("broker speed", measured, remedy)


def judge_daemon(
    device: str, status: bytes | None, health: bytes | None, *, is_active: bool
) -> Iterator[Finding]:
    """How the daemon of this device is, by what it left on the broker."""
    if status == b"online":
        yield from _judge_health(device, health)
    elif status is None and is_active:
        message = f"systemd says that it runs, and the broker shows nothing of {device}"
        remedy = (
            "it uses other settings than these, or the broker's access list hides its topics from it; "
            f"{_JOURNAL} says"
        )
        yield warning("daemon", message, remedy)
    elif status is None:
        yield ok("daemon", f"the broker shows none named {device}")
    elif is_active:
        yield problem("daemon", f"systemd says that {device} runs, the broker that it is offline", _JOURNAL)
    else:
        yield warning("daemon", f"{device} is offline", "sudo systemctl start edge-agent")


def _judge_health(device: str, payload: bytes | None) -> Iterator[Finding]:
    health = _object(payload)
    if health is None:
        message = f"{device} is online and its health cannot be read"
        yield warning("daemon", message, "another version may serve there: look at its topic `info`")
        return
    said = health.get("status")
    if said == "up":
        figures = health.get("inference")
        answered = figures.get("answered") if isinstance(figures, dict) else None
        yield ok(
            "daemon", f"{device} is up" + (f", {answered} answered" if isinstance(answered, int) else "")
        )
        return
    reasons = health.get("reasons")
    state = problem if said == "down" else warning
    for reason in reasons if isinstance(reasons, list) and reasons else ["no reason is told"]:
        words = _printable(str(reason))
        yield state("daemon", f"{'down' if said == 'down' else 'degraded'}: {words}", remedy_words(words))


def judge_home_assistant(
    birth_topic: str, birth: bytes | None, discovery: bytes | None, *, is_online: bool
) -> Finding:
    """Whether Home Assistant listens and the device is announced. It does not retain its birth by default."""
    about = "home assistant"
    if birth == b"offline":
        return warning(about, f"it says that it is offline ({birth_topic})", "start Home Assistant")
    config = _object(discovery)
    if config is not None:
        entities = config.get("components") or config.get("cmps")
        many = f", entities: {len(entities)}" if isinstance(entities, Mapping) else ""
        heard = "Home Assistant is online" if birth == b"online" else "Home Assistant left no word, as usual"
        return ok(about, f"the device is announced{many}; {heard}")
    if is_online:
        remedy = "the broker must let the device write there: deploy/mosquitto/acl; then restart the daemon"
        return warning(about, "the daemon is online and not announced to Home Assistant", remedy)
    return ok(about, "the device is announced when the daemon runs, as far as can be seen from here")


def _object(payload: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(payload or b"")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text[:_LONGEST_REASON])
