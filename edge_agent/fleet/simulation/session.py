"""The MQTT session of one simulated device: the client of a real device, without its thread.

It carries out what the device's turns ask for, keeps to the broker's Receive Maximum (MQTT 5.0 section
4.9), and acknowledges what arrived when the device has taken it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from enum import Enum
from typing import Final

from edge_agent.fleet.simulation.device import SimulatedDevice
from edge_agent.fleet.simulation.turn import Message, Turn, Wish
from edge_agent.link.address import BrokerAddress
from edge_agent.link.paho_client import PahoClient
from edge_agent.link.protocol import Accepted, ConnectOptions, Incoming, Retained, Subscription, Will
from edge_agent.link.refusal import Refusal
from edge_agent.link.wire import pack_publish

_JSON: Final = pack_publish()
_DISCONNECT: Final = 0xE0
_FORGET: Final = b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00"
"""DISCONNECT with the reason 0 and a Session Expiry Interval of 0 (sections 3.14.2.1 and 3.14.2.2.2)."""
_INFLIGHT: Final = 20


class _Client(PahoClient):
    """Can ask the broker to forget the session."""

    def forget(self) -> None:
        self._packet_queue(_DISCONNECT, _FORGET)


class Place(Enum):
    """Where a session is."""

    AWAY = "away"
    QUEUED = "queued"
    """To be opened, or being opened."""
    OPEN = "open"


class Session:
    """One device's link; a new client for each connection. All but :meth:`open` in one thread.

    Args:
        device: whose session it is.
        address: of the broker.
        keepalive_seconds: as the settings of a real device have it.
        session_expiry_seconds: likewise.

    Attributes:
        place: where it is; kept by its owner.
        is_over: the device has left for good.
        fault: why the last connection broke, or was not made, in words; None for none or a planned end.
    """

    is_reading = True

    def __init__(
        self,
        device: SimulatedDevice,
        address: BrokerAddress,
        *,
        keepalive_seconds: int = 30,
        session_expiry_seconds: int = 86_400,
    ) -> None:
        self.device = device
        self._address = address
        self._options = ConnectOptions(
            client_id=f"edge-agent-{device.topics.device}",
            keepalive_seconds=keepalive_seconds,
            session_expiry_seconds=session_expiry_seconds,
            receive_maximum=16,
            will=Will(device.topics.status, b"offline", delay_seconds=2),
        )
        self._client: _Client | None = None
        self._waiting: deque[Message] = deque()
        self._unconfirmed = 0
        self._window = _INFLIGHT
        self._wish = Wish.STAY
        self._now = 0.0
        self._has_said_goodbye = False
        self.place = Place.AWAY
        self.is_over = False
        self.fault: str | None = None

    def open(self) -> None:
        """Connects the socket and sends CONNECT; in any thread, while nothing else is called.

        Raises:
            BrokerError: see :meth:`PahoClient.open`.
            OSError: the broker cannot be reached.
        """
        client = _Client(self._address, self._options, self)
        client.is_corked = True
        client.open()
        self._client = client

    def opened(self) -> int:
        """The file descriptor of the open socket, for a selector."""
        assert self._client is not None
        self.fault = None
        self._waiting.clear()
        self._unconfirmed, self._wish, self._has_said_goodbye = 0, Wish.STAY, False
        sock = self._client.socket()
        assert sock is not None
        return int(sock.fileno())

    def was_lost(self, now: float, fault: str | None) -> None:
        """The link is gone, or could not be made."""
        self._client = None
        self.fault = fault
        if not self.is_over:
            self.device.lost(now)

    def read(self, now: float) -> None:
        """Takes what the socket has."""
        client = self._client
        if client is None:
            return
        self._now = now
        client.loop_read()
        sock = client.socket()
        while sock is not None and hasattr(sock, "pending") and sock.pending() > 0:
            client.loop_read()
            sock = client.socket()

    def carry_out(self, turn: Turn) -> None:
        """Publishes, in order and no faster than the broker confirms; then does the wish."""
        self._waiting.extend(turn.messages)
        if turn.wish is not Wish.CONNECT:
            self._wish = turn.wish if turn.wish is not Wish.STAY else self._wish
        self._send()

    def flush(self) -> bool:
        """Writes what waits; whether some is left since the socket takes no more."""
        client = self._client
        if client is None:
            return False
        if client.want_write():
            client.loop_write()
        return client.want_write()

    def look_at_the_clock(self) -> None:
        """Pings a silent broker, and notices a dead one."""
        if self._client is not None:
            self._client.loop_misc()

    @property
    def is_done(self) -> bool:
        """Whether its socket is closed, or to be closed.

        After a goodbye the broker closes it: who closes a socket with something unread resets the connection,
        and the broker may never read the goodbye (RFC 2525, section 2.17).
        """
        client = self._client
        if client is None or client.socket() is None:
            return True
        return self._wish is Wish.BREAK and not client.want_write()

    def close(self) -> None:
        """Frees the socket."""
        if self._client is not None:
            with suppress(OSError):
                self._client.drop()

    def _send(self) -> None:
        client = self._client
        if client is None:
            return
        while self._waiting and self._unconfirmed < self._window:
            message = self._waiting.popleft()
            topic = message.topic.encode()
            if message.qos == 0:
                client.send_once(topic, message.payload, _JSON)
                continue
            client.send_publish(topic, message.payload, message.retain, _JSON, may_wait=True)
            self._unconfirmed += 1
        if self._wish is not Wish.STAY and not (self._waiting or self._unconfirmed or self._has_said_goodbye):
            self._say_goodbye(client)

    def _say_goodbye(self, client: _Client) -> None:
        """Once the broker has confirmed everything."""
        self._has_said_goodbye = True
        self.is_over = self.device.is_leaving
        if self._wish is Wish.LEAVE:
            client.disconnect()
        elif self._wish is Wish.FORGET:
            client.forget()

    # What the client tells

    def on_accepted(self, accepted: Accepted) -> None:
        """The broker let it in."""
        assert self._client is not None
        topics = self.device.topics
        self._window = min(_INFLIGHT, accepted.receive_maximum)
        if not self.device.is_leaving:
            self._client.ask_for(
                (
                    Subscription(topics.commands, no_local=True, retained=Retained.ALWAYS),
                    Subscription(topics.wishes, retained=Retained.NEVER),
                    Subscription(topics.canary),
                )
            )
        self.carry_out(self.device.connected(self._now, resumed=accepted.session_resumed))

    def on_refused(self, refusal: Refusal) -> None:
        """The broker did not let it in."""
        self.fault = refusal.words

    def on_suback(self, mid: int, codes: tuple[int, ...]) -> None:  # noqa: ARG002
        """A subscription was answered; one that hears no commands is of no use."""
        if any(code >= 0x80 for code in codes):
            self.fault, self._wish = "the broker refuses a subscription", Wish.BREAK

    def on_message(self, message: Incoming) -> None:
        """A message arrived."""
        assert self._client is not None
        turn = self.device.hear(message.topic, message.payload, retained=message.retain, now=self._now)
        self.carry_out(turn)
        if message.qos:
            self._client.ack(message.mid, 1)

    def on_puback(self, mid: int, code: int) -> None:  # noqa: ARG002
        """A message was confirmed."""
        self._unconfirmed -= 1
        self._send()

    def on_goodbye(self, refusal: Refusal | None) -> None:
        """The broker hangs up."""
        if refusal is not None:
            self.fault = refusal.words

    def on_disconnected(self, reason: str, hint: str | None) -> None:  # noqa: ARG002
        """The socket is closed."""
        if not self._has_said_goodbye:
            self.fault = self.fault or reason
