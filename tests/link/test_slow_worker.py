"""A device that answers slowly is not a dead one."""

from __future__ import annotations

import time

from tests.link.linked import Linked
from tests.testbeds.broker import Mosquitto
from tests.testbeds.probe import Probe


def test_a_model_slower_than_the_keep_alive_does_not_cost_the_link(broker: Mosquitto) -> None:
    with (
        Linked(broker.port, keepalive_seconds=1, hold=8, receive_maximum=8) as linked,
        Probe(broker.port) as probe,
    ):
        linked.up()
        for number in range(16):
            probe.publish("edge-agent/pi/in/tiny", str(number), wait=False)
        linked.receiver.wait_for(8, 10)
        answered = 0
        until = time.monotonic() + 12
        while answered < 16 and time.monotonic() < until:
            linked.answer(answered)
            answered += 1
            time.sleep(0.8)  # the model at work
        assert linked.status.connections == 1
