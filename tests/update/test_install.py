from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from edge_agent.errors import GoldenError
from edge_agent.update.disk import Disk, locked
from edge_agent.update.install import Outcome, conclude, install, roll_back
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.slots import Record, State
from edge_agent.update.store import Budget
from edge_agent.update.upkeep import recover_all
from tests.update.toy import check, open_store, proves, served, tree, wanted, write_toy


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def _install(models: Path, version: str, **options: object) -> Outcome:
    toy = write_toy(models.parent / f"toy-{version}", version)
    return install(open_store(models), wanted(toy), proves, **options)  # type: ignore[arg-type]


def _reason(models: Path, act: object) -> Reason:
    with pytest.raises(UpdateError) as caught:
        act()  # type: ignore[operator]
    return caught.value.reason


def test_a_version_is_found_under_the_models_name(models: Path) -> None:
    outcome = _install(models, "1.0.0")
    assert (outcome.is_new, outcome.record.state, served(models)) == (True, State.KEPT, "1.0.0")
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == ["home"]


def test_the_states_are_told_in_their_order(models: Path) -> None:
    told: list[Record] = []
    _install(models, "1.0.0", on_change=told.append)
    assert [record.state.value for record in told] == [
        "downloading",
        "verifying",
        "trying",
        "switching",
        "watching",
        "kept",
    ]


def test_a_second_run_has_nothing_to_do(models: Path) -> None:
    _install(models, "1.0.0")
    before = tree(models)
    assert not _install(models, "1.0.0").is_new
    assert tree(models) == before


def test_a_rollback_turns_to_the_version_before_and_no_further(models: Path) -> None:
    _install(models, "1.0.0")
    _install(models, "1.1.0")
    assert served(models) == "1.1.0"
    record = roll_back(open_store(models), "home")
    assert (record.state, record.reason, served(models)) == (State.ROLLED_BACK, Reason.ASKED, "1.0.0")
    assert _reason(models, lambda: roll_back(open_store(models), "home")) is Reason.NOTHING_OLDER
    assert served(models) == "1.0.0"


def test_a_rollback_may_take_the_only_version_away(models: Path) -> None:
    _install(models, "1.0.0")
    roll_back(open_store(models), "home", allow_none=True)
    assert not (models / "home").is_symlink()


def test_a_rollback_to_a_damaged_version_is_refused(models: Path) -> None:
    old = _install(models, "1.0.0").record.serving
    _install(models, "1.1.0")
    assert old is not None
    (open_store(models).path(old.digest) / "weights").write_bytes(b"rot")
    before = tree(models)
    assert _reason(models, lambda: roll_back(open_store(models), "home")) is Reason.BUNDLE
    assert tree(models) == before


def test_a_version_that_has_rotted_is_replaced(models: Path) -> None:
    _install(models, "1.0.0")
    (models / "home" / "weights").write_bytes(b"rot")
    assert _install(models, "1.0.0").is_new
    assert served(models) == "1.0.0"


def test_what_fails_its_proof_leaves_the_old_one_serving(models: Path) -> None:
    def fails(folder: Path) -> None:
        raise GoldenError("golden sentence 3 expected negative, got neutral")

    _install(models, "1.0.0")
    toy = write_toy(models.parent / "bad", "6.6.6")
    act = lambda: install(open_store(models), wanted(toy), fails)  # noqa: E731
    assert _reason(models, act) is Reason.PROOF
    record = open_store(models).journal.read("home")
    assert record is not None
    assert (record.state, record.condemns(check(toy).digest), served(models)) == (
        State.FAILED,
        True,
        "1.0.0",
    )


def test_another_bundle_than_the_one_that_was_asked_for_is_refused(models: Path) -> None:
    _install(models, "1.0.0")
    toy, other = write_toy(models.parent / "toy", "1.1.0"), write_toy(models.parent / "other", "1.1.1")
    act = lambda: install(open_store(models), wanted(other, content=check(toy)), proves)  # noqa: E731
    assert _reason(models, act) is Reason.WRONG_SOFTWARE
    assert served(models) == "1.0.0"


def test_a_damaged_bundle_is_refused_and_nothing_of_it_stays(models: Path) -> None:
    _install(models, "1.0.0")
    toy = write_toy(models.parent / "toy", "1.1.0")
    content = check(toy)
    (toy / "weights").write_bytes(b"altered")
    stored = open_store(models).versions()
    act = lambda: install(open_store(models), wanted(toy, content=content), proves)  # noqa: E731
    assert _reason(models, act) is Reason.BUNDLE
    assert (open_store(models).versions(), served(models)) == (stored, "1.0.0")
    assert list((models / ".store" / "incoming").iterdir()) == []


def test_a_watched_version_serves_until_it_is_concluded(models: Path) -> None:
    _install(models, "1.0.0")
    assert _install(models, "1.1.0", watch=True).record.state is State.WATCHING
    assert served(models) == "1.1.0"
    assert conclude(open_store(models), "home").state is State.KEPT
    assert _install(models, "1.2.0", watch=True).record.state is State.WATCHING
    record = conclude(open_store(models), "home", Reason.UNHEALTHY, "error rate 40 %")
    assert (record.state, record.detail, served(models)) == (State.ROLLED_BACK, "error rate 40 %", "1.1.0")


def test_only_the_daemons_start_counts_as_a_cut_of_watching(models: Path) -> None:
    _install(models, "1.0.0")
    _install(models, "1.1.0", watch=True)
    assert recover_all(open_store(models))[0].cuts == 1
    for _ in range(3):
        assert _reason(models, lambda: roll_back(open_store(models), "nobody")) is Reason.NOTHING_OLDER
    assert served(models) == "1.1.0"
    assert recover_all(open_store(models))[0].state is State.ROLLED_BACK
    assert served(models) == "1.0.0"


def test_a_folder_that_somebody_copied_is_what_to_fall_back_to(models: Path) -> None:
    write_toy(models / "home", "0.9.0")
    _install(models, "1.0.0")
    assert served(models) == "1.0.0"
    roll_back(open_store(models), "home")
    assert served(models) == "0.9.0"


def test_a_folder_is_taken_over_where_the_file_system_knows_no_exchange(models: Path) -> None:
    class Plain(Disk):
        def exchange(self, left: Path, right: Path) -> None:
            raise OSError(errno.EINVAL, "no exchange here")

    write_toy(models / "home", "0.9.0")
    toy = write_toy(models.parent / "toy", "1.0.0")
    install(open_store(models, Plain()), wanted(toy), proves)
    assert served(models) == "1.0.0"
    roll_back(open_store(models, Plain()), "home")
    assert served(models) == "0.9.0"


def test_a_name_that_somebody_removed_stays_removed(models: Path) -> None:
    _install(models, "1.0.0")
    (models / "home").unlink()
    recover_all(open_store(models))
    assert not (models / "home").exists()
    assert _install(models, "1.0.0").is_new


def test_a_lost_journal_is_made_again_from_what_lies_there(models: Path) -> None:
    _install(models, "1.0.0")
    (models / ".store" / "journal" / "home.json").write_bytes(b"\0" * 100)
    recover_all(open_store(models))
    _install(models, "1.1.0")
    roll_back(open_store(models), "home")
    assert served(models) == "1.0.0"


def test_old_versions_go_by_the_budget_but_never_those_in_use(models: Path) -> None:
    for index in range(6):
        _install(models, f"1.{index}.0", budget=Budget(most_versions=1))
    assert len(open_store(models).versions()) == 3
    assert served(models) == "1.5.0"
    for expected in ("1.4.0", "1.3.0"):
        roll_back(open_store(models), "home")
        assert served(models) == expected


def test_old_versions_go_by_their_bytes(models: Path) -> None:
    for index in range(4):
        _install(models, f"1.{index}.0", budget=Budget(most_versions=9, most_bytes=1))
    assert len(open_store(models).versions()) == 2


def test_two_at_a_time_are_refused(models: Path) -> None:
    _install(models, "1.0.0")
    with locked(models / ".store" / "lock"):
        assert _reason(models, lambda: _install(models, "1.1.0")) is Reason.BUSY
    assert served(models) == "1.0.0"


def test_too_little_room_is_seen_before_anything_is_written(models: Path) -> None:
    _install(models, "1.0.0")
    toy = write_toy(models.parent / "toy", "1.1.0")
    act = lambda: install(open_store(models), wanted(toy, needed=1 << 60), proves)  # noqa: E731
    assert _reason(models, act) is Reason.NO_SPACE
    assert served(models) == "1.0.0"


def test_old_versions_go_before_a_new_one_is_refused_for_want_of_room(models: Path) -> None:
    class Small(Disk):
        def free_bytes(self, path: Path) -> int:
            return 0 if len(list(path.glob("sha256-*"))) > 2 else 1 << 20

    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        _install(models, version)
    toy = write_toy(models.parent / "toy", "1.4.0")
    install(open_store(models, Small()), wanted(toy), proves)
    assert served(models) == "1.4.0"
    roll_back(open_store(models), "home")
    assert served(models) == "1.3.0"
    roll_back(open_store(models), "home")
    assert served(models) == "1.2.0"  # which was what 1.3.0 would have fallen back to
    assert _reason(models, lambda: roll_back(open_store(models), "home")) is Reason.NOTHING_OLDER


def test_a_disk_that_fills_up_leaves_the_old_one_serving(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=256k none {disk} 2>/dev/null"):
        pytest.skip("needs to mount a tmpfs")
    try:
        models = disk / "models"
        small = write_toy(tmp_path / "small", "1.0.0")
        install(open_store(models), wanted(small), proves)
        large = write_toy(tmp_path / "large", "1.1.0", size=400_000)
        act = lambda: install(open_store(models), wanted(large, needed=0), proves)  # noqa: E731
        assert _reason(models, act) is Reason.NO_SPACE
        assert served(models) == "1.0.0"
        recover_all(open_store(models))
        install(open_store(models), wanted(write_toy(tmp_path / "next", "1.2.0")), proves)
        assert served(models) == "1.2.0"
    finally:
        os.system(f"umount {disk}")


def test_what_root_makes_belongs_to_the_owner_of_the_folder(models: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    models.mkdir()
    os.chown(models, 12345, 12345)
    _install(models, "1.0.0")
    owners = {path.lstat().st_uid for path in (models / ".store").rglob("*")}
    assert owners == {12345}


def test_a_process_that_dies_lets_go_of_the_lock(models: Path) -> None:
    _install(models, "1.0.0")
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(models / ".store" / "lock", ready))
    holder.start()
    assert ready.wait(60)
    assert _reason(models, lambda: _install(models, "1.1.0")) is Reason.BUSY
    holder.kill()
    holder.join(60)
    assert _install(models, "1.1.0").is_new


def _hold(path: Path, ready: object) -> None:
    import threading

    with locked(path):
        ready.set()  # type: ignore[attr-defined]
        threading.Event().wait()


def test_a_digest_that_is_none_is_no_path(models: Path) -> None:
    with pytest.raises(ValueError, match="digest"):
        open_store(models).path("sha256:../../etc")


def test_links_in_a_folder_that_somebody_made_become_files_of_the_store(models: Path, tmp_path: Path) -> None:
    plain = write_toy(models / "home", "0.9.0")
    (plain / "weights").rename(tmp_path / "elsewhere")
    (plain / "weights").symlink_to(tmp_path / "elsewhere")
    _install(models, "1.0.0")
    roll_back(open_store(models), "home")
    (tmp_path / "elsewhere").unlink()
    assert served(models) == "0.9.0"
