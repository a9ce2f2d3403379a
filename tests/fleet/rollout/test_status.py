"""``edge-agent fleet status``: who lags behind, and what is printed of devices that say anything at all."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.fleet.rollout.documents import ModelWord, read_command, read_group, read_model, read_time
from edge_agent.fleet.rollout.status import COLUMNS, Row, as_csv, as_document, with_stragglers
from tests.cli.command import edge_agent
from tests.testbeds.broker import Mosquitto
from tests.testbeds.probe import Probe


def row(device: str, version: str | None, group: str = "kitchens", **more: object) -> Row:
    known = {"status": "online", "health": "up", "models": {"home": ModelWord(version, state="kept")}}
    return Row(device, (group,), **{**known, **more})  # type: ignore[arg-type]


def lags(rows: list[Row]) -> dict[str, tuple[str, ...]]:
    return {one.device: one.lags for one in with_stragglers(rows) if one.lags}


def test_an_older_version_than_most_have_is_late_and_a_newer_one_is_not() -> None:
    rows = [row("a", "1.2.0"), row("b", "1.2.0"), row("old", "1.10.0-rc.1"), row("canary", "1.3.0")]
    assert lags([*rows, row("c", "1.2.0"), row("late", "1.1.0")]) == {
        "late": ("home 1.1.0, most have 1.2.0",)
    }


def test_each_group_has_its_own_usual_version() -> None:
    rows = [row("a", "1.0.0"), row("b", "1.0.0"), row("c", "2.0.0", "halls"), row("d", "1.0.0", "halls")]
    assert lags(rows) == {"d": ("home 1.0.0, most have 2.0.0",)}


def test_one_that_is_off_never_seen_or_serves_nothing_is_named() -> None:
    off = row("off", "1.0.0", status="offline", seen=0.0)
    rows = [row("a", "1.0.0"), off, Row("ghost", ("kitchens",)), row("none", None)]
    assert lags(rows) == {
        "off": ("offline since 1970-01-01T00:00:00Z",),
        "ghost": ("never seen",),
        "none": ("home: none serves, most have 1.0.0",),
    }


def test_stragglers_stand_first() -> None:
    rows = with_stragglers([row("a", "1.0.0"), row("b", "1.0.0", health="down"), row("z", "0.1.0")])
    assert [one.device for one in rows] == ["z", "b", "a"]


def test_a_spreadsheet_runs_nothing_that_a_device_wrote() -> None:
    word = ModelWord("=1+1", state="failed", reason="@SUM(A1)")
    (_, line) = csv.reader(io.StringIO(as_csv([Row("a", models={"home": word})])))
    cells = dict(zip(COLUMNS, line, strict=True))
    assert cells["version"] == "'=1+1"
    assert cells["update_reason"] == "'@SUM(A1)"


words = st.none() | st.text(max_size=20)


@given(st.lists(st.builds(ModelWord, words, words, words, st.none(), words), max_size=5))
def test_any_version_can_be_compared_and_printed(found: list[ModelWord]) -> None:
    rows = with_stragglers([Row(f"d{n}", ("g",), models={"m": word}) for n, word in enumerate(found)])
    assert len(list(csv.reader(io.StringIO(as_csv(rows))))) >= 1
    json.dumps([as_document(one) for one in rows])


@given(st.binary(max_size=300) | st.recursive(words, lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_payload_is_read_without_an_exception(payload: object) -> None:
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    for read in (read_model, read_command, read_group, read_time):
        read(content)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> object:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker, Probe(broker.port) as probe:
        for device, group, version in (
            ("a", "halls", "1.2.0"),
            ("b", "halls", "1.2.0"),
            ("c", "halls", "1.0.0"),
        ):
            root = f"edge-agent/{device}"
            model = {"installed_version": version, "state": "kept", "reason": None}
            probe.publish(f"{root}/info", {"settings": {"updates": {"channel": group}}}, retain=True)
            probe.publish(f"{root}/status", "online", retain=True)
            probe.publish(f"{root}/health", {"status": "up", "time": "2026-11-24T05:00:00Z"}, retain=True)
            probe.publish(f"{root}/model/home", model, retain=True)
        waiting = {"status": "init", "name": "home", "version": "1.2.0"}
        probe.publish("edge-agent/c/cmd/model-update/rollout-1", waiting, retain=True)
        evil = {"installed_version": "\x1b[2J", "state": "\x1b]0;x\x07", "reason": "\u202e" * 9}
        probe.publish("edge-agent/evil/model/home", evil, retain=True)
        probe.publish("edge-agent/evil/info", {"settings": {"updates": {"channel": "\x1b[31m"}}}, retain=True)
        probe.publish("edge-agent/evil/status", "online", retain=True)
        probe.publish("edge-agent/not a device\u202e/status", "online", retain=True)
        yield broker


def status(broker: Mosquitto, *arguments: str | Path) -> tuple[int, str]:
    done = edge_agent("fleet", "status", *arguments, "--broker", broker.url)
    assert done.err == ""
    return done.code, done.out


def test_the_table_names_the_straggler_and_that_it_was_asked(broker: Mosquitto) -> None:
    code, out = status(broker, "--to", "halls")
    assert code == 1
    assert "home 1.0.0 (asked)" in out
    assert "home 1.0.0, most have 1.2.0" in out
    assert "2 × home 1.2.0, 1 × home 1.0.0" in out
    assert "3 devices, 2 well, 1 straggler" in out


def test_nothing_that_a_device_says_moves_the_cursor(broker: Mosquitto) -> None:
    for form in ((), ("--csv",), ("--json",)):
        _, out = status(broker, *form)
        assert "evil" in out
        assert all(letter.isprintable() or letter in "\r\n" for letter in out)
        assert "not a device" not in out


def test_a_file_gives_the_groups_and_json_and_csv_say_the_same(broker: Mosquitto, tmp_path: Path) -> None:
    listed = tmp_path / "fleet.toml"
    listed.write_text('[groups]\nblue = ["a", "ghost"]\nred = ["b"]\n')
    _, lines = status(broker, "--inventory", listed, "--to", "blue", "--json")
    documents = {one["device"]: one for one in map(json.loads, lines.splitlines())}
    assert documents["ghost"]["straggler"] == ["never seen"]
    assert documents["a"]["models"]["home"]["version"] == "1.2.0"
    _, table = status(broker, "--inventory", listed, "--to", "blue", "--csv")
    assert {one["device"] for one in csv.DictReader(io.StringIO(table))} == {"a", "ghost"}


KEEPS_TWO = (
    "from edge_agent.cli import watch_state; watch_state.MOST_DEVICES = 2\n"
    "from edge_agent.cli.main import main; main()"
)


def test_devices_beyond_the_bound_are_counted_and_never_silently_dropped(
    broker: Mosquitto, tmp_path: Path
) -> None:
    def shown(*arguments: str | Path) -> tuple[list[str], str]:
        program = (sys.executable, "-c", KEEPS_TWO)
        done = edge_agent("fleet", "status", *arguments, "--broker", broker.url, program=program)
        assert done.code == 1
        return done.out.splitlines(), done.err

    for form in ((), ("--csv",), ("--json",)):
        lines, said = shown(*form)
        assert said.startswith("edge-agent: warning: 2 devices of any group left out: at most 2 are kept\n")
    *devices, last = map(json.loads, lines)
    assert len(devices) == 2
    assert last == {"left_out": 2, "most_devices": 2}

    listed = tmp_path / "two.csv"
    listed.write_text("device,tags\nc,halls\nghost,halls\n")
    lines, said = shown("--inventory", listed, "--json")
    assert said == ""
    assert {one["device"]: one["status"] for one in map(json.loads, lines)} == {"c": "online", "ghost": None}
    listed.write_text("device,tags\na,halls\nb,halls\nc,halls\n")
    *devices, last = map(json.loads, shown("--inventory", listed, "--json")[0])
    assert [one["status"] for one in devices] == ["online", "online"]
    assert last["left_out"] == 1
