"""How this device is, as one line of JSON; `fleet-status` runs it on each by the system's Python, as root.

With an argument the device checks itself as well. Nothing is changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_SETTINGS = """\
from edge_agent.settings import load_settings
settings = load_settings()
print(settings.device.id, settings.models.directories[0])
"""
CREDENTIALS = "/run/credentials/edge-agent.service"


def said(*words: str) -> str:
    """What a program says on standard output, however it ends."""
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "CREDENTIALS_DIRECTORY": CREDENTIALS},
        )
    except OSError:
        return ""
    return done.stdout.strip()


def update_of(name: str, store: Path) -> str | None:
    """Where the last update of a model stands, with its reason, by the store's record."""
    try:
        record = json.loads((store / ".store/journal" / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    state, reason = record.get("state"), record.get("reason")
    return f"{state} ({reason})" if reason else state


def settings(command: str) -> tuple[str | None, Path]:
    """The device's id, and the folder of its store."""
    python = Path(command).resolve().parent / "python3"
    device, _, folder = said(str(python), "-c", _SETTINGS).partition(" ")
    return device or None, Path(folder or "/nowhere")


def main() -> None:
    """Looks, and prints."""
    command = shutil.which("edge-agent")
    service = said("systemctl", "is-active", "edge-agent") or "unknown"
    if command is None:
        report: dict[str, Any] = {"device": None, "service": "not installed", "agent": None, "models": []}
        sys.stdout.write(
            json.dumps({**report, "problems": ["edge-agent is not installed"], "well": False}) + "\n"
        )
        return
    device, store = settings(command)
    listed = json.loads(said(command, "model", "list", "--json") or "[]")
    models = [
        {"name": one["name"], "version": one["version"], "state": update_of(one["name"], store)}
        for one in listed
    ]
    problems = [] if service == "active" else [f"the service is {service}"]
    if device is None:
        problems.append("the settings cannot be read")
    if len(sys.argv) > 1:
        found = json.loads(said(command, "check", "--json") or "[]")
        problems += [f"{one['about']}: {one['message']}" for one in found if one["state"] == "problem"]
    version = said(command, "--version").rpartition(" ")[2] or None
    report = {"device": device, "service": service, "agent": version, "models": models}
    sys.stdout.write(json.dumps({**report, "problems": problems, "well": not problems}) + "\n")


if __name__ == "__main__":
    main()
