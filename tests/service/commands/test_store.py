"""The durable record: what it keeps, what it forgets, and that nothing on disk can stop it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.link.commands import Status
from edge_agent.service.commands.record import LOST_RESULT, Record
from edge_agent.service.commands.states import Step
from edge_agent.service.commands.store import FILE_NAME, CommandStore, RecordError


def fresh(command_id: str, asked_at: float = 1.0, operation: str = "self-test") -> Record:
    return Record(operation, command_id, Status.INIT, {"n": 1}, asked_at)


def ended(command_id: str, at: float = 1.0) -> Record:
    return fresh(command_id, at).begun(at).ended(Step.SUCCEED, at, None, {"of": command_id})


def loaded(folder: Path, kept: int = 1000) -> CommandStore:
    store = CommandStore(folder, kept)
    store.load()
    return store


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def store(tmp_path: Path) -> CommandStore:
    return loaded(tmp_path)


def test_what_was_put_is_there_in_the_next_life(tmp_path: Path, store: CommandStore) -> None:
    store.put(ended("a"))
    store.put(fresh("b").begun(2.0))
    store.put(fresh("c"))
    again = loaded(tmp_path)
    assert again.find("self-test", "a") == ended("a")
    assert again.executing == fresh("b").begun(2.0)
    assert again.waiting == [fresh("c")]
    assert again.fault is None


def test_ids_of_other_operations_are_other_commands(store: CommandStore) -> None:
    store.put(ended("a"))
    assert store.find("restart", "a") is None


def test_the_file_is_for_its_owner_alone(tmp_path: Path, store: CommandStore) -> None:
    store.put(ended("a"))
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_the_oldest_that_ended_are_forgotten_and_the_time_until_which_is_kept(tmp_path: Path) -> None:
    store = loaded(tmp_path, kept=3)
    store.put(fresh("waits", 0.5))
    for number in range(6):
        store.put(ended(str(number), 10.0 + number))
    assert [record.id for record in store.ended] == ["3", "4", "5"]
    assert store.waiting == [fresh("waits", 0.5)]
    assert loaded(tmp_path, kept=3).forgotten_until == 12.0


def test_only_the_newest_end_keeps_its_result(store: CommandStore) -> None:
    store.put(ended("a"))
    store.put(ended("b"))
    first, second = store.ended
    assert (first.result, first.reason) == (None, LOST_RESULT)
    assert second.result == {"of": "b"}


def test_a_wish_is_known_by_its_message_while_it_is_the_newest(store: CommandStore) -> None:
    def wish(command_id: str, mark: str) -> Record:
        return Record("restart", command_id, Status.INIT, {}, 1.0, mark=mark)

    store.put(wish("a", "1:x").begun(1.0).ended(Step.SUCCEED, 2.0, None))
    assert store.marked("restart", "1:x")
    assert not store.marked("self-test", "1:x")
    store.put(wish("b", "2:x"))
    assert store.marked("restart", "2:x")
    assert not store.marked("restart", "1:x")


def test_a_file_cut_at_any_byte_is_put_aside_and_the_record_starts_anew(tmp_path: Path) -> None:
    store = loaded(tmp_path)
    store.put(ended("a"))
    store.put(fresh("b").begun(2.0))
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        again = loaded(tmp_path)
        assert again.fault is not None, length
        assert again.find("self-test", "a") is None
        assert again.forgotten_until is None  # nothing is refused as stale for it
        assert (tmp_path / f"{FILE_NAME}.damaged").read_bytes() == whole[:length]
        assert not path.exists()


@given(st.binary(max_size=60), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_whatever_stands_in_the_file_the_store_works_afterwards(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    store = loaded(folder)
    store.put(ended("a"))
    content = bytearray((folder / FILE_NAME).read_bytes())
    place %= len(content)
    content[place : place + len(noise)] = noise
    (folder / FILE_NAME).write_bytes(bytes(content))
    again = loaded(folder)
    again.put(ended("z"))
    assert loaded(folder).find("self-test", "z") is not None


def test_a_file_of_a_later_version_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"format":2,"commands":[]}')
    assert "not of a format" in str(loaded(tmp_path).fault)


def test_a_folder_in_the_place_of_the_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    store = loaded(tmp_path)
    assert store.fault is not None
    store.put(ended("a"))


def test_leftovers_of_a_write_that_a_power_cut_ended_are_removed(tmp_path: Path, store: CommandStore) -> None:
    store.put(ended("a"))
    (tmp_path / f".{FILE_NAME}.abc.tmp").write_bytes(b"half")
    loaded(tmp_path)
    assert set(files(tmp_path)) == {FILE_NAME}


def test_what_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    store = loaded(folder)
    store.put(ended("a"))
    before = files(folder)
    moved = folder.rename(tmp_path / "away")
    with pytest.raises(RecordError, match="cannot be recorded: No such file or directory"):
        store.put(ended("b"))
    with pytest.raises(RecordError):
        store.forget(ended("a"))
    assert store.find("self-test", "b") is None
    assert store.find("self-test", "a") is not None
    assert files(moved) == before


def test_what_was_only_noted_is_written_with_the_next(tmp_path: Path, store: CommandStore) -> None:
    store.note(ended("a"))
    assert not (tmp_path / FILE_NAME).exists()
    store.put(ended("b"))
    assert [record.id for record in loaded(tmp_path).ended] == ["a", "b"]
