"""``edge-agentd`` as a child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.testbeds.waiting import eventually

_PROGRAM = "import sys; from edge_agent.service.agent import main; sys.exit(main())"


class Daemon:
    """One daemon with its own settings file.

    Args:
        folder: for the settings file and the log.
        port: of the broker.
        models: the models' directories.
        device: its id.
        settings: further settings by section.
        environment: further environment variables.
        program: Python source that runs it.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        models: tuple[Path, ...],
        *,
        device: str = "pi-test",
        settings: dict[str, dict[str, Any]] | None = None,
        environment: dict[str, str] | None = None,
        program: str = _PROGRAM,
    ) -> None:
        self._program = program
        self.device = device
        self.root = f"edge-agent/{device}"
        self.state = folder / "state"
        self._log = folder / "daemon.log"
        self._config = folder / "config.toml"
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        sections: dict[str, dict[str, Any]] = {
            "device": {
                "id": device,
                "state_directory": str(self.state),
                "runtime_directory": str(folder / "runtime"),
            },
            "mqtt": {"host": "127.0.0.1", "port": port, "reconnect_max_seconds": 1, "will_delay_seconds": 0},
            "models": {"directories": [str(path) for path in models]},
            "health": {"interval_seconds": 0.2},
            "log": {"level": "debug"},
        }
        for section, keys in (settings or {}).items():
            sections.setdefault(section, {}).update(keys)
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(_toml(sections), encoding="utf-8")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait_ready: bool = True) -> None:
        before = len(self.events("agent.ready"))
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_AGENT_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._program, "--config", str(self._config)],
                stderr=log,
                stdout=log,
                env={**inherited, **self._environment},
            )
        if wait_ready:
            self.wait_for_event("agent.ready", count=before + 1)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, within_seconds: float = 15.0) -> int:
        """Sends a signal and returns the exit status, negative when a signal ended it."""
        self.send(number)
        return self.wait(within_seconds)

    def wait(self, within_seconds: float = 15.0) -> int:
        assert self._process is not None
        status = self._process.wait(within_seconds)
        self._process = None
        return status

    def log_text(self) -> str:
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines with this event."""
        lines = [
            json.loads(line)
            for line in self.log_text().splitlines()
            if line.startswith("{") and line.endswith("}")
        ]
        return [line for line in lines if line.get("event") == name]

    def wait_for_event(self, name: str, *, count: int = 1, within_seconds: float = 20.0) -> dict[str, Any]:
        def logged() -> list[dict[str, Any]]:
            assert self.is_running or len(self.events(name)) >= count, f"the daemon ended:\n{self.log_text()}"
            found = self.events(name)
            return found if len(found) >= count else []

        return eventually(logged, within_seconds, f"{name} in the log")[count - 1]

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
        if kind is not None:
            sys.stderr.write(self.log_text())


def _toml(sections: dict[str, dict[str, Any]]) -> str:
    lines: list[str] = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"
