"""A real Home Assistant offers an update, installs it by its own action, and follows the rollback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.fleet.repository.publishing import publish, set_channel
from tests.fleet.repository.workplace import Workplace
from tests.home_assistant.conftest import ACL, PERSON, ROOT
from tests.home_assistant.core import HomeAssistant, need_home_assistant
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe

need_home_assistant()
pytestmark = pytest.mark.slow

DEVICE = "pi-update"
ENTITY = "update.edge_agent_pi_update_model_home"
ROOT_TOPIC = f"edge-agent/{DEVICE}"


@pytest.fixture
def updatable(home: HomeAssistant, broker: Mosquitto, tmp_path: Path) -> Iterator[Daemon]:
    """Serves ``home`` and tells that its channel has another version, which is the same model."""
    del home
    assert PERSON[0] in ACL
    newer = Path(shutil.copytree(ROOT / "models/home", tmp_path / "newer"))
    manifest = json.loads((newer / "bundle.json").read_bytes())
    (newer / "bundle.json").write_text(json.dumps({**manifest, "version": "99.0.0"}))
    place = Workplace(tmp_path / "operator")
    place.create()
    with place.open() as repository:
        publish(repository, [newer])
        set_channel(repository, "default", {"home": "99.0.0"})
    (tmp_path / "root.json").write_bytes(place.first_root)
    shutil.copytree(ROOT / "models/home", tmp_path / "models/home")
    updates = {
        "repository": str(place.repository), "root": str(tmp_path / "root.json"),
        "poll_seconds": 2.0, "install_by_itself": False, "watch_seconds": 2.0,
    }  # fmt: skip
    models = (tmp_path / "models",)
    with Daemon(tmp_path / "daemon", broker.port, models, device=DEVICE, settings={"updates": updates}) as it:
        yield it


def test_it_is_offered_installed_by_the_button_and_taken_back(
    home: HomeAssistant, updatable: Daemon, probe: Probe
) -> None:
    def attributes() -> dict[str, object]:
        state = home.states().get(ENTITY, {"state": None, "attributes": {}})
        shown = {
            key: state["attributes"].get(key)
            for key in ("installed_version", "latest_version", "in_progress")
        }
        return {"state": state["state"], **shown}

    before = json.loads((ROOT / "models/home/bundle.json").read_bytes())["version"]
    offered = {"installed_version": before, "latest_version": "99.0.0", "in_progress": False}
    home.wait_equal(attributes, {"state": "on", **offered}, 90)
    home.act("update.install", entity=ENTITY)
    installed = {"installed_version": "99.0.0", "latest_version": "99.0.0", "in_progress": False}
    home.wait_equal(attributes, {"state": "off", **installed}, 90)
    probe.publish(f"{ROOT_TOPIC}/in/home", "turn on the light in the kitchen")
    assert probe.wait_for(f"{ROOT_TOPIC}/out/home")[-1].json["version"] == "99.0.0"
    probe.publish(f"{ROOT_TOPIC}/request/model-rollback", {"name": "home"})
    home.wait_equal(attributes, {"state": "on", **offered}, 90)
    assert updatable.is_running
