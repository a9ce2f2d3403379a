"""What a rollout does next: its state, the facts and the time in, its next state and the actions out. Pure.

The rules:

1. A wave is told when the one before it has ended and the soak after it has passed. A device ends with a
   result, or by its deadline: :attr:`~edge_agent.fleet.rollout.rollout_state.Terms.deadline_seconds` to
   begin, and the same again to end once it has begun.
2. A device has the version when its command ended ``successful`` **and** ``model/<name>`` names that version.
   It has failed when the command failed, when it did not end in time though it is there, or when it serves
   another version afterwards. One that cannot be reached, or says that it waits for better times, has not
   failed; its command stays at the broker.
3. When more have failed than ``⌊share × wave⌋``, the wave counted with those before it, the rollout halts:
   what has not begun is taken back from the broker, and what has begun is waited for.
4. A wave of which no device has the version proves nothing: the rollout pauses.
5. Nothing is decided before the broker has told what it retains (``settled``): the driver may have been away.
6. What an action needs is in the state that is returned with it, so that it can be written down first.
7. A command of an earlier rollout of this model, which a device has not begun, is taken back: a device that
   returns would find both and might end with the older version.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from edge_agent.fleet.rollout.devices import NOTHING, Fact
from edge_agent.fleet.rollout.judging import judge
from edge_agent.fleet.rollout.rollout_state import (
    OPEN,
    ROLLBACK,
    UPDATE,
    Member,
    Phase,
    Rollout,
    Standing,
    Tally,
    advance,
)
from edge_agent.link.commands import Status

_ENDED: Final = frozenset({Standing.UPDATED, Standing.FAILED, Standing.RETURNED, Standing.WITHDRAWN})
_GIVING: Final = {
    UPDATE: frozenset({Phase.RUNNING, Phase.PAUSED, Phase.COMPLETE}),
    ROLLBACK: frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK}),
}
"""In which phases a command that the broker has lost is given again."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Publish a command, retained."""

    device: str
    operation: str
    id: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Take a command from the broker by an empty retained payload."""

    device: str
    operation: str
    id: str


Action = Ask | Clear


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next.

    Attributes:
        rollout: to be written down before the actions.
        actions: in their order.
        moved: devices that stand elsewhere than before.
    """

    rollout: Rollout
    actions: tuple[Action, ...]
    moved: tuple[str, ...]


def plan(
    rollout: Rollout,
    facts: Mapping[str, Fact],
    now: float,
    *,
    settled: bool,
    room: int,
    in_flight: Collection[Action] = (),
) -> Step:
    """The next step.

    Args:
        rollout: where it stands.
        facts: by device; one that is missing is unknown.
        now: seconds since the epoch.
        settled: the broker has told what it retains, and the link to it is there.
        room: most actions that may be begun now.
        in_flight: actions that the broker has not confirmed yet; they are not returned again.
    """
    if not settled:
        return Step(rollout, (), ())
    draft = _Draft(rollout, facts, now, room, in_flight)
    draft.judge_all()
    draft.go_on()
    draft.give_again()
    draft.tidy()
    return draft.step()


class _Draft:
    """A step while it is made."""

    def __init__(
        self,
        rollout: Rollout,
        facts: Mapping[str, Fact],
        now: float,
        room: int,
        in_flight: Collection[Action],
    ) -> None:
        self._rollout = rollout
        self._facts = facts
        self._now = now
        self._room = room
        self._in_flight = in_flight
        self._members = dict(rollout.members)
        self._actions: dict[Action, None] = {}

    def step(self) -> Step:
        before = self._rollout.members
        moved = tuple(
            device
            for device, member in self._members.items()
            if member is not before[device] and member.standing is not before[device].standing
        )
        return Step(replace(self._rollout, members=self._members), tuple(self._actions), moved)

    def judge_all(self) -> None:
        terms, now = self._rollout.terms, self._now
        for device, member in self._members.items():
            if member.standing not in (Standing.PENDING, Standing.NOT_ASKED):
                self._members[device] = judge(member, self._fact(device), terms, now)

    def give_again(self) -> None:
        """Commands that were written down and that the broker does not have: nobody can have begun them."""
        for device, member in self._members.items():
            waits = member.standing in (Standing.ASKED, Standing.UNREACHABLE) and member.has_command
            if waits and member.begun_at is None and self._rollout.phase in _GIVING[member.operation]:
                fact = self._fact(device)
                if member.operation not in fact.commands and fact.refused is None:
                    self._act(Ask(device, member.operation, self._rollout.command_id(member.operation)))

    def tidy(self) -> None:
        """Takes from the broker what has ended."""
        for device, member in self._members.items():
            if self._rollout.phase is Phase.RUNNING and member.asked_at is not None:
                for other in sorted(self._fact(device).others):
                    self._act(Clear(device, UPDATE, other))
            if member.standing not in _ENDED:
                continue
            word = self._fact(device).commands.get(member.operation)
            refused = self._fact(device).refused
            command_id = self._rollout.command_id(member.operation)
            if word is None:
                if member.has_command and Ask(device, member.operation, command_id) not in self._in_flight:
                    self._members[device] = replace(member, has_command=False)
            elif refused is not None:
                if member.standing is Standing.WITHDRAWN:
                    reason = f"the broker does not let its command be taken back: {refused}"
                    self._members[device] = replace(member, reason=reason)
            elif member.standing is not Standing.FAILED or word.status in (Status.SUCCESSFUL, Status.FAILED):
                self._act(Clear(device, member.operation, command_id))

    def go_on(self) -> None:
        match self._rollout.phase:
            case Phase.RUNNING:
                self._run()
            case Phase.HALTING:
                self._withdraw()
                if not self._is_busy():
                    self._rollout = replace(self._rollout, phase=Phase.HALTED)
            case Phase.ROLLING_BACK:
                self._withdraw()
                if not self._send_back() and not self._is_busy():
                    self._rollout = replace(self._rollout, phase=Phase.ROLLED_BACK)

    def _run(self) -> None:
        rollout = self._rollout
        tally = Tally.of([member for member in self._members.values() if member.wave <= rollout.wave])
        failed, allowed = tally[Standing.FAILED], rollout.terms.allowed_failures(rollout.wave)
        if failed > allowed:
            size = rollout.terms.sizes[rollout.wave]
            reason = f"{failed} of {size} devices failed, {allowed} may"
            self._rollout = replace(rollout, phase=Phase.HALTING, reason=reason)
            self._withdraw()
        elif tally.open:
            self._rollout = replace(rollout, soak_from=None)
            self._tell_wave()
        elif rollout.soak_from is None:
            self._rollout = replace(rollout, soak_from=self._now)
        elif self._now - rollout.soak_from >= rollout.terms.soak_seconds:
            self._next_wave(tally)

    def _next_wave(self, tally: Tally) -> None:
        rollout = self._rollout
        if not tally.serving and not rollout.without_proof:
            reason = "no device has taken the version yet, so nothing is proved"
            self._rollout = replace(rollout, phase=Phase.PAUSED, reason=reason, soak_from=None)
        elif rollout.wave + 1 < len(rollout.terms.sizes):
            self._rollout = replace(rollout, wave=rollout.wave + 1, soak_from=None)
        else:
            self._rollout = replace(rollout, phase=Phase.COMPLETE, reason=None)

    def _tell_wave(self) -> None:
        for device, member in self._members.items():
            if member.wave > self._rollout.wave or not self._room:
                break  # they stand in the order of their waves
            if member.standing is not Standing.PENDING:
                continue
            fact = self._fact(device)
            if fact.model is not None and fact.model.installed == self._rollout.terms.version:
                has_it = "had this version already"
                self._members[device] = advance(member, Standing.ALREADY, self._now, has_it)
                continue
            self._ask(device, member, UPDATE)

    def _ask(self, device: str, member: Member, operation: str) -> None:
        asked = advance(member, Standing.ASKED, self._now)
        self._members[device] = replace(
            asked, operation=operation, asked_at=self._now, begun_at=None, is_late=False, has_command=True
        )
        self._act(Ask(device, operation, self._rollout.command_id(operation)))

    def _withdraw(self) -> None:
        """Takes back what has not begun, and asks nobody else."""
        for device, member in self._members.items():
            if member.standing is Standing.PENDING:
                why = "halted before its turn"
                self._members[device] = advance(member, Standing.NOT_ASKED, self._now, why)
            elif member.operation == UPDATE and member.standing in (Standing.ASKED, Standing.UNREACHABLE):
                word = self._fact(device).commands.get(UPDATE)
                if word is None or word.status is Status.INIT:
                    why = "its command was taken back before it began"
                    self._members[device] = advance(member, Standing.WITHDRAWN, self._now, why)

    def _send_back(self) -> bool:
        """Whether one is still to be told to go back."""
        waves = self._rollout.back_waves
        is_left = False
        for device, member in self._members.items():
            is_chosen = waves is None or member.wave in waves
            if member.standing is Standing.UPDATED and is_chosen and self._fact(device).refused is None:
                is_left = True
                if not member.has_command and self._room:
                    self._ask(device, member, ROLLBACK)
        return is_left

    def _is_busy(self) -> bool:
        """Whether a device is still at it, or a command is still to be taken back."""
        return any(
            member.standing in OPEN
            or (
                member.standing is Standing.WITHDRAWN
                and member.has_command
                and self._fact(device).refused is None
            )
            for device, member in self._members.items()
        )

    def _act(self, action: Action) -> None:
        is_new = action not in self._in_flight and action not in self._actions
        if self._room > 0 and is_new:
            self._room -= 1
            self._actions[action] = None

    def _fact(self, device: str) -> Fact:
        return self._facts.get(device, NOTHING)
