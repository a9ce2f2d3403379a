"""Loads models so that one which ends the process takes out only itself.

A model may crash the runtime while it is loaded, never come back, or need more memory than there is: the
process dies, systemd starts it, and it dies again, with all other models. So what is being loaded is noted as
requests in hand are (:mod:`~edge_agent.service.poison`), and after two such ends it is left out, with the
reason.
"""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import BundleError
from edge_agent.service.models import Loader, Served
from edge_agent.service.poison import PoisonGuard, Verdict

_TOPIC = "load"


class GuardedLoader:
    """A loader that leaves out what ended the process twice.

    Args:
        loader: opens bundles.
        guard: its record is of this use alone.
    """

    def __init__(self, loader: Loader, guard: PoisonGuard) -> None:
        self._loader = loader
        self._guard = guard

    def digest(self, path: Path) -> str:
        """Checks a bundle's files and names its content."""
        return self._loader.digest(path)

    def load(self, path: Path) -> Served:
        """Loads a bundle and lets it answer its golden sentences.

        Raises:
            BundleError: it ended the process twice; and as the loader.
        """
        content = self._identity(path)
        if self._guard.verdict(_TOPIC, content) is Verdict.POISON:
            raise BundleError(
                "it ended the process twice while it was loaded, so it is left out; "
                "`systemctl stop` and `start` tries again"
            )
        self._guard.hold([(_TOPIC, content)])
        self._guard.note_hang()  # whatever ends the process now, even the kernel out of memory, is its doing
        try:
            return self._loader.load(path)
        finally:
            self._guard.release()

    def _identity(self, path: Path) -> bytes:
        """What names a bundle's content; its manifest does, with the sha256 of every file, unread."""
        try:
            return (path / "bundle.json").read_bytes()
        except OSError:
            return self._loader.digest(path).encode()
