"""What is written down of one command, and its form in the record file. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from edge_agent.link.commands import Report, Status
from edge_agent.service.commands.states import FINAL, Step, advance

LOST_RESULT = "its result is not kept any more"


@dataclass(frozen=True, slots=True)
class Record:
    """One command; times in seconds since the epoch by this device's clock.

    Attributes:
        operation: its first topic level.
        id: its second.
        status: where it stands.
        arguments: what it was asked with, until it has ended.
        asked_at: when it was taken.
        started_at: when it began, or None.
        ended_at: when it ended, or None.
        expires_at: it is not to begin later than this, or None.
        reason: why it failed, in words, or None.
        result: what it found; of the newest that ended only.
        attempts: how often it was begun.
        mark: names the message of ``request/<op>`` that it came by, or None where it came on ``cmd/``.
        is_cleared: the requester has cleared its topic, so nothing is told of it any more.
    """

    operation: str
    id: str
    status: Status
    arguments: Mapping[str, Any] | None
    asked_at: float
    started_at: float | None = None
    ended_at: float | None = None
    expires_at: float | None = None
    reason: str | None = None
    result: Mapping[str, Any] | None = None
    attempts: int = 0
    mark: str | None = None
    is_cleared: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others."""
        return self.operation, self.id

    @property
    def has_ended(self) -> bool:
        """Whether its state is final."""
        return self.status in FINAL

    @property
    def report(self) -> Report:
        """What is told of it."""
        return Report(self.status, self.reason, self.result, self.started_at, self.ended_at)

    def begun(self, now: float) -> Record:
        """As it is when it begins, or begins again."""
        step = Step.BEGIN if self.status is Status.INIT else Step.RESUME
        started = self.started_at if self.started_at is not None else now
        return replace(
            self, status=advance(self.status, step), started_at=started, attempts=self.attempts + 1
        )

    def ended(
        self, step: Step, now: float, reason: str | None, result: Mapping[str, Any] | None = None
    ) -> Record:
        """As it is when it has ended; its arguments are of no use any more."""
        status = advance(self.status, step)
        return replace(self, status=status, ended_at=now, reason=reason, result=result, arguments=None)

    def without_result(self) -> Record:
        """As it is kept once a newer one has ended."""
        if self.result is None:
            return self
        return replace(self, result=None, reason=self.reason or LOST_RESULT)


def to_json(record: Record) -> dict[str, Any]:
    """A record as a JSON object; what is None or false is left out."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        **{k: v for k, v in values.items() if v is not None and v is not False},
        "status": record.status.value,
    }


_TYPES: dict[str, tuple[type, ...]] = {
    "operation": (str,),
    "id": (str,),
    "arguments": (dict,),
    "asked_at": (int, float),
    "started_at": (int, float),
    "ended_at": (int, float),
    "expires_at": (int, float),
    "reason": (str,),
    "result": (dict,),
    "attempts": (int,),
    "mark": (str,),
    "is_cleared": (bool,),
}


def from_json(value: Any) -> Record:
    """A record from :func:`to_json`.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, dict):
        raise ValueError("a record is not an object")
    known: dict[str, Any] = {"arguments": None}
    for key, item in value.items():
        if key == "status":
            continue
        is_truth = isinstance(item, bool) and key != "is_cleared"
        if is_truth or not isinstance(item, _TYPES.get(key, ())) or item == math.inf:
            raise ValueError("a record has a key or a value that it cannot have")
        known[key] = item
    try:
        return Record(status=Status(value.get("status")), **known)
    except TypeError as error:
        raise ValueError("a record lacks a key") from error
