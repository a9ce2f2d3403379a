"""Which models the broker may hold: a record that outlives the process, with a real folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.service.told_models import FILE_NAME, ToldModels, is_topic_level


def test_what_was_noted_is_known_in_the_next_life_and_written_only_when_it_changes(tmp_path: Path) -> None:
    told = ToldModels(tmp_path)
    assert told.names == frozenset()
    told.note(frozenset({"home", "señal"}))
    written = (tmp_path / FILE_NAME).stat().st_ino
    told.note(frozenset({"señal", "home"}))
    assert (tmp_path / FILE_NAME).stat().st_ino == written
    assert ToldModels(tmp_path).names == {"home", "señal"}


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff", b"[]", b'{"models": 1}', b"[" * 100_000, b'{"models": [1, "a/b", "#", ""]}']
)
def test_garbage_in_the_file_is_no_model(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(garbage)
    assert ToldModels(tmp_path).names == frozenset()


def test_where_it_cannot_be_written_it_lasts_as_long_as_the_process(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    told = ToldModels(tmp_path)
    told.note(frozenset({"home"}))
    assert told.names == {"home"}
    assert ToldModels(tmp_path).names == frozenset()


@pytest.mark.parametrize("name", ["home", "my model", "señal", "模型", "x" * 128])
def test_a_name_that_a_topic_may_have(name: str) -> None:
    assert is_topic_level(name)


@pytest.mark.parametrize("name", ["", "a/b", "+", "a#", "a\nb", "a\0", "\x9f", "\ufffe", "\ud800", "x" * 129])
def test_a_name_that_would_cost_the_link(name: str) -> None:
    assert not is_topic_level(name)
