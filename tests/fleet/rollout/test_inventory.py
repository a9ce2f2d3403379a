"""Which devices are in a group: by a file, by what the broker retains, by both."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import BrokerError, SettingsError
from edge_agent.fleet.rollout.inventory import Inventory, discover, merge, read_file
from edge_agent.link.address import BrokerAddress
from tests.testbeds.broker import Mosquitto, free_port
from tests.testbeds.probe import Probe


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_csv_and_a_toml_say_the_same(tmp_path: Path) -> None:
    table = written(
        tmp_path, "a.csv", "\ufeffsite,device,tags\r\nx,pi-1,blue red\r\ny,pi-2,red;\r\nz,pi-3,\r\n"
    )
    groups = written(
        tmp_path, "a.toml", '[groups]\nblue = ["pi-1"]\nred = ["pi-1", "pi-2"]\nrest = ["pi-3"]\n'
    )
    assert read_file(table)["pi-1"] == read_file(groups)["pi-1"] == {"blue", "red"}
    assert read_file(table)["pi-2"] == {"red"}
    assert read_file(table).keys() == read_file(groups).keys()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "", "no column device"),
        ("a.csv", "id,tags\npi,x\n", "no column device"),
        ("a.csv", "device,tags\n", "names no device"),
        ("a.csv", "device,tags\npi-1,x\n../+/#,x\n", r"line 3: '\.\./\+/#' is no device's id"),
        ("a.csv", "device,tags\n\x1b[2J,x\n", "is no device's id"),
        ("a.csv", 'device,tags\n"' + "x" * 200_000, "line"),
        ("a.csv", "x" * 200_000, "line"),
        ("a.toml", "x = 1\n", r"has no \[groups\]"),
        ("a.toml", "[groups]\nblue = 7\n", "is no list of devices"),
        ("a.toml", "[groups\n", "a.toml"),
    ],
)
def test_what_is_no_inventory_is_one_clear_error(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        read_file(written(tmp_path, name, text))
    assert str(caught.value).isprintable()


def test_the_broker_knows_groups_and_who_is_off_and_strangers_are_ignored(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Probe(broker.port) as probe:
        blue = {"settings": {"updates": {"channel": "blue"}}}
        probe.publish("edge-agent/pi-1/info", blue, retain=True)
        probe.publish("edge-agent/pi-1/status", "online", retain=True)
        probe.publish("edge-agent/pi-2/status", "offline", retain=True)
        probe.publish("edge-agent/pi-2/health", {"time": "1970-01-01T00:00:07Z"}, retain=True)
        probe.publish("edge-agent/pi-3/info", b"\xff[[[", retain=True)
        probe.publish("edge-agent/a b\u202e/info", blue, retain=True)
        found = discover(BrokerAddress.from_url(broker.url), "edge-agent")
    assert sorted(found.select("all")) == ["pi-1", "pi-2", "pi-3"]
    assert sorted(found.select("blue")) == ["pi-1"]
    assert (found.devices["pi-2"].online, found.devices["pi-2"].seen_at) == (False, 7.0)
    with pytest.raises(SettingsError, match="no device is in the group red") as caught:
        found.select("red")
    assert caught.value.hint == "groups here: blue, all"
    both = merge({"pi-1": frozenset({"red"}), "ghost": frozenset({"red"})}, found)
    assert {device: one.seen for device, one in both.select("red").items()} == {"pi-1": True, "ghost": False}


def test_a_thousand_devices_are_all_found_though_others_talk(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Probe(broker.port) as probe:
        for number in range(1000):
            probe.publish(f"edge-agent/pi-{number}/status", "online", retain=True, wait=False)
        probe.publish("edge-agent/last/status", "online", retain=True)
        found = discover(BrokerAddress.from_url(broker.url), "edge-agent")
    assert len(found.devices) == 1001


def test_an_empty_broker_and_one_that_is_away_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BrokerError):
        discover(BrokerAddress.from_url(f"mqtt://127.0.0.1:{free_port()}"), "edge-agent")
    with Mosquitto(tmp_path / "broker") as broker:
        found = discover(BrokerAddress.from_url(broker.url), "edge-agent")
    assert found == Inventory()
    with pytest.raises(SettingsError, match="no device") as caught:
        found.select("all")
    assert caught.value.hint == "no device was found"
