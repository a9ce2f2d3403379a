"""What asking a repository costs when nothing is new: bytes on the wire, and processor time of the daemon.

``python -m tests.benchmarks.poll_cost --rounds 200`` makes a signed repository, serves it over loopback from
another process with an ETag, as web servers and CDNs do, and lets a real poller ask it: by HTTP, by HTTPS
with the system's certificates loaded, by HTTP from a server without ETags, and from a folder. Bytes are those
of TCP's payload in both directions, as the kernel counts them (``struct tcp_info``, linux/tcp.h): bodies, and
all else, which is headers, with HTTPS the handshake too. Processor time is that of the whole process.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import socket
import ssl
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Final

from edge_agent.service.updating.polling import Look, Poller
from tests.testbeds.certificates import Authority, Issued
from tests.update.tuf_repository import TufRepository

_PERIOD: Final = 600.0
_BYTES_RECEIVED: Final = 128  # offsets of tcpi_bytes_received and tcpi_bytes_sent in struct tcp_info
_BYTES_SENT: Final = 200
_SYSTEM_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class Cost:
    """One asking: bytes of bodies, all other bytes, and milliseconds of processor time."""

    body: int
    other: int
    cpu_ms: float


def serve(pipe: Connection, folder: Path, issued: Issued | None, has_etags: bool) -> None:
    """In another process: tells its port, then of each answer what it took; until the pipe closes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (folder / self.path.lstrip("/")).read_bytes()
            etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            is_known = has_etags and self.headers.get("If-None-Match") == etag
            body = b"" if is_known else content
            self.send_response(304 if is_known else 200)
            if has_etags:
                self.send_header("ETag", etag)
            if not is_known:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.body = len(body)

        def finish(self) -> None:
            super().finish()
            info = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            (received,) = struct.unpack_from("Q", info, _BYTES_RECEIVED)
            (sent,) = struct.unpack_from("Q", info, _BYTES_SENT)
            pipe.send((self.body, received + sent - self.body))

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if issued is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    pipe.send(server.server_address[1])
    server.serve_forever(0.5)


@contextmanager
def served(
    folder: Path, issued: Issued | None = None, *, has_etags: bool = True
) -> Iterator[tuple[str, Connection]]:
    """The repository's address, and where its server tells of its answers."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, folder, issued, has_etags), daemon=True)
    process.start()
    try:
        scheme = "http" if issued is None else "https"
        yield f"{scheme}://localhost:{ours.recv()}/", ours
    finally:
        process.terminate()
        process.join(10)


class Asking:
    """A poller whose clock is put forward to its next asking."""

    def __init__(self, source: str) -> None:
        self._now = 0.0
        self.looks: list[Look] = []
        self.poller = Poller(
            source, _PERIOD, on_look=self.looks.append, may_look=lambda: True, clock=lambda: self._now
        )

    def ask(self) -> float:
        """Asks once; returns milliseconds of processor time."""
        self._now, before = self.poller.due, len(self.looks)
        began = time.process_time()
        self.poller.step()
        assert self.poller.wait(60)
        spent = (time.process_time() - began) * 1e3
        if len(self.looks) > before:
            self.poller.looked(is_done=True)
        return spent


def measure(source: str, pipe: Connection | None, rounds: int) -> tuple[Cost, list[Cost]]:
    """The first asking, which finds all new, and the others, which find nothing; nobody looks again."""
    asking = Asking(source)
    costs = []
    for _ in range(rounds + 1):
        cpu_ms = asking.ask()
        assert asking.poller.fault is None
        body, other = pipe.recv() if pipe is not None else (0, 0)
        costs.append(Cost(body, other, cpu_ms))
    assert asking.looks.count(Look.STARTED) == 1
    assert Look.CHANGED not in asking.looks
    return costs[0], costs[1:]


def line(name: str, costs: list[Cost]) -> str:
    """Medians, and the worst processor time."""
    body, other = median(cost.body for cost in costs), median(cost.other for cost in costs)
    cpu = [cost.cpu_ms for cost in costs]
    return f"{name:<34}{body:7.0f} B{other:7.0f} B{median(cpu):9.2f} ms{max(cpu):9.2f} ms"


def trusting(authority: Authority) -> Path:
    """The system's certificates and one more, as one file."""
    file = authority.folder / "all.pem"
    system = _SYSTEM_CERTIFICATES.read_bytes() if _SYSTEM_CERTIFICATES.exists() else b""
    file.write_bytes(system + authority.ca_file.read_bytes())
    return file


def main() -> None:
    """Prints what it costs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, help="of each measurement")
    rounds = parser.parse_args().rounds
    lines = [f"{'':<34}{'bodies':>9}{'other':>9}{'CPU':>12}{'worst':>12}"]
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        repository.mkdir()
        TufRepository(repository)
        authority = Authority(Path(folder) / "certificates")
        os.environ["SSL_CERT_FILE"] = str(trusting(authority))
        for name, issued, has_etags in (
            ("HTTP", None, True),
            ("HTTPS", authority.issue("server", hosts="DNS:localhost"), True),
            ("HTTP without ETags", None, False),
        ):
            with served(repository, issued, has_etags=has_etags) as (base, pipe):
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                first, others = measure(base, pipe, rounds)
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
                lines += [line(f"{name}, first", [first]), line(f"{name}, nothing new", others)]
                lines.append(f"{'':<34}peak of memory +{grown / 1024:.1f} MB")
        first, others = measure(str(repository), None, rounds)
        lines.append(line("folder, nothing new", others))
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
