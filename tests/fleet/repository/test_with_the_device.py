"""What the operator's side publishes, taken by the device's side."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge_agent.fleet.repository.creating import RolePlan
from edge_agent.fleet.repository.publishing import publish, set_channel
from edge_agent.fleet.repository.rotating import delegate, rotate
from edge_agent.inference.bundle import read_bundle, unpack
from edge_agent.update.refusal import UpdateError
from edge_agent.update.trust import Repository
from tests.fleet.repository.workplace import Workplace


def _device(place: Workplace) -> Repository:
    """As the device's updater makes one for each look; its trusted metadata stay in the folder."""
    now = datetime.now(timezone.utc)
    return Repository(str(place.repository), place.first_root, place.folder / "device", now)


def test_a_device_takes_what_its_channel_names(place: Workplace, tiny_folder: Path, newer: Path) -> None:
    device = _device(place)
    offer = device.offered("tiny", None, "kitchens")
    assert (offer.content.version, offer.content.digest) == ("1.0.0", read_bundle(tiny_folder).digest)
    place.publish(newer)
    assert _device(place).offered("tiny", None, "kitchens").content.version == "1.0.0"
    with pytest.raises(UpdateError, match="not_for_this_channel"):
        _device(place).offered("tiny", "1.1.0", "kitchens")
    with place.open() as repository:
        set_channel(repository, "kitchens", {"tiny": "1.1.0"})
    device = _device(place)
    got = device.download(device.offered("tiny", "1.1.0", "kitchens"))
    assert unpack(got, place.folder / "unpacked").digest == read_bundle(newer).digest


def test_a_device_follows_rotations_and_delegations(place: Workplace, acme: Path) -> None:
    _device(place).refresh()
    for role in ("root", "targets", "snapshot", "timestamp"):
        with place.open() as repository:
            rotate(repository, role)
    with place.open() as repository:
        delegate(repository, "acme", ["models/acme-*"], RolePlan(days=30))
    with place.open() as repository:
        publish(repository, [acme], signed_by="acme")
    device = _device(place)
    got = device.download(device.find("acme-home", "1.0.0"))
    assert unpack(got, place.folder / "unpacked").digest == read_bundle(acme).digest
