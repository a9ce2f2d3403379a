"""``restart``: the daemon ends in order and begins anew.

The record says ``executing`` before anything is asked for, and the process that finds it so, whatever ended
the one before, reports ``successful``. So an id restarts the daemon at most once, and no power cut in the
middle makes a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

from edge_agent.service.commands.operation import Outcome
from edge_agent.service.commands.states import Interruption

DEADLINE_SECONDS = 60.0


class Restart:
    """Asks the main thread for a restart.

    Args:
        request_restart: makes the main thread stop the daemon in order, as for SIGTERM, and then begin it
            anew; returns at once.
    """

    deadline_seconds = DEADLINE_SECONDS
    interruption = Interruption.SUCCESSFUL

    def __init__(self, request_restart: Callable[[], None]) -> None:
        self._request_restart = request_restart

    def run(self, arguments: Mapping[str, Any], stopping: Event) -> Outcome | None:
        """Asks, and waits for the end of this process; if it does not come, the desk reports that."""
        del arguments
        self._request_restart()
        stopping.wait()
        return None
