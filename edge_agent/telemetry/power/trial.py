"""Whether a sensor that is there can be used: it is asked once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from edge_agent.telemetry.reading import SensorDenied, SensorError


class _Source(Protocol):
    @property
    def name(self) -> str: ...
    def read(self) -> object: ...


S = TypeVar("S", bound=_Source)

GRANT = "Let the user of the service read it."
"""The remedy where nothing special is known."""


def usable(sources: Iterable[S], remedy: str) -> tuple[tuple[S, ...], tuple[str, ...]]:
    """The sources that make sense to ask again, and notes on those that failed.

    A sensor that this user may not read is left out, so that the next best one is used. One that only failed
    this time stays: it may answer the next time.

    Args:
        sources: to be tried.
        remedy: what to do where the right to read is missing.
    """
    kept, notes = [], []
    for source in sources:
        try:
            source.read()
        except SensorDenied as error:
            notes.append(f"{source.name}: {error}. {remedy}")
            continue
        except SensorError as error:
            notes.append(f"{source.name}: {error}. It is asked again at every look.")
        kept.append(source)
    return tuple(kept), tuple(notes)
