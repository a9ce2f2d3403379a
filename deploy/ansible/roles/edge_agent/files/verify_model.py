#!/usr/bin/env python3
"""Asks this device's own daemon a sentence by MQTT, and looks at the answer.

Runs on the device, by the system's Python, as root: the daemon's settings and credentials say where its
broker is and who it is there. Where no sentence is given it takes one from the model's golden sentences, so
the right answer is known. A daemon that was told of a new model needs a moment; it is asked until the version
is right.

Exit code 0: each model gave the right answer; 1: one line for each that did not. No sentence is ever printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CREDENTIALS = Path("/run/credentials/edge-agent.service")
PAUSE_SECONDS = 1.0


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """``edge-agent`` as the daemon's own user at the broker."""
    environment = dict(os.environ)
    if CREDENTIALS.is_dir():
        environment.setdefault("CREDENTIALS_DIRECTORY", str(CREDENTIALS))
    return subprocess.run(
        ["edge-agent", *words], capture_output=True, text=True, check=False, env=environment
    )


def own_id() -> str:
    """The device's name in topics, as the installed program reads its settings."""
    command = shutil.which("edge-agent")
    if command is None:
        sys.exit("edge-agent is not installed here; remedy: deploy/provision-device, or install.yml")
    python = Path(command).resolve().parent / "python3"
    words = "from edge_agent.settings import load_settings; print(load_settings().device.id)"
    asked = subprocess.run([str(python), "-c", words], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        sys.exit("the settings cannot be read; remedy: edge-agent check")
    return asked.stdout.strip()


def models(name: str) -> list[dict[str, Any]]:
    """The models of this device, or the one of that name."""
    listed = run("model", "list", "--json")
    if listed.returncode != 0:
        sys.exit(listed.stderr.strip() or "edge-agent model list failed")
    found = [model for model in json.loads(listed.stdout) if name in ("", model["name"])]
    if not found:
        sys.exit(f"there is no model {name or 'at all'} on this device")
    return found


def golden(folder: Path) -> tuple[str, str | None]:
    """A sentence of the model, and the label that it must answer; None where any answer will do."""
    first = ""
    with (folder / "golden.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            first = first or row["text"]
            if row.get("recognized") and row.get("label"):
                return row["text"], row["label"]
    return first, None


def fault(
    device: str, model: dict[str, Any], version: str, sentence: tuple[str, str | None]
) -> tuple[str, bool]:
    """What is wrong with the answer, empty where nothing is; and whether it may be right in a moment."""
    text, expected = sentence
    asked = run("send", "--json", "--device", device, "--model", model["name"], text)
    try:
        answer = json.loads(asked.stdout)
    except ValueError:
        return " ".join(asked.stderr.split()) or "no answer", True
    if "error" in answer:
        return f"error {answer['error'].get('code')}", True
    served = answer.get("version")
    if version and served != version:
        return f"version {served} answers, not {version}", True
    label = answer.get("intent", answer.get("label"))
    if expected is not None and label != expected:
        return f"version {served} answers {label}, not {expected}", False
    return "", False


def main() -> None:
    """Asks each model until it is right or the time is over."""
    parser = argparse.ArgumentParser(
        description="Asks this device's daemon a sentence, and looks at the answer."
    )
    parser.add_argument("model", nargs="?", default="", help="all of them where it is not named")
    parser.add_argument("--version", default="", help="that must answer")
    parser.add_argument("--text", default="", help="in place of a golden sentence")
    parser.add_argument("--expect", default="", help="the label that it must answer")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds")
    options = parser.parse_args()
    deadline = time.monotonic() + options.timeout
    failed = False
    device = own_id()
    for model in models(options.model):
        sentence = (options.text, options.expect or None) if options.text else golden(Path(model["path"]))
        wrong, may_pass = fault(device, model, options.version, sentence)
        while wrong and may_pass and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
            wrong, may_pass = fault(device, model, options.version, sentence)
        failed = failed or wrong != ""
        said = (
            f"is wrong: {wrong}" if wrong else f"{options.version or model['version'] or ''} answers rightly"
        )
        sys.stdout.write(f"{model['name']} {said}\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
