from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_agent.update.poll import Poll, ask, next_wait
from tests.update.tuf_repository import TufRepository


class Web:
    """A web server with one file and its ETag, as CDNs have it; counts the bytes of its bodies."""

    def __init__(self) -> None:
        self.tag, self.status, self.sent, self.base = '"one"', 200, 0, ""

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        is_known = handler.headers.get("If-None-Match") == self.tag
        body = b"" if is_known else b"x" * 500
        handler.send_response(304 if is_known else self.status)
        handler.send_header("ETag", self.tag)
        if not is_known:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        self.sent += len(body)


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.respond(self)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.base = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_has_not_changed_costs_no_body(web: Web) -> None:
    first = ask(web.base, None)
    assert first == Poll(True, '"one"')
    web.sent = 0
    assert ask(web.base, first.tag) == Poll(False, '"one"')
    assert web.sent == 0


def test_a_change_is_seen(web: Web) -> None:
    tag = ask(web.base, None).tag
    web.tag = '"two"'
    assert ask(web.base, tag) == Poll(True, '"two"')


def test_a_server_in_trouble_starts_nothing_and_is_told(web: Web) -> None:
    web.status = 503
    assert ask(web.base, '"old"') == Poll(False, '"old"', "HTTP 503")


def test_nobody_there_starts_nothing_and_is_told() -> None:
    poll = ask("http://127.0.0.1:1/", "x")
    assert (poll.is_new, poll.tag, poll.fault) == (False, "x", "URLError")


def test_a_folder_is_looked_at(tmp_path: Path) -> None:
    repository = TufRepository(tmp_path)
    base = f"{tmp_path.as_uri()}/"
    first = ask(base, None)
    assert first.is_new
    assert not ask(base, first.tag).is_new
    repository.add_channel("default", {})
    repository.publish()
    assert ask(base, first.tag).is_new
    assert ask(f"{base}absent/", first.tag).fault == "No such file or directory"


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 80.0), (0.5, 100.0), (1.0, 120.0)])
def test_a_fleet_does_not_ask_in_step(chance: float, seconds: float) -> None:
    assert next_wait(100.0, lambda: chance) == pytest.approx(seconds)
