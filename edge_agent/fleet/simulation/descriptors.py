"""File descriptors: a session takes one, and a shell allows 1,024 of them by default."""

from __future__ import annotations

import resource
from typing import Final

from edge_agent.errors import SettingsError

_SPARE: Final = 100
"""For everything that is no session: libraries, the selector, connections that are being opened."""


def allow(sessions: int) -> None:
    """Raises the limit of this process, as far as needed and as far as the hard limit lets it.

    Raises:
        SettingsError: the hard limit is too low (getrlimit(2), RLIMIT_NOFILE).
    """
    needed = sessions + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, needed):
        return
    if not _is_enough(hard, needed):
        raise SettingsError(
            f"{sessions:,} sessions need {needed:,} open files, and this shell allows {hard:,}",
            hint=f"ulimit -Hn {needed} as root, or --devices {max(1, hard - _SPARE)}",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _is_enough(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
