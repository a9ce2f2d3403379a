from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from edge_agent import __version__
from tests.cli.command import DEADLINE_SECONDS, PROGRAM, assert_one_line_and_hint, edge_agent

COMMANDS = (
    ("demo",),
    ("predict",),
    ("send",),
    ("check",),
    ("bench",),
    ("model", "list"),
    ("model", "verify"),
    ("model", "eval"),
    ("bundle", "build"),
    ("bundle", "inspect"),
    ("forge", "train"),
    ("fleet", "init"),
    ("fleet", "publish"),
    ("fleet", "verify"),
    ("watch",),
)
BUG = (
    PROGRAM[0],
    "-c",
    "import edge_agent.cli.find as find\n"
    "def broken(*_): raise ZeroDivisionError('turn on the secret lamp')\n"
    "find.find_model = broken\n"
    "from edge_agent.cli.main import main; main()",
)


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    done = edge_agent("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert command[0] in done.out
    assert "5 broker unreachable" in done.out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    done = edge_agent(*command, "--help")
    assert done.code == 0
    assert f"Usage: edge-agent {' '.join(command)}" in done.out


def test_the_version_is_that_of_the_package() -> None:
    assert edge_agent("--version").out == f"edge-agent {__version__}\n"


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_that_of_usage() -> None:
    done = edge_agent()
    assert (done.code, done.err) == (2, "")
    assert "Usage: edge-agent" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("prdict",),
        ("predict",),
        ("predict", "--modle", "home"),
        ("predict", "--model", "x", "--top-k", "many"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_a_hint_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = edge_agent(*arguments)
    assert (done.code, done.out) == (2, "")
    assert_one_line_and_hint(done)
    assert "--help" in done.err


def test_wrong_settings_end_with_exit_code_2_and_name_the_key(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[mqtt]\nhots = "x"\n')
    done = edge_agent("model", "list", "--config", config)
    assert done.code == 2
    assert_one_line_and_hint(done)
    assert "mqtt.hots" in done.err
    assert "mqtt.host" in done.err


def test_a_bug_is_one_line_without_the_users_text_and_exit_code_70() -> None:
    done = edge_agent("predict", "--model", "home", "hello", program=BUG)
    assert done.code == 70
    assert_one_line_and_hint(done)
    assert "ZeroDivisionError" in done.err
    assert "EDGE_AGENT_DEBUG=1" in done.err
    assert "secret lamp" not in done.err


def test_a_bug_shows_its_traceback_to_who_asks_for_it() -> None:
    done = edge_agent(
        "predict", "--model", "home", "hello", program=BUG, environment={"EDGE_AGENT_DEBUG": "1"}
    )
    assert done.code == 1
    assert "Traceback" in done.err


def test_ctrl_c_ends_a_command_quietly_with_130(tiny_folder: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "predict", "--model", str(tiny_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"turn on the light\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, err) == (130, b"")


def test_a_reader_that_leaves_is_no_error(tiny_folder: Path) -> None:
    read, write = os.pipe()
    with subprocess.Popen(
        [*PROGRAM, "predict", "--model", str(tiny_folder)],
        stdin=subprocess.PIPE,
        stdout=write,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(write)
        os.close(read)
        _, err = process.communicate(b"turn on the light\n" * 3, timeout=DEADLINE_SECONDS)
    assert (process.returncode, err) == (0, b"")
