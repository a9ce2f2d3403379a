"""What a swap of models costs those who ask meanwhile: ``python -m tests.benchmarks.swap_cost``.

A daemon serves the shipped ``home`` while requests come without a pause, some in flight at once; the link in
the store is turned between two versions, the daemon is told, as an update does. Said in the end: latency
while nothing happens and while a swap is under way, the pause between the last answer of the old version and
the first of the new one, the longest between any two, and memory.
Two versions differ in name only, so that their times can be compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from edge_agent.service.figures import percentile
from edge_agent.service.updating.bundles import check_bundle, unpack_bundle
from edge_agent.update.store import Store
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.stream import Stream

_MODELS = Path(__file__).resolve().parents[2] / "models"
_SENTENCE = "turn on the light in the kitchen"
_REST_SECONDS = 0.5


def _two_versions(folder: Path) -> tuple[Store, list[str]]:
    """A store with ``home`` as it ships and as a version of another number."""
    store = Store(folder, check_bundle)
    digests = []
    with store.opened():
        for version in (None, "99.0.0"):
            source = folder.parent / f"source-{version}"
            shutil.copytree(_MODELS / "home", source)
            if version is not None:
                manifest = json.loads((source / "bundle.json").read_bytes())
                (source / "bundle.json").write_text(json.dumps({**manifest, "version": version}))
            digests.append(store.add(source, unpack_bundle).digest)
        store.link("home", digests[0])
    return store, digests


def memory_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    return 0.0


def measure(swaps: int, in_flight: int) -> dict[str, object]:
    """Swaps so many times under load."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").mkdir()
        store, digests = _two_versions(folder / "models")
        settings: dict[str, dict[str, Any]] = {"log": {"level": "info"}, "health": {"interval_seconds": 10}}
        with (
            Mosquitto(folder / "broker") as broker,
            Daemon(folder / "daemon", broker.port, (folder / "models",), settings=settings) as daemon,
        ):
            stream = Stream(broker.port, daemon.root, "home", _SENTENCE, in_flight)
            stream.begin()
            time.sleep(2.0)
            shipped = stream.answers[-1][2]
            before = memory_mb(daemon.pid, "VmRSS")
            windows = []
            for number in range(swaps):
                store.link("home", digests[(number + 1) % 2])
                begun = time.monotonic()
                daemon.send(signal.SIGHUP)
                stream.wait_for_version("99.0.0" if number % 2 == 0 else shipped)
                windows.append((begun, time.monotonic()))
                time.sleep(_REST_SECONDS)
            lost = stream.end()
            return _figures(stream, windows, lost, before, daemon.pid)


def _figures(
    stream: Stream, windows: list[tuple[float, float]], lost: int, before: float, pid: int
) -> dict[str, object]:
    during: list[float] = []
    rest: list[float] = []
    gaps: list[float] = []
    switches: list[float] = []
    _, previous, by = stream.answers[0]
    for begun, ended, version in stream.answers:
        took = (ended - begun) * 1e3
        is_swap = any(start <= ended and begun <= stop for start, stop in windows)
        (during if is_swap else rest).append(took)
        if is_swap:
            gaps.append((ended - previous) * 1e3)
        if version != by:
            switches.append((ended - previous) * 1e3)
        previous, by = ended, version
    during.sort()
    rest.sort()
    gaps.sort()
    switches.sort()
    return {
        "requests": stream.sent,
        "lost": lost,
        "twice": stream.twice,
        "versions": sorted({version for _, _, version in stream.answers}),
        "swaps": len(windows),
        "swap_seconds_median": round(sorted(stop - start for start, stop in windows)[len(windows) // 2], 3),
        "rest_ms": {"p50": round(percentile(rest, 0.5), 2), "p99": round(percentile(rest, 0.99), 2)},
        "during_ms": {"p50": round(percentile(during, 0.5), 2), "p99": round(percentile(during, 0.99), 2)},
        "p99_ratio": round(percentile(during, 0.99) / percentile(rest, 0.99), 2),
        "switch_ms": {"median": round(median(switches), 2), "longest": round(switches[-1], 2)},
        "gap_while_loading_ms": {"longest": round(gaps[-1], 1)},
        "memory_mb": {
            "before": before,
            "after": memory_mb(pid, "VmRSS"),
            "most": memory_mb(pid, "VmHWM"),
        },
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--in-flight", type=int, default=4)
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(measure(arguments.swaps, arguments.in_flight), indent=2) + "\n")


if __name__ == "__main__":
    main()
