from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Snapshot, Timestamp

from edge_agent.errors import SettingsError
from edge_agent.fleet.repository.creating import Plan, RolePlan, create
from edge_agent.fleet.repository.expiring import expiries, soon
from edge_agent.fleet.repository.publishing import publish
from edge_agent.fleet.repository.rotating import delegate, refresh, rotate
from edge_agent.fleet.repository.verifying import verify
from tests.fleet.repository.workplace import PASSPHRASE, PowerCut, Workplace, counting_writer, failing_writer

TINY = "models/tiny-1.0.0.edgemodel"
NEWER = "models/tiny-1.1.0.edgemodel"
ROLES = ("root", "targets", "snapshot", "timestamp")
THREE_ROOTS = Plan(dict(Plan().roles) | {"root": RolePlan(keys=3, threshold=2, days=365)})


def _root_ids(place: Workplace) -> list[str]:
    with place.open() as repository:
        return list(repository.root().roles["root"].keyids)


@pytest.mark.parametrize("role", ROLES)
def test_a_device_with_the_first_root_follows_every_rotation(
    place: Workplace, newer: Path, role: str
) -> None:
    device = place.device()
    assert device.fetch(TINY) is not None
    with place.open() as repository:
        done = rotate(repository, role)
        assert done.root_version == 2
        assert repository.root().roles[role].keyids == [done.new]
    place.publish(newer)
    assert device.fetch(NEWER) is not None
    assert place.device("fresh").fetch(NEWER) is not None
    assert place.verify().findings == []


def test_the_chain_holds_from_the_first_root_over_many_rotations(place: Workplace) -> None:
    for role in (*ROLES, *ROLES):
        with place.open() as repository:
            rotate(repository, role)
    report = place.verify()
    assert (report.root, report.findings) == (9, [])


@pytest.mark.parametrize("role", ROLES)
def test_a_key_that_is_out_signs_nothing_that_a_device_takes(place: Workplace, role: str) -> None:
    with place.open() as repository:
        signer = repository.keys.signer(repository.root().roles[role].keyids[0])
        assert signer is not None
        rotate(repository, role)
        md = repository.open(role)
    if role == "root":
        md.signed.version += 1
    md.sign(signer)
    name = f"{role}.json" if role == "timestamp" else f"{md.signed.version}.{role}.json"
    md.to_file(str(place.repository / "metadata" / name))
    (finding,) = place.verify().findings
    assert finding.problem.startswith(("signed by too few", "altered"))


@pytest.mark.parametrize("half", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("role", ROLES)
def test_a_crash_at_any_write_of_a_rotation_locks_no_device_out(
    place: Workplace, role: str, half: bool
) -> None:
    written: list[Path] = []
    spare = Workplace(place.folder / "spare")
    shutil.copytree(place.repository, spare.repository)
    shutil.copytree(place.keys, spare.keys)
    with spare.open(write=counting_writer(written)) as repository:
        rotate(repository, role)
    for number in range(len(written)):
        copy = Workplace(place.folder / f"copy-{number}")
        shutil.copytree(place.repository, copy.repository)
        shutil.copytree(place.keys, copy.keys)
        device = copy.device()
        assert device.fetch(TINY) is not None
        with copy.open(write=failing_writer(number, half=half)) as repository:
            with pytest.raises(SettingsError) as caught:
                rotate(repository, role)
            assert isinstance(caught.value.__cause__, PowerCut)
        assert device.fetch(TINY) is not None
        assert copy.verify().findings == []
        with copy.open() as repository:
            rotate(repository, role)
        assert device.fetch(TINY) is not None
        assert copy.verify().findings == []


def test_a_lost_key_is_replaced_without_it(place: Workplace) -> None:
    device = place.device()
    assert device.fetch(TINY) is not None
    (place.keys / "timestamp-1.pem").unlink()
    with place.open() as repository:
        rotate(repository, "timestamp")
    assert device.fetch(TINY) is not None
    assert place.verify().findings == []


def test_a_root_key_of_three_may_be_lost(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.create(THREE_ROOTS)
    ids = _root_ids(place)
    (place.keys / "root-2.pem").unlink()
    with place.open() as repository:
        rotate(repository, "root", old=ids[1][:10])
    with place.open() as repository:
        assert repository.root().roles["root"].threshold == 2
        assert ids[1] not in repository.root().roles["root"].keyids
    assert place.verify().findings == []


def test_below_the_threshold_nothing_is_signed(tmp_path: Path, newer: Path) -> None:
    place = Workplace(tmp_path)
    place.create(THREE_ROOTS)
    for number in (2, 3):
        (place.keys / f"root-{number}.pem").unlink()
    before, ids = place.files(), _root_ids(place)
    with place.open() as repository, pytest.raises(SettingsError, match="needs the signatures of 2"):
        rotate(repository, "root", old=ids[0])
    assert place.files() == before
    place.publish(newer)
    assert place.verify().models == 1


def test_root_keys_may_come_from_several_folders(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.create(THREE_ROOTS)
    stick = tmp_path / "stick"
    stick.mkdir(mode=0o700)
    shutil.copy(place.keys / "keys.json", stick)
    for number in (1, 2, 3):
        shutil.move(place.keys / f"root-{number}.pem", stick)
    ids = _root_ids(place)
    with place.open() as repository, pytest.raises(SettingsError, match="needs the signatures"):
        rotate(repository, "root", old=ids[0])
    with place.open(stick) as repository:
        rotate(repository, "root", old=ids[0])
    assert place.verify().root == 2


def test_with_several_keys_the_one_that_goes_is_named(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.create(THREE_ROOTS)
    with place.open() as repository:
        with pytest.raises(SettingsError, match="root has 3 keys") as caught:
            rotate(repository, "root")
        assert caught.value.hint is not None
        assert all(keyid[:8] in caught.value.hint for keyid in repository.root().roles["root"].keyids)
        with pytest.raises(SettingsError, match="names 0 keys"):
            rotate(repository, "root", old="nothing")
        with pytest.raises(SettingsError, match="no role"):
            rotate(repository, "toor")
    assert place.verify().root == 1


def test_a_fast_forward_with_stolen_keys_is_recovered_from_by_rotating_them(
    place: Workplace, newer: Path
) -> None:
    device = place.device()
    assert device.fetch(TINY) is not None
    honest = place.folder / "honest"
    shutil.copytree(place.repository, honest)
    with place.open() as repository:
        snapshot, timestamp = repository.open(Snapshot.type), repository.open(Timestamp.type)
        root = repository.root()
        for md, role in ((snapshot, "snapshot"), (timestamp, "timestamp")):
            md.signed.version = 2**31
            if role == "timestamp":
                md.signed.snapshot_meta.version = 2**31
                md.signed.snapshot_meta.length = md.signed.snapshot_meta.hashes = None
            signer = repository.keys.signer(root.roles[role].keyids[0])
            assert signer is not None
            md.sign(signer)
    snapshot.to_file(str(place.repository / "metadata" / f"{2**31}.snapshot.json"))
    timestamp.to_file(str(place.repository / "metadata" / "timestamp.json"))
    assert device.fetch(TINY) is not None  # it has been taken in
    shutil.rmtree(place.repository)
    shutil.copytree(honest, place.repository)
    with pytest.raises(RepositoryError):
        device.fetch(TINY)
    for role in ("snapshot", "timestamp"):
        with place.open() as repository:
            rotate(repository, role)
    place.publish(newer)
    assert device.fetch(NEWER) is not None


def test_a_delegated_key_is_rotated_and_its_models_stay(place: Workplace, acme: Path) -> None:
    with place.open() as repository:
        ids = delegate(repository, "acme", ["models/acme-*"], RolePlan(days=30))
    with place.open() as repository:
        publish(repository, [acme], signed_by="acme")
    with place.open() as repository:
        done = rotate(repository, "acme")
    assert [done.old] == ids
    assert place.device().fetch("models/acme-home-1.0.0.edgemodel") is not None
    assert place.verify().findings == []


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("root", ["models/x-*"]),
        ("snapshot", ["models/x-*"]),
        ("../x", ["models/x-*"]),
        ("x", ["../models/x"]),
        ("x", ["models/a/b"]),
        ("x", ["*"]),
    ],
)
def test_a_delegation_that_makes_no_sense_is_refused(empty: Workplace, name: str, paths: list[str]) -> None:
    before = empty.files()
    with empty.open() as repository, pytest.raises(SettingsError):
        delegate(repository, name, paths, RolePlan())
    assert empty.files() == before


def test_a_delegation_that_cannot_be_signed_makes_no_key(empty: Workplace) -> None:
    for plan in (RolePlan(days=0), RolePlan(threshold=2), RolePlan(keys=99)):
        with empty.open() as repository, pytest.raises(SettingsError, match="acme cannot"):
            delegate(repository, "acme", ["models/acme-*"], plan)
    assert not list(empty.keys.glob("acme*"))


def test_refreshing_renews_what_is_about_to_expire_and_even_what_has_expired(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    long_ago = datetime.now(timezone.utc) - timedelta(days=20)
    place.create(now=lambda: long_ago)
    assert "expired" in place.verify().findings[0].problem
    with place.open() as repository:
        refresh(repository)
    assert place.verify().findings == []
    with place.open() as repository:
        refresh(repository, ["targets", "root"])
        assert repository.root().version == 2
    assert place.verify().findings == []


def test_what_expires_soon_is_counted_in_each_roles_own_time(empty: Workplace) -> None:
    with empty.open() as repository:
        found = expiries(repository)
    now = datetime.now(timezone.utc)

    def due(days: float, within: timedelta | None = None) -> set[str]:
        return {item.role for item in soon(found, now + timedelta(days=days), within)}

    assert due(0) == set()
    assert due(5) == {"snapshot", "timestamp"}
    assert due(61) == {"snapshot", "timestamp", "targets"}
    assert due(336) == set(ROLES)
    assert due(0, timedelta(days=14)) == {"snapshot", "timestamp"}
    assert due(80, timedelta(minutes=1)) == {"snapshot", "timestamp"}


@pytest.mark.parametrize(
    "plan", [RolePlan(keys=1, threshold=2), RolePlan(keys=0), RolePlan(threshold=0), RolePlan(days=0)]
)
def test_a_plan_that_cannot_be_signed_makes_nothing(tmp_path: Path, plan: RolePlan) -> None:
    place = Workplace(tmp_path)
    with pytest.raises(SettingsError):
        place.create(Plan(dict(Plan().roles) | {"targets": plan}))
    assert list(tmp_path.iterdir()) == []


def test_a_repository_is_not_made_twice_nor_around_its_keys(empty: Workplace, tmp_path: Path) -> None:
    before = empty.files()
    with pytest.raises(SettingsError, match="holds a repository"):
        empty.create()
    with pytest.raises(SettingsError, match="keys of another repository"):
        create(tmp_path / "second", empty.ring(), Plan())
    from edge_agent.fleet.repository.keys import KeyRing

    inside = KeyRing([tmp_path / "third" / "keys"], lambda purpose: PASSPHRASE)
    with pytest.raises(SettingsError, match="inside the repository"):
        create(tmp_path / "third", inside, Plan())
    assert empty.files() == before
    assert not (tmp_path / "third").exists()
    assert verify(str(empty.repository), empty.first_root).findings == []
