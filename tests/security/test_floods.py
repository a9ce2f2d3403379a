"""Denial by floods: QoS 0 faster than can be answered, and a requester that does not read."""

from __future__ import annotations

import json
import socket

import psutil

from tests.deploy.hardened import Keys
from tests.deploy.visitor import Visitor
from tests.security.asking import REQUESTS, SENTENCE, House, ask, assert_well

FLOOD = 5_000
GROWTH_BYTES = 48e6


def test_a_flood_at_qos_0_takes_no_answer_from_those_who_wait_their_turn(house: House, keys: Keys) -> None:
    process = psutil.Process(house.daemon.pid)
    ask(house.crm, SENTENCE)
    before = process.memory_info().rss
    sink = "edge-agent/pi-1/out/app.crm/sink"
    with Visitor(house.broker.port, keys=keys, certificate="app.crm") as flooder:
        for number in range(FLOOD):
            flooder.publish(REQUESTS, SENTENCE, qos=0, response_topic=sink)
            if number % 250 == 0:
                topic = f"edge-agent/pi-1/out/app.crm/turn-{number}"
                payload = json.dumps({"text": SENTENCE, "id": str(number)})
                assert flooder.publish(REQUESTS, payload, response_topic=topic) == "Success"
        for number in range(0, FLOOD, 250):
            house.crm.wait_for(f"edge-agent/pi-1/out/app.crm/turn-{number}")
        assert process.memory_info().rss - before < GROWTH_BYTES
    assert_well(house.crm)
    assert len(house.daemon.events("mqtt.connected")) == 1


def test_a_requester_that_does_not_read_its_answers_hinders_nobody(house: House, keys: Keys) -> None:
    slow = Visitor(house.broker.port, keys=keys, certificate="app.crm")
    try:
        slow.subscribe("edge-agent/pi-1/out/app.crm/slow")
        held = slow.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with slow.frozen():
            for _ in range(500):
                house.crm.publish(
                    REQUESTS, SENTENCE, qos=0, response_topic="edge-agent/pi-1/out/app.crm/slow"
                )
            assert_well(house.crm)
        assert_well(house.crm)
    finally:
        slow.close()
    assert len(house.daemon.events("mqtt.connected")) == 1


def test_many_devices_and_models_that_do_not_exist_cost_nothing(house: House) -> None:
    process = psutil.Process(house.daemon.pid)
    ask(house.crm, SENTENCE)
    before = process.memory_info().rss
    for number in range(3_000):
        house.crm.publish(
            f"edge-agent/pi-1/in/model-{number}", "x", qos=0, response_topic=f"elsewhere/{number}"
        )
    assert_well(house.crm)
    assert process.memory_info().rss - before < GROWTH_BYTES
    health = house.operator.wait_for("edge-agent/pi-1/health")[-1]
    assert len(health.payload) <= 4096
