"""``install.sh`` on a real systemd: it comes, upgrades and goes, and whatever fails leaves what was there.

One board for all; each test first brings it into the state that it begins from, which costs little where the
board is in it already: the script is idempotent.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from edge_agent import __version__
from tests.deploy.installing import (
    CHECKOUT,
    DAEMON,
    NEXT,
    PREFIX,
    REPOSITORY,
    WHEELS,
    Board,
    Wheels,
    make_wheels,
)
from tests.testbeds.systemd_container import container_or_skip
from tests.testbeds.waiting import eventually

pytestmark = pytest.mark.slow

OWN = '[device]\nid = "kitchen"\n'
SETTINGS = "/etc/edge-agent/config.toml"
WRONG = "[mqtt]\nprot = 1883\n"
BROKEN = (
    "import sys\n\ndef main():\n    if '--version' in sys.argv: return 0\n    sys.exit('it does not start')\n"
)
STOPPING = "Nothing was changed: the former state is there again."


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    wheels = make_wheels(tmp_path_factory)
    wheels.variant("next")
    wheels.variant("broken", files={DAEMON: BROKEN})
    lacking = wheels.variant("lacking")
    next(lacking.glob("pydantic-*.whl")).unlink()
    return wheels


@pytest.fixture(scope="module")
def board(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    binds = {REPOSITORY: CHECKOUT, wheels.folder: WHEELS}
    with container_or_skip(tmp_path_factory.mktemp("board"), binds=binds) as machine:
        yield Board(machine)


@pytest.fixture
def bare(board: Board) -> Board:
    """A board that never saw edge-agent."""
    board.uninstall("--purge")
    return board


@pytest.fixture
def installed(board: Board) -> Board:
    """A board with this version and its owner's settings."""
    board.write(SETTINGS, OWN)
    if not board.active() or board.version() != __version__:
        board.install("--upgrade")
    if not board.has("/var/lib/edge-agent/kitchen"):  # it runs, and with other settings
        board.machine.systemctl("restart", "edge-agent")
        board.ask()
    return board


class Started:
    """``install.sh`` at work on the board, to be stopped in the middle."""

    def __init__(self, board: Board, *options: str) -> None:
        leader = str(board.machine.systemd_pid)
        command = ["nsenter", "-t", leader, "--all", "--", "env", "-C", "/"]
        self.process = subprocess.Popen(
            [*command, f"{CHECKOUT}/deploy/install.sh", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Signals the script and all that it runs, as Ctrl-C in a terminal does."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said


def releases(board: Board) -> list[str]:
    return sorted(path.name for path in (board.machine.root / PREFIX.lstrip("/") / "releases").iterdir())


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(bare: Board) -> None:
    before = bare.listing(times=True)
    said = bare.install("--dry-run").stdout
    assert said.startswith(f"Would install edge-agent {__version__}:\n  {PREFIX}/releases/{__version__}-")
    assert f"  {SETTINGS}\n" in said
    assert bare.listing(times=True) == before


def test_a_first_version_that_does_not_get_ready_leaves_nothing(bare: Board) -> None:
    bare.write(SETTINGS, WRONG)
    before, accounts = bare.listing(), bare.accounts()
    done = bare.install(check=False)
    assert done.returncode == 1
    assert "did not become ready" in done.stderr
    assert STOPPING in done.stderr
    assert bare.listing() == before
    assert bare.accounts() == accounts
    assert bare.machine.show("edge-agent")["LoadState"] == "not-found"


def test_from_nothing_to_an_answer_in_one_call_and_the_second_changes_nothing(bare: Board) -> None:
    done = bare.install()
    assert f"edge-agent {__version__} is installed and ready." in done.stdout
    assert bare.active()
    assert bare.ask()["intent"] == "HassTurnOn"
    before = bare.listing(times=True)
    again = bare.install()
    assert again.stdout == f"edge-agent {__version__} is installed already; nothing was changed.\n"
    assert bare.listing(times=True) == before


def test_a_folder_that_lacks_a_wheel_is_told_in_words_and_changes_nothing(installed: Board) -> None:
    before = installed.listing()
    done = installed.install("--upgrade", wheels="lacking", check=False)
    assert done.returncode == 1
    assert "No matching distribution found for pydantic" in done.stderr
    assert "install.sh: the packages cannot be had; remedy: make that folder anew" in done.stderr
    assert installed.listing() == before
    assert installed.active()


def test_a_new_version_that_does_not_get_ready_leaves_the_old_one_serving(installed: Board) -> None:
    before = installed.listing()
    done = installed.install("--upgrade", wheels="broken", check=False)
    assert done.returncode == 1
    assert f"edge-agent {NEXT} did not become ready (exit-code); the last that it said:" in done.stderr
    assert "it does not start" in done.stderr
    assert STOPPING in done.stderr
    assert installed.listing() == before
    assert installed.version() == __version__
    assert installed.ask()["recognized"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_it_in_the_middle_has_the_former_state(
    installed: Board, number: signal.Signals
) -> None:
    before, process = installed.listing(), installed.machine.show("edge-agent")["MainPID"]
    started = Started(installed, "--upgrade", "--wheels", f"{WHEELS}/next")
    eventually(lambda: len(releases(installed)) == 2, 120, "the new release")
    code, said = started.stop(number)
    assert code == 128 + number, said
    assert STOPPING in said
    assert installed.listing() == before
    assert installed.machine.show("edge-agent")["MainPID"] == process  # it was not even restarted


def test_what_was_cut_off_is_undone_by_the_next_call(installed: Board) -> None:
    before = installed.listing()
    started = Started(installed, "--upgrade", "--wheels", f"{WHEELS}/next")
    eventually(lambda: len(releases(installed)) == 2, 120, "the new release")
    started.stop(signal.SIGKILL)
    assert installed.active()
    assert installed.version() == __version__
    done = installed.install()
    assert done.stdout.startswith("An earlier run was cut off; undoing what it did.\n")
    assert installed.listing() == before


def test_a_service_that_its_owner_switched_off_stays_off(installed: Board) -> None:
    installed.machine.systemctl("disable", "--now", "edge-agent")
    installed.run("rm", "/usr/local/bin/edge-agent")
    done = installed.install()
    assert "the service is off, as it was: systemctl enable --now edge-agent" in done.stdout
    assert installed.version() == __version__
    assert not installed.active()
    assert "The service is off" in installed.install().stdout
    installed.machine.systemctl("enable", "--now", "edge-agent")


def test_a_second_one_in_another_folder_is_refused(installed: Board) -> None:
    before = installed.listing()
    for options in (("--prefix", "/srv/other"), ("--prefix", "/srv/other", "--uninstall", "--purge")):
        done = installed.install(*options, check=False)
        assert done.returncode == 2
        assert "edge-agent is installed, and not in /srv/other; remedy: name its folder" in done.stderr
    assert installed.listing() == before


def test_an_upgrade_is_asked_for_and_keeps_settings_and_models(installed: Board) -> None:
    installed.write("/var/lib/edge-agent/models/own/note", "mine")
    installed.write("/usr/share/edge-agent/models/own/note", "mine")
    refused = installed.install(wheels="next", check=False)
    assert refused.returncode == 2
    assert "remedy: --upgrade replaces it" in refused.stderr
    assert installed.version() == __version__
    done = installed.install("--upgrade", wheels="next")
    assert f"edge-agent {NEXT} is installed and ready." in done.stdout
    assert installed.version() == NEXT
    assert installed.ask()["recognized"]
    assert installed.run("cat", SETTINGS).stdout == OWN
    assert installed.run("cat", "/var/lib/edge-agent/models/own/note").stdout == "mine"
    assert installed.run("cat", "/usr/share/edge-agent/models/own/note").stdout == "mine"
    assert len(releases(installed)) == 1
    installed.run("rm", "-r", "/usr/share/edge-agent/models/own")


def test_uninstall_leaves_settings_and_state_and_purge_leaves_nothing(board: Board) -> None:
    before, accounts = board.empty
    if not board.active():
        board.install("--upgrade")
    board.ask()
    said = board.run(f"{PREFIX}/current/install.sh", "--uninstall").stdout
    assert "Settings and state stay" in said
    left = {line.split()[2] for line in board.listing() - before}
    assert SETTINGS in left
    assert {path for path in left if not path.startswith(("/etc/edge-agent", "/var/lib/edge-agent"))} == set()
    assert board.machine.show("edge-agent")["LoadState"] == "not-found"
    assert "nothing was changed" in board.uninstall()
    board.uninstall("--purge")
    assert board.listing() == before
    assert board.accounts() == accounts
