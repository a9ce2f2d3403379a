from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.update.record import Journal, from_json, to_json
from edge_agent.update.refusal import Reason
from edge_agent.update.slots import Record, State, Version

versions = st.builds(Version, st.text(max_size=9), st.integers(0, 9).map(lambda n: f"sha256:{n:064x}"))
records = st.builds(
    Record,
    name=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,9}", fullmatch=True),
    state=st.sampled_from(State),
    serving=st.none() | versions,
    previous=st.lists(versions, max_size=3).map(tuple),
    candidate=st.none() | versions,
    reason=st.none() | st.sampled_from(Reason),
    detail=st.none() | st.text(max_size=9),
    cuts=st.integers(0, 3),
    condemned=st.lists(st.text(max_size=9), max_size=3).map(tuple),
)
RECORD = Record("home", State.WATCHING, Version("1.1.0", "sha256:" + "a" * 64))


@given(records)
def test_a_record_survives_its_form(record: Record) -> None:
    assert from_json(json.loads(json.dumps(to_json(record)))) == record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(RECORD)
    assert journal.read("home") == RECORD
    assert journal.records() == [RECORD]


@given(st.binary(max_size=200) | st.sampled_from([b"[]", b'{"format":1}', b"[" * 100_000]))
def test_garbage_counts_as_no_record(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "home.json").write_bytes(content)
        assert Journal(Path(folder)).read("home") is None
        assert Journal(Path(folder)).records() == []


def test_a_record_under_another_name_counts_as_none(tmp_path: Path) -> None:
    Journal(tmp_path).write(RECORD)
    (tmp_path / "home.json").rename(tmp_path / "other.json")
    assert Journal(tmp_path).records() == []


def test_the_journal_of_no_folder_is_empty(tmp_path: Path) -> None:
    assert Journal(tmp_path / "absent").records() == []
