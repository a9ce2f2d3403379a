"""Models change under a real daemon behind a real broker, by command, by itself, and back."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from edge_agent.service.updating.bundles import check_bundle, wanted_from
from edge_agent.service.updating.watching import LEAST_ANSWERS
from edge_agent.update.install import install
from edge_agent.update.store import Store
from tests.testbeds.waiting import eventually
from tests.updating.conftest import Device

MODELS = Path(__file__).resolve().parents[2] / "models"


def _pid(device: Device) -> int:
    return device.daemon.pid


def test_a_command_installs_a_version_which_is_watched_and_kept(device: Device) -> None:
    pid = _pid(device)
    assert device.version_that_answers() == "1.0.0"
    device.ask("model-update", "u1", name="tiny", version="1.1.0")
    assert device.end_of("model-update", "u1") == {
        **device.end_of("model-update", "u1"),
        "status": "successful",
        "result": {"name": "tiny", "version": "1.1.0"},
    }
    said = device.model(installed_version="1.1.0", state="kept")
    assert (said["latest_version"], said["in_progress"], said["reason"]) == ("1.1.0", False, None)
    assert device.version_that_answers() == "1.1.0"
    assert device.daemon.pid == pid
    assert len(device.daemon.events("agent.ready")) == 1
    states = [heard.json["state"] for heard in device.probe.on(f"{device.daemon.root}/model/tiny")]
    states = [state for number, state in enumerate(states) if states[number - 1 : number] != [state]]
    assert states == ["kept", "downloading", "verifying", "trying", "switching", "watching", "kept"]


def test_what_is_refused_is_named_and_changes_nothing(device: Device) -> None:
    device.ask("model-update", "u2", name="tiny", version="9.9.9")
    ended = device.end_of("model-update", "u2")
    assert ended["status"] == "failed"
    assert ended["reason"].startswith("unknown_target: ")
    assert device.model(state="failed")["reason"].startswith("unknown_target: ")
    assert device.version_that_answers() == "1.0.0"
    for arguments in ({}, {"name": "../x"}, {"name": "tiny", "version": 7}):
        device.ask("model-update", f"bad{len(json.dumps(arguments))}", **arguments)
        assert device.end_of("model-update", f"bad{len(json.dumps(arguments))}")["status"] == "failed"


def test_a_rollback_goes_back_and_no_further_than_there_is(device: Device) -> None:
    device.ask("model-update", "u3", name="tiny", version="1.1.0")
    assert device.end_of("model-update", "u3")["status"] == "successful"
    device.ask("model-rollback", "r1", name="tiny")
    assert device.end_of("model-rollback", "r1")["result"] == {"name": "tiny", "version": "1.0.0"}
    assert device.version_that_answers() == "1.0.0"
    assert device.model(state="rolled_back")["reason"] == "asked_for"
    device.ask("model-rollback", "r2", name="tiny")
    ended = device.end_of("model-rollback", "r2")
    assert ended["reason"].startswith("nothing_to_fall_back_to: ")
    assert device.version_that_answers() == "1.0.0"


def test_what_the_command_line_installs_is_told_when_the_daemon_reads_its_models_again(
    device: Device, versions: dict[str, Path]
) -> None:
    device.ask("model-update", "none", name="tiny", version="9.9.9")
    assert device.model(state="failed")
    store = Store(device.models, check_bundle)
    install(store, wanted_from(versions["1.2.0"]), lambda _: None)
    device.daemon.send(signal.SIGHUP)
    said = device.model(installed_version="1.2.0", state="kept")
    assert (said["latest_version"], said["reason"]) == ("1.2.0", None)


def test_the_simple_form_asks_for_the_version_of_the_channel(device: Device) -> None:
    device.move_channel("1.2.0")
    device.probe.publish(f"{device.daemon.root}/request/model-update", {"name": "tiny"})
    assert device.model(installed_version="1.2.0", state="kept")
    assert device.version_that_answers() == "1.2.0"


@pytest.mark.parametrize("updates", [{"watch_seconds": 600.0}])
def test_a_power_cut_while_it_is_watched_goes_on_watching_and_after_two_it_goes_back(device: Device) -> None:
    device.ask("model-update", "u4", name="tiny", version="1.1.0")
    device.model(installed_version="1.1.0", state="watching")
    device.daemon.stop(signal.SIGKILL)
    device.probe.forget()
    device.daemon.start()
    device.model(installed_version="1.1.0", state="watching")
    assert device.version_that_answers() == "1.1.0"
    device.daemon.stop(signal.SIGKILL)
    device.probe.forget()
    device.daemon.start()
    said = device.model(installed_version="1.0.0")
    assert said["state"] == "rolled_back"
    assert said["reason"].startswith("interrupted: ")
    assert device.version_that_answers() == "1.0.0"


@pytest.mark.parametrize("state", ["downloading", "verifying", "trying", "switching"])
def test_a_power_cut_in_any_state_leaves_one_that_answers_and_the_command_is_carried_out(
    device: Device, state: str
) -> None:
    device.ask("model-update", "cut", name="tiny", version="1.1.0")
    device.model(state=state)
    device.daemon.stop(signal.SIGKILL)
    device.probe.forget()
    device.daemon.start()
    assert device.version_that_answers() in ("1.0.0", "1.1.0")
    assert device.end_of("model-update", "cut")["status"] == "successful"
    assert device.version_that_answers() == "1.1.0"
    assert device.model(state="kept")["installed_version"] == "1.1.0"


@pytest.mark.parametrize("updates", [{"watch_seconds": 3.0}])
def test_a_stop_while_it_is_watched_is_taken_up_and_the_command_ends_well(device: Device) -> None:
    device.ask("model-update", "u5", name="tiny", version="1.1.0")
    device.model(installed_version="1.1.0", state="watching")
    device.daemon.stop()
    device.probe.forget()
    device.daemon.start()
    assert device.model(state="kept")["installed_version"] == "1.1.0"
    assert device.end_of("model-update", "u5")["status"] == "successful"


@pytest.mark.parametrize("updates", [{"watch_seconds": 60.0}])
def test_a_model_that_is_slow_in_service_is_rolled_back_by_itself(device: Device, tmp_path: Path) -> None:
    """The shipped ``home`` in the name of tiny: right in every golden sentence, and twenty times as slow."""
    heavy = Path(shutil.copytree(MODELS / "home", tmp_path / "heavy"))
    manifest = json.loads((heavy / "bundle.json").read_bytes())
    (heavy / "bundle.json").write_text(json.dumps({**manifest, "name": "tiny", "version": "2.0.0"}))
    device.place.publish(heavy)
    for _ in range(LEAST_ANSWERS):
        assert device.version_that_answers() == "1.0.0"
    device.ask("model-update", "slow", name="tiny", version="2.0.0")
    device.model(installed_version="2.0.0", state="watching")
    for _ in range(LEAST_ANSWERS):
        device.version_that_answers()
    ended = device.end_of("model-update", "slow")
    assert ended["status"] == "failed"
    assert ended["reason"].startswith("unhealthy_while_watched: it takes ")
    assert device.version_that_answers() == "1.0.0"
    assert device.model(installed_version="1.0.0", state="rolled_back")["reason"] == ended["reason"]
    assert len(device.daemon.events("agent.ready")) == 1


@pytest.mark.parametrize("updates", [{"poll_seconds": 1.0}])
def test_a_device_that_polls_follows_its_channel_forth_and_back(device: Device) -> None:
    device.move_channel("1.1.0")
    assert device.model(installed_version="1.1.0", state="kept")
    device.move_channel("1.0.0")
    device.probe.forget()
    assert device.model(installed_version="1.0.0", state="kept")
    assert device.version_that_answers() == "1.0.0"


@pytest.mark.parametrize("updates", [{"poll_seconds": 3.0}])
def test_a_command_is_newer_than_a_channel_that_moved_shortly_before(device: Device) -> None:
    device.move_channel("1.1.0")
    device.ask("model-update", "newer", name="tiny", version="1.2.0")
    assert device.end_of("model-update", "newer")["status"] == "successful"
    device.daemon.wait_for_event("update.looks", within_seconds=30)
    device.move_channel("1.2.0")  # a change, so that it looks once more, and is still where it was
    device.daemon.wait_for_event("update.looks", count=2, within_seconds=60)
    said = [heard.json["installed_version"] for heard in device.probe.on(f"{device.daemon.root}/model/tiny")]
    assert said[-1] == "1.2.0"


@pytest.mark.parametrize("updates", [{"poll_seconds": 1.0, "install_by_itself": False}])
def test_a_device_that_only_tells_leaves_it_to_a_button(device: Device) -> None:
    device.move_channel("1.1.0")
    said = device.model(latest_version="1.1.0")
    assert (said["installed_version"], said["state"]) == ("1.0.0", "kept")
    device.probe.publish(f"{device.daemon.root}/request/model-update", {"name": "tiny"})
    assert device.model(installed_version="1.1.0", state="kept")


@pytest.mark.parametrize("updates", [{"shadow_sentences": 5, "shadow_agreement": 1.0}])
def test_a_model_that_answers_live_sentences_otherwise_is_refused(device: Device) -> None:
    for _ in range(5):
        device.version_that_answers()
    device.ask("model-update", "u6", name="tiny", version="1.1.0")
    ended = device.end_of("model-update", "u6")
    # both are fitted to the same sentences, so they agree on them; what matters is that it was shadowed
    states = [heard.json["state"] for heard in device.probe.on(f"{device.daemon.root}/model/tiny")]
    assert ended["status"] == "successful", ended
    assert "shadowing" in states
    assert "kitchen" not in device.daemon.log_text()


@pytest.mark.parametrize("updates", [{"wait_above_per_minute": 1.0, "deadline_seconds": 10.0}])
def test_an_update_waits_while_the_device_is_busy_and_says_so(device: Device) -> None:
    begun = time.monotonic()

    def seen_busy() -> bool:
        device.version_that_answers()
        return time.monotonic() - begun > 15.0  # of which the device needs ten to know

    eventually(seen_busy, 60.0, "a busy device")
    device.ask("model-update", "u7", name="tiny", version="1.1.0")
    assert "requests a minute" in device.model(in_progress=True)["reason"]
    ended: dict[str, Any] = device.end_of("model-update", "u7")
    assert ended["status"] == "failed"
    assert ended["reason"].startswith("waits: ")
    assert device.version_that_answers() == "1.0.0"
