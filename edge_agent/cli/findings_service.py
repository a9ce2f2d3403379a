"""The service as systemd sees it: installed, running, how often it was started again, how it ended last.

``systemctl show`` prints properties as ``Name=value`` (systemctl(1), org.freedesktop.systemd1(5)); anybody
may ask. The words for exit codes from 200 on are those of systemd.exec(5), "Process Exit Codes".
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_agent.cli.findings import Finding, ok, problem, warning
from edge_agent.cli.findings_command import ask_command, find_command

UNIT = "edge-agent.service"
MANY_RESTARTS = 3
_BOOTED_WITH_SYSTEMD = Path("/run/systemd/system")
"""As sd_booted(3) has it."""
_ASK_SECONDS = 3.0
_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,ExecMainCode,ExecMainStatus,StatusText,"
    "User,SupplementaryGroups,NeedDaemonReload"
)

_LOG = "journalctl -u edge-agent -p warning -e says why"
_START = "sudo systemctl enable --now edge-agent"
_EXITED = {
    1: ("its work failed (exit code 1)", _LOG),
    2: (
        "its settings are wrong (exit code 2)",
        "mend what check says of the settings, then sudo systemctl restart edge-agent",
    ),
    70: ("of a bug (exit code 70)", f"{_LOG}; please report it"),
    200: ("its working directory is missing (200/CHDIR)", "install it again: sudo deploy/install.sh"),
    203: ("the program could not be executed (203/EXEC)", "install it again: sudo deploy/install.sh"),
    217: ("its user is missing (217/USER)", "sudo systemd-sysusers, or install it again"),
    226: (
        "its sandbox could not be made (226/NAMESPACE)",
        "a folder named in the unit is missing, or this is a container without the privilege: "
        "journalctl -u edge-agent -e names it",
    ),
    228: ("this kernel lacks system call filters (228/SECCOMP)", "use a kernel with CONFIG_SECCOMP_FILTER"),
    233: ("its folder in /run could not be made (233/RUNTIME_DIRECTORY)", "free memory: df -h /run"),
    238: (
        "its folder in /var/lib could not be made (238/STATE_DIRECTORY)",
        "look at the disk: df -h /var/lib; ls -ld /var/lib/edge-agent",
    ),
    243: (
        "a credential could not be read (243/CREDENTIALS)",
        "the file that LoadCredential= of the unit names must be there, and root's",
    ),
}
_RESULTS = {
    "watchdog": (
        "it proved no work for longer than the watchdog allows",
        "a model or the disk hangs: journalctl -u edge-agent -e; edge-agent model verify",
    ),
    "timeout": (
        "it became not ready, or did not stop, in time",
        "the board is slow or starved: fewer models, or a longer TimeoutStartSec= in the unit",
    ),
    "oom-kill": (
        "the kernel killed it, out of memory",
        "serve fewer or smaller models, or raise MemoryMax= (sudo systemctl edit edge-agent)",
    ),
    "protocol": ("it ended before it was ready", _LOG),
    "resources": ("systemd could not get it what it needs", "journalctl -u edge-agent -e says what"),
    "start-limit-hit": (
        "it ended too often in a row, and systemd has given up",
        f"{_LOG}; then sudo systemctl reset-failed edge-agent && sudo systemctl start edge-agent",
    ),
}


class Unit:
    """The unit of the daemon.

    Attributes:
        shown: its properties, once :meth:`check` has asked; empty where there is no systemd or no such unit.
    """

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}

    @property
    def is_active(self) -> bool:
        """Whether systemd takes it for running."""
        return self.shown.get("ActiveState") == "active"

    def check(self) -> Iterator[Finding]:
        """It is installed, runs, and was not started again and again."""
        if not _BOOTED_WITH_SYSTEMD.is_dir():
            yield ok("service", "no systemd here: edge-agentd runs where somebody runs it")
            return
        systemctl = find_command("systemctl")
        asked = [systemctl or "systemctl", "show", UNIT, f"--property={_PROPERTIES}"]
        told = ask_command(asked, _ASK_SECONDS)
        if told is None:
            remedy = "systemctl is-system-running; journalctl -b -p err"
            yield warning("service", f"systemd does not answer within {_ASK_SECONDS:g} s", remedy)
            return
        shown = parse_properties(told)
        if shown.get("LoadState") != "not-found":
            self.shown = shown
        yield from judge_service(shown)


def parse_properties(text: str) -> dict[str, str]:
    """What ``systemctl show`` printed."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, is_pair, value in pairs if is_pair}


def judge_service(shown: Mapping[str, str]) -> Iterator[Finding]:
    """How the unit is, and what about it is worth knowing."""
    load = shown.get("LoadState")
    if load == "not-found":
        message = f"{UNIT} is not installed: nobody starts the daemon when the machine boots"
        yield warning("service", message, "sudo deploy/install.sh, or install the .deb")
        return
    if load == "masked":
        yield problem("service", f"{UNIT} is masked", "sudo systemctl unmask edge-agent")
        return
    if load != "loaded":
        yield problem(
            "service", f"{UNIT} cannot be loaded ({load})", f"systemd-analyze verify {UNIT} names the line"
        )
        return
    yield _judge_activity(shown)
    if shown.get("ActiveState") == "active" and shown.get("UnitFileState") == "disabled":
        message = "it runs now, and will not after the next boot"
        yield warning("service boot", message, "sudo systemctl enable edge-agent")
    restarts = _number(shown.get("NRestarts"))
    if restarts >= MANY_RESTARTS:
        yield warning(
            "service starts", f"systemd has started it again {restarts} times", f"{_LOG} it ended each time"
        )
    if shown.get("NeedDaemonReload") == "yes":
        message = "its unit file has changed since systemd read it"
        remedy = "sudo systemctl daemon-reload && sudo systemctl restart edge-agent"
        yield warning("service file", message, remedy)


def _judge_activity(shown: Mapping[str, str]) -> Finding:
    state, sub = shown.get("ActiveState", "unknown"), shown.get("SubState", "")
    says = f": {shown['StatusText']}" if shown.get("StatusText") else ""
    if state in ("active", "reloading"):
        return ok("service", f"{state} ({sub}){says}")
    if state == "inactive":
        return problem("service", f"{UNIT} is installed and stopped", _START)
    words, remedy = end_in_words(shown)
    if state == "failed":
        return problem("service", f"{UNIT} failed: {words}", remedy)
    if sub == "auto-restart":
        return problem("service", f"it ended because {words}, and is started again", remedy)
    return warning("service", f"{state} ({sub}){says}", "it is changing its state: look again in a minute")


def end_in_words(shown: Mapping[str, str]) -> tuple[str, str]:
    """Why the daemon ended, and what helps; of a start limit, what led to it is not told by systemd."""
    result = shown.get("Result", "")
    if result in _RESULTS:
        return _RESULTS[result]
    status = _number(shown.get("ExecMainStatus"))
    if result in ("signal", "core-dump"):
        return _signal_in_words(status)
    if result == "exit-code":
        return _EXITED.get(status, (f"it ended with exit code {status}", _LOG))
    return f"systemd says {result or 'nothing'}", _LOG


def _signal_in_words(number: int) -> tuple[str, str]:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGKILL:
        return (f"somebody or the kernel killed it ({name})", "journalctl -k -e | grep -i oom; free -m")
    if number == signal.SIGILL:
        remedy = (
            "this processor lacks what the runtime was built for: edge-agent check, docs/troubleshooting.md"
        )
        return f"it crashed ({name})", remedy
    return f"it crashed ({name})", f"{_LOG}; edge-agent model verify tries the models one by one"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
