"""Asking a daemon as an application would, and asserting that it is still well."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.deploy.hardened import HardenedBroker
from tests.deploy.visitor import Visitor
from tests.testbeds.daemon import Daemon

REQUESTS = "edge-agent/pi-1/in/tiny"
RESULTS = "edge-agent/pi-1/out/tiny"
SENTENCE = "turn on the lamp in the kitchen"
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class House:
    """A broker, a daemon named pi-1, an application and an operator."""

    folder: Path
    broker: HardenedBroker
    daemon: Daemon
    crm: Visitor
    operator: Visitor


def ask(visitor: Visitor, payload: str | bytes, *, topic: str = REQUESTS) -> dict[str, Any]:
    """Sends a request with a response topic of its own, and returns the answer."""
    response = f"edge-agent/pi-1/out/app.crm/{next(_NUMBERS)}"
    assert visitor.publish(topic, payload, response_topic=response) == "Success"
    answer: dict[str, Any] = json.loads(visitor.wait_for(response)[0].payload)
    return answer


def code_of(answer: dict[str, Any]) -> str:
    return str(answer["error"]["code"]) if "error" in answer else "ok"


def assert_well(visitor: Visitor) -> None:
    """A sentence still gets its answer."""
    assert ask(visitor, SENTENCE)["intent"] == "HassTurnOn"
