"""The unit on a board: its settings, its drop-ins, its secrets, and what systemd says of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.systemd.asker import DEVICE
from tests.testbeds.installed_package import REPOSITORY, lay_out_package
from tests.testbeds.systemd_container import SystemdContainer, calmly

UNIT = "edge-agent.service"
UNIT_FILE = REPOSITORY / "systemd" / UNIT
SYSUSERS_FILE = REPOSITORY / "systemd/sysusers.d/edge-agent.conf"
MODELS = "/usr/share/edge-agent/models"
_SECTIONS: dict[str, dict[str, Any]] = {
    "device": {"id": DEVICE},
    "mqtt": {"host": "127.0.0.1", "reconnect_max_seconds": 1, "will_delay_seconds": 0},
    "models": {"directories": [f"{MODELS}/tiny"]},
    "health": {"interval_seconds": 1},
}
_BROKER = {
    # The folder that Debian makes for its socket is closed even to its group.
    "usr/lib/tmpfiles.d/broker.conf": "d /run/broker 0755 mosquitto mosquitto\n",
    "etc/mosquitto/mosquitto.conf": """\
per_listener_settings true
persistence true
persistence_location /var/lib/mosquitto/
set_tcp_nodelay true
listener 1883 127.0.0.1
allow_anonymous true
listener 0 /run/broker/mqtt.sock
allow_anonymous true
""",
}


def lay_out_service(layer: Path, models: Mapping[str, Path]) -> None:
    """Puts package, unit, user, models and the broker's settings into a layer, as an installation would."""
    lay_out_package(layer)
    for source, target in (
        (UNIT_FILE, f"etc/systemd/system/{UNIT}"),
        (SYSUSERS_FILE, "usr/lib/sysusers.d/edge-agent.conf"),
    ):
        (layer / target).parent.mkdir(parents=True)
        shutil.copy(source, layer / target)
    for name, folder in models.items():
        shutil.copytree(folder, layer / MODELS.lstrip("/") / name / name)
    for path, text in _BROKER.items():
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        (layer / path).write_text(text)


class Service:
    """The unit ``edge-agent.service`` of a board.

    Args:
        board: that runs, with the layer of :func:`lay_out_service`.
    """

    def __init__(self, board: SystemdContainer) -> None:
        self.board = board

    # What may be laid down before a start

    def settings(self, **sections: Mapping[str, Any]) -> None:
        """Writes the settings file: those of all tests, and these."""
        merged = {name: dict(keys) for name, keys in _SECTIONS.items()}
        for name, keys in sections.items():
            merged.setdefault(name, {}).update(keys)
        lines: list[str] = []
        for name, keys in merged.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        self.write_settings("\n".join(lines) + "\n")

    def write_settings(self, text: str) -> None:
        self.put("/etc/edge-agent/config.toml", text)

    def drop_in(self, *lines: str, section: str = "Service") -> None:
        """Changes the unit for this boot, as ``systemctl edit --runtime`` does."""
        self.put(f"/run/systemd/system/{UNIT}.d/test.conf", "\n".join([f"[{section}]", *lines]) + "\n")
        self.board.systemctl("daemon-reload")

    def put(self, path: str, content: str, mode: str = "644") -> None:
        """Writes a file inside; one in ``/run`` cannot be written from outside."""
        script = f'mkdir -p "$(dirname {path})" && cat > {path} && chmod {mode} {path}'
        self.board.run("sh", "-ec", script, text_in=content)

    def program(self, name: str, source: str, *further: str) -> None:
        """Runs this Python in place of the daemon, in the unit's own sandbox."""
        path = f"/opt/edge-agent/lib/{name}.py"
        self.put(path, source)
        self.drop_in("ExecStart=", f"ExecStart=/opt/edge-agent/bin/python3 {path}", *further)

    def reset(self) -> None:
        """As installed: stopped, nothing in its folders, no drop-in, no secret, the settings of all tests."""
        self.board.systemctl("stop", UNIT, check=False)
        script = (
            f"rm -rf /run/systemd/system/{UNIT}.d /etc/credstore /etc/credstore.encrypted "
            "/var/lib/edge-agent /var/cache/edge-agent; systemctl daemon-reload; "
            f"systemctl reset-failed {UNIT} 2>/dev/null || true"
        )
        self.board.run("sh", "-c", script)
        self.settings()

    # Its life

    def start(self) -> None:
        self.board.systemctl("start", UNIT)

    @property
    def pid(self) -> int:
        return int(self.show()["MainPID"])

    @property
    def restarts(self) -> int:
        """How often systemd began it again by itself."""
        return int(self.show()["NRestarts"])

    def show(self) -> dict[str, str]:
        return self.board.show(UNIT)

    def kill(self, signal: str) -> None:
        """Sends a signal to the daemon alone."""
        self.board.run("sh", "-c", f"kill -{signal} {self.pid}")

    def wait_for_restart(self, count: int = 1, within_seconds: float = 60.0) -> None:
        """Until systemd has begun it again so often, and it is ready."""

        def ready() -> bool:
            shown = self.show()
            return int(shown["NRestarts"]) >= count and shown["ActiveState"] == "active"

        calmly(ready, within_seconds, f"restart {count} of {UNIT}")

    def said(self) -> str:
        """What it, and systemd about it, logged since the boot."""
        return "\n".join(str(line.get("MESSAGE")) for line in self.board.journal(UNIT))

    def events(self, name: str) -> list[dict[str, Any]]:
        """The daemon's log lines with this event, since the boot."""
        lines = [str(line.get("MESSAGE")) for line in self.board.journal(UNIT)]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line.get("event") == name]
