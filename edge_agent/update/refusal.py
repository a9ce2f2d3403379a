"""Why an update did not come about: one error with a named reason, for people and for the fleet.

The names are part of what a fleet sees, so one that is in use is not renamed.
"""

from __future__ import annotations

from enum import Enum

from edge_agent.errors import BundleError


class Reason(str, Enum):
    """Every reason, as it stands in the journal and in messages."""

    # The repository, or somebody between it and us: nothing of it is installed.
    EXPIRED = "expired"
    ROLLBACK = "rollback"
    SIGNATURE = "wrong_signature"
    THRESHOLD = "below_threshold"
    TOO_LARGE = "too_large"
    SLOW = "too_slow"
    MIX_AND_MATCH = "mix_and_match"
    ALTERED = "altered"
    UNKNOWN_TARGET = "unknown_target"
    NOT_FOR_CHANNEL = "not_for_this_channel"
    WRONG_SOFTWARE = "wrong_software"
    BAD_METADATA = "bad_metadata"
    # The bundle.
    BUNDLE = "bad_bundle"
    PROOF = "failed_its_proof"
    TOO_SLOW_HERE = "too_slow_here"
    TOO_BIG_HERE = "too_big_here"
    DISAGREES = "disagrees"
    UNHEALTHY = "unhealthy_while_watched"
    # This machine.
    UNREACHABLE = "unreachable"
    NO_SPACE = "no_space"
    DISK = "disk_failed"
    NO_MEMORY = "no_memory"
    BUSY = "another_update_is_running"
    NOTHING_OLDER = "nothing_to_fall_back_to"
    INTERRUPTED = "interrupted"
    DEADLINE = "took_too_long"
    DEFERRED = "waits"
    NO_REPOSITORY = "no_repository"
    CRASHED = "updater_failed"
    # Somebody.
    ASKED = "asked_for"


CONDEMNING = frozenset(
    {Reason.PROOF, Reason.TOO_SLOW_HERE, Reason.TOO_BIG_HERE, Reason.DISAGREES, Reason.UNHEALTHY}
)
"""The candidate's own fault on this machine, whenever it is tried."""

_OF_THIS_MACHINE = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.NO_SPACE,
        Reason.DISK,
        Reason.NO_MEMORY,
        Reason.BUSY,
        Reason.NOTHING_OLDER,
        Reason.INTERRUPTED,
        Reason.DEADLINE,
        Reason.DEFERRED,
        Reason.NO_REPOSITORY,
        Reason.CRASHED,
    }
)

_MOST_CHARACTERS = 2000


class UpdateError(BundleError):
    """An update that was refused (exit code 3) or that this machine could not do now (exit code 1).

    Args:
        reason: its name.
        message: one line in words.
        hint: what to do about it, one line, or None.
    """

    def __init__(self, reason: Reason, message: str, *, hint: str | None = None) -> None:
        # A bundle's text may hold halves of surrogate pairs, which neither MQTT nor a file can carry.
        words = message[:_MOST_CHARACTERS].encode("utf-8", "replace").decode()
        super().__init__(f"{reason.value}: {words}", hint=hint)
        self.reason = reason
        self.exit_code = 1 if self.is_of_this_machine else 3

    @property
    def is_of_this_machine(self) -> bool:
        """Whether what was asked for may be well, and this machine could not do it now."""
        return self.reason in _OF_THIS_MACHINE
