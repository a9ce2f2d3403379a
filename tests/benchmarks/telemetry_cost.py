"""What telemetry adds to the latency of a daemon under load: with fourteen sensors and without, in turns.

``python -m tests.benchmarks.telemetry_cost --rounds 10`` starts two daemons with the shipped ``home``, one
with telemetry on a board of real files (:mod:`tests.benchmarks.sampler_cost`) and metrics that are scraped
each second, and one without either, behind one Mosquitto. Each round asks one and then the other as fast as
answers come, so that a busy moment of the machine hits both; the median of the rounds' ratios is told.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

import numpy as np

from edge_agent.bench.asker import Asker
from edge_agent.link.address import BrokerAddress
from edge_agent.link.topics import Topics
from tests.benchmarks.sampler_cost import board_files
from tests.telemetry.trees import build_tree
from tests.testbeds.broker import HOST, Mosquitto, free_port
from tests.testbeds.daemon import Daemon

_MODELS = Path(__file__).resolve().parents[2] / "models"
_SENTENCES = ("turn on the kitchen light", "apaga la luz de la cocina", "close the blinds in the office")
_ON_ANOTHER_ROOT = """
import sys
from functools import partial
from pathlib import Path
from edge_agent.service import agent
agent.Agent = partial(agent.Agent, root=Path({root!r}))
sys.exit(agent.main())
"""


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """The metrics are asked for once a second meanwhile."""
    done = Event()

    def scrape() -> None:
        while not done.wait(1.0):
            with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
                answer.read()

    thread = Thread(target=scrape, daemon=True)
    thread.start()
    yield
    done.set()
    thread.join(10)


def main() -> None:
    """Prints the p50 and p99 of both and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Mosquitto(Path(name) / "broker") as broker:
        folder, port = Path(name), free_port()
        build_tree(folder / "root", board_files())
        models = folder / "models"
        models.mkdir()
        (models / "home").symlink_to(_MODELS / "home")
        usual: dict[str, dict[str, Any]] = {"health": {"interval_seconds": 30.0}, "log": {"level": "info"}}
        on = Daemon(
            folder / "on",
            broker.port,
            (models,),
            device="on",
            settings={**usual, "metrics": {"enabled": True, "port": port}},
            program=_ON_ANOTHER_ROOT.format(root=str(folder / "root")),
        )
        off = Daemon(
            folder / "off",
            broker.port,
            (models,),
            device="off",
            settings={**usual, "telemetry": {"enabled": False}},
        )
        address = BrokerAddress(HOST, broker.port)
        rounds: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
        with (
            on,
            off,
            scraped(port),
            Asker(address, Topics("edge-agent", "on")) as with_it,
            Asker(address, Topics("edge-agent", "off")) as without,
        ):
            askers = {"on": with_it, "off": without}
            for number in range(arguments.rounds):
                for device in ("on", "off") if number % 2 else ("off", "on"):
                    topic = Topics("edge-agent", device).request("home")
                    times = askers[device].ask_each(topic, _SENTENCES, arguments.requests)
                    p50, p99 = np.percentile(times, [50, 99])
                    rounds[device].append((float(p50), float(p99)))
    for position, what in enumerate(("p50", "p99")):
        medians = {device: median(one[position] for one in found) for device, found in rounds.items()}
        ratio = median(
            ours[position] / theirs[position]
            for ours, theirs in zip(rounds["on"], rounds["off"], strict=True)
        )
        sys.stdout.write(
            f"{what}: {medians['on']:.3f} ms with telemetry, {medians['off']:.3f} without; "
            f"{(ratio - 1) * 100:+.1f} % (median of {arguments.rounds} rounds in turns)\n"
        )


if __name__ == "__main__":
    main()
