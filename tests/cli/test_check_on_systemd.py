"""``check`` and the log under a real systemd and a real journald, in a container."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testbeds.systemd_container import SystemdContainer, container_or_skip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = "/mnt/src:/mnt/site"
CHECK = ("python3", "-c", "from edge_agent.cli.main import main; main()", "check", "--json")
UNIT = """\
[Service]
Type=exec
User=nobody
Restart=on-failure
RestartSec=600
RestartPreventExitStatus=2
ExecStart={start}
[Install]
WantedBy=multi-user.target
"""
TALKER = """\
import sys
from edge_agent.log import configure_log, get_logger, with_priority
configure_log("debug")
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(get_logger(name="home"), level)("model.told", reason="line one\\nline two")
for _ in range(15):
    get_logger().warning("again")
sys.stderr.write(with_priority("error", "edge-agentd: wrong settings\\nhint: mend them\\n", sys.stderr))
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdContainer]:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the packages of this Python do not fit the container's 3.11")
    binds = {ROOT: "/mnt/src", Path(sysconfig.get_paths()["purelib"]): "/mnt/site"}
    with container_or_skip(tmp_path_factory.mktemp("board"), binds=binds) as machine:
        yield machine


def checked(board: SystemdContainer, *before: str) -> dict[str, dict[str, Any]]:
    done = board.run(*before, "env", f"PYTHONPATH={PYTHONPATH}", *CHECK, check=False)
    assert done.returncode == 1, done.stderr  # there is neither broker nor model
    return {finding["about"]: finding for finding in json.loads(done.stdout)}


def install(board: SystemdContainer, start: str) -> None:
    (board.root / "etc/systemd/system/edge-agent.service").write_text(UNIT.format(start=start))
    board.systemctl("daemon-reload")
    board.systemctl("reset-failed", "edge-agent", check=False)
    board.systemctl("restart", "edge-agent", check=False)


def test_the_journal_knows_each_lines_priority_and_keeps_the_json(board: SystemdContainer) -> None:
    (board.root / "root/talker.py").write_text(TALKER)
    (board.root / "etc/systemd/system/talker.service").write_text(
        f"[Service]\nType=oneshot\nEnvironment=PYTHONPATH={PYTHONPATH}\nExecStart=python3 /root/talker.py\n"
    )
    board.systemctl("daemon-reload")
    board.systemctl("start", "talker")
    lines = [line for line in board.journal("talker") if line.get("_COMM", "").startswith("python")]
    told = {
        json.loads(line["MESSAGE"])["level"]: (line["PRIORITY"], json.loads(line["MESSAGE"]))
        for line in lines
        if "model.told" in line["MESSAGE"]
    }
    assert {level: priority for level, (priority, _) in told.items()} == {
        "debug": "7",
        "info": "6",
        "warning": "4",
        "error": "3",
        "critical": "2",
    }
    assert all(event["reason"] == "line one\nline two" for _, event in told.values())
    errors = board.run("journalctl", "-b", "-u", "talker", "-p", "err", "-o", "cat").stdout.splitlines()
    assert [line for line in errors if not line.startswith("{")] == [
        "edge-agentd: wrong settings",
        "hint: mend them",
    ]
    suppressed = [json.loads(line["MESSAGE"]) for line in lines if "log.suppressed" in line["MESSAGE"]]
    assert [(one["of"], one["count"]) for one in suppressed] == [("again", 5)]


def test_check_tells_of_each_state_of_the_real_unit_what_it_is_and_what_helps(
    board: SystemdContainer,
) -> None:
    assert "not installed" in checked(board)["service"]["message"]

    install(board, "/bin/sh -c 'exit 2'")
    board.wait_for("edge-agent", ActiveState="failed")
    service = checked(board)["service"]
    assert (service["state"], "settings are wrong" in service["message"]) == ("problem", True)

    install(board, "/bin/sh -c 'kill -SEGV $$$$'")
    board.wait_for("edge-agent", SubState="auto-restart")
    service = checked(board)["service"]
    assert (service["state"], "SIGSEGV" in service["message"]) == ("problem", True)

    install(board, "/nowhere/edge-agentd")
    assert "203/EXEC" in checked(board)["service"]["message"]

    install(board, "/bin/sleep infinity")
    found = checked(board)
    assert found["service"]["message"] == "active (running)"
    assert found["service boot"]["remedy"] == "sudo systemctl enable edge-agent"

    board.systemctl("stop", "edge-agent")
    assert "stopped" in checked(board)["service"]["message"]


def test_rights_are_those_of_the_units_user_whoever_asks(board: SystemdContainer) -> None:
    install(board, "/bin/sleep infinity")
    state = board.root / "var/lib/edge-agent"
    state.mkdir(mode=0o700, exist_ok=True)  # root's, as after a run by hand with sudo
    as_root = checked(board)["state folder"]
    assert as_root["message"] == "nobody may not write in /var/lib/edge-agent"
    assert "chown -R nobody /var/lib/edge-agent" in as_root["remedy"]
    assert checked(board, "runuser", "-u", "daemon", "--")["state folder"] == as_root
    hidden = checked(board, "runuser", "-u", "daemon", "--")["models"]
    assert (hidden["state"], hidden["remedy"]) == ("warning", "sudo edge-agent check")
    board.run("chown", "nobody", "/var/lib/edge-agent")
    assert checked(board)["permissions"]["state"] == "ok"
    as_daemon = checked(board, "runuser", "-u", "daemon", "--")["permissions"]
    assert "as far as you may see" in as_daemon["message"]
