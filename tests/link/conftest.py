"""Brokers for the tests of the link."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbeds.broker import Amqtt, Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        assert isinstance(running, Mosquitto)
        yield running


@pytest.fixture
def old_broker(tmp_path: Path) -> Iterator[Amqtt]:
    """A broker that knows MQTT 3.1.1 only."""
    with Amqtt(tmp_path / "amqtt") as running:
        assert isinstance(running, Amqtt)
        yield running
