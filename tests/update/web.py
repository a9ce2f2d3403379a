"""A web server with one file and its ETag, as CDNs have it; it may be in trouble, or lie, or hang."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.testbeds.certificates import Issued


class Web:
    """What it serves, and how; counts what it was asked, and the bytes of its bodies.

    Attributes:
        tag: the file's ETag, or None.
        location: where it redirects to, or None.
        cuts: it hangs up in the middle of a body.
        may_answer: it waits for this.
    """

    def __init__(self) -> None:
        self.tag: str | None = '"one"'
        self.body, self.status, self.asked, self.sent, self.base = b"x" * 500, 200, 0, 0, ""
        self.location: str | None = None
        self.cuts = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def change(self, name: str) -> None:
        """Another file, and another ETag."""
        self.tag, self.body = f'"{name}"', name.encode() * 100

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        self.may_answer.wait(60)
        is_known = self.tag is not None and handler.headers.get("If-None-Match") == self.tag
        status, body = (304, b"") if is_known and self.status == 200 else (self.status, self.body)
        handler.send_response(status)
        if self.tag is not None:
            handler.send_header("ETag", self.tag)
        if self.location is not None:
            handler.send_header("Location", self.location)
        if status != 304:
            handler.send_header("Content-Length", str(len(body)))
            self.sent += len(body)  # before it is sent: the peer goes on at once
        handler.end_headers()
        if status != 304:
            handler.wfile.write(body[:100] if self.cuts else body)


@contextmanager
def web_server(issued: Issued | None = None) -> Iterator[Web]:
    """Serves by HTTP, or with a certificate by HTTPS."""
    served = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.respond(self)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.base = f"{'https' if issued else 'http'}://127.0.0.1:{server.server_address[1]}/"
        if issued is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(issued.certificate, issued.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield served
        finally:
            served.may_answer.set()
            server.shutdown()
            thread.join()
