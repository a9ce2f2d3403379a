"""What the main thread does now and then: in time, once however late, and put off when done meanwhile."""

from __future__ import annotations

import pytest

from edge_agent.service.timetable import Timetable


class Diary:
    """Notes how late it was called."""

    def __init__(self) -> None:
        self.late: list[float] = []

    def note(self, late: float) -> None:
        self.late.append(late)


def test_an_empty_timetable_is_never_due() -> None:
    timetable = Timetable()
    assert timetable.due == float("inf")
    timetable.run(1e9)


def test_a_task_is_done_after_its_seconds_and_then_again() -> None:
    timetable, diary = Timetable(), Diary()
    timetable.every(10.0, diary.note, now=100.0)
    assert timetable.due == 110.0
    timetable.run(109.9)
    assert diary.late == []
    timetable.run(110.0)
    assert diary.late == [0.0]
    assert timetable.due == 120.0


def test_a_task_that_comes_late_is_done_once_told_so_and_not_made_up_for() -> None:
    timetable, diary = Timetable(), Diary()
    timetable.every(10.0, diary.note, now=100.0)
    timetable.run(145.0)
    timetable.run(145.0)
    assert diary.late == [35.0]
    assert timetable.due == 155.0


def test_each_task_has_its_own_pace_and_the_next_one_of_all_is_due() -> None:
    timetable, quick, slow = Timetable(), Diary(), Diary()
    timetable.every(10.0, slow.note, now=0.0)
    timetable.every(3.0, quick.note, now=0.0)
    for now in range(1, 11):
        timetable.run(float(now))
    assert (len(quick.late), len(slow.late)) == (3, 1)
    assert timetable.due == 12.0


def test_a_task_that_was_done_for_another_reason_waits_a_whole_period_again() -> None:
    timetable, told, other = Timetable(), Diary(), Diary()
    timetable.every(10.0, told.note, now=0.0)
    timetable.every(10.0, other.note, now=0.0)
    timetable.put_off(told.note, 7.0)
    timetable.run(10.0)
    assert (told.late, other.late) == ([], [0.0])
    timetable.run(17.0)
    assert told.late == [0.0]


def test_to_put_off_what_is_not_in_it_changes_nothing() -> None:
    timetable, diary = Timetable(), Diary()
    timetable.every(10.0, diary.note, now=0.0)
    timetable.put_off(Diary().note, 9.0)
    assert timetable.due == 10.0


def test_a_task_that_fails_is_not_tried_again_before_its_time() -> None:
    timetable = Timetable()

    def fail(_: float) -> None:
        raise ZeroDivisionError

    timetable.every(10.0, fail, now=0.0)
    with pytest.raises(ZeroDivisionError):
        timetable.run(10.0)
    assert timetable.due == 20.0
