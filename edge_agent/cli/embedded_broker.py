"""The broker of ``edge-agent demo`` on machines without Mosquitto: amqtt, MQTT 3.1.1, loopback only.

Runs as a child process: ``python -m edge_agent.cli.embedded_broker HOST PORT``. For a demo, not for service.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from amqtt.broker import Broker
from amqtt.mqtt.connect import ConnectPacket, ConnectPayload

_MQTT_3_1_1 = 4


class _PayloadOfAnyProtocol(ConnectPayload):  # type: ignore[misc]  # amqtt is untyped to mypy here
    """Leaves a CONNECT of MQTT 5 unread, so that amqtt comes to refusing it.

    amqtt 0.12 reads its properties as a client id and waits for bytes that never come, instead of answering
    that the protocol is not supported, and the client waits for its time-out.
    """

    @classmethod
    async def from_stream(cls, reader: Any, fixed_header: Any, variable_header: Any) -> Any:
        if variable_header.proto_level == _MQTT_3_1_1:
            return await super().from_stream(reader, fixed_header, variable_header)
        variable_header.will_flag = variable_header.username_flag = variable_header.password_flag = False
        payload = cls()
        payload.client_id = ""
        return payload


async def serve(host: str, port: int) -> None:
    """Serves MQTT 3.1.1 until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ConnectPacket.PAYLOAD = _PayloadOfAnyProtocol
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
