"""Where a device of a rollout stands, by what is known of it: rules 1 and 2 of its plan. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edge_agent.fleet.rollout.devices import Fact
from edge_agent.fleet.rollout.rollout_state import UPDATE, Member, Standing, Terms, advance
from edge_agent.link.commands import Status

CONFIRM_SECONDS: Final = 60.0
"""A device has so long to say what it serves, after the end of its command or when it says that none does."""
_UNDER_WAY: Final = frozenset({"downloading", "verifying", "trying", "shadowing", "switching", "watching"})


def judge(member: Member, fact: Fact, terms: Terms, now: float) -> Member:
    """A device as the facts have it; the same object where nothing changed."""
    standing = member.standing
    if standing in (Standing.UPDATED, Standing.ALREADY):
        return _still(member, fact, terms, now)
    if standing is Standing.RETURNED:
        return member
    if not member.has_command and standing not in (
        Standing.WITHDRAWN,
        Standing.EXECUTING,
        Standing.CONFIRMING,
    ):
        return member
    word = fact.commands.get(member.operation)
    if word is None:
        after = _without_word(member, fact, terms, now)
    elif word.status is Status.SUCCESSFUL:
        after = _confirm(member, fact, terms, now)
    elif standing is Standing.FAILED:
        return member
    elif word.status is Status.FAILED:
        reason = word.reason or "it does not say why"
        after = advance(member, Standing.FAILED, now, _about(member, reason))
    elif word.status is Status.EXECUTING and _may_begin(member, fact):
        late = member.is_late or standing is Standing.UNREACHABLE
        after = replace(advance(member, Standing.EXECUTING, now), begun_at=now, is_late=late)
    else:
        after = member
    return _in_time(after, fact, terms, now)


def _may_begin(member: Member, fact: Fact) -> bool:
    """One that went away while it executed gets the time for it once more when it is back, and only once."""
    if member.standing is Standing.UNREACHABLE:
        return fact.online is True and not member.is_late
    return member.standing in (Standing.ASKED, Standing.WITHDRAWN)


def _still(member: Member, fact: Fact, terms: Terms, now: float) -> Member:
    """One that has the version, unless it says that another one serves; for a moment none may, at a start."""
    if fact.model is None or fact.model.installed == terms.version:
        return member
    if fact.model.installed is None and now - (fact.model_at or now) < CONFIRM_SECONDS:
        return member
    serves = fact.model.installed or "nothing"
    why = f" ({fact.model.reason})" if fact.model.reason else ""
    return advance(member, Standing.FAILED, now, f"serves {serves} afterwards{why}")


def _is_there(member: Member, fact: Fact, terms: Terms) -> bool:
    """Whether the device says that it serves what it was told to."""
    if fact.model is None or fact.model.state in _UNDER_WAY:
        return False
    is_version = fact.model.installed == terms.version
    return is_version if member.operation == UPDATE else not is_version


def _there(member: Member, now: float, reason: str | None = None) -> Member:
    standing = Standing.UPDATED if member.operation == UPDATE else Standing.RETURNED
    return advance(member, standing, now, reason)


def _confirm(member: Member, fact: Fact, terms: Terms, now: float) -> Member:
    """The command ended well; what serves is for the device to say."""
    if _is_there(member, fact, terms):
        return _there(member, now)
    if member.standing is Standing.UNREACHABLE and fact.online is False:
        return member
    if member.standing is not Standing.CONFIRMING:
        if member.standing is Standing.FAILED and member.begun_at is None:
            return member  # it has said the same before, and not what serves
        return advance(member, Standing.CONFIRMING, now)
    if now - (member.since or now) < min(CONFIRM_SECONDS, terms.deadline_seconds):
        return member
    if fact.online is False:
        return _unreachable(member, fact, "successful, but it went away before it said what serves")
    serves = "nothing of the model" if fact.model is None else f"that it serves {fact.model.installed}"
    failed = advance(
        member, Standing.FAILED, now, _about(member, f"successful, but the device says {serves}")
    )
    return replace(failed, begun_at=None)


def _without_word(member: Member, fact: Fact, terms: Terms, now: float) -> Member:
    """Nothing stands at the broker: it was taken back after the device had begun, or the broker lost it."""
    begun = member.begun_at if member.standing is Standing.EXECUTING else member.since
    if member.standing not in (Standing.WITHDRAWN, Standing.EXECUTING, Standing.CONFIRMING):
        return member
    if fact.model is None or fact.model_at is None or fact.model_at < (begun or 0):
        return member
    if _is_there(member, fact, terms):
        return _there(member, now, "it had begun before its command was taken back")
    if fact.model.state in ("failed", "rolled_back") and member.standing is Standing.EXECUTING:
        return advance(member, Standing.FAILED, now, _about(member, fact.model.reason or fact.model.state))
    return member


def _in_time(member: Member, fact: Fact, terms: Terms, now: float) -> Member:
    """A device past its deadline, which a wave does not wait for."""
    if member.standing is Standing.ASKED:
        if fact.refused is not None:
            return _unreachable(member, fact, f"the broker refuses its command: {fact.refused}")
        if now - (member.asked_at or 0) >= terms.deadline_seconds:
            return _unreachable(member, fact, "did not take its command")
    elif member.standing is Standing.EXECUTING and now - (member.begun_at or 0) >= terms.deadline_seconds:
        if fact.online is False:
            return _unreachable(member, fact, "went away in the middle of it")
        if fact.model is not None and fact.model.waits:
            return replace(_unreachable(member, fact, f"it {fact.model.reason}"), is_late=True)
        reason = f"did not end within {terms.deadline_seconds:g} s"
        if fact.model is not None and fact.model.state is not None:
            why = f": {fact.model.reason}" if fact.model.reason else ""
            reason += f" (it says {fact.model.state.replace('_', ' ')}{why})"
        return advance(member, Standing.FAILED, now, _about(member, reason))
    return member


def _unreachable(member: Member, fact: Fact, reason: str) -> Member:
    heard = [when for when in (fact.heard_at, member.seen_at) if when is not None]
    since = max(heard) if heard else member.asked_at
    return advance(member, Standing.UNREACHABLE, since, _about(member, reason))


def _about(member: Member, reason: str) -> str:
    return reason if member.operation == UPDATE else f"going back: {reason}"
