"""One MQTT connection, from CONNECT to the loss of the link: the only file that imports paho.

It never reconnects; who holds it makes a new one, so that nothing of an old connection (message ids,
half-read packets, acknowledgements) can leak into the next. paho is driven by its documented external
loop: :meth:`Connection.pump` in one thread, :meth:`Connection.publish` from any, under one lock. An answer is
thus written to the socket by the thread that made it, without waking another.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.protocol import MQTT_5, Accepted, ConnectOptions, Incoming, Listener
from edge_agent.link.wire import MalformedPacketError, pack_publish, read_publish

_UNSUPPORTED_PROTOCOL_VERSION = 0x84
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class _Packed(Properties):
    """Properties that are bytes already."""

    packed: bytes

    def __init__(self, packed: bytes) -> None:
        object.__setattr__(self, "packed", packed)

    def pack(self) -> bytes:
        return self.packed


_ORDINARY = _Packed(pack_publish())
_SUCCESS = ReasonCode(PacketTypes.PUBACK)
_NO_PROPERTIES = _Packed(b"")


class _Client(mqtt.Client):
    """paho with the two packets of every request read faster; :mod:`edge_agent.link.wire` says why.

    Overrides two private methods, alike in paho 2.1 and 2.2; a test of the real thing guards them.
    """

    def __init__(
        self, on_incoming: Callable[[Incoming], None], may_read: Callable[[], bool], **arguments: Any
    ) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, **arguments)
        self._on_incoming = on_incoming
        self._may_read = may_read

    def _handle_publish(self) -> MQTTErrorCode:
        packet = self._in_packet
        try:
            message = read_publish(packet["command"], packet["packet"], is_v5=self._protocol == mqtt.MQTTv5)
        except MalformedPacketError:
            return mqtt.MQTT_ERR_PROTOCOL
        with self._in_callback_mutex:
            self._on_incoming(message)
        return mqtt.MQTT_ERR_SUCCESS if self._may_read() else mqtt.MQTT_ERR_AGAIN

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) != 2:
            return super()._handle_pubackcomp(cmd)
        mid = packet[0] << 8 | packet[1]
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, _SUCCESS, _NO_PROPERTIES)
        return mqtt.MQTT_ERR_SUCCESS


class Connection:
    """One connection. :meth:`open`, then :meth:`pump` until it says that the link is gone.

    Args:
        address: the broker.
        options: what to tell it.
        listener: who is told what happens.
        lock: held while paho's state changes; shared with the owner, whose state goes with it.

    Attributes:
        was_answered: the broker said yes or no; one that hangs up instead may not know MQTT 5.
        is_reading: False leaves what the broker sends in the socket, so that TCP holds the broker back.
    """

    def __init__(
        self, address: BrokerAddress, options: ConnectOptions, listener: Listener, lock: RLock | None = None
    ) -> None:
        self.options = options
        self._address = address
        self._listener = listener
        self._lock = lock or RLock()
        self._tokens: dict[int, object] = {}
        self._closing = False
        self._in_pump = False
        self.was_answered = False
        self.is_reading = True
        self._lost: str | None = None
        self._is_tcp = address.transport == "tcp" and not address.tls
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._client = self._make_client()

    @property
    def is_open(self) -> bool:
        """Whether the link has not been lost yet."""
        return self._lost is None

    @property
    def unconfirmed(self) -> int:
        """Messages that the broker has not confirmed."""
        return len(self._tokens)

    def open(self) -> None:
        """Connects the socket and sends CONNECT; the broker's word comes by :meth:`pump`.

        Raises:
            BrokerError: the broker cannot be reached, or TLS fails.
        """
        options = self.options
        v5: dict[str, Any] = {}
        if options.protocol == MQTT_5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = options.session_expiry_seconds
            properties.ReceiveMaximum = options.receive_maximum
            properties.MaximumPacketSize = options.max_packet_bytes
            v5 = {"clean_start": options.session_expiry_seconds == 0, "properties": properties}
        try:
            self._secure()
            self._client.connect(
                self._address.host, self._address.port, keepalive=options.keepalive_seconds, **v5
            )
        except (OSError, ValueError) as error:
            self._lost = _in_words(error)
            raise BrokerError(f"cannot reach the broker at {self._address}: {self._lost}") from error

    def pump(self, timeout_seconds: float) -> bool:
        """Waits for the socket and handles what comes, once.

        Returns:
            False when the link is gone.
        """
        with self._lock:
            sock = self._client.socket()
            if sock is None or self._lost is not None:
                self._lose("the connection was closed")
                return False
            writers = [sock] if self._client.want_write() else []
            readers = [sock, self._wake_read] if self.is_reading else [self._wake_read]
            pending = self.is_reading and not self._is_tcp and _has_pending(sock)
        try:
            readable, _, _ = select.select(readers, writers, [], 0 if pending else timeout_seconds)
        except (OSError, ValueError):
            readable = []
        if self._wake_read in readable:
            with suppress(BlockingIOError):
                self._wake_read.recv(4096)
        with self._lock:
            self._in_pump = True
            try:
                if pending or sock in readable:
                    self._client.loop_read()
                    self._acknowledge_quickly(sock)
                if self._client.want_write():
                    self._client.loop_write()
                self._client.loop_misc()
            finally:
                self._in_pump = False
            if self._client.socket() is None:
                self._lose("the connection was closed")
            return self._lost is None

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Asks for these topics at QoS 1; the listener hears the answer.

        Retained messages come once, when the subscription is new, and keep their mark: the receiver wants to
        count them, not to hear them again after each reconnect.
        """
        with self._lock:
            if self.options.protocol == MQTT_5:
                wanted = SubscribeOptions(
                    qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
                )
                self._client.subscribe([(name, wanted) for name in filters])
            else:
                self._client.subscribe([(name, 1) for name in filters])

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        qos: int = 1,
        properties: bytes | None = None,
        token: object = None,
    ) -> None:
        """Sends a message.

        Args:
            topic: where to.
            payload: JSON in UTF-8, unless there are other ``properties``.
            retain: whether the broker keeps it.
            qos: 0 or 1.
            properties: packed MQTT 5 properties, None for the ordinary ones of JSON.
            token: comes back in ``on_confirmed``.

        Raises:
            BrokerError: the link is gone, or the topic is none.
        """
        packed: Properties | None = None
        if self.options.protocol == MQTT_5:
            packed = _ORDINARY if properties is None else _Packed(properties)
        with self._lock:
            try:
                info = self._client.publish(topic, payload, qos, retain, packed)
            except ValueError as error:
                raise BrokerError(f"cannot publish: {error}") from error
            if info.rc != mqtt.MQTT_ERR_SUCCESS:
                raise BrokerError(f"cannot publish: {mqtt.error_string(info.rc)}")
            if qos:
                self._tokens[info.mid] = token
            self._wake_if_blocked()

    def acknowledge(self, mid: int) -> None:
        """Tells the broker that a message at QoS 1 is done with."""
        with self._lock:
            self._client.ack(mid, 1)
            self._wake_if_blocked()

    def wake(self) -> None:
        """Ends a :meth:`pump` that waits."""
        with suppress(OSError):
            self._wake_write.send(b"\0")

    def disconnect(self) -> None:
        """Says goodbye, so that the broker forgets the will; the link is lost after it."""
        with self._lock:
            self._closing = True
            if self._client.socket() is not None:
                self._client.disconnect()
        self.wake()

    def close(self) -> None:
        """Frees the sockets."""
        with self._lock:
            sock = self._client.socket()
            if sock is not None:
                sock.close()
            self._lose("closed")
            self._wake_read.close()
            self._wake_write.close()

    def _wake_if_blocked(self) -> None:
        """The socket took less than all: the pump has to wait for it to take more."""
        if not self._in_pump and self._client.want_write():
            self.wake()

    def _make_client(self) -> mqtt.Client:
        options = self.options
        is_v5 = options.protocol == MQTT_5
        client = _Client(
            self._listener.on_message,
            lambda: self.is_reading,
            client_id=options.client_id,
            protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
            clean_session=None if is_v5 else options.session_expiry_seconds == 0,
            transport=self._address.transport,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = options.connect_timeout_seconds
        client.max_inflight_messages = options.inflight
        if self._address.username is not None:
            client.username_pw_set(self._address.username, self._address.password)
        if self._address.transport == "websockets":
            client.ws_set_options(path=self._address.websocket_path)
        if options.will is not None:
            delay: Any = None
            if is_v5:
                delay = _properties(PacketTypes.WILLMESSAGE)
                delay.WillDelayInterval = options.will.delay_seconds
            client.will_set(options.will.topic, options.will.payload, qos=1, retain=True, properties=delay)
        client.on_socket_open = _set_no_delay
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        return client

    def _secure(self) -> None:
        address = self._address
        if address.tls:
            self._client.tls_set(address.ca_file, address.cert_file, address.key_file)

    def _acknowledge_quickly(self, sock: Any) -> None:
        """Re-arms TCP_QUICKACK, which the kernel clears by itself.

        A broker without ``set_tcp_nodelay`` holds a small packet back until the one before it is
        acknowledged, and the kernel delays that by 40 ms.
        """
        if self._is_tcp and self.options.quick_acknowledge and _QUICKACK is not None:
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.was_answered = True
        if reason.is_failure:
            self._listener.on_refused(str(reason), reason.value == _UNSUPPORTED_PROTOCOL_VERSION)
            return
        self._listener.on_accepted(
            Accepted(
                session_resumed=bool(flags.session_present),
                receive_maximum=getattr(properties, "ReceiveMaximum", 65_535),
                max_packet_bytes=getattr(properties, "MaximumPacketSize", 268_435_455),
            )
        )

    def _on_subscribe(self, _client: Any, _data: Any, _mid: Any, reasons: Any, _properties: Any) -> None:
        faults = [str(reason) for reason in reasons if reason.is_failure]
        self._listener.on_subscribed(faults[0] if faults else None)

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        if mid in self._tokens:
            self._listener.on_confirmed(
                self._tokens.pop(mid), str(reason) if reason is not None and reason.is_failure else None
            )

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        by_broker = "the broker closed the link: " if flags.is_disconnect_packet_from_server else ""
        self._lose(f"{by_broker}{reason}")

    def _lose(self, reason: str) -> None:
        with self._lock:
            if self._lost is None:
                self._lost = "closed" if self._closing else reason
                self.wake()
                self._listener.on_lost(self._lost)


def _has_pending(sock: Any) -> bool:
    """Whether TLS or the websocket has read more than was asked for; ``select`` does not know of that."""
    return hasattr(sock, "pending") and sock.pending() > 0


def _properties(packet: int) -> Any:
    return Properties(packet)  # type: ignore[no-untyped-call]  # paho's class is untyped


def _set_no_delay(_client: Any, _data: Any, sock: Any) -> None:
    """TCP_NODELAY: without it a QoS 1 round trip takes 44 ms or more."""
    with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
        if same.family != socket.AF_UNIX:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
