"""The daemon beside the script that a user would otherwise write, in one run.

    python -m tests.benchmarks.compare_peers [--model FOLDER] [--requests N] [--rounds N] [--json]

Two Mosquittos, one as it comes and one with ``set_tcp_nodelay true``; on each the daemon and
:mod:`tests.benchmarks.user_script` with the same weights. The same requester asks all four in turn, the same
sentences, one at a time at QoS 1. Daemon and script share one core, brokers and requester the other.
Needs the dependency groups ``dev`` and ``bench`` and the extra ``forge``.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.bench.cores import Cores, available_cores, choose_cores, pinned, thread_siblings
from edge_agent.bench.figures import Percentiles
from edge_agent.bench.machine import describe_machine
from edge_agent.bench.sentences import sentences_of_length
from edge_agent.cli.console import print_table
from edge_agent.inference.bundle import read_bundle, read_tokenizer
from edge_agent.inference.golden import parse_golden
from edge_agent.service.machine import Machine
from tests.benchmarks import user_script
from tests.benchmarks.caller import Caller
from tests.benchmarks.onnx_model import write_onnx
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon

ROOT = Path(__file__).parents[2]
TOKENS = 12
TARGET_RATIO = 20.0
DEVICE = "peer"


class DefaultMosquitto(Mosquitto):
    """Mosquitto as it comes: nothing set but what lets us in."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        lines = (f"listener {self.port} 127.0.0.1", "allow_anonymous true", f"user {getpass.getuser()}")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Measured:
    """One of the four: who answered, on which broker, how fast."""

    answerer: str
    broker: str
    times: Percentiles


@dataclass(frozen=True)
class Comparison:
    """All four, and how many times faster the daemon on our broker is than each of the others, at p50."""

    machine: dict[str, object]
    sentence_tokens: int
    rounds: int
    measured: tuple[Measured, ...]
    ratios: dict[str, float]
    same_label: float
    target_met: bool


@contextmanager
def script(port: int, onnx: Path, bundle: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.benchmarks.user_script", str(port), str(onnx), str(bundle)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        yield
    finally:
        process.kill()
        process.wait()


def compare(bundle: Path, rounds: int, requests: int) -> Comparison:
    """Measures all four in turn."""
    cores = choose_cores(available_cores(), thread_siblings)
    texts = _texts(bundle)
    with ExitStack() as everything:
        everything.enter_context(pinned(cores.others))
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="edge-agent-peers-")))
        onnx = write_onnx(bundle / read_bundle(bundle).manifest.variants[0].file, folder)
        callers = _stage(everything, folder, bundle, onnx, cores)
        times: dict[tuple[str, str], list[float]] = {key: [] for key in callers}
        labels: dict[tuple[str, str], list[str | None]] = {}
        for key, caller in callers.items():
            caller.ask(texts, 2 * len(texts))
            labels[key] = [_label(answer) for answer in caller.ask(texts, len(texts))[1]]
        for _ in range(rounds):
            for key, caller in callers.items():
                times[key] += caller.ask(texts, requests)[0]
    measured = tuple(Measured(*key, Percentiles.of(found)) for key, found in times.items())
    return _compared(measured, labels, rounds)


def _stage(
    everything: ExitStack, folder: Path, bundle: Path, onnx: Path, cores: Cores
) -> dict[tuple[str, str], Caller]:
    """Starts everything and waits until everybody is ready."""
    name = read_bundle(bundle).manifest.name
    brokers = {
        "default": DefaultMosquitto(_made(folder / "default")),
        "ours": Mosquitto(_made(folder / "ours")),
    }
    callers: dict[tuple[str, str], Caller] = {}
    for kind, broker in brokers.items():
        everything.enter_context(broker)
        root = f"edge-agent/{DEVICE}"
        daemon_topics = (f"{root}/in/{name}", f"{root}/out/{name}", f"{root}/status")
        script_topics = (user_script.IN_TOPIC, user_script.OUT_TOPIC, user_script.READY_TOPIC)
        daemon = everything.enter_context(Caller(broker.port, *daemon_topics))
        user = everything.enter_context(Caller(broker.port, *script_topics))
        quiet: dict[str, dict[str, Any]] = {"log": {"level": "warning"}, "health": {"interval_seconds": 30}}
        with pinned(cores.model):
            everything.enter_context(script(broker.port, onnx, bundle))
            served = Daemon(folder / f"daemon-{kind}", broker.port, (bundle,), device=DEVICE, settings=quiet)
            everything.enter_context(_started(served))
        daemon.wait_ready(b"online")
        user.wait_ready(b"ready")
        callers["user's script", kind] = user
        callers["edge-agentd", kind] = daemon
    return callers


@contextmanager
def _started(daemon: Daemon) -> Iterator[None]:
    daemon.start(wait_ready=False)  # its log tells only warnings
    with ExitStack() as life:
        life.callback(daemon.__exit__, None, None, None)
        yield


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _texts(bundle: Path) -> list[str]:
    checked = read_bundle(bundle)
    golden = checked.manifest.golden.file
    texts = [sentence.text for sentence in parse_golden(golden, checked.file(golden).read_bytes())]
    return [sentence.text for sentence in sentences_of_length(read_tokenizer(checked), texts, TOKENS)]


def _label(answer: dict[str, object]) -> str | None:
    """The best label: of the script its only one, of the daemon the intent or the first alternative."""
    if answer.get("intent") is not None:
        return str(answer["intent"])
    alternatives = answer.get("alternatives")
    assert isinstance(alternatives, list)
    return str(alternatives[0]["label"])


def _compared(
    measured: tuple[Measured, ...], labels: dict[tuple[str, str], list[str | None]], rounds: int
) -> Comparison:
    best = next(each for each in measured if (each.answerer, each.broker) == ("edge-agentd", "ours"))
    ratios = {
        f"{each.answerer}, {each.broker} broker": round(each.times.p50_ms / best.times.p50_ms, 2)
        for each in measured
        if each is not best
    }
    pairs = zip(labels["user's script", "ours"], labels["edge-agentd", "ours"], strict=True)
    alike = [ours == theirs for theirs, ours in pairs]
    return Comparison(
        machine=asdict(describe_machine(Machine().board(), Machine().operating_system())),
        sentence_tokens=TOKENS,
        rounds=rounds,
        measured=measured,
        ratios=ratios,
        same_label=round(sum(alike) / len(alike), 4),
        target_met=ratios["user's script, default broker"] >= TARGET_RATIO,
    )


def _draw(found: Comparison) -> None:
    rows = []
    for each in found.measured:
        ratio = found.ratios.get(f"{each.answerer}, {each.broker} broker", 1.0)
        rows.append(
            (
                each.answerer,
                each.broker,
                f"{each.times.p50_ms:.3f}",
                f"{each.times.p99_ms:.3f}",
                f"{ratio:.1f}",
            )
        )
    print_table(("who answers", "Mosquitto", "p50 ms", "p99 ms", "times the best"), rows)
    mark = "✓" if found.target_met else "✗"
    print(  # noqa: T201
        f"{mark} the user's script on a default broker takes ≥ {TARGET_RATIO:g} times as long at p50; "
        f"{found.same_label:.0%} of the labels are the same"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "home")
    parser.add_argument("--requests", type=int, default=50, help="of each of the four in a round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    found = compare(chosen.model.resolve(), chosen.rounds, chosen.requests)
    if chosen.json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        _draw(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
