"""The small HTTP server that shows the metrics.

The library's own server takes any number of connections, waits for each without end, answers under every
path, knows no HEAD and polls twice a second. On a small device all of that wants a bound: here are a few
connections at most, each for one request (HTTP/1.0), with a deadline for its head and one for the answer.
"""

from __future__ import annotations

import io
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from threading import Lock, Semaphore, Thread
from typing import Any

from edge_agent.errors import SettingsError
from edge_agent.log import get_logger
from edge_agent.settings.board_sections import MetricsSettings
from edge_agent.telemetry.metrics.facts import MetricFacts

MOST_CONNECTIONS = 4
PATIENCE_SECONDS = 5.0
_LARGEST_HEAD_BYTES = 8192
_BACKLOG = 8
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_HEAD_END = b"\r\n\r\n"

Render = Callable[[str], tuple[str, bytes]]


def start_metrics(settings: MetricsSettings, facts: Callable[[], MetricFacts]) -> MetricsServer:
    """Serves what ``facts`` tells, until :meth:`MetricsServer.stop`.

    Args:
        settings: where to listen; ``enabled`` is for the caller to look at.
        facts: called once for each scrape, from one thread at a time.

    Raises:
        SettingsError: the address cannot be listened on, or the library is missing.
    """
    try:
        from edge_agent.telemetry.metrics.families import Exposition  # 2 MB, for those who want them
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"metrics need the Python package {error.name}", hint="pip install prometheus-client"
        ) from error
    return MetricsServer(settings.host, settings.port, Exposition(facts).render)


class MetricsServer:
    """Listens from the moment it is made.

    Args:
        host: address or name to listen on.
        port: 0 for a free one.
        render: Accept header → content type and body.
        patience_seconds: longest wait for a request's head, and again for the answer to be taken.

    Raises:
        SettingsError: the address cannot be listened on.
    """

    def __init__(
        self, host: str, port: int, render: Render, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._render = render
        self._rendering = Lock()
        self._patience_seconds = patience_seconds
        self._free = Semaphore(MOST_CONNECTIONS)
        self._listener = _listen(host, port)
        self._wake_read, self._wake_write = socket.socketpair()
        self._thread = Thread(target=self._accept_all, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        """Listens no more; a connection that is being answered ends by its own deadline."""
        if not self._thread.is_alive():
            return
        self._wake_write.send(b"\0")
        self._thread.join()
        for one in (self._listener, self._wake_read, self._wake_write):
            one.close()

    def scrape(self, accept: str) -> tuple[str, bytes]:
        """The metrics now; one at a time, so that many who ask cost no more than one."""
        with self._rendering:
            return self._render(accept)

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while all(key.fileobj is self._listener for key, _ in selector.select()):
                self._accept()

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:  # it went away in the queue, or there are no descriptors left: the next may do
            time.sleep(0.01)
            return
        if not self._free.acquire(blocking=False):
            with suppress(OSError), connection:
                connection.setblocking(False)
                connection.send(_BUSY)
            return
        try:
            Thread(target=self._serve, args=(connection, address), name="scrape", daemon=True).start()
        except RuntimeError:  # no thread to be had: a limit of the unit's
            connection.close()
            self._free.release()

    def _serve(self, connection: socket.socket, address: object) -> None:
        try:
            with suppress(OSError), connection:
                _Handler(connection, address, self, self._patience_seconds)
        finally:
            self._free.release()


class _Handler(BaseHTTPRequestHandler):
    """One request: ``GET`` or ``HEAD`` of ``/metrics`` or ``/``."""

    server_version = "edge-agent"
    sys_version = ""

    def __init__(
        self, connection: socket.socket, address: object, server: MetricsServer, patience_seconds: float
    ) -> None:
        self._metrics = server
        self._patience_seconds = patience_seconds
        super().__init__(connection, address, server)  # type: ignore[arg-type]  # it asks nothing of it

    def setup(self) -> None:
        """Reads the head of the request at once: a time-out by read would let a slow client stay forever."""
        super().setup()
        self.rfile = io.BytesIO(_read_head(self.connection, self._patience_seconds))
        self.connection.settimeout(self._patience_seconds)  # of each whole answer: socket.sendall

    def do_GET(self) -> None:  # the base class calls it so
        """Answers with the page, without its body where only the head is wanted."""
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(HTTPStatus.OK, b"edge-agent: see /metrics\n")
        elif path != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, b"there is only /metrics\n")
        else:
            self._answer_metrics()

    do_HEAD = do_GET  # noqa: N815

    def _answer_metrics(self) -> None:
        try:
            kind, body = self._metrics.scrape(self.headers.get("Accept", ""))
        except Exception as error:
            get_logger().error("metrics.failed", error=type(error).__name__)
            self._answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, b"the metrics could not be gathered; see the log\n"
            )
        else:
            self._answer(HTTPStatus.OK, body, kind)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing: a scrape is no event."""


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        SettingsError: it cannot; with the reason in words.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "that is no address"
        raise SettingsError(
            f"metrics: cannot listen on {where}: {reason}",
            hint="choose another metrics.port or metrics.host, or switch metrics off",
        ) from error


def _read_head(connection: socket.socket, patience_seconds: float) -> bytes:
    """The request up to the empty line; empty where it does not come in time, or is too long.

    Raises:
        OSError: the client went away.
    """
    deadline = time.monotonic() + patience_seconds
    head = bytearray()
    while _HEAD_END not in head:
        left = deadline - time.monotonic()
        if left <= 0 or len(head) > _LARGEST_HEAD_BYTES:
            return b""
        connection.settimeout(left)
        received = connection.recv(4096)
        if not received:
            return b""
        head += received
    return bytes(head)
