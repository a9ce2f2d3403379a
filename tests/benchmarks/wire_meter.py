"""A TCP relay that counts: bytes of the protocol each way, and TCP segments as the kernel counts them."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from threading import Lock, Thread
from types import TracebackType

from tests.testbeds.broker import HOST

HEADERS_BYTES = 52
"""Of a segment: IPv4 20 (RFC 791), TCP 20 and its timestamps 12 (RFC 9293, RFC 7323)."""
_SEGMENTS = 136
"""Where tcpi_segs_out and tcpi_segs_in stand in struct tcp_info (linux/tcp.h)."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What one side sent and received, in bytes; ``up`` is from the client."""

    up: int = 0
    down: int = 0
    segments: int = 0
    connections: int = 0

    @property
    def on_the_wire(self) -> int:
        """With the headers of IP and TCP."""
        return self.up + self.down + HEADERS_BYTES * self.segments

    def since(self, before: Wire) -> Wire:
        return Wire(
            self.up - before.up,
            self.down - before.down,
            self.segments - before.segments,
            self.connections - before.connections,
        )


class Meter:
    """Relays every connection to ``upstream``; a context manager."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._lock = Lock()
        self._up = self._down = self._closed_segments = self._connections = 0
        self._open: set[socket.socket] = set()
        self._server = socket.create_server((HOST, 0))
        self.port = int(self._server.getsockname()[1])

    def read(self) -> Wire:
        with self._lock:
            segments = self._closed_segments + sum(_segments(client) for client in self._open)
            return Wire(self._up, self._down, segments, self._connections)

    def __enter__(self) -> Meter:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            upstream = socket.create_connection((HOST, self._upstream))
            for one in (client, upstream):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(client)
                self._connections += 1
            Thread(target=self._relay, args=(client, upstream, True), daemon=True).start()
            Thread(target=self._relay, args=(upstream, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        try:
            while data := source.recv(65_536):
                with self._lock:
                    self._up += len(data) if is_up else 0
                    self._down += 0 if is_up else len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if not is_up:
            with self._lock:
                self._open.discard(sink)
                self._closed_segments += _segments(sink)


def _segments(client: socket.socket) -> int:
    """Both ways."""
    try:
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return 0
    out, into = struct.unpack_from("II", info, _SEGMENTS)
    return int(out + into)
