"""A limit of memory: enough for the service, and what happens below that."""

from __future__ import annotations

import pytest

from tests.systemd.asker import Asker
from tests.systemd.service import MODELS, UNIT, Service
from tests.testbeds.systemd_container import calmly

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def limits(service: Service) -> None:
    if not service.board.limits_work():
        pytest.skip("no memory limits here: the container's cgroups cannot be made writable")


def test_the_home_model_is_served_within_200_megabytes(service: Service, asker: Asker) -> None:
    service.settings(models={"directories": [f"{MODELS}/home"]})
    service.drop_in("MemoryMax=200M")
    service.start()
    assert asker.ask("turn on the kitchen light", model="home")["intent"] == "HassTurnOn"
    assert service.restarts == 0


def test_below_what_it_needs_it_is_ended_and_tried_again_until_there_is_enough(
    service: Service, asker: Asker
) -> None:
    service.drop_in("RestartSec=100ms", "MemoryMax=24M")
    service.board.systemctl("start", "--no-block", UNIT)
    calmly(lambda: service.restarts >= 2, 60, "two starts that memory did not suffice for")
    assert "status=9/KILL" in service.said()
    service.drop_in("RestartSec=100ms", "MemoryMax=200M")
    assert asker.ask("turn on the lamp in the kitchen")["intent"] == "HassTurnOn"
    assert service.board.systemctl("is-active", "mosquitto") == "active"
