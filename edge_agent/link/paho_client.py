"""paho, in the only file that imports it: sockets, handshakes, pings; and a faster path for requests."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import MalformedPacket, Properties  # type: ignore[attr-defined]  # paho 2.1 has it there
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.link.address import BrokerAddress
from edge_agent.link.protocol import MQTT_5, Accepted, ConnectOptions, Incoming, Will
from edge_agent.link.wire import MalformedPacketError, packet_ends, read_publish, write_publish

_UNSUPPORTED_PROTOCOL_VERSION = 0x84
_READ_BYTES = 65_536
_PUBLISH = 0x30
_PUBACK = 0x40
_FAILURE = 0x80


class ClientEvents(Protocol):
    """Who hears what the broker says; called while :meth:`PahoClient.loop_read` runs."""

    @property
    def is_reading(self) -> bool:
        """Whether to read on after a PUBLISH."""

    def on_accepted(self, accepted: Accepted, receive_maximum: int) -> None:
        """CONNACK, and how many of our messages may wait for confirmation."""

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        """CONNACK that says no."""

    def on_subscribed(self, fault: str | None) -> None:
        """SUBACK."""

    def on_message(self, message: Incoming) -> None:
        """PUBLISH."""

    def on_puback(self, mid: int, code: int) -> None:
        """PUBACK with its reason code, 0 on 3.1.1."""

    def on_disconnected(self, reason: str) -> None:
        """The socket is closed."""


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
        self.on_connect = self._hear_connack
        self.on_subscribe = self._hear_suback
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
            OSError: the broker cannot be reached, or TLS fails.
            ValueError: the address is none.
        """
        address, options = self._address, self._options
        if address.tls:
            self.tls_set(address.ca_file, address.cert_file, address.key_file)
        v5: dict[str, Any] = {}
        if options.protocol == MQTT_5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = options.session_expiry_seconds
            properties.ReceiveMaximum = options.receive_maximum
            properties.MaximumPacketSize = options.max_packet_bytes
            v5 = {"clean_start": options.session_expiry_seconds == 0, "properties": properties}
        self.connect(address.host, address.port, keepalive=options.keepalive_seconds, **v5)

    def ask_for(self, filters: tuple[str, ...]) -> None:
        """Subscribes at QoS 1.

        Retained messages come once, when the subscription is new, and keep their mark: the receiver wants to
        count them, not to hear them again after each reconnect.
        """
        if self._options.protocol == MQTT_5:
            wanted = SubscribeOptions(
                qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            )
            self.subscribe([(name, wanted) for name in filters])
        else:
            self.subscribe([(name, 1) for name in filters])

    def send_publish(
        self, topic: bytes, payload: bytes, retain: bool, properties: bytes | None, may_wait: bool
    ) -> int:
        """Sends a PUBLISH at QoS 1 and returns its packet identifier; nothing keeps a copy."""
        mid = self._mid_generate()
        self._outgoing += write_publish(topic, payload, mid=mid, retain=retain, properties=properties)
        if not (may_wait or self.is_corked):
            self.loop_write()
        return mid

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
        except (MalformedPacketError, MalformedPacket):
            return self._loop_rc_handle(mqtt.MQTT_ERR_PROTOCOL)

    def _receive(self) -> bytes:
        received = self._sock_recv(_READ_BYTES)
        if not received:
            raise ConnectionResetError("the broker closed the connection")
        return received

    def _handle_packets(self) -> MQTTErrorCode:
        buffer, begin = self._ahead, 0
        is_v5 = self._protocol == mqtt.MQTTv5
        self.has_packet = False
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

    def _handle_publish(self) -> MQTTErrorCode:
        packet = self._in_packet
        try:
            message = read_publish(packet["command"], packet["packet"], is_v5=self._protocol == mqtt.MQTTv5)
        except MalformedPacketError:
            return mqtt.MQTT_ERR_PROTOCOL
        self._events.on_message(message)
        return mqtt.MQTT_ERR_SUCCESS if self._events.is_reading else mqtt.MQTT_ERR_AGAIN

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) < 2:
            return mqtt.MQTT_ERR_PROTOCOL
        self._events.on_puback(packet[0] << 8 | packet[1], packet[2] if len(packet) > 2 else 0)
        return mqtt.MQTT_ERR_SUCCESS

    def _set_will(self, will: Will) -> None:
        delay: Any = None
        if self._options.protocol == MQTT_5:
            delay = _properties(PacketTypes.WILLMESSAGE)
            delay.WillDelayInterval = will.delay_seconds
        self.will_set(will.topic, will.payload, qos=1, retain=True, properties=delay)

    def _hear_connack(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._events.on_refused(str(reason), reason.value == _UNSUPPORTED_PROTOCOL_VERSION)
            return
        accepted = Accepted(
            session_resumed=bool(flags.session_present),
            max_packet_bytes=getattr(properties, "MaximumPacketSize", 268_435_455),
        )
        self._events.on_accepted(accepted, getattr(properties, "ReceiveMaximum", 65_535))

    def _hear_suback(self, _client: Any, _data: Any, _mid: Any, reasons: Any, _properties: Any) -> None:
        faults = [str(reason) for reason in reasons if reason.is_failure]
        self._events.on_subscribed(faults[0] if faults else None)

    def _hear_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        by_broker = "the broker closed the link: " if flags.is_disconnect_packet_from_server else ""
        self._events.on_disconnected(f"{by_broker}{reason}")


def puback_fault(code: int) -> str | None:
    """Why the broker did not take a message, in words; None where it did."""
    if code < _FAILURE:
        return None
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=code))
    except (KeyError, AssertionError):
        return f"reason {code:#04x}"


def _properties(packet: int) -> Any:
    return Properties(packet)  # type: ignore[no-untyped-call]  # paho's class is untyped


def _set_no_delay(_client: Any, _data: Any, sock: Any) -> None:
    """TCP_NODELAY: without it a QoS 1 round trip takes 44 ms or more."""
    with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
        if same.family != socket.AF_UNIX:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
