"""The course of ``edge-agent bench``: pins, starts and stops, and lets :mod:`edge_agent.bench` measure.

The model's core runs the bare loop and the daemon, never both at a time; the other core runs the broker and
this program. Every round takes its turn with each, so that a busy moment of the machine hits both alike.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter

from edge_agent import __version__
from edge_agent.bench.asker import Asker
from edge_agent.bench.bare import bare_runner, run_lengths, run_loop, warm_up
from edge_agent.bench.cores import Cores, available_cores, choose_cores, pinned, thread_siblings
from edge_agent.bench.energy import Energy
from edge_agent.bench.figures import (
    Bare,
    Daemon,
    MeasuredModel,
    Percentiles,
    Report,
    Round,
    bare_of,
    daemon_of,
    targets_of,
)
from edge_agent.bench.link import LinkReport, link_targets_of
from edge_agent.bench.machine import describe_machine, resident_mb
from edge_agent.bench.sentences import Sentence, sentences_of_length
from edge_agent.cli import stage
from edge_agent.cli.bench_energy import EnergyStage, Load, measuring_source
from edge_agent.cli.bench_link import LinkStage, measure_link
from edge_agent.cli.bench_plan import Plan
from edge_agent.cli.bench_stage import BASE_TOPIC, wait_online
from edge_agent.errors import BrokerError, BundleError
from edge_agent.inference.bundle import read_tokenizer
from edge_agent.inference.golden import parse_golden
from edge_agent.inference.model import Model
from edge_agent.inference.runtime import Runner
from edge_agent.link.address import BrokerAddress
from edge_agent.link.topics import Topics
from edge_agent.service.machine import Machine

SENTENCE_TOKENS = 12
_WARM_UP = 100
_NO_BROKER = "the daemon was left out: Mosquitto is not installed (sudo apt install mosquitto)"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Bench:
    """Everything that the measurements share."""

    plan: Plan
    tell: Tell
    model: Model
    runner: Runner
    sentences: tuple[Sentence, ...]
    cores: Cores
    energy: EnergyStage

    @property
    def ids(self) -> list[tuple[int, ...]]:
        return [sentence.ids for sentence in self.sentences]

    @property
    def texts(self) -> list[str]:
        return [sentence.text for sentence in self.sentences]

    def bare_round(self) -> tuple[tuple[float, ...], float]:
        with pinned(self.cores.model):
            warm_up(self.runner, self.ids)
            return run_loop(self.runner, self.ids, self.plan.calls)

    def bare_load(self, per_second: float) -> Load:
        """The bare loop for some seconds, by its rate."""

        def load(seconds: float) -> int:
            calls = ceil(per_second * seconds)
            with pinned(self.cores.model):
                run_loop(self.runner, self.ids, calls)
            return calls

        return load


def run_benchmark(
    bundle: Path, plan: Plan, tell: Tell, *, with_link: bool = False, root: Path = Path("/")
) -> Report:
    """Measures a model on this machine.

    Args:
        bundle: a bundle's folder or ``.edgemodel`` file.
        plan: how much.
        tell: what is being done, in words.
        with_link: whether the link is measured by itself, too.
        root: where the sensors' ``sys``, ``proc`` and ``dev`` are.

    Raises:
        BundleError: the bundle is refused, or its golden sentences give no sentence of the length.
        RuntimeFailure: the runtime failed.
        BrokerError: broker or daemon do not come up, or the daemon does not answer.
    """
    begun = datetime.now(timezone.utc)
    available = available_cores()
    cores = choose_cores(available, thread_siblings)
    source, sensor_notes = measuring_source(root)
    energy_stage = EnergyStage(plan.energy, source, cores.others, tell)
    with pinned(cores.others), Model.load(bundle) as model, bare_runner(model) as runner:
        shared = _Bench(plan, tell, model, runner, _sentences(model), cores, energy_stage)
        tell("the model at every length")
        with pinned(cores.model):
            lengths = run_lengths(
                runner, shared.ids, model.manifest.input.max_tokens, plan.length_rounds, plan.length_calls
            )
        bare, daemon, energy = _with_daemon(shared) or _alone(shared)
        link = _link(shared, available) if with_link and daemon else None
        tell("")
        return Report(
            edge_agent=__version__,
            runtime=str(model.runtime),
            time=begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
            machine=describe_machine(Machine().board(), Machine().operating_system()),
            model=_measured(shared),
            model_core=cores.model,
            broker_core=cores.others,
            lengths=lengths,
            bare=bare,
            daemon=daemon,
            link=link,
            energy=energy,
            targets=(targets_of(daemon) if daemon else ()) + (link_targets_of(link) if link else ()),
            notes=tuple(
                note
                for note in (
                    cores.note,
                    None if daemon else _NO_BROKER,
                    *sensor_notes,
                    *(link.notes if link else ()),
                )
                if note
            ),
        )


def _link(shared: _Bench, available: Set[int]) -> LinkReport:
    cores = shared.cores
    spare = sorted(available - {cores.model, cores.others})
    where = LinkStage(
        core=cores.model,
        second_core=spare[-1] if spare else None,
        bundle=shared.model.bundle.path,
        model=shared.model.manifest.name,
        texts=shared.texts,
        tell=shared.tell,
    )
    return measure_link(shared.plan.link, where)


def _sentences(model: Model) -> tuple[Sentence, ...]:
    golden = model.manifest.golden.file
    texts = [sentence.text for sentence in parse_golden(golden, model.bundle.file(golden).read_bytes())]
    found = sentences_of_length(read_tokenizer(model.bundle), texts, SENTENCE_TOKENS)
    if not found:
        raise BundleError(f"{golden}: no sentence of {SENTENCE_TOKENS} tokens can be made of it")
    return found


def _measured(shared: _Bench) -> MeasuredModel:
    manifest = shared.model.manifest
    folder = shared.model.bundle.path
    return MeasuredModel(
        name=manifest.name,
        version=manifest.version,
        digest=shared.model.digest,
        bundle_mb=round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 2),
        sentence_tokens=SENTENCE_TOKENS,
        sentences=len(shared.sentences),
    )


def _with_daemon(shared: _Bench) -> tuple[Bare, Daemon, Energy] | None:
    """The daemon and the bare loop in turns; None where there is no Mosquitto."""
    if stage.mosquitto_path() is None:
        return None
    with ExitStack() as everything:
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="edge-agent-bench-")))
        port = stage.free_port()
        everything.enter_context(stage.broker(folder, port))
        starts = []
        for number in range(shared.plan.starts):
            shared.tell(f"start {number + 1} of {shared.plan.starts}")
            starts.append(_start_seconds(shared, folder, port, f"start-{number}"))
        rounds, energy, protocol, lost = _daemon_rounds(shared, folder, port)
    daemon = daemon_of(rounds, starts, broker=_broker_version(), protocol=protocol, lost=lost)
    return bare_of(rounds), daemon, energy


def _alone(shared: _Bench) -> tuple[Bare, None, Energy]:
    """The bare loop by itself."""
    times: list[float] = []
    rates = []
    for _ in range(shared.plan.rounds):
        found, rate = shared.bare_round()
        times += found
        rates.append(rate)
    bare = Bare(Percentiles.of(times), round(median(rates), 1))
    return bare, None, shared.energy.measure(shared.bare_load(bare.per_second), None)


def _start_seconds(shared: _Bench, folder: Path, port: int, device: str) -> float:
    """From starting the process to ``online`` at a subscriber."""
    with Asker(BrokerAddress(stage.HOST, port), Topics(BASE_TOPIC, device)) as asker:
        begun = perf_counter()
        with _pinned_daemon(shared, folder, port, device):
            wait_online(asker, folder / "daemon.log")
            return perf_counter() - begun


@contextmanager
def _pinned_daemon(shared: _Bench, folder: Path, port: int, device: str) -> Iterator[int]:
    """A daemon on the model's core; gives its process id."""
    with ExitStack() as life:
        with pinned(shared.cores.model):
            process = life.enter_context(stage.daemon(folder, port, device, shared.model.bundle.path))
        yield process.pid


def _daemon_rounds(shared: _Bench, folder: Path, port: int) -> tuple[list[Round], Energy, int, int]:
    """All rounds with one daemon, its energy, the protocol that it was asked by, and what it lost."""
    address, topics = BrokerAddress(stage.HOST, port), Topics(BASE_TOPIC, "bench")
    with Asker(address, topics) as asker, _pinned_daemon(shared, folder, port, "bench") as pid:
        wait_online(asker, folder / "daemon.log")
        asker.ask_many(topics.request(shared.model.manifest.name), shared.texts, _WARM_UP)
        rounds = []
        for number in range(shared.plan.rounds):
            shared.tell(f"round {number + 1} of {shared.plan.rounds}")
            rounds.append(_round(shared, asker, topics, pid))
        return rounds, _energy(shared, asker, topics, rounds), asker.protocol, asker.lost


def _energy(shared: _Bench, asker: Asker, topics: Topics, rounds: list[Round]) -> Energy:
    topic = topics.request(shared.model.manifest.name)
    per_second = median(each.daemon_per_second for each in rounds)

    def daemon_load(seconds: float) -> int:
        requests = ceil(per_second * seconds)
        asker.ask_many(topic, shared.texts, requests)
        return requests

    return shared.energy.measure(shared.bare_load(bare_of(rounds).per_second), daemon_load)


def _round(shared: _Bench, asker: Asker, topics: Topics, pid: int) -> Round:
    topic, plan = topics.request(shared.model.manifest.name), shared.plan
    bare_ms, bare_per_second = shared.bare_round()
    daemon_ms = asker.ask_each(topic, shared.texts, plan.calls)
    daemon_per_second = asker.ask_many(topic, shared.texts, plan.requests)
    rss = resident_mb(pid)
    if rss is None:
        raise BrokerError("the daemon died during the benchmark")
    return Round(bare_ms, bare_per_second, daemon_ms, daemon_per_second, asker.answered, rss)


def _broker_version() -> str:
    """``mosquitto 2.0.11``, from the first line of its help."""
    program = stage.mosquitto_path() or "mosquitto"
    told = subprocess.run([program, "-h"], capture_output=True, text=True, check=False, timeout=10).stdout
    found = re.search(r"mosquitto version (\S+)", told)
    return f"Mosquitto {found.group(1)}" if found else "Mosquitto"
