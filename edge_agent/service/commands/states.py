"""The states of a command, and the only ways from one to the next.

               begin            succeed
    init ────────────► executing ────────────► successful
      │                 │      ▲
      │ refuse          │ fail │ resume (after a crash in the middle; at most once)
      ▼                 ▼      │
    failed ◄────────── failed  └── executing

The next state is written down before it is acted on, so what a crash leaves behind is one of these:

    written     acted on     what the next start does
    nothing     nothing      the requester's ``init`` comes again and is taken as new
    init        nothing      it waits for its turn as before
    executing   perhaps      what the operation's :class:`Interruption` says
    final       all of it    tells the end again; an id that has ended is never executed again

A final state has no way out. The retained message follows what is written, never the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from edge_agent.link.commands import Status


class Step(Enum):
    """What happens to a command."""

    BEGIN = "begin"
    REFUSE = "refuse"
    RESUME = "resume"
    SUCCEED = "succeed"
    FAIL = "fail"


class Interruption(Enum):
    """What becomes of an operation that a crash or a power cut interrupted."""

    RUN_AGAIN = "run again"
    FAILED = "failed"
    SUCCESSFUL = "successful"


TRANSITIONS: Mapping[tuple[Status, Step], Status] = MappingProxyType(
    {
        (Status.INIT, Step.BEGIN): Status.EXECUTING,
        (Status.INIT, Step.REFUSE): Status.FAILED,
        (Status.EXECUTING, Step.RESUME): Status.EXECUTING,
        (Status.EXECUTING, Step.SUCCEED): Status.SUCCESSFUL,
        (Status.EXECUTING, Step.FAIL): Status.FAILED,
    }
)

FINAL = frozenset({Status.SUCCESSFUL, Status.FAILED})


def advance(status: Status, step: Step) -> Status:
    """The state after a step.

    Raises:
        ValueError: there is no such way.
    """
    try:
        return TRANSITIONS[status, step]
    except KeyError:
        raise ValueError(f"a command that is {status.value} cannot {step.value}") from None
