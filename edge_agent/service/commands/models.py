"""``model-update {"name", "version"}`` and ``model-rollback {"name"}``.

A model-update ends ``successful`` only when the new version has been watched and is kept; in every other case
it is ``failed``, with the named reason first, and what served before serves. Without a version the channel of
the device says which one, which is what Home Assistant's update entity asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import Any, Final, Protocol

from edge_agent.errors import EdgeAgentError
from edge_agent.service.commands.operation import Outcome
from edge_agent.service.commands.states import Interruption
from edge_agent.update.record import NAME
from edge_agent.update.slots import Record

_ROLLBACK_SECONDS: Final = 120.0
_RELOADING_SECONDS: Final = 120.0
_LONGEST_VERSION: Final = 64


class Models(Protocol):
    """Who updates; both raise :class:`~edge_agent.update.refusal.UpdateError`, and return None at the end."""

    def update(self, name: str, version: str | None, stopping: Event) -> Record | None:
        """Installs a version of a model and watches it."""

    def roll_back(self, name: str, stopping: Event) -> Record | None:
        """Turns a model back."""


class ModelUpdate:
    """Installs a model.

    Args:
        models: who does it.
        update_seconds: that an update may take at most, once begun; it may wait for as long before.
        watch_seconds: that the model is watched.
    """

    interruption = Interruption.RUN_AGAIN

    def __init__(self, models: Models, update_seconds: float, watch_seconds: float) -> None:
        self._models = models
        self.deadline_seconds = 2 * update_seconds + watch_seconds + _RELOADING_SECONDS

    def run(self, arguments: Mapping[str, Any], stopping: Event) -> Outcome | None:
        """Installs, watches, and tells what serves."""
        name = _name(arguments)
        version = arguments.get("version")
        if version is not None and not (isinstance(version, str) and 0 < len(version) <= _LONGEST_VERSION):
            raise EdgeAgentError("version is text, such as 1.1.0, or absent")
        record = self._models.update(name, version, stopping)
        if stopping.is_set():
            return None
        return Outcome(result=_result(name, record))


class ModelRollback:
    """Turns a model back to the version before. Interrupted, it is not repeated: that would go back twice."""

    deadline_seconds = _ROLLBACK_SECONDS
    interruption = Interruption.FAILED

    def __init__(self, models: Models) -> None:
        self._models = models

    def run(self, arguments: Mapping[str, Any], stopping: Event) -> Outcome | None:
        """Turns back, and tells what serves."""
        name = _name(arguments)
        record = self._models.roll_back(name, stopping)
        return None if record is None else Outcome(result=_result(name, record))


def _name(arguments: Mapping[str, Any]) -> str:
    name = arguments.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise EdgeAgentError("name is the name of a model, such as home")
    return name


def _result(name: str, record: Record | None) -> dict[str, Any]:
    serving = record.serving if record is not None else None
    return {"name": name, "version": None if serving is None else serving.version}
