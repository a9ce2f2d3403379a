"""Whether a device that polls goes where its channel points. Pure.

A channel moves when a rollout is complete (docs/updates-operator.md); until then the devices of the first
waves are ahead of it, and a poll must not take them back. So a device follows the channel's **word**: it
remembers which version it followed last and acts when the channel says another one, be it an older one, which
the operator then wants. The first time there is nothing to remember, and only a newer version is followed.
A version that was condemned here is not tried again by itself.
"""

from __future__ import annotations

import re

from edge_agent.update.slots import Record, Version

_PARTS = re.compile(r"\d+|[a-zA-Z]+")


def is_followed(record: Record, offered: Version, followed: str | None) -> bool:
    """Whether the version that the channel names is to be installed now.

    Args:
        record: what is written of the model.
        offered: what the channel names.
        followed: the version that was followed last; None where none is remembered.
    """
    if record.serving == offered or record.condemns(offered.digest):
        return False
    if followed is None:
        return record.serving is None or is_newer(offered.version, record.serving.version)
    return followed != offered.version


def is_newer(version: str, than: str) -> bool:
    """Whether a version comes after another: numbers as numbers; ``1.0.0-rc1`` comes before ``1.0.0``."""
    return _order(version) > _order(than)


def _order(version: str) -> tuple[list[int], bool, list[tuple[bool, int, str]]]:
    core, _, early = version.partition("+")[0].partition("-")
    numbers = [int(part) for part in re.findall(r"\d+", core)]
    parts = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in _PARTS.findall(early)]
    return numbers, not early, parts
