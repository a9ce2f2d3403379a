"""An eavesdropper: a TCP proxy that passes everything on and keeps a copy of what goes each way."""

from __future__ import annotations

import socket
import socketserver
from threading import Thread
from types import TracebackType
from typing import Any

from tests.testbeds.broker import HOST


class Tap:
    """Listens on a port of its own and speaks to the broker.

    Args:
        port: of the broker.
    """

    def __init__(self, port: int) -> None:
        self.heard = bytearray()
        tap = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((HOST, port)) as broker:
                    back = Thread(target=tap._pass_on, args=(broker, self.request), daemon=True)
                    back.start()
                    tap._pass_on(self.request, broker)
                    back.join()

        self._server = socketserver.ThreadingTCPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    def _pass_on(self, source: Any, target: Any) -> None:
        try:
            while piece := source.recv(65_536):
                self.heard += piece
                target.sendall(piece)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
