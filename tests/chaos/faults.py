"""How each kind of fault is brought about, and how it is ended."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.chaos.schedule import Fault, Kind
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.proxy import GOOD, Conditions, Proxy

_CLOCK_SOURCE = Path(__file__).with_name("wall_clock.c")
_OFFSET = struct.Struct("=q")
_DISK_SIZE = "256k"
_BLOCK = b"\0" * 4096


class TinyDisk:
    """A folder on a file system of 256 kB, where that may be mounted.

    Attributes:
        folder: where to write.
        lack: why there is no such file system, or None; the folder is an ordinary one then.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-disk-"))
        self.lack: str | None = None
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_SIZE}", "chaos", str(self.folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=10)
        except (OSError, subprocess.SubprocessError) as error:
            self.lack = f"a small file system may not be mounted here ({type(error).__name__})"

    def fill(self) -> None:
        """Writes until nothing more goes in."""
        with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(_BLOCK)

    def free(self) -> None:
        """Gives the space back."""
        (self.folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        if self.lack is None:
            subprocess.run(["umount", "-l", str(self.folder)], check=False, timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


class FakeClock:
    """The wall clock of the daemon, moved while it runs; its monotonic clock stays.

    Attributes:
        lack: why that cannot be done, or None.
        environment: of the daemon.
    """

    def __init__(self, folder: Path) -> None:
        library = folder / "wall_clock.so"
        self.lack: str | None = None
        self.environment: dict[str, str] = {}
        self._file = folder / "wall_clock"
        self._file.write_bytes(_OFFSET.pack(0))
        try:
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_CLOCK_SOURCE), "-ldl"],
                check=True,
                capture_output=True,
                timeout=60,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.lack = f"there is no C compiler to make a movable clock with ({type(error).__name__})"
        else:
            self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(self._file)}

    def jump(self, seconds: float) -> None:
        """Sets the clock so far from the true one, at once."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(_OFFSET.pack(int(seconds)))


@dataclass(slots=True)
class Stage:
    """The real parts, and what is done to them.

    Args:
        broker: of the run.
        proxy: between it and the daemon.
        daemon: the agent.
        disk: of the agent's state.
        clock: of the agent.
        on_broker_killed: called when the broker is dead and not started again yet.
    """

    broker: Mosquitto
    proxy: Proxy
    daemon: Daemon
    disk: TinyDisk
    clock: FakeClock
    on_broker_killed: Callable[[], None] = lambda: None

    def lack(self, kind: Kind) -> str | None:
        """Why a kind of fault cannot be brought about on this machine, or None."""
        if kind is Kind.DISK_FULL:
            return self.disk.lack
        return self.clock.lack if kind is Kind.CLOCK_JUMP else None

    def restarts_agent(self, fault: Fault) -> bool:
        """Whether another process of the agent has to start."""
        return fault.kind is Kind.AGENT_KILL or (fault.kind is Kind.DISK_FULL and fault.strength > 0)

    def begin(self, fault: Fault) -> None:
        """Brings a fault about."""
        conditions = _conditions(fault)
        if conditions is not None:
            self.proxy.set(conditions)
        if fault.kind in (Kind.LINK_CUT, Kind.LINK_HUNG_UP):
            self.proxy.cut()
        elif fault.kind is Kind.LINK_RESET:
            self.proxy.reset()
        elif fault.kind is Kind.AGENT_DESERTED:
            self.proxy.desert_client()
        elif fault.kind is Kind.BROKER_DESERTED:
            self.proxy.desert_upstream()
        elif fault.kind is Kind.CLOCK_JUMP:
            self.clock.jump(fault.strength)
        elif fault.kind is Kind.BROKER_TERM:
            self.broker.stop()
        elif fault.kind is Kind.BROKER_KILL:
            self.broker.stop(signal.SIGKILL)
            self.on_broker_killed()
        else:
            self._begin_at_agent(fault)

    def end(self, fault: Fault) -> None:
        """Makes all as it was."""
        if _conditions(fault) is not None:
            self.proxy.set(GOOD)
        if fault.kind is Kind.BROKER_DESERTED:
            self.proxy.bury()
        elif fault.kind in (Kind.BROKER_TERM, Kind.BROKER_KILL):
            self.broker.start()
        elif fault.kind is Kind.AGENT_KILL:
            self.daemon.start(wait_ready=False)
        elif fault.kind is Kind.AGENT_STOP:
            self.daemon.send(signal.SIGCONT)
        elif fault.kind is Kind.CLOCK_JUMP:
            self.clock.jump(0.0)
        elif fault.kind is Kind.DISK_FULL:
            self.disk.free()

    def close(self) -> None:
        self.disk.close()

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin_at_agent(self, fault: Fault) -> None:
        if fault.kind is Kind.DISK_FULL:
            self.disk.fill()
        if fault.kind is Kind.AGENT_STOP:
            self.daemon.send(signal.SIGSTOP)
        elif self.restarts_agent(fault):
            self.daemon.stop(signal.SIGKILL)
            if fault.kind is Kind.DISK_FULL:
                self.daemon.start(wait_ready=False)


def _conditions(fault: Fault) -> Conditions | None:
    """How the link is during a fault; None where the link is not what suffers."""
    if fault.kind is Kind.LINK_CUT:
        return Conditions(is_refusing=True)
    if fault.kind is Kind.LINK_HUNG_UP:
        return Conditions(hang_ups=int(fault.strength))
    if fault.kind is Kind.LINK_FREEZE:
        return Conditions(is_frozen=True)
    if fault.kind is Kind.LINK_TRICKLE:
        return Conditions(bytes_per_second=fault.strength)
    if fault.kind is Kind.LINK_DELAY:
        return Conditions(delay_seconds=fault.strength)
    return None
