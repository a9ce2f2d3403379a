"""The plug is pulled at random moments, and the board answers again after each boot; how soon is measured.

Five cuts in the ordinary run; ``POWER_CUTS=20`` in the environment for as many as one likes, and
``POWER_CUT_SEED`` for another choice of moments.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.systemd.asker import Asker
from tests.systemd.service import MODELS, UNIT, Service
from tests.testbeds.systemd_container import SystemdContainer, container_or_skip

pytestmark = pytest.mark.slow

CUTS = int(os.environ.get("POWER_CUTS", "5"))
SEED = int(os.environ.get("POWER_CUT_SEED", "20261124"))
LATEST_SECONDS = 4.0
"""After the beginning of a boot: cuts hit the boot itself, the load of the model, and the first answers."""

SENTENCE = "turn on the kitchen light"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, service_layer: Path) -> Iterator[SystemdContainer]:
    """A board of its own, as it is sold: broker and daemon start with it, and it has the real model."""
    with container_or_skip(tmp_path_factory.mktemp("device"), layers=[service_layer]) as board:
        Service(board).settings(models={"directories": [f"{MODELS}/home"]})
        board.systemctl("enable", "mosquitto", UNIT)
        board.power_off()
        yield board


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Shows a figure, though the test passes."""
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")


def first_answer_seconds(device: SystemdContainer) -> float:
    """Boots, and measures from the first instruction of its systemd to the first answer."""
    begun = time.monotonic()
    device.boot(wait=False)
    with Asker(device) as asker:
        assert asker.ask(SENTENCE, model="home")["intent"] == "HassTurnOn"
        return time.monotonic() - begun


def test_boot_to_first_answer(device: SystemdContainer, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = first_answer_seconds(device)
    device.power_off()
    tell(capsys, f"boot to first answer: {seconds:.2f} s")
    assert seconds < 60.0, (
        "this is no measurement, only a bound for a busy machine; docs/service.md has the figure"
    )


def test_it_answers_after_each_power_cut(
    device: SystemdContainer, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = random.Random(SEED)
    pause = Event()
    took: list[float] = []
    for number in range(CUTS):
        device.boot(wait=False)
        if number % 2:  # every other time in the middle of work
            with Asker(device) as asker:
                asker.ask(SENTENCE, model="home")
                for _ in range(20):
                    asker.send(SENTENCE, model="home")
        pause.wait(moments.uniform(0.0, LATEST_SECONDS))
        device.cut_power()
        took.append(first_answer_seconds(device))
        assert "damaged" not in Service(device).said()
        device.cut_power()
    figures = ", ".join(f"{one:.2f}" for one in took)
    tell(capsys, f"first answer after each of {CUTS} power cuts: {figures} s")
