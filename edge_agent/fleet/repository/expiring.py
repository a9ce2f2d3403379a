"""What expires when, and what of it soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from edge_agent.fleet.repository.creating import ROLES
from edge_agent.fleet.repository.model_repository import EXPIRY_FIELD, ModelRepository

LONGEST_NOTICE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Expiry:
    """When the metadata of one role expire.

    Attributes:
        role: whose.
        version: of the metadata.
        expires: when, UTC.
        period: how long a new version is valid.
    """

    role: str
    version: int
    expires: datetime
    period: timedelta

    def is_soon(self, now: datetime, within: timedelta | None) -> bool:
        """Whether it is time to sign it anew.

        Args:
            now: the time, with its zone.
            within: how long ahead; None for a third of the role's own period, at most 30 days, so that what
                lives for a week is not told every day.
        """
        return self.expires - now <= (min(self.period / 3, LONGEST_NOTICE) if within is None else within)


def expiries(repository: ModelRepository) -> list[Expiry]:
    """Of every role, the first to expire first.

    Raises:
        BundleError: the repository is not what its keys signed.
    """
    root, delegated = repository.root(), repository.delegated()
    found = []
    for role in (*ROLES, *delegated):
        described = delegated[role] if role in delegated else root.roles[role]
        signed = repository.open(role).signed
        period = timedelta(days=described.unrecognized_fields.get(EXPIRY_FIELD, 0))
        found.append(Expiry(role, signed.version, signed.expires, period))
    return sorted(found, key=lambda item: item.expires)


def soon(found: Sequence[Expiry], now: datetime, within: timedelta | None = None) -> list[Expiry]:
    """Those that expire soon, expired ones with them."""
    return [item for item in found if item.is_soon(now, within)]
