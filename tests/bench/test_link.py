"""The link's figures, and that an echo is what the daemon serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.bench.echo import EchoModel
from edge_agent.bench.link import Comparison, LinkReport, Turn, comparison_of, echo_of, link_targets_of
from edge_agent.bench.machine import processor_seconds
from edge_agent.service.models import Servable

PROTOCOLS = Comparison("MQTT 3.1.1 to 5", 0.95, 5700.0, 6000.0, 10)


def turn(per_second: float, *, busy_seconds: float = 0.1) -> Turn:
    return Turn((0.25, 0.5, 0.75), per_second, busy_seconds, 1000)


def report(per_second: float = 6000.0, *, ratio: float = 0.95, lost: int = 0) -> LinkReport:
    return LinkReport(echo_of([turn(per_second)], 5), replace(PROTOCOLS, ratio=ratio), None, lost, ())


def missed(of: LinkReport) -> list[str]:
    return [target.name for target in link_targets_of(of) if not target.met]


def test_an_echo_serves_as_a_model_and_says_what_it_was_told() -> None:
    model: Servable = EchoModel()
    assert model.predict("hola").label == "hola"
    answers = model.predict_many(["a", "b"], [1, 2])
    assert [getattr(answer, "label", None) for answer in answers] == ["a", "b"]
    model.close()


def test_an_echo_is_the_median_of_its_turns_and_the_sum_of_their_work() -> None:
    echo = echo_of([turn(5000.0), turn(100.0), turn(6000.0, busy_seconds=0.4)], 5)
    assert (echo.per_second, echo.processor_us, echo.requests) == (5000.0, 200.0, 3009)
    assert (echo.times.count, echo.times.p50_ms) == (9, 0.5)


def test_a_comparison_is_the_median_of_the_ratios_of_its_turns() -> None:
    compared = comparison_of("a to b", [90.0, 300.0, 80.0], [100.0, 100.0, 100.0])
    assert (compared.ratio, compared.per_second, compared.against_per_second) == (0.9, 90.0, 100.0)
    assert compared.turns == 3
    with pytest.raises(ValueError, match="longer"):
        comparison_of("a to b", [1.0], [1.0, 2.0])


def test_targets_are_met_at_their_limits_and_missed_below() -> None:
    assert missed(report(5000.0, ratio=0.9)) == []
    assert missed(report(4999.0, ratio=0.89, lost=1)) == ["echo, requests/s", "MQTT 3.1.1 to 5", "echo, lost"]


def test_a_pool_is_judged_only_where_it_was_measured() -> None:
    assert len(link_targets_of(report())) == 3
    slow = Comparison("pool of two to one", 1.79, 1790.0, 1000.0, 10)
    assert missed(replace(report(), pool=slow)) == ["pool of two to one"]
    assert missed(replace(report(), pool=replace(slow, ratio=1.8))) == []


def test_processor_time_is_read_past_a_name_with_blanks_and_brackets(tmp_path: Path) -> None:
    folder = tmp_path / "77"
    folder.mkdir()
    (folder / "stat").write_text("77 (a b) c) S " + " ".join(["0"] * 10) + " 250 50 0 0\n")
    assert processor_seconds(77, folder.parent) == pytest.approx(3.0)
    assert processor_seconds(78, folder.parent) is None
