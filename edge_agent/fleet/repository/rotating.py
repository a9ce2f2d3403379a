"""Keys that come and go, signatures that are renewed, and roles that others answer for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from securesystemslib.signer import Key
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Delegations,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from edge_agent.errors import SettingsError
from edge_agent.fleet.repository.creating import RolePlan, new_keys
from edge_agent.fleet.repository.layout import CHANNELS, MODELS
from edge_agent.fleet.repository.model_repository import EXPIRY_FIELD, ModelRepository
from edge_agent.inference.manifest import is_name

RENEWED_DAILY: Final = (Snapshot.type, Timestamp.type)


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        role: whose key.
        old: id of the key that is out.
        new: id of the key that is in.
        root_version: of the newest root afterwards.
    """

    role: str
    old: str
    new: str
    root_version: int


def rotate(
    repository: ModelRepository, role: str, *, old: str | None = None, signer: str | None = None
) -> Rotated:
    """Put a new key into a role and an old one out, so that clients follow from any root they know.

    The old key signs once more where it is here, so that there is no moment at which a client is refused.
    Where it is lost, the threshold of the role that answers for it must be reached without.

    Args:
        repository: opened for writing.
        role: root, targets, snapshot, timestamp or a delegated one.
        old: the beginning of the id of the key that goes; may be left out where the role has one key.
        signer: URI of a new key that lives elsewhere; without, one is made as a file.

    Raises:
        SettingsError: no such role or key, or too few keys are here to sign it.
    """
    described = _description(repository, role)
    going = _chosen(role, described.keyids, old)
    plan = RolePlan(signers=(signer,) if signer else ())
    coming = new_keys(repository.keys, role, plan)[0]
    if coming.keyid in described.keyids:
        raise SettingsError(f"{role} has this key already", hint="a rotation needs a new one")
    if role in TOP_LEVEL_ROLE_NAMES:
        with repository.edit_root() as root:
            _exchange(root, role, going, coming)
        if role != Root.type:
            _renew(repository, role)
    else:
        with repository.edit_targets() as targets:
            _exchange(targets, role, going, coming)
        _renew(repository, role)
    if role == Root.type:
        repository.commit()
    else:
        repository.publish_changes(force=True)
    return Rotated(role, going, coming.keyid, repository.root().version)


def refresh(repository: ModelRepository, roles: Iterable[str] = ()) -> None:
    """Sign snapshot and timestamp anew, and other roles where asked, before they expire.

    Raises:
        SettingsError: no such role, or too few of its keys are here.
    """
    for role in dict.fromkeys(roles):
        _description(repository, role)
        if role not in RENEWED_DAILY:
            _renew(repository, role)
    repository.publish_changes(force=True)


def delegate(repository: ModelRepository, name: str, paths: Sequence[str], plan: RolePlan) -> list[str]:
    """Let another role answer for the targets of some paths, alone unless the top role names them itself.

    Args:
        repository: opened for writing.
        name: of the new role.
        paths: patterns, ``models/acme-*`` or ``channels/acme-*``; * does not cross a slash.
        plan: its keys, threshold and expiry.

    Returns:
        The ids of its keys.

    Raises:
        SettingsError: the name is taken or no name, a path is foreign, or a key is missing.
    """
    if not is_name(name) or name in TOP_LEVEL_ROLE_NAMES:
        raise SettingsError(
            f"{name!r:.80} is no name of a delegated role", hint="small letters, digits, - and _, up to 64"
        )
    if name in repository.delegated():
        raise SettingsError(f"{name} exists already", hint=f"edge-agent fleet rotate {name} changes its key")
    for path in paths:
        if not path.startswith((MODELS, CHANNELS)) or path.count("/") != 1:
            raise SettingsError(
                f"no target lies at {path!r:.80}", hint="models/NAME-* or channels/NAME-*, in quotes"
            )
    plan.check(name)
    keys = new_keys(repository.keys, name, plan)
    role = DelegatedRole(name, [], plan.threshold, terminating=True, paths=list(paths))
    role.unrecognized_fields[EXPIRY_FIELD] = plan.days
    with repository.edit_targets() as targets:
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        assert targets.delegations.roles is not None
        targets.delegations.roles[name] = role
        for key in keys:
            targets.add_key(key, name)
    _renew(repository, name)
    repository.publish_changes()
    return [key.keyid for key in keys]


def _renew(repository: ModelRepository, role: str) -> None:
    with repository.edit(role):
        pass


def _description(repository: ModelRepository, role: str) -> Any:
    delegated = repository.delegated()
    if role in delegated:
        return delegated[role]
    if role not in TOP_LEVEL_ROLE_NAMES:
        names = ["root", "targets", "snapshot", "timestamp", *delegated]
        raise SettingsError(f"there is no role {role!r:.80}", hint=f"there are: {', '.join(names)}")
    return repository.root().roles[role]


def _chosen(role: str, keyids: Sequence[str], wanted: str | None) -> str:
    found = [keyid for keyid in keyids if keyid.startswith(wanted or "")]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(keyid[:8] for keyid in keyids)
    problem = (
        f"{role} has {len(keyids)} keys"
        if wanted is None
        else f"{wanted:.64} names {len(found)} keys of {role}"
    )
    raise SettingsError(problem, hint=f"name the one that goes with --key: {shown}")


def _exchange(delegator: Root | Targets, role: str, old: str, new: Key) -> None:
    delegator.add_key(new, role)
    delegator.revoke_key(old, role)
