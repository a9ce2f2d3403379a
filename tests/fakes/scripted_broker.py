"""A broker that does what no real one here can be told to: it speaks packets as a test writes them.

Only for what Mosquitto cannot play: redirects, keep-alive and client ids of the server's choice, odd reason
codes, quotas, silence. Everything else is tested against Mosquitto.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from types import TracebackType

from edge_agent.link.protocol import Incoming
from edge_agent.link.wire import packet_ends, read_publish, write_integer

HOST = "127.0.0.1"
CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 0x10, 0x30, 0x40, 0x80, 0xC0, 0xE0


@dataclass(frozen=True)
class Packet:
    """A packet of the client."""

    header: int
    body: bytes

    @property
    def kind(self) -> int:
        return self.header & 0xF0


def number(identifier: int, value: int, size: int) -> bytes:
    """A property that is a number."""
    return bytes((identifier,)) + value.to_bytes(size, "big")


def text(identifier: int, value: str) -> bytes:
    """A property that is a string."""
    return bytes((identifier,)) + _string(value)


def connack(code: int = 0, properties: bytes = b"", *, resumed: bool = False) -> bytes:
    """CONNACK of MQTT 5."""
    return _packet(0x20, bytes((resumed, code)) + write_integer(len(properties)) + properties)


def connack_3_1_1(code: int = 0, *, resumed: bool = False) -> bytes:
    """CONNACK of MQTT 3.1.1."""
    return _packet(0x20, bytes((resumed, code)))


def disconnect(code: int, properties: bytes = b"") -> bytes:
    """DISCONNECT of MQTT 5."""
    return _packet(DISCONNECT, bytes((code,)) + write_integer(len(properties)) + properties)


def publish(topic: str, payload: bytes, mid: int = 0, *, v5: bool = True) -> bytes:
    """PUBLISH, at QoS 1 where it has a packet identifier."""
    head = _string(topic) + (struct.pack("!H", mid) if mid else b"") + (b"\x00" if v5 else b"")
    return _packet(PUBLISH | (2 if mid else 0), head + payload)


@dataclass
class Manners:
    """How the broker behaves; every client gets the same.

    Attributes:
        connack: what it answers to CONNECT; None for silence.
        grant: filter → reason code of its SUBACK.
        confirm: message → reason code of its PUBACK; None to leave it unconfirmed.
        after_subscribe: called when a subscription was answered, in the thread of the connection.
        answers_pings: whether it does.
    """

    connack: Callable[[Peer], bytes | None] = lambda peer: connack() if peer.is_v5 else connack_3_1_1()
    grant: Callable[[str], int] = lambda _: 1
    confirm: Callable[[Incoming], int | None] = lambda _: 0
    after_subscribe: Callable[[Peer], None] = lambda _: None
    answers_pings: bool = True


class Peer:
    """One connection of a client, as the broker sees it."""

    def __init__(self, sock: socket.socket, number: int, news: Condition) -> None:
        self.number = number
        self.packets: list[Packet] = []
        self.is_v5: bool = True
        self.client_id = ""
        self._sock = sock
        self._news = news
        self._buffer = b""

    def send(self, packet: bytes) -> None:
        with suppress(OSError):
            self._sock.sendall(packet)

    def hang_up(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def read(self) -> Packet | None:
        """The next packet; None when the client is gone."""
        while (ends := packet_ends(self._buffer, 0)) is None:
            try:
                received = self._sock.recv(65_536)
            except OSError:
                return None
            if not received:
                return None
            self._buffer += received
        packet = Packet(self._buffer[0], self._buffer[ends[0] : ends[1]])
        self._buffer = self._buffer[ends[1] :]
        if packet.kind == CONNECT:
            self._read_connect(packet.body)
        with self._news:
            self.packets.append(packet)
            self._news.notify_all()
        return packet

    def of(self, kind: int) -> list[Packet]:
        """The client's packets of one kind, so far."""
        return [packet for packet in self.packets if packet.kind == kind]

    def publications(self) -> list[Incoming]:
        """What the client published."""
        return [read_publish(one.header, one.body, is_v5=self.is_v5) for one in self.of(PUBLISH)]

    def acknowledged(self) -> list[int]:
        """Packet identifiers that the client acknowledged, in order."""
        return [int.from_bytes(packet.body[:2], "big") for packet in self.of(PUBACK)]

    def _read_connect(self, body: bytes) -> None:
        self.is_v5 = body[6] == 5
        position = 10
        if self.is_v5:
            position += 1 + body[10]
        length = int.from_bytes(body[position : position + 2], "big")
        self.client_id = body[position + 2 : position + 2 + length].decode()


@dataclass
class ScriptedBroker:
    """Listens on a free port and serves each client in a thread of its own."""

    manners: Manners = field(default_factory=Manners)

    def __post_init__(self) -> None:
        self.peers: list[Peer] = []
        self.news = Condition()
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def wait_for(self, is_it: Callable[[], bool], within_seconds: float = 20.0) -> None:
        """Until something is true of what the clients sent."""
        with self.news:
            assert self.news.wait_for(is_it, within_seconds), [peer.packets for peer in self.peers]

    def wait_for_peer(self, count: int = 1, within_seconds: float = 20.0) -> Peer:
        """The client that came as the so-manieth, once it is there."""
        self.wait_for(lambda: len(self.peers) >= count, within_seconds)
        return self.peers[count - 1]

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            peer.hang_up()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> ScriptedBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self.news:
                peer = Peer(sock, len(self.peers) + 1, self.news)
                self.peers.append(peer)
                self.news.notify_all()
            thread = Thread(target=self._serve, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        while (packet := peer.read()) is not None:
            self._answer(peer, packet)
        peer.hang_up()

    def _answer(self, peer: Peer, packet: Packet) -> None:
        manners = self.manners
        if packet.kind == CONNECT:
            answer = manners.connack(peer)
            if answer is not None:
                peer.send(answer)
        elif packet.kind == SUBSCRIBE:
            codes = bytes(manners.grant(name) for name in _filters(packet.body, peer.is_v5))
            peer.send(_packet(0x90, packet.body[:2] + (b"\x00" if peer.is_v5 else b"") + codes))
            manners.after_subscribe(peer)
        elif packet.kind == PUBLISH:
            message = read_publish(packet.header, packet.body, is_v5=peer.is_v5)
            code = manners.confirm(message)
            if message.qos and code is not None:
                mid = message.mid.to_bytes(2, "big")
                peer.send(_packet(PUBACK, mid + bytes((code,)) if code and peer.is_v5 else mid))
        elif packet.kind == PINGREQ and manners.answers_pings:
            peer.send(b"\xd0\x00")


def subscribed(packet: Packet, *, v5: bool = True) -> list[str]:
    """The filters of a SUBSCRIBE."""
    return _filters(packet.body, v5)


def _filters(body: bytes, is_v5: bool) -> list[str]:
    position, names = 3 if is_v5 else 2, []
    while position < len(body):
        length = int.from_bytes(body[position : position + 2], "big")
        names.append(body[position + 2 : position + 2 + length].decode())
        position += 3 + length
    return names


def _string(value: str) -> bytes:
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def _packet(header: int, body: bytes) -> bytes:
    return bytes((header,)) + write_integer(len(body)) + body
