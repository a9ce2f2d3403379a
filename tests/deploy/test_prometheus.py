"""What is shipped for Prometheus and Grafana, read by Prometheus' own programs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.settings.board_sections import MetricsSettings
from edge_agent.telemetry.metrics.facts import EnergyFacts, MetricFacts, StageTimes
from edge_agent.telemetry.metrics.families import Exposition, families
from edge_agent.telemetry.metrics.server import start_metrics
from tests.telemetry.metrics.sample_facts import full_facts
from tests.testbeds.broker import HOST, free_port
from tests.testbeds.waiting import eventually

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "edge-agent.rules.yml"
CONFIG = DEPLOY / "prometheus" / "prometheus.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "edge-agent.json").read_text(encoding="utf-8"))
RULES_TEXT = RULES.read_text(encoding="utf-8")
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES_TEXT, re.MULTILINE)
NAME = re.compile(r"\bedge_agent_\w+")

Series = dict[str, str]

# alert → minute to look at, series with which it fires, series with which it does not; a value a minute
CASES: dict[str, tuple[int, Series, Series]] = {
    "EdgeAgentAway": (6, {"up": "1 0x10"}, {"up": "1 0 1 0x7"}),
    "EdgeAgentDown": (
        5,
        {'edge_agent_health_status{edge_agent_health_status="down"}': "1x10"},
        {'edge_agent_health_status{edge_agent_health_status="down"}': "0x10"},
    ),
    "EdgeAgentDegraded": (
        20,
        {'edge_agent_health_status{edge_agent_health_status="degraded"}': "1x30"},
        {'edge_agent_health_status{edge_agent_health_status="degraded"}': "1x12 0 1x20"},
    ),
    "EdgeAgentBrokerLost": (6, {"edge_agent_mqtt_connected": "0x10"}, {"edge_agent_mqtt_connected": "1x10"}),
    "EdgeAgentLinkFlaps": (
        60,
        {"edge_agent_mqtt_reconnects_total": "0+1x60"},
        {"edge_agent_mqtt_reconnects_total": "0x50 1 2 3x10"},
    ),
    "EdgeAgentRestarts": (
        60,
        {"edge_agent_expected_running_seconds_total": "60 120 0 60 0 60 0 60 0x60"},
        {"edge_agent_expected_running_seconds_total": "60 120 0+60x60"},
    ),
    "EdgeAgentModelNotServing": (
        6,
        {'edge_agent_model_serving{name="home"}': "0x10"},
        {'edge_agent_model_serving{name="home"}': "1x10"},
    ),
    "EdgeAgentNoSuccess": (
        30,
        {
            'edge_agent_last_success_timestamp_seconds{name="home"}': "0x60",
            "edge_agent_clock_synchronized": "1x60",
        },
        {
            'edge_agent_last_success_timestamp_seconds{name="home"}': "0x60",
            "edge_agent_clock_synchronized": "0x60",
        },
    ),
    "EdgeAgentErrors": (
        20,
        {
            'edge_agent_messages_received_total{result="ok"}': "0+100x30",
            'edge_agent_messages_received_total{result="internal"}': "0+5x30",
        },
        {
            'edge_agent_messages_received_total{result="ok"}': "0+0x30",
            'edge_agent_messages_received_total{result="internal"}': "0+0x30",
        },
    ),
    "EdgeAgentBadRequests": (
        30,
        {
            'edge_agent_messages_received_total{result="ok"}': "0+1x40",
            'edge_agent_messages_received_total{result="bad_payload"}': "0+1x40",
        },
        {
            'edge_agent_messages_received_total{result="ok"}': "0+100x40",
            'edge_agent_messages_received_total{result="too_large"}': "0+1x40",
        },
    ),
    "EdgeAgentOverloaded": (
        15,
        {'edge_agent_messages_received_total{result="overloaded"}': "0+1x40"},
        {'edge_agent_messages_received_total{result="overloaded"}': "7x40"},
    ),
    "EdgeAgentQueue": (15, {"edge_agent_queue_length": "50x20"}, {"edge_agent_queue_length": "50x8 0 50x20"}),
    "EdgeAgentSlow": (
        25,
        {
            'edge_agent_inference_duration_seconds_bucket{stage="total",le="0.25"}': "0+0x40",
            'edge_agent_inference_duration_seconds_bucket{stage="total",le="1.0"}': "0+9x40",
            'edge_agent_inference_duration_seconds_bucket{stage="total",le="+Inf"}': "0+9x40",
        },
        {
            'edge_agent_inference_duration_seconds_bucket{stage="total",le="0.25"}': "0+9x40",
            'edge_agent_inference_duration_seconds_bucket{stage="total",le="1.0"}': "0+9x40",
            'edge_agent_inference_duration_seconds_bucket{stage="total",le="+Inf"}': "0+9x40",
        },
    ),
    "EdgeAgentUnreliable": (
        90,
        {
            "edge_agent_running_correctly_seconds_total": "0+30x100",
            "edge_agent_expected_running_seconds_total": "0+60x100",
        },
        {
            "edge_agent_running_correctly_seconds_total": "0+60x100",
            "edge_agent_expected_running_seconds_total": "0+60x100",
        },
    ),
    "EdgeAgentUnderVoltage": (
        8,
        {"edge_agent_under_voltage": "0 0 1 0x10"},
        {"edge_agent_under_voltage": "0x20"},
    ),
    "EdgeAgentThrottled": (
        12,
        {'edge_agent_throttled{reason="frequency_capped"}': "1x20"},
        {'edge_agent_throttled{reason="frequency_capped"}': "1x9 0x20"},
    ),
    "EdgeAgentHot": (
        12,
        {'edge_agent_temperature_celsius{zone="cpu-thermal"}': "84x20"},
        {'edge_agent_temperature_celsius{zone="cpu-thermal"}': "79x20"},
    ),
    "EdgeAgentBatteryLow": (
        4,
        {
            'edge_agent_battery_charge_ratio{battery="B"}': "0.1x9",
            'edge_agent_on_battery{battery="B"}': "1x9",
        },
        {
            'edge_agent_battery_charge_ratio{battery="B"}': "0.1x9",
            'edge_agent_on_battery{battery="B"}': "0x9",
        },
    ),
    "EdgeAgentMemoryLow": (
        12,
        {"edge_agent_memory_available_bytes": "20000000x20"},
        {"edge_agent_memory_available_bytes": "90000000x20"},
    ),
    "EdgeAgentDiskLow": (
        40,
        {"edge_agent_disk_free_bytes": "100000000x50"},
        {"edge_agent_disk_free_bytes": "5000000000x50"},
    ),
    "EdgeAgentClock": (
        70,
        {"edge_agent_clock_synchronized": "0x80"},
        {"edge_agent_clock_synchronized": "1x80"},
    ),
    "EdgeAgentSensorFails": (
        60,
        {'edge_agent_sensor_errors_total{sensor="pmic"}': "0+1x60"},
        {'edge_agent_sensor_errors_total{sensor="pmic"}': "3x60"},
    ),
}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt install prometheus")
    return found


def promtool(*arguments: str | Path, stdin: bytes = b"") -> str:
    """What it says; it must find nothing wrong."""
    done = subprocess.run(
        [program("promtool"), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def exposed() -> set[str]:
    """The names of all samples that a device may show."""
    return {sample.name for family in families(full_facts()) for sample in family.samples}


def expressions() -> dict[str, str]:
    """The dashboard's queries by panel, as Grafana would send them."""
    found = {}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['id']} {panel['title']} {target['refId']}"] = _filled_in(target["expr"])
    found |= {
        note["name"]: _filled_in(note["expr"]) for note in DASHBOARD["annotations"]["list"] if "expr" in note
    }
    return found


def _filled_in(expression: str) -> str:
    filled = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
    assert "$" not in filled, filled
    return filled


def test_promtool_finds_nothing_to_say_of_the_metrics() -> None:
    _, page = Exposition(full_facts).render("")  # it reads no OpenMetrics; the real Prometheus below does
    assert promtool("check", "metrics", stdin=page) == ""


def test_the_example_of_a_configuration_and_the_rules_are_accepted() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "config", CONFIG)


def test_every_alert_has_a_case_a_severity_and_says_what_to_do() -> None:
    assert sorted(CASES) == sorted(ALERTS)
    for rule in re.split(r"^ +- alert: ", RULES_TEXT, flags=re.MULTILINE)[1:]:
        assert re.search(r"severity: (page|ticket)", rule), rule
        assert re.search(r"summary: .*\$labels\.instance", rule), rule
        assert "description:" in rule, rule


def test_an_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    tests = []
    for alert, (minute, firing, quiet) in CASES.items():
        for series, count in ((firing, 1), (quiet, 0)):
            expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
            expected = [{"labels": "{}", "value": count}]
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": _named(one), "values": series[one]} for one in series],
                    "promql_expr_test": [
                        {"expr": expression, "eval_time": f"{minute}m", "exp_samples": expected}
                    ],
                }
            )
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", file)


def test_what_an_alert_says_names_device_and_figure(tmp_path: Path) -> None:
    expected = {
        "exp_labels": {
            "severity": "ticket",
            "instance": "pi:9464",
            "job": "edge-agent",
            "zone": "cpu-thermal",
        },
        "exp_annotations": {
            "summary": "pi:9464: cpu-thermal has 84 °C",
            "description": "A heat sink, a fan or a cooler place; power.hot_celsius is where health begins "
            "to complain.",
        },
    }
    series = {"series": _named('edge_agent_temperature_celsius{zone="cpu-thermal"}'), "values": "84.2x20"}
    case = {
        "interval": "1m",
        "input_series": [series],
        "alert_rule_test": [{"alertname": "EdgeAgentHot", "eval_time": "15m", "exp_alerts": [expected]}],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [case]}))
    promtool("test", "rules", file)


def _named(series: str) -> str:
    """The series as it has been scraped from a device."""
    name, _, labels = series.rstrip("}").partition("{")
    return f'{name}{{instance="pi:9464",job="edge-agent"{"," + labels if labels else ""}}}'


def test_alerts_and_panels_ask_only_for_metrics_that_exist() -> None:
    known = exposed()
    assert (
        set(NAME.findall("\n".join(re.findall(r"^ +expr: .*(?:\n {10}\S.*)*", RULES_TEXT, re.MULTILINE))))
        <= known
    )
    for panel, expression in expressions().items():
        assert set(NAME.findall(re.sub(r"\{[^}]*\}", "", expression))) <= known, panel


def test_nothing_that_a_device_tells_is_left_out_of_the_dashboard() -> None:
    asked = set(NAME.findall("\n".join(expressions().values())))
    families_asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    families_told = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed()}
    seen_elsewhere = {
        "edge_agent_start_time_seconds",  # it moves with the wall clock; restarts are resets of a counter
        "edge_agent_health_reasons",  # `watch` shows them in words
        "edge_agent_under_voltage_since_boot",  # the panel of under-voltage has its history
        "edge_agent_throttled_since_boot",
        "edge_agent_clock_synchronized",  # an alert
        "edge_agent_sensor_errors_total",
        "edge_agent_on_battery",
    }
    assert families_told - families_asked == seen_elsewhere


def test_the_page_lists_every_metric_with_its_labels() -> None:
    page = (DEPLOY.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `(edge_agent_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    }
    told: dict[str, set[str]] = {}
    for family in families(full_facts()):
        for sample in family.samples:
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name)
            told.setdefault(name, set()).update(set(sample.labels) - {"le"})
    assert listed == told


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    """As grafana.com's JSON model of dashboards, version 39 (Grafana 10.4 and later), wants it."""
    assert DASHBOARD["schemaVersion"] == 39
    assert DASHBOARD["id"] is None
    panels = DASHBOARD["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert {"device", "instance"} <= set(variables)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
            assert panel["description"], panel["title"]
            assert [t["refId"] for t in panel["targets"]] == ["A", "B", "C"][: len(panel["targets"])]


def test_no_two_panels_lie_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


class Working:
    """A device that answers a request, and fails on another, between two scrapes."""

    def __init__(self) -> None:
        self._count = 0
        self._times = StageTimes()

    def facts(self) -> MetricFacts:
        self._count += 1
        self._times.observe(queue_ms=0.1, tokenize_ms=0.1, invoke_ms=1.4, total_ms=1.8)
        total = EnergyFacts(4.5 * self._count, "pmic", "pmic-rails", measured_seconds=float(self._count))
        return replace(
            full_facts(),
            answered=self._count,
            errors={"too_large": self._count},
            dropped={"retained": self._count},
            stages=self._times.snapshot(),
            energy=(total,),
            expected_running_seconds=float(self._count % 3),
        )


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real one, which has scraped a device a few times; its address."""
    binary = program("prometheus")
    folder, port, metrics = tmp_path_factory.mktemp("prometheus"), free_port(), free_port()
    shutil.copy(RULES, folder)
    config = CONFIG.read_text().replace("localhost:9464", f"{HOST}:{metrics}").replace("15s", "200ms")
    (folder / "prometheus.yml").write_text(config)
    server = start_metrics(MetricsSettings(enabled=True, port=metrics), Working().facts)
    command = [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={HOST}:{port}"], stdout=log, stderr=log)
    try:
        url = f"http://{HOST}:{port}"

        def has_scraped() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            with suppress(urllib.error.URLError, ConnectionError):
                return bool(query(url, "count_over_time(edge_agent_queue_length[1m]) >= 3"))
            return False

        eventually(has_scraped, 60.0, "a third scrape")
        yield url
    finally:
        process.terminate()
        process.wait(30)
        server.stop()


def query(url: str, expression: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(
        f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}", timeout=30
    ) as answer:
        document = json.load(answer)
    assert document["status"] == "success"
    result: list[dict[str, Any]] = document["data"]["result"]
    return result


def test_a_real_prometheus_scrapes_a_device_and_answers(prometheus: str) -> None:
    (up,) = query(prometheus, 'up{job="edge-agent"}')
    assert up["value"][1] == "1"
    (model,) = query(prometheus, "edge_agent_model_info")
    assert (model["metric"]["name"], model["metric"]["version"]) == ("home", "1.0.0")
    (watts,) = query(
        prometheus,
        "rate(edge_agent_energy_joules_total[1m]) / rate(edge_agent_energy_measured_seconds_total[1m])",
    )
    assert float(watts["value"][1]) == pytest.approx(4.5)


def test_prometheus_takes_every_sample_and_knows_what_it_means(prometheus: str) -> None:
    stored = {one["metric"]["__name__"] for one in query(prometheus, '{__name__=~"edge_agent_.+"}')}
    assert stored == exposed()
    with urllib.request.urlopen(f"{prometheus}/api/v1/metadata", timeout=30) as answer:
        kinds = {name: about[0]["type"] for name, about in json.load(answer)["data"].items()}
    assert kinds["edge_agent_health_status"] == "stateset"
    assert kinds["edge_agent_inference_duration_seconds"] == "histogram"


def test_every_panel_of_the_dashboard_has_something_to_show(prometheus: str) -> None:
    empty = [panel for panel, expression in expressions().items() if not query(prometheus, expression)]
    assert empty == []
