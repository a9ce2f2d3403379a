"""What ``check`` makes of a unit as ``systemctl show`` prints it, of rights, of room and of what hangs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from edge_agent.cli.findings import Finding, Looker, State, ok
from edge_agent.cli.findings_command import ask_command
from edge_agent.cli.findings_permissions import (
    Access,
    Person,
    access,
    blocking,
    check_permissions,
    check_secrets,
    may,
    who_serves,
)
from edge_agent.cli.findings_platform import check_disk, judge_disk, judge_memory
from edge_agent.cli.findings_service import Unit, end_in_words, judge_service, parse_properties
from edge_agent.cli.findings_settings import check_metrics
from edge_agent.settings import Settings
from edge_agent.settings.board_sections import MetricsSettings

SOMEBODY = Person("somebody", 54321, frozenset({54322}))
RUNNING = """\
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
Result=success
NRestarts=0
ExecMainCode=0
ExecMainStatus=0
StatusText=serving home 1.0.0
User=edge-agent
SupplementaryGroups=video
NeedDaemonReload=no
"""


def shown(**changes: str) -> dict[str, str]:
    return {**parse_properties(RUNNING), **changes}


def judged(**changes: str) -> list[Finding]:
    return list(judge_service(shown(**changes)))


# The unit


def test_a_running_service_is_well_and_says_what_it_serves() -> None:
    (finding,) = judged()
    assert (finding.state, finding.message) == (State.OK, "active (running): serving home 1.0.0")


@pytest.mark.parametrize(
    ("changes", "state", "words", "remedy"),
    [
        ({"LoadState": "not-found"}, State.WARNING, "not installed", "install.sh"),
        ({"LoadState": "masked"}, State.PROBLEM, "masked", "unmask"),
        ({"LoadState": "bad-setting"}, State.PROBLEM, "bad-setting", "systemd-analyze verify"),
        ({"ActiveState": "inactive", "SubState": "dead"}, State.PROBLEM, "stopped", "enable --now"),
        ({"ActiveState": "activating", "SubState": "start"}, State.WARNING, "activating", "again"),
        (
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2"},
            *(State.PROBLEM, "settings are wrong", "systemctl restart"),
        ),
        (
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "243"},
            *(State.PROBLEM, "243/CREDENTIALS", "LoadCredential"),
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "watchdog"},
            *(State.PROBLEM, "proved no work", "model verify"),
        ),
        (
            {"ActiveState": "failed", "Result": "signal", "ExecMainStatus": "9"},
            *(State.PROBLEM, "SIGKILL", "oom"),
        ),
        (
            {"ActiveState": "failed", "Result": "core-dump", "ExecMainStatus": "11"},
            *(State.PROBLEM, "SIGSEGV", "model verify"),
        ),
        ({"ActiveState": "failed", "Result": "oom-kill"}, State.PROBLEM, "out of memory", "MemoryMax"),
        ({"ActiveState": "failed", "Result": "timeout"}, State.PROBLEM, "in time", "TimeoutStartSec"),
        ({"ActiveState": "failed", "Result": "start-limit-hit"}, State.PROBLEM, "given up", "reset-failed"),
    ],
)
def test_each_state_of_a_unit_has_its_words_and_its_remedy(
    changes: dict[str, str], state: State, words: str, remedy: str
) -> None:
    finding = judged(**changes)[0]
    assert finding.state is state
    assert words in finding.message
    assert remedy in (finding.remedy or "")


def test_many_restarts_a_boot_without_it_and_a_changed_unit_are_warnings_beside_it() -> None:
    findings = judged(NRestarts="7", UnitFileState="disabled", NeedDaemonReload="yes")
    assert [one.state for one in findings] == [State.OK, *[State.WARNING] * 3]
    assert any("7 times" in one.message for one in findings)
    assert all(one.remedy for one in findings[1:])


@pytest.mark.parametrize("status", ["", "0", "99", "nonsense", "4711"])
@pytest.mark.parametrize("result", ["", "exit-code", "signal", "something-new"])
def test_an_end_that_nobody_foresaw_still_has_words_and_a_remedy(result: str, status: str) -> None:
    words, remedy = end_in_words({"Result": result, "ExecMainStatus": status})
    assert words
    assert "journalctl" in remedy


def test_a_machine_without_systemd_is_no_fault() -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    unit = Unit()
    (finding,) = unit.check()
    assert finding.state is State.OK
    assert not unit.is_active


# Whatever hangs


def test_a_command_that_hangs_fails_or_is_absent_has_no_answer() -> None:
    assert ask_command([sys.executable, "-c", "print('yes')"], 30) == "yes\n"
    assert ask_command([sys.executable, "-c", "import time; time.sleep(600)"], 0.5) is None
    assert ask_command([sys.executable, "-c", "raise SystemExit(1)"], 30) is None
    assert ask_command(["/nowhere/systemctl"], 1) is None


def test_a_look_that_hangs_keeps_what_it_found_and_says_so() -> None:
    never = Event()

    def hang() -> Iterator[Finding]:
        yield ok("broker", "there")
        never.wait(600)

    findings = list(Looker()("broker", 0.3, hang))
    never.set()
    assert [one.state for one in findings] == [State.OK, State.PROBLEM]
    assert "did not end within 0.3 s" in findings[1].message


def test_looks_share_their_time() -> None:
    never = Event()

    def hang() -> Iterator[Finding]:
        never.wait(600)
        yield ok("broker", "there")

    look = Looker(total_seconds=0.2)
    findings = [finding for _ in range(2) for finding in look("disk", 60, hang)]
    never.set()
    assert [one.state for one in findings] == [State.PROBLEM] * 2


def test_a_bug_in_a_look_is_not_hidden() -> None:
    def broken() -> Iterator[Finding]:
        yield ok("disk", "there")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Looker()("disk", 30, broken))


# Rights


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may enter; pytest's own are for one user alone."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("mode", "owner", "group", "want", "is_allowed"),
    [
        (0o700, 54321, 0, "rwx", True),
        (0o077, 54321, 0, "r", False),  # only the owner's bits count for the owner
        (0o070, 0, 54322, "rwx", True),
        (0o707, 0, 54322, "r", False),
        (0o007, 0, 0, "rwx", True),
        (0o770, 0, 0, "r", False),
    ],
)
def test_owner_group_and_others_are_told_apart(
    mode: int, owner: int, group: int, want: str, is_allowed: bool
) -> None:
    found = os.stat_result((0o040000 | mode, 0, 0, 1, owner, group, 0, 0, 0, 0))
    assert may(SOMEBODY, found, want) is is_allowed
    assert may(Person("root", 0, frozenset()), found, want)


def test_a_folder_on_the_way_that_is_closed_closes_all_below(folder: Path) -> None:
    inner = folder / "closed" / "open"
    inner.mkdir(parents=True)
    (folder / "closed").chmod(0o700)
    inner.chmod(0o777)
    assert access(SOMEBODY, inner, "r") is Access.NO
    assert access(SOMEBODY, folder, "rx") is Access.YES
    assert access(SOMEBODY, folder / "absent", "r") is Access.ABSENT
    (folder / "closed").chmod(0o711)
    assert access(SOMEBODY, inner, "r") is Access.YES


def test_the_folder_that_blocks_is_named_not_the_one_that_is_missing_below_it(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    assert blocking(SOMEBODY, closed / "state" / "pi", "wx") == closed
    closed.chmod(0o755)
    assert blocking(SOMEBODY, closed / "state" / "pi", "wx") == closed
    closed.chmod(0o777)
    assert blocking(SOMEBODY, closed / "state" / "pi", "wx") is None
    assert blocking(SOMEBODY, closed, "wx") is None


def settings_for(folder: Path, **mqtt: object) -> Settings:
    return Settings.model_validate(
        {
            "device": {"state_directory": folder / "state", "runtime_directory": folder / "run"},
            "mqtt": mqtt,
            "models": {"directories": [folder / "models"]},
        }
    )


def test_folders_that_the_daemon_cannot_use_are_problems_with_the_command_that_mends_them(
    folder: Path,
) -> None:
    for name, mode in (("state", 0o755), ("run", 0o777), ("models", 0o700)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    found = {one.about: one for one in check_permissions(settings_for(folder), None, SOMEBODY)}
    assert {name: one.state for name, one in found.items()} == {
        "state folder": State.PROBLEM,
        "model folder": State.PROBLEM,
    }
    assert found["state folder"].remedy == (
        f"sudo chown -R somebody {folder / 'state'}, or set device.state_directory to a folder of somebody's"
    )
    (folder / "state").chmod(0o777)
    (folder / "models").chmod(0o755)
    (finding,) = check_permissions(settings_for(folder), None, SOMEBODY)
    assert finding.state is State.OK


def test_a_password_that_everybody_may_read_and_settings_that_everybody_may_change(folder: Path) -> None:
    password, config = folder / "password", folder / "config.toml"
    password.write_text("a secret")
    config.write_text("")
    password.chmod(0o644)
    config.chmod(0o646)
    settings = settings_for(folder, username="x", password_file=password)
    readable, writable = check_secrets(settings, config, SOMEBODY)
    assert (readable.state, readable.remedy) == (State.WARNING, f"sudo chmod o= {password}")
    assert (writable.state, writable.remedy) == (State.PROBLEM, f"sudo chmod o-w {config}")
    password.chmod(0o600)
    config.chmod(0o644)
    (unreadable,) = check_secrets(settings, config, SOMEBODY)
    assert (unreadable.state, unreadable.message) == (State.PROBLEM, f"somebody may not read {password}")


def test_who_serves_is_the_units_user_with_its_further_groups_else_the_caller() -> None:
    served = who_serves({"User": "daemon", "SupplementaryGroups": "video"})
    assert served is not None
    assert (served.name, served.is_service) == ("daemon", True)
    assert len(served.gids) >= 2
    assert who_serves({"User": "no-such-user"}) is None
    own = who_serves({})
    assert own is not None
    assert (own.uid, own.is_service) == (os.geteuid(), False)


# Memory, disk, the port for Prometheus


def test_memory_and_disk_are_judged_by_what_an_update_and_a_model_need() -> None:
    assert [judge_memory(mb).state for mb in (500, 150, 40)] == [State.OK, State.WARNING, State.PROBLEM]
    here = Path("/var/lib")

    def disk(mb: float, *, has_files: bool = True, is_read_only: bool = False) -> State:
        return judge_disk(here, mb, has_files=has_files, is_read_only=is_read_only).state

    assert [disk(mb) for mb in (5000, 100, 5)] == [State.OK, State.WARNING, State.PROBLEM]
    assert disk(5000, has_files=False) is State.PROBLEM
    assert disk(5000, is_read_only=True) is State.WARNING


def test_one_file_system_is_told_once(tmp_path: Path) -> None:
    assert len(list(check_disk([tmp_path / "a" / "b", tmp_path / "c", tmp_path]))) == 1


class _Figures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"edge_agent_build_info 1\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


def test_the_port_for_prometheus_is_free_or_ours_or_somebody_elses() -> None:
    with HTTPServer(("127.0.0.1", 0), _Figures) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        settings = MetricsSettings(enabled=True, port=server.server_address[1])
        (ours,) = check_metrics(settings)
        server.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as other:
        (theirs,) = check_metrics(MetricsSettings(enabled=True, port=other.getsockname()[1]))
    (nowhere,) = check_metrics(MetricsSettings(enabled=True, host="192.0.2.1"))
    (free,) = check_metrics(settings)
    states = [one.state for one in (ours, theirs, nowhere, free)]
    assert states == [State.OK, State.PROBLEM, State.PROBLEM, State.WARNING]
    assert list(check_metrics(MetricsSettings())) == []


def test_signals_have_names() -> None:
    assert "SIGILL" in end_in_words({"Result": "signal", "ExecMainStatus": str(int(signal.SIGILL))})[0]
