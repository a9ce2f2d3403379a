"""Our own memory of under-voltage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.telemetry.latch import MOST_WINDOWS, UnderVoltageLatch

FRESH = 30.0


def after(*looks: tuple[float, bool | None]) -> UnderVoltageLatch:
    latch = UnderVoltageLatch()
    for moment, under_voltage in looks:
        latch = latch.looked(moment, under_voltage)
    return latch


def test_before_any_look_nothing_is_known() -> None:
    latch = UnderVoltageLatch()
    assert (latch.now, latch.since_boot, latch.count) == (None, None, 0)
    assert latch.is_power_ok(0.0, 1.0, FRESH) is None


def test_under_voltage_is_remembered_when_it_is_over() -> None:
    latch = after((0.0, False), (2.0, True), (4.0, True), (6.0, False))
    assert (latch.now, latch.since_boot, latch.count) == (False, True, 1)
    assert latch.windows == ((0.0, 6.0),)


def test_each_beginning_is_counted_once() -> None:
    latch = after(*((float(moment), moment % 2 == 1) for moment in range(9)))
    assert latch.count == 4


def test_power_was_not_ok_from_the_last_look_that_denied_to_the_next_one() -> None:
    latch = after((10.0, False), (20.0, True), (30.0, False), (40.0, False))
    assert latch.is_power_ok(5.0, 9.0, FRESH) is True
    assert latch.is_power_ok(5.0, 10.5, FRESH) is False
    assert latch.is_power_ok(22.0, 23.0, FRESH) is False
    assert latch.is_power_ok(29.0, 35.0, FRESH) is False
    assert latch.is_power_ok(30.0, 35.0, FRESH) is False
    assert latch.is_power_ok(30.1, 35.0, FRESH) is True


def test_while_it_lasts_no_result_is_vouched_for() -> None:
    latch = after((10.0, False), (20.0, True))
    assert latch.is_power_ok(21.0, 22.0, FRESH) is False
    assert latch.is_power_ok(8.0, 9.0, FRESH) is True


def test_a_look_that_is_too_old_says_nothing() -> None:
    assert after((10.0, False)).is_power_ok(40.5, 40.6, FRESH) is None
    assert after((10.0, True)).is_power_ok(40.5, 40.6, FRESH) is None
    assert after((10.0, True)).is_power_ok(39.9, 40.6, FRESH) is False


def test_a_look_that_failed_is_unknown_and_ends_nothing() -> None:
    latch = after((10.0, True), (20.0, None))
    assert (latch.now, latch.since_boot) == (None, True)
    assert latch.since_seconds == 10.0
    assert latch.looked(25.0, True).count == 1


def test_since_boot_is_ours_or_the_firmwares_and_the_firmwares_memory_cannot_be_cleared() -> None:
    latch = UnderVoltageLatch().looked(0.0, False, since_boot=True)
    assert latch.since_boot is True
    assert latch.looked(2.0, False, since_boot=False).since_boot is True
    assert UnderVoltageLatch().looked(0.0, False, since_boot=False).since_boot is False
    assert UnderVoltageLatch().looked(0.0, True, since_boot=False).since_boot is True


def test_only_the_firmware_can_deny_what_was_before_us() -> None:
    assert after((0.0, False)).since_boot is None


def test_a_supply_that_flaps_for_years_takes_no_more_memory() -> None:
    latch = after(*((float(moment), moment % 2 == 1) for moment in range(1001)))
    assert latch.count == 500
    assert len(latch.windows) == MOST_WINDOWS
    assert latch.is_power_ok(999.5, 999.6, FRESH) is False


@given(
    st.lists(st.sampled_from([True, False, None]), max_size=40),
    st.floats(0, 40),
    st.floats(0, 5),
)
def test_no_result_made_when_a_look_saw_under_voltage_is_vouched_for(
    seen: list[bool | None], began: float, lasted: float
) -> None:
    latch = after(*((float(moment), value) for moment, value in enumerate(seen)))
    ended = began + lasted
    if any(value and began <= moment <= ended for moment, value in enumerate(seen)):
        assert latch.is_power_ok(began, ended, FRESH) is False
    if True not in seen:
        assert latch.is_power_ok(began, ended, FRESH) is not False
