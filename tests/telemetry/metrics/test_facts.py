from __future__ import annotations

from bisect import bisect_left
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from edge_agent.errors import ErrorCode
from edge_agent.telemetry.board import BoardReading
from edge_agent.telemetry.fans import FanReading
from edge_agent.telemetry.frequency import Clock
from edge_agent.telemetry.latch import UnderVoltageLatch
from edge_agent.telemetry.metrics.board import with_board
from edge_agent.telemetry.metrics.facts import (
    BOUNDS_SECONDS,
    STAGES,
    EnergyFacts,
    MetricFacts,
    ModelFacts,
    StageHistogram,
    StageTimes,
)
from edge_agent.telemetry.metrics.families import MOST_LABELS, Exposition, families
from edge_agent.telemetry.reading import BatteryReading, Quality, Scope, SupplyReading
from edge_agent.telemetry.snapshot import PowerFigures, Snapshot
from tests.telemetry.metrics.sample_facts import full_facts

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
BARE = MetricFacts(version="0.1.0", device="pi")


def samples(facts: MetricFacts) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus would read."""
    _, body = Exposition(lambda: facts).render("")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


def _parse(text: str) -> list[Metric]:
    return list(parse_openmetrics(text))  # type: ignore[no-untyped-call]


def value(facts: MetricFacts, name: str, /, **labels: str) -> float:
    return samples(facts)[f"edge_agent_{name}", tuple(sorted(labels.items()))]


def names(facts: MetricFacts) -> set[str]:
    return {name for name, _ in samples(facts)}


@given(st.lists(st.floats(0, 20), max_size=40))
def test_a_histogram_counts_each_duration_in_the_first_bucket_that_holds_it(durations: list[float]) -> None:
    histogram = StageHistogram()
    for duration in durations:
        histogram.observe(duration)
    snapshot = histogram.snapshot()
    assert sum(snapshot.counts) == len(durations)
    assert snapshot.sum_seconds == pytest.approx(sum(durations))
    for number, bound in enumerate(BOUNDS_SECONDS):
        assert sum(snapshot.counts[: number + 1]) == sum(duration <= bound for duration in durations)


def test_a_snapshot_stays_as_it_was_when_work_goes_on() -> None:
    histogram = StageHistogram()
    before = histogram.snapshot()
    histogram.observe(0.001)
    assert sum(before.counts) == 0
    assert sum(histogram.snapshot().counts) == 1


def test_the_stages_of_a_request_are_counted_in_seconds_under_their_own_names() -> None:
    times = StageTimes()
    times.observe(queue_ms=0.2, tokenize_ms=0.1, invoke_ms=1.4, total_ms=1.8)
    snapshot = times.snapshot()
    assert tuple(snapshot) == STAGES
    for stage, milliseconds in zip(STAGES, (0.2, 0.1, 1.4, 1.8), strict=True):
        assert snapshot[stage].sum_seconds == pytest.approx(milliseconds / 1e3)
        assert snapshot[stage].counts.index(1) == bisect_left(BOUNDS_SECONDS, milliseconds * 1e-3)


def test_the_histogram_on_the_page_is_cumulative_and_agrees_with_its_count() -> None:
    name, facts = "inference_duration_seconds", full_facts()
    buckets = [value(facts, f"{name}_bucket", stage="total", le=repr(bound)) for bound in BOUNDS_SECONDS]
    assert buckets == sorted(buckets)
    assert value(facts, f"{name}_bucket", stage="total", le="0.002") == 1
    assert value(facts, f"{name}_bucket", stage="total", le="+Inf") == 2
    assert value(facts, f"{name}_count", stage="total") == 2
    assert value(facts, f"{name}_sum", stage="total") == pytest.approx(0.0243)


def test_what_is_unknown_has_no_sample() -> None:
    assert names(BARE) == {
        "edge_agent_build_info",
        "edge_agent_device_info",
        "edge_agent_messages_received_total",
    }
    facts = full_facts()
    assert ("edge_agent_throttled", (("reason", "soft_temperature_limit"),)) not in samples(facts)
    assert ("edge_agent_temperature_celsius", (("zone", "broken"),)) not in samples(facts)
    assert ("edge_agent_last_success_timestamp_seconds", (("name", "sentiment"),)) not in samples(facts)


@pytest.mark.parametrize("unknown", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_has_no_sample(unknown: float) -> None:
    assert "edge_agent_supply_volts" not in names(replace(BARE, supply_volts=unknown))


@pytest.mark.parametrize("field", [field.name for field in fields(MetricFacts)])
def test_every_fact_shows_on_the_page(field: str) -> None:
    """With it and without it, the page differs."""
    if field in {"version", "device"}:
        other: Any = "another"
    else:
        other = getattr(BARE, field)
    assert samples(full_facts()) != samples(replace(full_facts(), **{field: other}))


def test_health_is_a_set_of_states_of_which_one_holds() -> None:
    states = {
        state: value(full_facts(), "health_status", edge_agent_health_status=state)
        for state in ("up", "degraded", "down")
    }
    assert states == {"up": 0, "degraded": 1, "down": 0}


def test_only_a_model_that_serves_has_a_version() -> None:
    infos = [dict(labels) for name, labels in samples(full_facts()) if name == "edge_agent_model_info"]
    assert infos == [{"name": "home", "version": "1.0.0", "sha256": "ab" * 32}]
    assert value(full_facts(), "model_serving", name="sentiment") == 0


def test_every_error_code_is_there_from_the_start() -> None:
    """So that the first error is an increase, which ``rate`` sees."""
    results = {labels[0][1] for name, labels in samples(BARE) if name.endswith("received_total")}
    assert results == {"ok", *(code.value for code in ErrorCode)}
    assert value(full_facts(), "messages_received_total", result="too_large") == 3


def test_a_figure_of_energy_tells_its_rail_source_and_scope() -> None:
    total = value(full_facts(), "energy_joules_total", rail="total", source="pmic", scope="pmic-rails")
    assert total == 1820.5
    rail = {"rail": "VDD_CORE", "source": "pmic", "scope": "pmic-rails"}
    assert value(full_facts(), "energy_measured_seconds_total", **rail) == 400
    assert value(full_facts(), "power_watts", **rail) == 2.25


def test_a_ratio_goes_from_0_to_1() -> None:
    assert value(full_facts(), "battery_charge_ratio", battery="BAT0") == 0.8


def test_the_number_of_label_sets_is_bounded() -> None:
    many = tuple(ModelFacts(f"m{number}", "1.0.0", None, True, 1.0) for number in range(500))
    zones = {f"zone{number}": 20.0 for number in range(500)}
    meters = tuple(EnergyFacts(1.0, "pmic", "soc", f"rail{number}") for number in range(500))
    facts = replace(BARE, models=many, temperatures_celsius=zones, energy=meters)
    for name in ("model_info", "model_serving", "temperature_celsius", "energy_joules_total"):
        assert sum(sample == f"edge_agent_{name}" for sample, _ in samples(facts)) == MOST_LABELS


def test_two_sensors_with_one_name_do_not_spoil_the_page() -> None:
    meters = (EnergyFacts(1.0, "pmic", "soc"), EnergyFacts(2.0, "pmic", "soc"))
    assert (
        value(replace(BARE, energy=meters), "energy_joules_total", rail="total", source="pmic", scope="soc")
        == 1
    )


@given(st.text(st.characters(exclude_categories=())))
def test_any_name_of_a_sensor_makes_a_page_that_can_be_read(name: str) -> None:
    facts = replace(BARE, temperatures_celsius={name: 20.0}, board=name)
    _, body = Exposition(lambda: facts).render(OPENMETRICS)
    assert _parse(body.decode("utf-8"))


def test_the_page_is_openmetrics_for_who_asks_for_it() -> None:
    kind, body = Exposition(full_facts).render(OPENMETRICS)
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    text = body.decode("utf-8")
    assert text.endswith("# EOF\n")
    read = {family.name: family.type for family in _parse(text)}
    assert read["edge_agent_health_status"] == "stateset"
    assert read["edge_agent_model"] == "info"
    assert read["edge_agent_energy_joules"] == "counter"
    assert read["edge_agent_inference_duration_seconds"] == "histogram"
    kind, body = Exposition(full_facts).render("")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# EOF" not in body


def test_a_name_stands_once_and_begins_with_the_prefix() -> None:
    found = [family.name for family in families(full_facts())]
    assert len(found) == len(set(found))
    assert all(name.startswith("edge_agent_") for name in found)


def test_what_the_sensors_said_is_on_the_page_with_its_source_and_scope() -> None:
    snapshot = Snapshot(
        power=PowerFigures(
            "ina3221",
            Scope.MODULE,
            Quality.MEASURED,
            power_w=4.75,
            rails={"VDD_IN": 4.75},
            energy_j=100.0,
            measured_seconds=20.0,
        ),
        supply=SupplyReading(throttled=True, soft_temperature_limit_since_boot=True, supply_v=5.0),
        latch=UnderVoltageLatch(now=True),
        board=BoardReading(
            51.0, {"cpu": 51.0}, (FanReading("fan1", 900, None),), (Clock("cpu0", 1500.0, None, None),)
        ),
        batteries={"BAT0": BatteryReading(percent=50.0, on_battery=True)},
        failures={"pmic": 3},
    )
    facts = with_board(BARE, snapshot)
    meter = {"rail": "total", "source": "ina3221", "scope": "module"}
    assert value(facts, "energy_joules_total", **meter) == 100
    assert value(facts, "energy_measured_seconds_total", **meter) == 20
    assert value(facts, "power_watts", **meter | {"rail": "VDD_IN"}) == 4.75
    assert value(facts, "under_voltage") == 1
    assert value(facts, "throttled", reason="throttled") == 1
    assert value(facts, "throttled_since_boot", reason="soft_temperature_limit") == 1
    assert value(facts, "temperature_celsius", zone="cpu") == 51
    assert value(facts, "cpu_frequency_hertz", cpu="cpu0") == 1.5e9
    assert value(facts, "fan_speed_rpm", fan="fan1") == 900
    assert value(facts, "battery_charge_ratio", battery="BAT0") == 0.5
    assert value(facts, "sensor_errors_total", sensor="pmic") == 3


def test_a_board_without_sensors_says_nothing_of_them() -> None:
    assert names(with_board(BARE, Snapshot())) == names(BARE)
    failing = PowerFigures("pmic", Scope.PMIC_RAILS, Quality.MEASURED)
    assert names(with_board(BARE, Snapshot(power=failing))) == names(BARE)
