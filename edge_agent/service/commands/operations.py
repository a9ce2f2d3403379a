"""The operations of this release, by their names on the wire."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.link.commands import MAX_STATE_BYTES
from edge_agent.service.commands.diagnostics import Diagnostics, Sources
from edge_agent.service.commands.operation import Operation
from edge_agent.service.commands.restart import Restart
from edge_agent.service.commands.selftest import Parts, SelfTest


def standard_operations(
    parts: Parts,
    sources: Sources,
    request_restart: Callable[[], None],
    most_bytes: Callable[[], int] = lambda: MAX_STATE_BYTES,
) -> dict[str, Operation]:
    """``self-test``, ``diagnostics`` and ``restart``.

    Args:
        parts: what the self-test tests.
        sources: what diagnostics are made of.
        request_restart: see :class:`~edge_agent.service.commands.restart.Restart`.
        most_bytes: largest payload that the broker takes.
    """
    return {
        "self-test": SelfTest(parts),
        "diagnostics": Diagnostics(sources, most_bytes),
        "restart": Restart(request_restart),
    }
