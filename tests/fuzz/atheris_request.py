"""Coverage-guided inputs through the same worker: an atheris target, to run for hours.

``pip install atheris`` (not among the development packages: it has wheels for x86-64 and some Pythons only),
then ``python -m tests.fuzz.atheris_request CORPUS_FOLDER -max_total_time=3600``; a folder keeps what was
found worth keeping. Options are libFuzzer's.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(
    include=["edge_agent.link", "edge_agent.service.reading", "edge_agent.service.worker", "json"]
):
    from tests.fuzz.inputs import MODELS, TOPICS, Case, read_packet
    from tests.fuzz.stand import Stand

from edge_agent.link.protocol import Incoming

_SERVED = MODELS[:4]


def case_of(data: bytes) -> Case:
    """The first byte says how the others are to be taken: as a packet, or as a payload with these manners."""
    how = data[0] if data else 0
    rest = data[1:]
    if how & 1:
        message = read_packet(b"\x32" + _length(rest) + rest, is_v5=bool(how & 2))
        if message is not None:
            return Case(message, is_held_back=True)
    topic = f"edge-agent/pi/in/{_SERVED[how >> 1 & 3]}"
    response = TOPICS[how >> 4] if how & 8 and how >> 4 < len(TOPICS) else None
    return Case(Incoming(topic, rest, 1, False, 1, response, None, None, None, None), is_held_back=True)


def _length(body: bytes) -> bytes:
    """The Variable Byte Integer of MQTT 5.0 section 1.5.5."""
    digits = bytearray()
    size = len(body)
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | 0x80 if size else digit)
        if not size:
            return bytes(digits)


def main() -> None:
    """Runs until libFuzzer has enough; an input that is not answered rightly ends it."""
    with Stand() as stand:

        def answer(data: bytes) -> None:
            stand.ask([case_of(data)])

        atheris.Setup(sys.argv, answer)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
