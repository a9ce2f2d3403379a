"""Fetching from a real server that breaks off, trickles, or never ends."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)

from edge_agent.update.fetch import Fetcher, Patience

CONTENT = os.urandom(1 << 20)


class Server:
    """Serves CONTENT under any name; ``breaks`` are the bytes after which the next answers break off."""

    def __init__(self) -> None:
        self.breaks: list[int] = []
        self.asked: list[str | None] = []
        self.knows_ranges = True
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.url = ""
        self.closing = threading.Event()

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        if self.answer is not None:
            self.answer(handler)
            return
        found = re.fullmatch(r"bytes=(\d+)-", asked or "") if self.knows_ranges else None
        start = int(found[1]) if found else 0
        handler.send_response(206 if found else 200)
        if found:
            handler.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(len(CONTENT) - start))
        handler.end_headers()
        end = self.breaks.pop(0) if self.breaks else len(CONTENT)
        handler.wfile.write(CONTENT[start:end])


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):
                server.respond(self)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    server.url = f"http://127.0.0.1:{running.server_address[1]}/targets/bundle"
    try:
        yield server
    finally:
        server.closing.set()
        running.shutdown()
        thread.join()
        running.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with _running(Server()) as running:
        yield running


def _fetcher(
    folder: Path, patience: Patience | None = None, clock: Callable[[], float] | None = None
) -> Fetcher:
    options = {"clock": clock} if clock else {}
    return Fetcher(folder, "http", patience, **options)


def _get(fetcher: Fetcher, url: str, most: int = len(CONTENT)) -> bytes:
    return fetcher.download_bytes(url, most)


def test_a_whole_file_comes_and_leaves_no_part(server: Server, tmp_path: Path) -> None:
    assert _get(_fetcher(tmp_path), server.url) == CONTENT
    assert (server.asked, list(tmp_path.iterdir())) == ([None], [])


def test_a_download_that_breaks_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000, 700_000]
    assert _get(_fetcher(tmp_path), server.url) == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=700000-"]


def test_the_next_process_goes_on_where_the_last_one_was_ended(server: Server, tmp_path: Path) -> None:
    _fetcher(tmp_path).part(server.url).write_bytes(CONTENT[:500_000])
    assert _get(_fetcher(tmp_path), server.url) == CONTENT
    assert server.asked == ["bytes=500000-"]


def test_a_whole_part_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    _fetcher(tmp_path).part(server.url).write_bytes(CONTENT)
    assert _get(_fetcher(tmp_path), server.url) == CONTENT
    assert server.asked == []


def test_a_part_that_is_too_long_is_begun_again(server: Server, tmp_path: Path) -> None:
    _fetcher(tmp_path).part(server.url).write_bytes(CONTENT + b"more")
    assert _get(_fetcher(tmp_path), server.url) == CONTENT


def test_a_server_without_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.knows_ranges, server.breaks = False, [300_000]
    assert _get(_fetcher(tmp_path), server.url) == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_that_always_breaks_is_given_up_and_the_part_stays(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000] * 9
    with pytest.raises(DownloadError):
        _get(_fetcher(tmp_path, Patience(attempts=2)), server.url)
    assert _fetcher(tmp_path).part(server.url).stat().st_size == 100_000


def test_endless_data_are_cut_at_the_length_that_was_signed(server: Server, tmp_path: Path) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.closing.is_set():
            handler.wfile.write(b"x" * 65536)

    server.answer = endless
    with pytest.raises(DownloadLengthMismatchError):
        _get(_fetcher(tmp_path), server.url, most=200_000)
    assert _fetcher(tmp_path).part(server.url).stat().st_size == 0


def test_slow_retrieval_is_given_up_although_bytes_keep_coming(server: Server, tmp_path: Path) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.closing.wait(0.01):
            handler.wfile.write(b"x")

    server.answer = trickle
    seconds = count(0, 10)  # ten seconds a look at the clock
    with pytest.raises(SlowRetrievalError):
        _get(_fetcher(tmp_path, clock=lambda: float(next(seconds))), server.url)


def test_a_server_that_falls_silent_is_given_up(server: Server, tmp_path: Path) -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.wfile.flush()
        server.closing.wait()

    server.answer = silent
    with pytest.raises(SlowRetrievalError):
        _get(_fetcher(tmp_path, Patience(gap_seconds=0.3)), server.url)


def test_a_server_that_never_answers_is_given_up(server: Server, tmp_path: Path) -> None:
    def wait(handler: BaseHTTPRequestHandler) -> None:
        server.closing.wait()

    server.answer = wait
    with pytest.raises(SlowRetrievalError):
        _get(_fetcher(tmp_path, Patience(gap_seconds=0.3)), server.url)


def test_a_refusal_of_the_server_is_told_with_its_number(server: Server, tmp_path: Path) -> None:
    server.answer = lambda handler: handler.send_error(404)
    with pytest.raises(DownloadHTTPError) as caught:
        _get(_fetcher(tmp_path), server.url)
    assert (caught.value.status_code, len(server.asked)) == (404, 1)


def test_nobody_at_the_address_is_a_failed_download(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="Connection refused") as caught:
        _get(_fetcher(tmp_path), "http://127.0.0.1:1/targets/x")
    assert not isinstance(caught.value, SlowRetrievalError)


def test_a_redirection_is_followed_a_few_times_only(server: Server, tmp_path: Path) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", server.url)
        handler.end_headers()

    server.answer = redirect
    with pytest.raises(DownloadError):
        _get(_fetcher(tmp_path, Patience(attempts=1)), server.url)
    assert len(server.asked) == 4


def test_a_pipe_in_a_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "timestamp.json")
    with pytest.raises(DownloadError, match="plain file"):
        b"".join(_fetcher(tmp_path).fetch((tmp_path / "timestamp.json").as_uri()))


def test_a_folder_with_spaces_and_signs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a b%20ñ" / "x"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert b"".join(_fetcher(tmp_path).fetch(path.as_uri())) == CONTENT
