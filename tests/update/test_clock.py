from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.update.clock import (
    BUILD_TIME,
    Clocks,
    Note,
    Reference,
    Source,
    from_json,
    note_of,
    reference_time,
    to_json,
)
from edge_agent.update.known_time import read_clocks, take_reference

DAY = timedelta(days=1)
LATER = BUILD_TIME + 100 * DAY
IN_1970 = datetime(1970, 1, 1, tzinfo=timezone.utc)
IN_2099 = datetime(2099, 1, 1, tzinfo=timezone.utc)


def _clocks(wall: datetime, up: float, *, synced: bool = False, boot: str | None = "b2") -> Clocks:
    return Clocks(wall, synced, boot, up)


def test_a_synchronised_clock_counts() -> None:
    assert reference_time(_clocks(LATER, 5, synced=True), None) == Reference(LATER, Source.SYNCHRONISED)


@pytest.mark.parametrize("wall", [IN_1970, IN_2099])
def test_without_synchronisation_the_wall_clock_says_nothing(wall: datetime) -> None:
    found = reference_time(_clocks(wall, 60), None)
    assert found == Reference(BUILD_TIME + timedelta(seconds=60), Source.BUILD)


def test_in_the_same_boot_what_passed_since_the_note_is_added() -> None:
    found = reference_time(_clocks(IN_1970, 700), Note(LATER, "b2", 100))
    assert found == Reference(LATER + timedelta(seconds=600), Source.LAST_KNOWN)


@pytest.mark.parametrize("boot", ["b1", None])
def test_in_another_boot_the_uptime_is_added(boot: str | None) -> None:
    found = reference_time(_clocks(IN_1970, 700), Note(LATER, boot, 100_000))
    assert found.time == LATER + timedelta(seconds=700)


def test_a_synchronised_clock_before_the_last_known_time_does_not_turn_it_back() -> None:
    found = reference_time(_clocks(BUILD_TIME + DAY, 9, synced=True), Note(LATER, "b1", 0))
    assert found == Reference(LATER, Source.LAST_KNOWN)


def test_a_device_without_a_clock_sees_metadata_expire_in_the_end() -> None:
    note, expires = None, BUILD_TIME + 7 * DAY
    for boot in range(8):  # eight boots of a day each; the wall clock begins in 1970 each time
        clocks = _clocks(IN_1970 + DAY, 86_400, boot=f"b{boot}")
        reference = reference_time(clocks, note)
        note = note_of(reference, clocks)
    assert note is not None
    assert note.time == BUILD_TIME + 8 * DAY > expires


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.datetimes(timezones=st.just(timezone.utc)),
            st.floats(0, 1e9),
            st.sampled_from(["b1", "b2", None]),
        ),
        max_size=20,
    )
)
def test_the_reference_never_goes_back(moments: list[tuple[bool, datetime, float, str | None]]) -> None:
    note, latest = None, BUILD_TIME
    for synced, wall, up, boot in moments:
        clocks = Clocks(wall, synced, boot, up)
        reference = reference_time(clocks, note)
        assert reference.time >= latest
        latest, note = reference.time, note_of(reference, clocks)
        assert from_json(to_json(note)) == note


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=20), st.lists(st.floats(0, 1e6), min_size=20))
def test_without_a_clock_the_reference_is_never_later_than_the_truth(
    ups: list[float], offs: list[float]
) -> None:
    truth, note = BUILD_TIME + DAY, Note(BUILD_TIME + DAY, "b0", 0.0)
    for index, (up, off) in enumerate(zip(ups, offs, strict=False)):
        truth += timedelta(seconds=up + off)
        clocks = Clocks(IN_2099, False, f"c{index}", up)
        note = note_of(reference_time(clocks, note), clocks)
        assert note.time <= truth + timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"time": "x", "boot_id": None, "boottime_seconds": 0},
        {"time": "2026-01-01T00:00:00", "boot_id": None, "boottime_seconds": 0},
        {"time": "2026-01-01T00:00:00+00:00", "boot_id": None, "boottime_seconds": float("nan")},
        {"time": "9999-01-01T00:00:00+00:00", "boot_id": None, "boottime_seconds": 0},
    ],
)
def test_a_note_that_makes_no_sense_counts_as_none(value: object) -> None:
    assert from_json(value) is None


def test_the_note_is_kept_and_garbage_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    path.write_bytes(b"\xff{")
    first = take_reference(path, Clocks(LATER, True, "b1", 10.0))
    second = take_reference(path, Clocks(IN_1970, False, "b2", 30.0))
    assert (first.time, second.time) == (LATER, LATER + timedelta(seconds=30))


def test_this_machine_has_clocks() -> None:
    clocks = read_clocks(True)
    assert clocks.wall > IN_1970
    assert clocks.boottime_seconds > 0
