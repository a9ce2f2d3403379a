"""``edge-agent fleet simulate`` as a child process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.testbeds.broker import HOST
from tests.testbeds.waiting import eventually

_PROGRAM = (sys.executable, "-c", "from edge_agent.cli.main import main; main()")


class SimulatedFleet:
    """Starts when entered, and is entered when every device is connected, or off as it should be.

    Args:
        folder: for its log.
        port: of the broker.
        flags: further words of the command line.
        options: options of the command, by name.
    """

    def __init__(self, folder: Path, port: int, *flags: str, **options: object) -> None:
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        url = f"mqtt://{HOST}:{port}"
        self._command = [*_PROGRAM, "fleet", "simulate", "--broker", url, "--json", *flags, *words]
        self._log = folder / "simulated.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def counts(self) -> dict[str, Any]:
        """How it is, as it told last."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        told = [line for line in lines if line.startswith("{") and line.endswith("}")]
        return dict(json.loads(told[-1])) if told else {}

    def wait_for(self, is_it: Callable[[dict[str, Any]], bool], within_seconds: float = 60.0) -> None:
        def told() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text(encoding="utf-8")
            counts = self.counts()
            return bool(counts) and is_it(counts)

        eventually(told, within_seconds, "the simulated fleet")

    def stop(self, number: int = signal.SIGINT, within_seconds: float = 60.0) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(within_seconds)
        self._process = None
        return status

    def __enter__(self) -> SimulatedFleet:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.wait_for(lambda counts: counts["connected"] + counts["off"] == counts["devices"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
        if kind is not None:
            sys.stderr.write(self._log.read_text(encoding="utf-8"))
