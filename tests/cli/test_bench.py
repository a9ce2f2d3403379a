"""``edge-agent bench`` measures a tiny model with a real broker and a real daemon."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent.bench.energy import Energy, PerRequest, unknown
from edge_agent.bench.figures import Daemon, Percentiles, Target, targets_of
from edge_agent.cli.bench_view import energy_cell, energy_line, target_rows
from edge_agent.telemetry.reading import Quality, Scope
from tests.cli.command import Done, assert_one_line_and_hint, edge_agent

GOOD = Daemon(
    broker="Mosquitto 2.0.11",
    protocol=5,
    requests=13_100,
    times=Percentiles(3000, 0.9, 1.5),
    overhead_p50_ms=0.5,
    overhead_p99_ms=0.9,
    per_second=1600.0,
    throughput_ratio=0.9,
    rss_mb=97.8,
    rss_growth_mb=0.1,
    start_seconds=0.4,
    starts=5,
    lost=0,
)


@pytest.fixture(scope="module")
def measured(tiny_folder: Path) -> Done:
    return edge_agent("bench", "--quick", "--link", "--json", "--model", tiny_folder)


@pytest.fixture(scope="module")
def report(measured: Done) -> dict[str, Any]:
    assert measured.code == 0, measured.err
    found: dict[str, Any] = json.loads(measured.out)
    return found


def test_json_tells_the_machine_the_versions_and_the_model(report: dict[str, Any]) -> None:
    assert report["machine"]["cores"] >= 1
    assert report["runtime"].startswith("ai-edge-litert ")
    assert report["model"]["name"] == "tiny"
    assert report["model"]["digest"].startswith("sha256:")
    assert report["model"]["sentence_tokens"] == 12


def test_every_length_that_the_model_reads_is_measured(report: dict[str, Any]) -> None:
    assert [at["tokens"] for at in report["lengths"]] == [8, 16, 32]
    assert all(0 < at["times"]["p50_ms"] <= at["times"]["p99_ms"] for at in report["lengths"])


def test_the_daemon_is_measured_beside_the_bare_interpreter(report: dict[str, Any]) -> None:
    daemon, bare = report["daemon"], report["bare"]
    assert daemon["requests"] == 100 + 3 * (100 + 300)
    assert daemon["overhead_p50_ms"] == pytest.approx(daemon["times"]["p50_ms"] - bare["times"]["p50_ms"])
    assert 0 < daemon["throughput_ratio"] < 1
    assert 20 < daemon["rss_mb"] < 200
    assert 0.1 < daemon["start_seconds"] < 20
    assert daemon["protocol"] == 5


def test_the_link_is_measured_without_a_model_and_with_both_protocols(report: dict[str, Any]) -> None:
    link = report["link"]
    assert (link["echo"]["protocol"], link["echo"]["requests"]) == (5, 2 * (50 + 500))
    assert 0 < link["echo"]["times"]["p50_ms"] <= link["echo"]["times"]["p99_ms"]
    assert 0 < link["echo"]["processor_us"] < 5000
    protocols = link["protocols"]
    assert (protocols["name"], protocols["turns"]) == ("MQTT 3.1.1 to 5", 2)
    assert protocols["against_per_second"] == link["echo"]["per_second"]
    assert protocols["ratio"] > 0
    assert link["lost"] == 0


def test_a_pool_takes_a_core_for_each_device(report: dict[str, Any]) -> None:
    if report["machine"]["cores"] < 3:
        assert report["link"]["pool"] is None
        assert any("a pool of two was left out" in note for note in report["notes"])
    else:
        assert report["link"]["pool"]["ratio"] > 0


def test_energy_is_told_or_null_with_the_reason_and_never_zero(report: dict[str, Any]) -> None:
    energy = report["energy"]
    for found in (energy["bare"], energy["daemon"]):
        assert (found["value_mj"] is None) is (found["reason"] is not None)
        assert found["value_mj"] is None or found["value_mj"] > 0
    if energy["source"] is None:
        assert energy["scope"] is energy["quality"] is energy["rest_watts"] is None
        assert energy["bare"]["reason"] == energy["daemon"]["reason"] == "no sensor"
    else:
        assert energy["quality"] == "measured"


def test_every_target_is_marked(report: dict[str, Any]) -> None:
    assert len(report["targets"]) == 7 + 3
    ratio = report["daemon"]["throughput_ratio"]
    marked = {target["name"]: target["met"] for target in report["targets"]}
    assert marked["throughput to bare"] is (ratio >= 0.9)
    assert marked["lost"] is marked["echo, lost"] is True


def test_the_table_without_a_broker_says_in_one_line_why_the_daemon_is_missing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    without = "import edge_agent.cli.stage as stage; stage.mosquitto_path = lambda: None"
    program = (sys.executable, "-c", f"{without}\nfrom edge_agent.cli.main import main; main()")
    done = edge_agent("bench", "--quick", "--check", "--model", tiny_folder, program=program, cwd=tmp_path)
    assert done.code == 0, done.err
    notes = [line for line in done.out.splitlines() if line.startswith("note: ")]
    assert sum("Mosquitto is not installed" in note for note in notes) == 1
    assert "bare interpreter" in done.out
    assert "publish to result" not in done.out
    assert list(tmp_path.iterdir()) == []


def test_a_missed_target_ends_with_exit_code_1_only_when_asked(tiny_folder: Path) -> None:
    # a model of 30 µs cannot be served over MQTT at 0.9 of its bare speed
    done = edge_agent("bench", "--quick", "--check", "--model", tiny_folder)
    assert done.code == 1, done.err
    assert "✗" in done.out
    assert "throughput to bare" in done.out


def test_a_model_that_is_not_there_is_refused_with_exit_code_3(tmp_path: Path) -> None:
    done = edge_agent("bench", "--model", tmp_path / "nothing")
    assert (done.code, done.out) == (3, "")
    assert_one_line_and_hint(done)


def test_targets_are_met_at_their_limits_and_missed_beyond() -> None:
    assert all(target.met for target in targets_of(GOOD))
    slow = Daemon(
        **{name: getattr(GOOD, name) for name in GOOD.__slots__}
        | {"overhead_p50_ms": 0.51, "throughput_ratio": 0.899, "rss_mb": 120.0}
    )
    missed = [target.name for target in targets_of(slow) if not target.met]
    assert missed == ["overhead p50", "throughput to bare"]


def test_rows_mark_what_is_met_and_what_is_not() -> None:
    rows = target_rows(
        [
            Target("memory", "≤ 120 MB", 97.81, True),
            Target("start", "≤ 1 s", 1.2, False),
            Target("echo", "≥ 5000", 12345.6, True),
        ]
    )
    assert rows == [
        ("memory", "97.8", "≤ 120 MB", "✓"),
        ("start", "1.2", "≤ 1 s", "✗"),
        ("echo", "12346", "≥ 5000", "✓"),
    ]


def test_the_energy_of_the_table_is_a_figure_with_its_error_or_a_reason() -> None:
    assert energy_cell(PerRequest(value_mj=3.1234, error_mj=0.123)) == "3.12 ± 0.12"
    assert energy_cell(PerRequest(value_mj=0.0123)) == "0.0123"
    assert energy_cell(PerRequest(reason="no sensor")) == "no sensor"


def test_the_line_below_the_table_names_source_scope_and_rest() -> None:
    nothing = PerRequest(reason="no more than at rest")
    told = energy_line(Energy("rapl", Scope.SOC, Quality.MEASURED, 3.456, nothing, nothing))
    assert told == "Energy above rest (3.46 W), measured by rapl, scope soc"
    assert energy_line(unknown("no sensor")) is None
