"""Where a device that polls goes, and where it does not."""

from __future__ import annotations

import pytest

from edge_agent.update.following import is_followed, is_newer
from edge_agent.update.slots import Record, Version


def at(version: str) -> Version:
    return Version(version, "sha256:" + version.replace(".", "").rjust(64, "0"))


ROLLED_OUT = Record("home", serving=at("1.1.0"))


@pytest.mark.parametrize(
    ("record", "offered", "followed", "goes"),
    [
        (Record("home"), "1.0.0", None, True),  # it has none yet
        (ROLLED_OUT, "1.1.0", None, False),  # it has it
        (ROLLED_OUT, "1.1.0", "1.0.0", False),
        (ROLLED_OUT, "1.0.0", None, False),  # ahead of the channel by a rollout, nothing remembered
        (ROLLED_OUT, "1.0.0", "1.0.0", False),  # the same, and the channel has not moved
        (ROLLED_OUT, "1.2.0", "1.0.0", True),  # the channel moved
        (ROLLED_OUT, "1.0.0", "1.1.0", True),  # it moved back, which the operator wants
        (Record("home", serving=at("1.1.0"), condemned=(at("1.2.0").digest,)), "1.2.0", "1.1.0", False),
    ],
)
def test_a_device_follows_the_word_of_its_channel(
    record: Record, offered: str, followed: str | None, goes: bool
) -> None:
    assert is_followed(record, at(offered), followed) is goes


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0.0", "1.0.1"),
        ("1.9.0", "1.10.0"),
        ("1.0.0-rc1", "1.0.0"),
        ("1.0.0-rc2", "1.0.0-rc10"),
        ("1", "1.1"),
    ],
)
def test_numbers_are_compared_as_numbers(older: str, newer: str) -> None:
    assert is_newer(newer, older)
    assert not is_newer(older, newer)
    assert not is_newer(newer, newer)


def test_what_is_built_of_a_version_does_not_make_it_newer() -> None:
    assert not is_newer("1.0.0+build7", "1.0.0")
