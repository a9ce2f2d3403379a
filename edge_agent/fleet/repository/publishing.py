"""Adding models to a repository, and moving channels.

A version is for ever: what was published under it is never replaced by another content. The bundle is
checked by the code that devices check it with, so that what cannot be installed is not published.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tuf.api.metadata import TargetFile, Targets

from edge_agent.errors import SettingsError
from edge_agent.fleet.repository.layout import (
    CHANNELS,
    MODELS,
    Channel,
    Published,
    channel_path,
    order,
    parse_channel,
)
from edge_agent.fleet.repository.model_repository import ModelRepository
from edge_agent.inference.bundle import opened_bundle, pack

TOP: Final = Targets.type


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one bundle.

    Attributes:
        model: name, version, digest and the rest.
        length: of the .edgemodel file, bytes.
        new: whether it was added; False where the same was there already.
    """

    model: Published
    length: int
    new: bool


def publish(
    repository: ModelRepository,
    bundles: Sequence[Path],
    *,
    groups: Iterable[str] = (),
    signed_by: str = TOP,
    allow_older: bool = False,
) -> list[Added]:
    """Check bundles, add and sign them, all of them or none.

    Args:
        repository: opened for writing.
        bundles: folders or .edgemodel files. A file goes out as it is, a folder is packed.
        groups: whose channels are to name these versions at once.
        signed_by: the targets role that answers for them.
        allow_older: take a version that is lower than one that is there.

    Raises:
        BundleError: a bundle is not right, or its version exists with another content.
        SettingsError: a version is lower, a role may not sign it, a key is missing or nothing can be written.
    """
    known = _models(repository)
    added, entries = [], {}
    for path in bundles:
        model, content = _packed(path)
        _check_role(repository, signed_by, model.path)
        if _is_new(model, known, allow_older):
            target = TargetFile.from_data(model.path, content, ["sha256"])
            target.unrecognized_fields["custom"] = model.document()
            repository.add_file(target, content)
            entries[model.path] = target
            known.append(model)
            added.append(Added(model, target.length, True))
        else:
            added.append(Added(model, len(content), False))
    if entries:
        with repository.edit_targets(signed_by) as targets:
            targets.targets |= entries
    versions = {item.model.name: item.model.version for item in added}
    moved = [
        _move(repository, group, versions, (), signed_by, allow_older) for group in dict.fromkeys(groups)
    ]
    if entries or any(moved):
        repository.publish_changes()
    return added


def set_channel(
    repository: ModelRepository,
    group: str,
    versions: Mapping[str, str],
    *,
    remove: Iterable[str] = (),
    signed_by: str = TOP,
    allow_older: bool = False,
) -> Channel:
    """Say which versions the devices of a group should have, and sign it.

    Args:
        repository: opened for writing.
        group: its name; a new one is made.
        versions: model → version, each of them published. Other models of the group stay as they are.
        remove: models that the channel is to say nothing of any more.
        signed_by: the targets role that answers for the channel.
        allow_older: take a version that is lower than the channel's.

    Raises:
        SettingsError: a version is not published or lower, or as :func:`publish`.
        BundleError: the stored channel is altered.
    """
    if _move(repository, group, versions, remove, signed_by, allow_older):
        repository.publish_changes()
    return channels(repository)[group]


def channels(repository: ModelRepository) -> dict[str, Channel]:
    """Every channel by its group.

    Raises:
        BundleError: one is altered.
    """
    found = (
        parse_channel(repository.content(target))
        for path, target in sorted(repository.all_targets().items())
        if path.startswith(CHANNELS)
    )
    return {channel.group: channel for channel in found}


def _move(
    repository: ModelRepository,
    group: str,
    versions: Mapping[str, str],
    remove: Iterable[str],
    signed_by: str,
    allow_older: bool,
) -> bool:
    """Stage a channel; False where it says that already."""
    path = channel_path(group)
    _check_role(repository, signed_by, path)
    old = channels(repository).get(group)
    before = dict(old.models) if old else {}
    for name, version in versions.items():
        _check_move(repository, group, name, before.get(name), version, allow_older)
    gone = set(remove)
    after = {name: version for name, version in {**before, **versions}.items() if name not in gone}
    if old is not None and after == before:
        return False
    content = Channel(group, after).render()
    target = TargetFile.from_data(path, content, ["sha256"])
    repository.add_file(target, content)
    with repository.edit_targets(signed_by) as targets:
        targets.targets[path] = target
    return True


def _check_move(
    repository: ModelRepository, group: str, name: str, before: str | None, version: str, allow_older: bool
) -> None:
    there = sorted((m.version for m in _models(repository) if m.name == name), key=order)
    if version not in there:
        raise SettingsError(
            f"{name} {version} is not published",
            hint=f"there are: {', '.join(there)}" if there else "edge-agent fleet publish adds it",
        )
    if before is not None and order(version) < order(before) and not allow_older:
        raise SettingsError(
            f"channel {group} says {name} {before}, {version} is older",
            hint="--allow-older, if the group is to go back",
        )


def _models(repository: ModelRepository) -> list[Published]:
    found = (
        Published.from_document(target.custom)
        for path, target in repository.all_targets().items()
        if path.startswith(MODELS)
    )
    return [model for model in found if model is not None]


def _packed(path: Path) -> tuple[Published, bytes]:
    """A checked bundle and the bytes of its .edgemodel."""
    with opened_bundle(path) as bundle:
        model = Published.of(bundle)
        if path.is_file():
            return model, path.read_bytes()
        with tempfile.TemporaryDirectory(prefix="edge-agent-") as temporary:
            return model, pack(bundle.path, Path(temporary) / "packed").read_bytes()


def _is_new(model: Published, known: Sequence[Published], allow_older: bool) -> bool:
    if "+" in model.version:
        raise SettingsError(
            f"{model.name} {model.version}: what follows + gives no order, and some stores change the +",
            hint="publish it under a version without +",
        )
    own = [item for item in known if item.name == model.name]
    for item in own:
        if item.version == model.version:
            if item.digest == model.digest:
                return False
            raise SettingsError(
                f"{model.name} {model.version} is published with another content",
                hint="a version is for ever: give the new content a new one",
            )
    newest = max((item.version for item in own), key=order, default=None)
    if newest is not None and order(model.version) < order(newest) and not allow_older:
        raise SettingsError(
            f"{model.name} {model.version} is older than {newest}, which is published",
            hint="--allow-older, if that is meant",
        )
    return True


def _check_role(repository: ModelRepository, role: str, path: str) -> None:
    if role == TOP:
        return
    described = repository.delegated().get(role)
    if described is None:
        raise SettingsError(f"there is no delegated role {role}", hint=f"edge-agent fleet delegate {role}")
    if not described.is_delegated_path(path):
        raise SettingsError(
            f"{role} may not sign {path}", hint=f"it signs {', '.join(described.paths or ())} only"
        )
