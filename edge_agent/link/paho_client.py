"""paho, in the only file that imports it: sockets, handshakes, pings; and a faster path for requests."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, _ConnectionState
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.control import (
    read_connack,
    read_disconnect,
    read_suback,
    write_subscribe,
    write_unsubscribe,
)
from edge_agent.link.protocol import MQTT_5, Accepted, ConnectOptions, Incoming, Subscription, Will
from edge_agent.link.refusal import MUTE_HINT, Refusal, unsupported
from edge_agent.link.tls import check_pins, in_words, make_context
from edge_agent.link.wire import MalformedPacketError, packet_ends, read_publish, write_publish

_READ_BYTES = 65_536
_CONNACK = 0x20
_PUBLISH = 0x30
_PUBACK = 0x40
_SUBSCRIBE = 0x82
_UNSUBSCRIBE = 0xA2
_UNSUBACK = 0xB0
_SUBACK = 0x90
_PINGRESP = 0xD0
_DISCONNECT = 0xE0
_CONNECTED = _ConnectionState.MQTT_CS_CONNECTED
_UNNAMED = {
    "Unspecified error": "the broker closed the connection",
    "Keep alive timeout": "the broker did not answer in time (keep-alive)",
    "Protocol error": "the broker broke the protocol",
}


class ClientEvents(Protocol):
    """Who hears what the broker says; called while :meth:`PahoClient.loop_read` runs."""

    @property
    def is_reading(self) -> bool:
        """Whether to read on after a PUBLISH."""

    def on_accepted(self, accepted: Accepted) -> None:
        """CONNACK."""

    def on_refused(self, refusal: Refusal) -> None:
        """CONNACK that says no, or one that grants too little."""

    def on_suback(self, mid: int, codes: tuple[int, ...]) -> None:
        """SUBACK with its reason codes."""

    def on_message(self, message: Incoming) -> None:
        """PUBLISH."""

    def on_puback(self, mid: int, code: int) -> None:
        """PUBACK with its reason code, 0 on 3.1.1."""

    def on_goodbye(self, refusal: Refusal | None) -> None:
        """DISCONNECT; None for a normal one. :meth:`on_disconnected` follows."""

    def on_disconnected(self, reason: str, hint: str | None) -> None:
        """The socket is closed."""


class _WrongServerError(OSError):
    """What listens there speaks something else."""


class PahoClient(mqtt.Client):
    """paho's connection, with the packets of every request read and written here.

    paho takes 20 µs to read two properties and as long to send a message, more than tokenising a sentence;
    :mod:`edge_agent.link.wire` tells of a worse reason. Overrides and calls private methods that are alike in
    paho 2.1 and 2.2, and that the tests of the link go through.

    Args:
        address: the broker.
        options: what to tell it.
        events: who hears what it says.

    Attributes:
        is_corked: packets wait for :meth:`loop_write`, so that one system call sends them all.
        has_packet: a packet was read and not handled, since reading was to stop.
    """

    def __init__(self, address: BrokerAddress, options: ConnectOptions, events: ClientEvents) -> None:
        self.is_corked = False
        self.has_packet = False
        self._outgoing = bytearray()
        self._ahead = b""
        self._address = address
        self._options = options
        self._events = events
        self._error: OSError | None = None
        self._opened: socket.socket | None = None
        self._is_accepted = False
        # All that the socket has at once; paho asks for one byte, one byte and the rest.
        self._reads_ahead = address.transport == "tcp" and not address.tls
        is_v5 = options.protocol == MQTT_5
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
            clean_session=None if is_v5 else options.session_expiry_seconds == 0,
            transport=address.transport,  # type: ignore[arg-type]
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.connect_timeout = options.connect_timeout_seconds
        self.on_socket_open = _set_no_delay
        self.on_disconnect = self._hear_disconnect
        if address.username is not None:
            self.username_pw_set(address.username, address.password)
        if address.transport == "websockets":
            self.ws_set_options(path=address.websocket_path)
        if options.will is not None:
            self._set_will(options.will)

    def open(self) -> None:
        """Connects the socket and sends CONNECT.

        Raises:
            BrokerError: a file of the TLS settings cannot be used, or the certificate is not among the pins.
            OSError: the broker cannot be reached, or TLS fails.
            ValueError: the address is none.
        """
        address, options = self._address, self._options
        if address.tls:
            self.tls_set_context(make_context(address))
        v5: dict[str, Any] = {}
        if options.protocol == MQTT_5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = options.session_expiry_seconds
            properties.ReceiveMaximum = options.receive_maximum
            properties.MaximumPacketSize = options.max_packet_bytes
            v5 = {"clean_start": options.session_expiry_seconds == 0, "properties": properties}
        try:
            self.connect(address.host, address.port, keepalive=options.keepalive_seconds, **v5)
        except (OSError, ValueError, BrokerError):
            if self._sock is None and self._opened is not None:
                self._opened.close()
            raise
        finally:
            self._opened = None

    def _create_socket_connection(self) -> Any:
        self._opened = super()._create_socket_connection()
        return self._opened

    def _create_unix_socket_connection(self) -> Any:
        self._opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._opened.settimeout(self._options.connect_timeout_seconds)
        self._opened.connect(self._address.host)
        return self._opened

    def _ssl_wrap_socket(self, tcp_sock: Any) -> Any:
        """The handshake, with the name that is to be checked, and the pins."""
        assert self._ssl_context is not None
        tcp_sock.settimeout(self._options.connect_timeout_seconds)
        wrapped = self._ssl_context.wrap_socket(
            tcp_sock,
            server_hostname=self._address.tls_server_name or self._address.host,
            do_handshake_on_connect=False,
        )
        self._opened = wrapped
        try:
            wrapped.do_handshake()
        except ConnectionError as error:
            raise _WrongServerError("the broker hung up in the TLS handshake") from error
        check_pins(wrapped.getpeercert(binary_form=True), self._address.tls_pins)
        return wrapped

    def ask_for(self, subscriptions: tuple[Subscription, ...]) -> int:
        """Subscribes at QoS 1 and returns the packet identifier."""
        mid = self._mid_generate()
        packet = write_subscribe(mid, subscriptions, is_v5=self._protocol == mqtt.MQTTv5)
        self._packet_queue(_SUBSCRIBE, packet)
        return mid

    def give_up(self, filters: tuple[str, ...]) -> None:
        """Unsubscribes; that the broker says so is not waited for."""
        packet = write_unsubscribe(self._mid_generate(), filters, is_v5=self._protocol == mqtt.MQTTv5)
        self._packet_queue(_UNSUBSCRIBE, packet)

    def send_publish(
        self, topic: bytes, payload: bytes, retain: bool, properties: bytes | None, may_wait: bool
    ) -> int:
        """Sends a PUBLISH at QoS 1 and returns its packet identifier; nothing keeps a copy."""
        mid = self._mid_generate()
        self._outgoing += write_publish(topic, payload, mid=mid, retain=retain, properties=properties)
        if not (may_wait or self.is_corked):
            self.loop_write()
        return mid

    def send_once(self, topic: bytes, payload: bytes, properties: bytes | None) -> None:
        """Sends a PUBLISH at QoS 0, which nobody confirms."""
        self._outgoing += write_publish(topic, payload, mid=None, retain=False, properties=properties)
        if not self.is_corked:
            self.loop_write()

    def want_write(self) -> bool:
        """Whether bytes wait to be written."""
        return len(self._outgoing) > 0

    def loop_write(self) -> MQTTErrorCode:
        """Writes what waits, as much as the socket takes."""
        if self._sock is None:
            return mqtt.MQTT_ERR_NO_CONN
        try:
            while self._outgoing:
                taken = self._sock_send(self._outgoing)
                if not taken:
                    break
                del self._outgoing[:taken]
        except BlockingIOError:
            pass
        except OSError:
            return self._loop_rc_handle(mqtt.MQTT_ERR_CONN_LOST)
        return mqtt.MQTT_ERR_SUCCESS

    def _packet_queue(self, command: int, packet: bytes | bytearray, *_: Any, **__: Any) -> MQTTErrorCode:  # noqa: ARG002
        self._outgoing += packet
        return mqtt.MQTT_ERR_SUCCESS if self.is_corked else self.loop_write()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Reads what the socket has and handles the packets in it, until there is no whole one left."""
        if not self._reads_ahead:
            return super().loop_read(max_packets)
        try:
            if not self.has_packet:
                self._ahead += self._receive()
            return self._handle_packets()
        except BlockingIOError:
            return mqtt.MQTT_ERR_SUCCESS
        except OSError:
            return self._loop_rc_handle(mqtt.MQTT_ERR_CONN_LOST)
        except MalformedPacketError:
            return self._loop_rc_handle(mqtt.MQTT_ERR_PROTOCOL)

    def _receive(self) -> bytes:
        received = self._sock_recv(_READ_BYTES)
        if not received:
            raise ConnectionResetError("the broker closed the connection")
        return received

    def _sock_recv(self, bufsize: int) -> bytes:
        try:
            received = super()._sock_recv(bufsize)
            if not self._is_accepted:
                _check_speech(received)
        except BlockingIOError:
            raise
        except OSError as error:
            self._error = error
            raise
        return received

    def excuse(self) -> None:
        """Waits for no answer to a ping: it may lie in the socket, unread by our own choice."""
        self._ping_t = 0

    def drop(self) -> None:
        """Closes the socket without a word, so that the broker publishes the will."""
        self._sock_close()

    def _handle_packets(self) -> MQTTErrorCode:
        buffer, begin = self._ahead, 0
        is_v5 = self._protocol == mqtt.MQTTv5
        self.has_packet = False
        if not self._is_accepted and buffer and buffer[0] & 0xF0 != _CONNACK:
            return self._loop_rc_handle(mqtt.MQTT_ERR_PROTOCOL)
        try:
            while (ends := packet_ends(buffer, begin)) is not None:
                header, (body, begin) = buffer[begin], ends
                kind = header & 0xF0
                if kind == _PUBLISH:
                    self._events.on_message(read_publish(header, buffer[body:begin], is_v5=is_v5))
                    if not self._events.is_reading:
                        self.has_packet = packet_ends(buffer, begin) is not None
                        break
                elif kind == _PUBACK and begin - body >= 2:
                    code = buffer[body + 2] if begin - body > 2 else 0
                    self._events.on_puback(buffer[body] << 8 | buffer[body + 1], code)
                else:
                    rc = self._hand_to_paho(header, buffer[body:begin])
                    if rc > 0 or self._sock is None:
                        return self._loop_rc_handle(rc) if rc > 0 else mqtt.MQTT_ERR_NO_CONN
        finally:
            self._ahead = buffer[begin:]
        return mqtt.MQTT_ERR_SUCCESS

    def _hand_to_paho(self, header: int, body: bytes) -> MQTTErrorCode:
        self._in_packet["command"] = header
        self._in_packet["packet"] = bytearray(body)
        self._in_packet["remaining_length"] = len(body)
        return self._packet_handle()

    def _packet_handle(self) -> MQTTErrorCode:
        """Handles the packet that was read; there is no other kind that a broker may send us."""
        header, packet = self._in_packet["command"], bytes(self._in_packet["packet"])
        kind = header & 0xF0
        try:
            if not self._is_accepted:
                return self._take_connack(packet) if kind == _CONNACK else mqtt.MQTT_ERR_PROTOCOL
            if kind == _PUBLISH:
                self._events.on_message(read_publish(header, packet, is_v5=self._protocol == mqtt.MQTTv5))
                return mqtt.MQTT_ERR_SUCCESS if self._events.is_reading else mqtt.MQTT_ERR_AGAIN
            if kind == _PUBACK and len(packet) >= 2:
                self._events.on_puback(packet[0] << 8 | packet[1], packet[2] if len(packet) > 2 else 0)
                return mqtt.MQTT_ERR_SUCCESS
            if kind == _SUBACK:
                self._events.on_suback(*read_suback(packet, is_v5=self._protocol == mqtt.MQTTv5))
                return mqtt.MQTT_ERR_SUCCESS
            if kind in (_UNSUBACK, _PINGRESP):
                return self._handle_pingresp() if kind == _PINGRESP else mqtt.MQTT_ERR_SUCCESS
            if kind == _DISCONNECT and self._protocol == mqtt.MQTTv5:
                self._events.on_goodbye(read_disconnect(packet))
        except MalformedPacketError:
            return mqtt.MQTT_ERR_PROTOCOL
        return mqtt.MQTT_ERR_CONN_LOST if kind == _DISCONNECT else mqtt.MQTT_ERR_PROTOCOL

    def _take_connack(self, packet: bytes) -> MQTTErrorCode:
        word = read_connack(packet, is_v5=self._protocol == mqtt.MQTTv5)
        accepted, refusal = word.accepted, word.refusal
        if accepted is not None and not accepted.has_qos_1:
            refusal = unsupported("it offers no QoS 1, without which an answer may be lost")
        if refusal is not None or accepted is None:
            self._events.on_refused(refusal or unsupported("it grants nothing"))
            return mqtt.MQTT_ERR_CONN_REFUSED
        self._is_accepted = True
        self._state = _CONNECTED
        if accepted.keepalive_seconds:  # 0 is "no need to ping": we do all the same, to find a dead link
            self._keepalive = accepted.keepalive_seconds
        self._events.on_accepted(accepted)
        return mqtt.MQTT_ERR_SUCCESS

    def _set_will(self, will: Will) -> None:
        delay: Any = None
        if self._options.protocol == MQTT_5:
            delay = _properties(PacketTypes.WILLMESSAGE)
            delay.WillDelayInterval = will.delay_seconds
        self.will_set(will.topic, will.payload, qos=1, retain=True, properties=delay)

    def _hear_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        error, self._error = self._error, None
        if error is None:
            self._events.on_disconnected(_UNNAMED.get(str(reason), str(reason)), None)
        else:
            self._events.on_disconnected(*error_in_words(error))


def error_in_words(error: Exception) -> tuple[str, str | None]:
    """What an error of a socket means, and what to do about it."""
    if isinstance(error, ssl.SSLError):
        return in_words(error)
    if isinstance(error, _WrongServerError):
        return str(error), MUTE_HINT
    if isinstance(error, TimeoutError):
        return "no answer in time", None
    if isinstance(error, OSError) and error.strerror:
        return error.strerror, None
    return str(error) or type(error).__name__, None


def _check_speech(first: bytes) -> None:
    """Tells a TLS server (RFC 8446 section 5.1: an alert record) and a web server by their first bytes.

    Raises:
        _WrongServerError: it is one of these.
    """
    if first.startswith((b"\x15\x03", b"\x16\x03")):
        raise _WrongServerError("what listens at this port speaks TLS, and we do not")
    if first.startswith(b"HTTP/"):
        raise _WrongServerError("what listens at this port is a web server")


def _properties(packet: int) -> Any:
    return Properties(packet)  # type: ignore[no-untyped-call]  # paho's class is untyped


def _set_no_delay(_client: Any, _data: Any, sock: Any) -> None:
    """TCP_NODELAY: without it a QoS 1 round trip takes 44 ms or more."""
    with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
        if same.family != socket.AF_UNIX:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
