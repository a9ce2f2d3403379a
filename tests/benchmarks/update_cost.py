"""What an update costs the device: ``python -m tests.benchmarks.update_cost``.

A daemon serves the shipped ``sentiment``; a newer version of it (the same model under another number, the
largest bundle that ships) comes from a signed repository on a web server of this machine, by command. Said in
the end: seconds from the command to the first answer of the new version, by state, golden sentences included;
the daemon's memory before, at most and after; and the most that the processes took that updated.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from edge_agent.fleet.repository.publishing import publish
from tests.benchmarks.swap_cost import memory_mb
from tests.fleet.repository.workplace import Workplace
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe

_MODELS = Path(__file__).resolve().parents[2] / "models"
_MODEL = "sentiment"


class Processes:
    """The most memory that the children of a process took together, looked at all the time."""

    def __init__(self, pid: int) -> None:
        self.most_mb = 0.0
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            total = 0
            for child in self._process.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.Error:
                    continue
            self.most_mb = max(self.most_mb, total / 1e6)

    def end(self) -> float:
        self._ended.set()
        self._thread.join()
        return round(self.most_mb, 1)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The folder's address on a web server of this process."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def _newer(folder: Path, number: int) -> Path:
    target = folder / f"newer-{number}"
    shutil.copytree(_MODELS / _MODEL, target)
    manifest = json.loads((target / "bundle.json").read_bytes())
    (target / "bundle.json").write_text(json.dumps({**manifest, "version": f"{number}.0.0"}))
    return target


def _one(probe: Probe, daemon: Daemon, number: int) -> dict[str, float]:
    """Seconds from the command to each state."""
    probe.forget()
    begun = time.monotonic()
    seen: dict[str, float] = {}
    command = {"status": "init", "name": _MODEL, "version": f"{number}.0.0"}
    probe.publish(f"{daemon.root}/cmd/model-update/u{number}", command, retain=True)
    topic = f"{daemon.root}/model/{_MODEL}"
    for state in ("downloading", "verifying", "trying", "watching", "kept"):
        is_it = {"state": state, **({"installed_version": f"{number}.0.0"} if state == "kept" else {})}
        probe.wait_until(
            lambda heard, is_it=is_it: heard.topic == topic and is_it.items() <= heard.json.items(), 120.0
        )
        seen[state] = time.monotonic() - begun
    return seen


def measure(updates: int) -> dict[str, Any]:
    """Updates so many times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = Workplace(folder / "operator")
        place.create()
        numbers = range(50, 50 + updates)
        with place.open() as repository:
            publish(repository, [_newer(folder, number) for number in numbers])
        (folder / "models").mkdir()
        shutil.copytree(_MODELS / _MODEL, folder / "models" / _MODEL)
        (folder / "root.json").write_bytes(place.first_root)
        with _served(place.repository) as url, Mosquitto(folder / "broker") as broker:
            settings: dict[str, dict[str, Any]] = {
                "updates": {"repository": url, "root": str(folder / "root.json"), "watch_seconds": 0.0}
            }
            with (
                Probe(broker.port, "edge-agent/#") as probe,
                Daemon(folder / "daemon", broker.port, (folder / "models",), settings=settings) as daemon,
            ):
                time.sleep(1.0)
                before = memory_mb(daemon.pid, "VmRSS")
                watched = Processes(daemon.pid)
                runs = [_one(probe, daemon, number) for number in numbers]
                time.sleep(1.0)
                return {
                    "bundle_mb": round(
                        max(path.stat().st_size for path in place.repository.rglob("*.edgemodel")) / 1e6, 1
                    ),
                    "seconds_median": {
                        state: round(median(run[state] for run in runs), 2) for state in runs[0]
                    },
                    "seconds_longest": round(max(run["kept"] for run in runs), 2),
                    "daemon_mb": {
                        "before": before,
                        "most": memory_mb(daemon.pid, "VmHWM"),
                        "after": memory_mb(daemon.pid, "VmRSS"),
                    },
                    "updating_processes_mb": watched.end(),
                }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=5)
    sys.stdout.write(json.dumps(measure(parser.parse_args().updates), indent=2) + "\n")


if __name__ == "__main__":
    main()
