"""What the unit's own sandbox refuses and grants, tried from inside it by a program in the daemon's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd import attempts
from tests.systemd.asker import SOCKET, Asker
from tests.systemd.service import UNIT, Service
from tests.testbeds.systemd_container import SystemdContainer

pytestmark = pytest.mark.slow

_ONCE = ("Type=oneshot", "WatchdogSec=0", "Restart=no", "SupplementaryGroups=mosquitto")


@pytest.fixture(scope="module")
def outcomes(board: SystemdContainer) -> Iterator[dict[str, str | None]]:
    """What became of each attempt: None where it worked, else the error."""
    service = Service(board)
    service.reset()
    # Stands for a Raspberry Pi's mailbox: the same owner and mode, but it swallows what is written.
    board.run("sh", "-c", "rm -f /dev/vcio; mknod -m 660 /dev/vcio c 1 3 && chgrp video /dev/vcio")
    service.program("attempts", Path(attempts.__file__).read_text(), *_ONCE)
    service.start()
    lines = [json.loads(line) for line in service.said().splitlines() if line.startswith('{"attempt"')]
    yield {line["attempt"]: line["error"] for line in lines}
    board.run("rm", "/dev/vcio")
    service.reset()


@pytest.mark.parametrize("attempt", attempts.REFUSED)
def test_refused(outcomes: dict[str, str | None], attempt: str) -> None:
    assert outcomes[attempt] is not None


@pytest.mark.parametrize("attempt", attempts.GRANTED)
def test_granted(outcomes: dict[str, str | None], attempt: str) -> None:
    assert outcomes[attempt] is None


def test_outside_of_the_sandbox_the_same_attempts_work(board: SystemdContainer) -> None:
    """Else their failure would show nothing. Those that would change this machine are not tried."""
    harmless = [
        name
        for name in attempts.REFUSED
        if name.startswith(("run ", "load ", "write ", "read /", "see ", "memory "))
        or name.endswith(" socket")
    ]
    board.run("sh", "-ec", "cat > /root/attempts.py", text_in=Path(attempts.__file__).read_text())
    board.run("mkdir", "-p", "/var/lib/edge-agent", "/var/cache/edge-agent", "/run/edge-agent")
    said = board.run("/opt/edge-agent/bin/python3", "/root/attempts.py", *harmless).stdout
    board.run("rm", "-f", "/etc/probe", "/usr/share/probe", "/opt/edge-agent/lib/probe")
    assert [line for line in map(json.loads, said.splitlines()) if line["error"] is not None] == []


def test_a_broker_on_a_unix_socket_is_reached_from_the_sandbox(service: Service, asker: Asker) -> None:
    service.drop_in("SupplementaryGroups=mosquitto")  # Mosquitto opens its socket to its group
    service.settings(mqtt={"transport": "unix", "host": f"/{SOCKET}"})
    service.start()
    assert asker.ask("turn on the lamp in the kitchen")["intent"] == "HassTurnOn"


def test_the_unit_as_installed_is_what_systemd_verifies_and_finds_safe(board: SystemdContainer) -> None:
    verified = board.run("systemd-analyze", "verify", UNIT)
    assert verified.stdout + verified.stderr == ""
    board.run("systemd-analyze", "security", "--threshold=15", "--no-pager", UNIT)
