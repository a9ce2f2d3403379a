"""A link under test, with who takes its requests, and a shorthand for what is waited for."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from edge_agent.link.address import BrokerAddress
from edge_agent.link.backoff import Pauses
from edge_agent.link.client import Link
from edge_agent.link.policy import LinkPolicy
from edge_agent.link.protocol import ConnectOptions, LinkStatus, Subscription, Will
from tests.fakes.receiver import KeepingReceiver
from tests.testbeds.broker import HOST
from tests.testbeds.waiting import eventually

TREE = "edge-agent/pi"
IN, OUT, CANARY = f"{TREE}/in/m", f"{TREE}/out/m", f"{TREE}/canary"
QUICK = Pauses(base=0.05, cap=0.1, denied_floor=30.0, evicted_floor=0.2, patient_cap=0.4)
LONG = 60.0


class Linked:
    """A link, started; a context manager."""

    def __init__(
        self,
        port: int,
        *subscriptions: str | Subscription,
        client_id: str = "device",
        address: BrokerAddress | None = None,
        policy: LinkPolicy | None = None,
        canary: str | None = None,
        hold: int = 64,
        **options: Any,
    ) -> None:
        self.receiver = KeepingReceiver()
        chosen = {"session_expiry_seconds": 3600, "receive_maximum": 10, "keepalive_seconds": 30, **options}
        self.link = Link(
            address or BrokerAddress(HOST, port),
            ConnectOptions(client_id=client_id, will=Will(f"{TREE}/status", b"offline"), **chosen),
            subscriptions or (f"{TREE}/in/+",),
            self.receiver,
            hold=hold,
            tree=TREE,
            canary=canary,
            policy=policy or LinkPolicy(pauses=QUICK),
        )
        self.link.start()

    @property
    def status(self) -> LinkStatus:
        return self.link.status()

    @property
    def refusals(self) -> str:
        return "; ".join(self.status.refusals)

    def up(self, connection: int = 1) -> Linked:
        """Once it serves, on this connection or a later one."""
        eventually(
            lambda: self.status.connected_seconds is not None and self.status.connections >= connection,
            LONG,
            "the link",
        )
        return self

    def fault(self, *words: str) -> LinkStatus:
        """The status, once its fault has these words."""
        eventually(lambda: all(word in str(self.status.fault) for word in words), LONG, f"a fault of {words}")
        return self.status

    def answer(self, index: int, topic: str = OUT, payload: bytes | None = None) -> None:
        delivery = self.receiver.wait_for(index + 1, LONG)[index]
        self.link.answer(delivery, topic, payload or b'"' + delivery.message.payload + b'"')

    def __enter__(self) -> Linked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.link.leave(None, 10.0)
