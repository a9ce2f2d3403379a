"""The schedule is a function of its seed, and leaves no kind of fault out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from tests.chaos.schedule import Kind, make_schedule


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert make_schedule(7, 2000, 20) == make_schedule(7, 2000, 20)
    assert make_schedule(7, 2000, 20) != make_schedule(8, 2000, 20)


def test_every_kind_comes_equally_often() -> None:
    counts = Counter(fault.kind for fault in make_schedule(1, 100_000, 10 * len(Kind)))
    assert counts == dict.fromkeys(Kind, 10)


def test_faults_are_in_order_and_leave_requests_before_between_and_after_them() -> None:
    for seed in range(50):
        schedule = make_schedule(seed, 2000, 20)
        begins = [0, *(fault.after_requests for fault in schedule), 2000]
        assert all(later - earlier >= 40 for earlier, later in pairwise(begins)), seed
        assert [fault.index for fault in schedule] == list(range(20))


def test_a_fault_in_words_has_all_that_is_needed_to_repeat_it() -> None:
    words = [str(fault) for fault in make_schedule(3, 2000, len(Kind))]
    assert len(set(words)) == len(Kind)
    assert all("requests: " in line and " s" in line for line in words)
