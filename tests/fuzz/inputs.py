"""Seeded hostile requests: grammar first (what a sender could mean), then damage (what arrives instead)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from edge_agent.link.protocol import Incoming
from edge_agent.link.wire import MalformedPacketError, pack_publish, packet_ends, read_publish, write_publish

MODELS = ("home", "failing", "broken", "absent", "", "ñ", "a b", "x" * 200)
"""Served; refuses texts; raises what it may not; not there, and names that nobody would give."""

SECRET = "unter uns"
"""A text that must not turn up in a log."""

ROUTED = (
    "shop/1/reviews",
    "shop//reviews",
    "plant",
    "plant/a",
    "plant//a/",
    "plant/" + "x/" * 150,
    "nowhere",
)
"""What two routes of the stand listen to, and a topic that nothing listens to."""

TOPICS = (
    "replies/1",
    "edge-agent/pi/out/home",
    "edge-agent/pi/out/home/me",
    "edge-agent/pi/in/home",
    "edge-agent/pi/status",
    "homeassistant/light/x/config",
    "$SYS/x",
    "$share/g/replies",
    "a/+/b",
    "#",
    "",
    "a\x00b",
    "/",
    "\ufeffx",
    "x/" * 300,
    "x/" * 150,
)
WORDS = (
    SECRET, "turn on the light", "apaga la luz de la cocina", "", " ", "\u00a0", "\t\n", "a", "x" * 250,
    "ñ" * 128, "ñ" * 129, "\ufeffhola", "\u2028", "\u2029", "\x00", "a\x00b", "\x7f\x1b[31m", "\U0001f600",
    "e\u0301", "\u202eabc", "[[[[", '"', "\\", "{}", "true", "null", "0x10", "{{1}}", "%s%n", "../../etc",
)  # fmt: skip
HALVES = ("\ud800", "\udfff\ud800", "a\udc80")
NUMBERS = (
    "0", "-0", "1", "3", "1000", "1001", "1.0", "1e2", "-1", "0.5", "1e400", "-1e400", "1e-400", "01", "1.",
    ".5", "+1", "1e", "NaN", "Infinity", "-Infinity", "9" * 400, "9" * 1001, "9" * 5000, "0." + "1" * 400,
    "31622400",
)  # fmt: skip
TIMES = (
    "2026-11-23T05:00:00Z", "1970-01-01t00:00:00z", "2026-11-23 05:00:00.5+23:59", "2026-11-23", "now",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:60Z", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z",
    "2026-11-23T05:00:00." + "1" * 40 + "Z",
)  # fmt: skip
TRACES = (
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-", "junk", "\ufeff", "a=b,c=d",
    "x" * 1024, "x" * 1025,
)  # fmt: skip
KEYS = (
    "text",
    "id",
    "lang",
    "session",
    "top_k",
    "ttl_s",
    "sent_at",
    "traceparent",
    "x",
    "",
    "text ",
    "\ud800",
)
CRUMBS = (
    b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b"\\u", b"\\ud83d", b"\\u0000", b"\xff", b"\xc3",
    b"\x00", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b'"text":', b'"id":', b"null", b"1e999",
    b"[" * 20, b'{"a":' * 20, b"\\" * 50, b"1" * 1200, b" " * 60, b"//", b"/*", b"'",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A message as the link would hand it over."""

    message: Incoming
    is_held_back: bool


class Inputs:
    """An endless, repeatable stream of cases.

    Args:
        seed: the same seed gives the same cases.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._before = b"{}"
        self._damages: tuple[Callable[[bytes], bytes], ...] = (
            self._flip,
            self._insert,
            self._cut,
            self._repeat,
            self._splice,
        )

    def next(self) -> Case:
        """The next case; every other one went through bytes of MQTT first, some of them damaged."""
        random = self._random
        message = self._message()
        if random.random() < 0.5:
            message = self._through_the_wire(message) or message
        return Case(message, is_held_back=message.qos > 0 and random.random() < 0.98)

    def payload(self) -> bytes:
        """What a sender wrote, in most cases damaged."""
        random = self._random
        kind = random.random()
        if kind < 0.15:
            made = self._word().encode("utf-8", "surrogatepass")
        elif kind < 0.2:
            made = random.randbytes(random.randrange(40))
        else:
            made = self._object()
        for _ in range(random.choice((0, 0, 0, 0, 1, 1, 2, 4))):
            made = random.choice(self._damages)(made)
        self._before = made
        return made

    def _message(self) -> Incoming:
        random = self._random
        rare = random.random
        return Incoming(
            topic=self._topic(),
            payload=self.payload(),
            qos=1 if rare() < 0.9 else 0,
            retain=rare() < 0.02,
            mid=random.randrange(1, 65536),
            response_topic=random.choice(TOPICS) if rare() < 0.3 else None,
            correlation=random.randbytes(random.randrange(12)) if rare() < 0.3 else None,
            expiry_seconds=random.choice((0, 1, 60, 2**32 - 1)) if rare() < 0.1 else None,
            traceparent=random.choice(TRACES) if rare() < 0.1 else None,
            tracestate=random.choice(TRACES) if rare() < 0.05 else None,
        )

    def _topic(self) -> str:
        random = self._random
        if random.random() < 0.15:
            return random.choice(ROUTED)
        return f"edge-agent/pi/in/{'home' if random.random() < 0.7 else random.choice(MODELS)}"

    def _through_the_wire(self, message: Incoming) -> Incoming | None:
        user = tuple(
            (name, value)
            for name, value in (("traceparent", message.traceparent), ("tracestate", message.tracestate))
            if value is not None
        )
        properties = pack_publish(
            correlation=message.correlation,
            response_topic=message.response_topic,
            expiry_seconds=message.expiry_seconds,
            user=user,
        )
        packet = write_publish(
            message.topic.encode(),
            message.payload,
            mid=message.mid,
            retain=message.retain,
            properties=properties,
        )
        if self._random.random() < 0.3:
            packet = self._random.choice(self._damages)(packet)
        return read_packet(packet, is_v5=self._random.random() < 0.9)

    def _object(self) -> bytes:
        random = self._random
        keys = ["text", *random.choices(KEYS, k=random.choice((0, 0, 1, 2, 4)))]
        fields = ",".join(f"{self._string(key)}:{self._value(key)}" for key in keys)
        if random.random() < 0.1:
            fields = f'"body":{{{fields}}},"id":{self._value("id")}'
        before, after = random.choice((("", ""), ("", ""), (" ", "\n"), ("\ufeff", ""), ("", "x")))
        return f"{before}{{{fields}}}{after}".encode("utf-8", "surrogatepass")

    def _value(self, key: str) -> str:
        random = self._random
        if random.random() < 0.08:
            return random.choice(("null", "true", "[]", "{}", "[[1]]", '{"a":"b"}', "[" * 17 + "]" * 17))
        if key in ("top_k", "ttl_s"):
            return "3" if random.random() < 0.5 else random.choice(NUMBERS)
        if key == "sent_at":
            return self._string(random.choice(TIMES))
        if key == "traceparent":
            return self._string(random.choice(TRACES))
        return self._string(self._word())

    def _word(self) -> str:
        random = self._random
        words = random.choices(WORDS, k=random.choice((1, 1, 1, 2, 3)))
        if random.random() < 0.03:
            words.append(random.choice(HALVES))
        return " ".join(words)

    def _string(self, value: str) -> str:
        return json.dumps(value, ensure_ascii=self._random.random() < 0.5)

    # Damage

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return b"\x80"
        changed = bytearray(data)
        changed[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _insert(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data) + 1)
        return data[:at] + self._random.choice(CRUMBS) + data[at:]

    def _cut(self, data: bytes) -> bytes:
        begin, end = sorted(self._random.randrange(len(data) + 1) for _ in range(2))
        return data[:begin] + data[end:] if self._random.random() < 0.5 else data[:end]

    def _repeat(self, data: bytes) -> bytes:
        begin = self._random.randrange(len(data) + 1)
        piece = data[begin : begin + self._random.randrange(1, 20)]
        return data[:begin] + piece * self._random.choice((2, 3, 40)) + data[begin:]

    def _splice(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data) + 1)
        return data[:at] + self._before[self._random.randrange(len(self._before) + 1) :]


def read_packet(packet: bytes, *, is_v5: bool) -> Incoming | None:
    """What our reader makes of the bytes of a packet; None where it finds them malformed or not whole.

    Raises:
        AssertionError: it read beyond the packet.
    """
    try:
        ends = packet_ends(packet, 0)
        if ends is None or packet[0] >> 4 != 3:
            return None
        begin, end = ends
        assert 0 < begin <= end <= len(packet)
        return read_publish(packet[0], packet[begin:end], is_v5=is_v5)
    except MalformedPacketError:
        return None
