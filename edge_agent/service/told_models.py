"""Which ``model/<name>`` the broker may hold of this device, also from earlier lives.

The broker keeps what is retained for ever. A model that went while the daemon was off would seem to serve
still; so the names lie in the state folder, before they are published and until they are cleared.
"""

from __future__ import annotations

import json
from pathlib import Path

from edge_agent.link.envelope import encode_json
from edge_agent.log import get_logger
from edge_agent.service.state_file import StateFile

FILE_NAME = "told-models.json"
_MOST = 256
_LONGEST_CHARACTERS = 128


class ToldModels:
    """The record; written only when it changes. Where it cannot be, it lasts as long as the process.

    Args:
        folder: the device's state directory.

    Attributes:
        names: of the models; garbage in the file is none.
    """

    def __init__(self, folder: Path) -> None:
        self._file = StateFile(folder / FILE_NAME)
        self.names = self._read()

    def note(self, names: frozenset[str]) -> None:
        """From now on the broker may hold these, and no others."""
        if names == self.names:
            return
        self.names = names
        reason = self._file.write(encode_json({"models": sorted(names)[:_MOST]}))
        if reason is not None:
            get_logger().warning("models.unrecorded", reason=reason)

    def _read(self) -> frozenset[str]:
        try:
            names = json.loads(self._file.read())["models"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return frozenset()
        if not isinstance(names, list):
            return frozenset()
        return frozenset(name for name in names[:_MOST] if isinstance(name, str) and is_topic_level(name))


def is_topic_level(name: str) -> bool:
    """Whether a name may be part of a topic: a broken bundle goes by its folder's name, and that may be any.

    A broker hangs up at a topic that it does not take, again and again (MQTT 5.0 §1.5.4, §4.7.3).
    """
    is_short = 0 < len(name) <= _LONGEST_CHARACTERS
    return is_short and name.isprintable() and not any(mark in name for mark in "/+#")
