"""Making a repository: its keys, its four roles, and the first root that devices are given.

The defaults follow the TUF specification's advice (section 6): root keys offline and several, so that one may
be lost or stolen; metadata that an attacker could freeze a device at valid for a week only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from edge_agent.errors import SettingsError
from edge_agent.files import write_atomic
from edge_agent.fleet.repository.keys import KeyRing
from edge_agent.fleet.repository.layout import METADATA
from edge_agent.fleet.repository.model_repository import (
    EXPIRY_FIELD,
    Clock,
    ModelRepository,
    Writer,
    locked,
    utc_now,
)
from edge_agent.fleet.repository.stored import PINNED

ROLES: Final = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
MOST_KEYS: Final = 16
MOST_DAYS: Final = 3650
DEFAULT_DAYS: Final = MappingProxyType({"root": 365, "targets": 90, "snapshot": 7, "timestamp": 7})


@dataclass(frozen=True, slots=True)
class RolePlan:
    """How one role is to be.

    Attributes:
        keys: how many.
        threshold: how many of them must sign.
        days: how long its metadata are valid.
        signers: URIs of keys that live elsewhere; the rest are made as files.
    """

    keys: int = 1
    threshold: int = 1
    days: int = 7
    signers: tuple[str, ...] = ()

    def check(self, role: str) -> None:
        """Refuse what cannot be signed.

        Raises:
            SettingsError: a threshold that the keys cannot reach, or a number out of range.
        """
        count = max(self.keys, len(self.signers))
        if not 1 <= self.threshold <= count <= MOST_KEYS:
            raise SettingsError(
                f"{role} cannot need {self.threshold} signatures of {count} keys",
                hint=f"a threshold from 1 to the number of keys, at most {MOST_KEYS}",
            )
        if not 1 <= self.days <= MOST_DAYS:
            raise SettingsError(
                f"{role} cannot be valid for {self.days} days", hint=f"from 1 to {MOST_DAYS} days"
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """How a new repository is to be: a plan for each of the four roles."""

    roles: Mapping[str, RolePlan] = field(
        default_factory=lambda: {role: RolePlan(days=DEFAULT_DAYS[role]) for role in ROLES}
    )

    def check(self) -> None:
        """Refuse what cannot be signed.

        Raises:
            SettingsError: as :meth:`RolePlan.check`.
        """
        for role, plan in self.roles.items():
            plan.check(role)


def create(
    folder: Path, keys: KeyRing, plan: Plan, *, now: Clock = utc_now, write: Writer = write_atomic
) -> ModelRepository:
    """Make an empty repository in a folder that holds none, and pin its root beside the keys.

    Raises:
        SettingsError: there is one, the keys would lie inside it, or it cannot be written.
    """
    plan.check()
    _check_places(folder, keys)
    try:
        (folder / METADATA).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{folder}: cannot be made ({error.strerror})") from error
    with locked(folder / METADATA):
        repository = ModelRepository(folder, keys, now=now, write=write)
        with repository.edit_root() as root:
            root.consistent_snapshot = True
            for role, described in plan.roles.items():
                _describe(root, role, described, keys)
        with repository.edit_targets():
            pass
        with repository.edit_snapshot() as snapshot:
            snapshot.meta = repository.targets_infos
        with repository.edit_timestamp() as timestamp:
            timestamp.snapshot_meta = repository.snapshot_info
        repository.commit()
        write(keys.folders[0] / PINNED, (folder / METADATA / "1.root.json").read_bytes())
    return repository


def _check_places(folder: Path, keys: KeyRing) -> None:
    if (folder / METADATA).exists() and any((folder / METADATA).iterdir()):
        raise SettingsError(f"{folder}: holds a repository already", hint="choose another folder")
    for place in keys.folders:
        if place.resolve().is_relative_to(folder.resolve()):
            raise SettingsError(
                f"{place}: keys do not belong inside the repository, which is served to everybody",
                hint="choose a folder elsewhere with --keys",
            )
    if (keys.folders[0] / PINNED).exists():
        raise SettingsError(
            f"{keys.folders[0]}: holds the keys of another repository",
            hint="choose another folder with --keys",
        )


def _describe(root: Root, role: str, plan: RolePlan, keys: KeyRing) -> None:
    root.roles[role].threshold = plan.threshold
    root.roles[role].unrecognized_fields[EXPIRY_FIELD] = plan.days
    for key in new_keys(keys, role, plan):
        root.add_key(key, role)


def new_keys(keys: KeyRing, role: str, plan: RolePlan) -> list[Key]:
    """The keys that a role is to have: those that live elsewhere, and files for the rest.

    Raises:
        SettingsError: as KeyRing.create and adopt; or two of them are the same key.
    """
    adopt: Callable[[str], Key] = keys.adopt
    found = [adopt(uri) for uri in plan.signers]
    if len({key.keyid for key in found}) < len(found):
        raise SettingsError(f"{role} has the same key twice", hint="a threshold counts each key once")
    return found + [keys.create(role) for _ in range(plan.keys - len(found))]
