from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.telemetry.metrics.uptime import Uptime


def test_time_counts_by_what_health_said_at_its_beginning() -> None:
    uptime = Uptime(began_seconds=100.0).noted(True, 110.0).noted(False, 130.0).noted(True, 135.0)
    assert uptime.correct(136.0) == pytest.approx(21.0)
    assert uptime.expected(136.0) == pytest.approx(36.0)


def test_before_the_first_look_nothing_was_well() -> None:
    assert Uptime(began_seconds=5.0).correct(50.0) == 0


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e6)), max_size=20))
def test_it_never_falls_and_never_exceeds_what_was_expected(looks: list[tuple[bool, float]]) -> None:
    uptime, now, before = Uptime(began_seconds=0.0), 0.0, 0.0
    for is_well, pause in looks:
        now += pause
        uptime = uptime.noted(is_well, now)
        assert before <= uptime.correct(now) <= uptime.expected(now) * (1 + 1e-9)
        before = uptime.correct(now)
