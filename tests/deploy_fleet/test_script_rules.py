"""The short scripts by themselves: what they refuse before anything is done, and what settings they write."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.settings import load_settings
from tests.testbeds.installed_package import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
SCRIPTS = ("provision-device", "push-model", "fleet-status")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """With an ssh that tells that it was called."""
    environment = {"PATH": "/usr/bin:/bin", "EDGE_AGENT_SSH": "echo CALLED"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_shellcheck_has_nothing_to_say() -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    done = run(program, "-x", *(str(DEPLOY / name) for name in (*SCRIPTS, "over-ssh.sh")))
    assert done.stdout == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_how_it_is_used(name: str) -> None:
    done = run(str(DEPLOY / name), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: {name} ")


@pytest.mark.parametrize(
    "words",
    [
        ("provision-device",),
        ("provision-device", "pi", "--id", "a b", "--release", "/tmp"),
        ("provision-device", "pi", "--id", "pi", "--release", "/nowhere"),
        ("provision-device", "pi", "--ca", "/nowhere"),
        ("provision-device", "pi", "other"),
        ("push-model", "pi"),
        ("push-model", "pi", "/nowhere.edgemodel"),
        ("push-model", "pi", "home", "--text", "a"),
        ("fleet-status",),
        ("fleet-status", "--hosts"),
        ("fleet-status", "--what"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_nobody_is_called(words: tuple[str, ...]) -> None:
    done = run(str(DEPLOY / words[0]), *words[1:])
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"{words[0]}: ")
    assert "CALLED" not in done.stdout


def test_settings_of_a_new_device_are_accepted_and_say_what_was_asked_for(tmp_path: Path) -> None:
    words = (
        "id=pi-1 broker=broker.example.com:8884 username=pi-1 ca=ca.pem channel=hall "
        "repository=https://models.example.org/edge settings"
    )
    written = run("bash", "-c", f". {DEPLOY}/provision-device; {words}")
    assert written.returncode == 0, written.stderr
    file = tmp_path / "config.toml"
    file.write_text(written.stdout)
    settings = load_settings(file)
    assert settings.device.id == "pi-1"
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.tls) == ("broker.example.com", 8884, True)
    assert (settings.updates.channel, settings.updates.repository) == (
        "hall",
        "https://models.example.org/edge",
    )
