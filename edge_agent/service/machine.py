"""What this machine says of itself, for ``health`` and ``info``. What cannot be read is None, never 0."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CLOCK_SECONDS = 60.0
_TIME_ERROR = 5
_TIMESYNC_MARK = Path("/run/systemd/timesync/synchronized")
_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the machine is; megabytes are 10⁶ bytes."""

    cpu_percent: float | None
    memory_rss_mb: float | None
    memory_available_mb: float | None
    disk_free_mb: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the daemon has taken so far and what is left, in seconds of the processor and in bytes."""

    cpu_seconds: float
    memory_resident_bytes: float
    memory_available_bytes: float
    disk_free_bytes: float | None


class Machine:
    """Reads the machine's figures.

    Args:
        root: where ``proc``, ``sys`` and ``etc`` are.
        kernel_synced: asks the kernel whether the clock is synchronised.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        root: Path = _ROOT,
        kernel_synced: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._kernel_synced = kernel_synced or kernel_clock_synced
        self._clock = clock
        self._synced: tuple[float, bool] | None = None
        self._measured_cpu = False

    def clock_synced(self) -> bool:
        """Whether the wall clock is synchronised with the world; asked at most once a minute."""
        now = self._clock()
        if self._synced is None or now - self._synced[0] > _CLOCK_SECONDS:
            self._synced = (now, self._kernel_synced())
        return self._synced[1]

    def boot_id(self) -> str | None:
        """The kernel's name for this boot."""
        return self._line("proc/sys/kernel/random/boot_id")

    def board(self) -> str:
        """The board's or computer's name, else the processor architecture."""
        for name in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
            found = self._line(name)
            if found:
                return found
        return platform.machine()

    def operating_system(self) -> str:
        """The distribution's name and version, else the kernel's."""
        with suppress(OSError, UnicodeDecodeError):
            for line in (self._root / "etc/os-release").read_text(encoding="utf-8").splitlines():
                key, _, value = line.partition("=")
                if key == "PRETTY_NAME":
                    return value.strip().strip("\"'")
        return f"{platform.system()} {platform.release()}"

    def load(self) -> Load:
        """How busy the machine is now; the processor's share is that since the call before."""
        import psutil  # 30 ms that the way to `online` need not wait for

        cpu = psutil.cpu_percent(None)
        free = self._disk_free_bytes()
        first, self._measured_cpu = not self._measured_cpu, True
        return Load(
            cpu_percent=None if first else cpu,
            memory_rss_mb=_megabytes(psutil.Process().memory_info().rss),
            memory_available_mb=_megabytes(psutil.virtual_memory().available),
            disk_free_mb=None if free is None else _megabytes(free),
        )

    def usage(self) -> Usage:
        """What was taken so far; unlike :meth:`load` from any thread."""
        import psutil

        process = psutil.Process()
        times = process.cpu_times()
        return Usage(
            cpu_seconds=times.user + times.system,
            memory_resident_bytes=process.memory_info().rss,
            memory_available_bytes=psutil.virtual_memory().available,
            disk_free_bytes=self._disk_free_bytes(),
        )

    def cpu_times(self) -> tuple[float, float]:
        """Seconds that all processors together were idle, and seconds in all, since boot."""
        import psutil

        times = psutil.cpu_times()
        # proc(5): guest time stands in user time already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return times.idle + getattr(times, "iowait", 0.0), total

    def _disk_free_bytes(self) -> float | None:
        try:
            return shutil.disk_usage(self._root).free
        except OSError:
            return None

    def _line(self, name: str) -> str | None:
        try:
            return (self._root / name).read_bytes().decode("utf-8", "replace").strip("\0\n ") or None
        except OSError:
            return None


def kernel_clock_synced() -> bool:
    """Whether the kernel's clock is disciplined (``adjtimex(2)``), or timesyncd says so."""
    if _TIMESYNC_MARK.exists():
        return True
    import ctypes

    try:
        timex = ctypes.create_string_buffer(512)  # struct timex with modes = 0: reads, sets nothing
        state = int(ctypes.CDLL(None).adjtimex(timex))
    except (OSError, AttributeError):
        return False
    return 0 <= state < _TIME_ERROR


def _megabytes(size: float) -> float:
    return round(size / 1e6, 1)
