"""One real Home Assistant with a broker, a house and a daemon, for all tests of this folder that need it.

``HOME_ASSISTANT`` names the ``hass`` program of an environment that Home Assistant is installed in::

    python3.13 -m venv /opt/ha && /opt/ha/bin/pip install "homeassistant>=2025.1,<2025.3"
    HOME_ASSISTANT=/opt/ha/bin/hass make test ARGS="tests/home_assistant"
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.link.discovery import discovery_topic
from tests.home_assistant.core import HomeAssistant, program
from tests.home_assistant.house import CONFIGURATION, MADE_UP, PREFIX, REAL, build_house
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe

ROOT = Path(__file__).resolve().parents[2]
BLUEPRINT = ROOT / "deploy/home-assistant/edge-agent-home.yaml"


DEVICE = REAL.split("/")[1]
PERSON = ("app.homeassistant", "secret-of-home-assistant")
# The shipped list; before it, who has no name, the probe, may do all. The house is Home Assistant's own.
ACL = f"""topic readwrite #
{(ROOT / "deploy/mosquitto/acl").read_text(encoding="utf-8")}
user {PERSON[0]}
topic readwrite house/#
"""


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """With the shipped access list: the daemon and Home Assistant may do what they need, and no more."""
    users = dict([PERSON, (DEVICE, "secret-of-the-device")])
    with Mosquitto(
        tmp_path_factory.mktemp("broker"), extra=("allow_anonymous true",), acl=ACL, users=users
    ) as running:
        assert isinstance(running, Mosquitto)
        yield running


@pytest.fixture(scope="session")
def probe(broker: Mosquitto) -> Iterator[Probe]:
    with Probe(broker.port, "edge-agent/#", "house/#", "homeassistant/#") as connected:
        yield connected


@pytest.fixture(scope="session")
def home(
    broker: Mosquitto, probe: Probe, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HomeAssistant]:
    """Running, with the house's entities and the blueprint in use."""
    folder = tmp_path_factory.mktemp("home") / "config"
    hass = program()
    assert hass is not None
    running = HomeAssistant(folder, hass, broker.port, CONFIGURATION, PERSON)
    running.add_blueprint(BLUEPRINT)
    ids = build_house(probe)
    with running:
        running.wait(lambda: set(ids.values()) <= set(running.states()), "the house")
        yield running


@pytest.fixture(scope="session")
def daemon(
    home: HomeAssistant, broker: Mosquitto, probe: Probe, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """With the model ``home``; it announces itself to Home Assistant."""
    folder = tmp_path_factory.mktemp("daemon")
    shutil.copytree(ROOT / "models/home", folder / "models/home")
    secret = folder / "password"
    secret.write_text("secret-of-the-device")
    secret.chmod(0o600)
    mqtt = {"username": DEVICE, "password_file": str(secret)}
    with Daemon(folder, broker.port, (folder / "models",), device=DEVICE, settings={"mqtt": mqtt}) as running:
        probe.wait_for(discovery_topic(PREFIX, DEVICE), within_seconds=30)
        home.wait_for_state(f"sensor.edge_agent_{DEVICE.replace('-', '_')}_health", "up")
        yield running


@pytest.fixture
def made_up() -> str:
    """The topic of answers that a test makes up."""
    return MADE_UP
