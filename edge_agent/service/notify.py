"""Words to systemd: the protocol of ``sd_notify(3)``, which is a datagram to a socket.

Without ``NOTIFY_SOCKET`` (no systemd, or another service type) everything here does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Speaks to the service manager that the environment names.

    Attributes:
        watchdog_seconds: the manager kills us when it hears nothing for this long; None when it does not.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_seconds = _watchdog_seconds(environment)

    def send(self, *assignments: str) -> None:
        """Sends assignments such as ``READY=1``; a manager that does not listen is no fault of ours."""
        if not self._address:
            return
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.sendto("\n".join(assignments).encode(), self._address)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
