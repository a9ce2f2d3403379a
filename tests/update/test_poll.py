from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_agent.update.poll import Poll, ask, base_of, next_wait, open_web
from tests.testbeds.certificates import Authority
from tests.update.tuf_repository import TufRepository
from tests.update.web import Web, web_server


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as served:
        yield served


def test_what_has_not_changed_costs_no_body(web: Web) -> None:
    first = ask(web.base, None)
    assert first.is_new
    assert first.tag is not None
    assert first.tag.etag == '"one"'
    web.sent = 0
    assert ask(web.base, first.tag) == Poll(False, first.tag)
    assert web.sent == 0


def test_a_change_is_seen(web: Web) -> None:
    tag = ask(web.base, None).tag
    web.change("two")
    assert ask(web.base, tag).is_new


def test_another_etag_of_the_same_file_is_no_change(web: Web) -> None:
    tag = ask(web.base, None).tag
    web.tag = '"of another machine behind the same address"'
    again = ask(web.base, tag)
    assert not again.is_new
    web.sent = 0
    assert ask(web.base, again.tag) == Poll(False, again.tag)
    assert web.sent == 0


def test_without_an_etag_the_content_tells(web: Web) -> None:
    web.tag = None
    first = ask(web.base, None)
    assert first.is_new
    assert not ask(web.base, first.tag).is_new
    web.body = b"z" * 500
    assert ask(web.base, first.tag).is_new


@pytest.mark.parametrize("etag", ["", '"' + "long" * 100 + '"', '"é"'])
def test_an_etag_that_cannot_be_sent_again_is_left_alone(web: Web, etag: str) -> None:
    web.tag = etag
    first = ask(web.base, None)
    assert first.tag is not None
    assert first.tag.etag is None
    assert not ask(web.base, first.tag).is_new


def test_python_s_own_web_server_which_has_no_etag_serves_a_repository(tmp_path: Path) -> None:
    repository = TufRepository(tmp_path)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        base = f"http://127.0.0.1:{server.server_address[1]}/"
        tag = ask(base, None).tag
        unchanged = ask(base, tag)
        repository.add_channel("default", {})
        repository.publish()
        changed = ask(base, tag)
        server.shutdown()
        thread.join()
    assert (unchanged.is_new, unchanged.fault) == (False, None)
    assert changed.is_new


def test_a_server_in_trouble_starts_nothing_and_is_told(web: Web) -> None:
    tag = ask(web.base, None).tag
    web.status, web.tag = 503, None
    assert ask(web.base, tag) == Poll(False, tag, "HTTP 503")


def test_nothing_new_in_answer_to_nothing_known_is_a_fault(web: Web) -> None:
    web.status = 304
    assert ask(web.base, None) == Poll(False, None, "HTTP 304")


def test_an_answer_that_is_cut_short_starts_nothing(web: Web) -> None:
    web.cuts = True
    assert ask(web.base, None) == Poll(False, None, "cut short")


def test_of_an_endless_answer_the_beginning_is_read(web: Web) -> None:
    web.body = b"x" * 5_000_000
    first = ask(web.base, None)
    assert first.is_new
    assert not ask(web.base, first.tag).is_new


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1:1/x", "data:,x"])
def test_a_redirection_leads_to_no_other_scheme(web: Web, location: str) -> None:
    web.status, web.location = 302, location
    poll = ask(web.base, None)
    assert not poll.is_new
    assert poll.fault


def test_what_is_no_http_starts_nothing_and_ends_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_babble, args=(server,))
        thread.start()
        poll = ask(f"http://127.0.0.1:{server.getsockname()[1]}/", None)
        thread.join()
    assert (poll.is_new, poll.fault) == (False, "BadStatusLine")


def _babble(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"\x00\x01 no\r\n\r\n")


def test_nobody_there_starts_nothing_and_is_told() -> None:
    assert ask("http://127.0.0.1:1/", None) == Poll(False, None, "Connection refused")


def test_what_asks_can_be_kept(web: Web) -> None:
    opener = open_web(web.base)
    tag = ask(web.base, None, opener=opener).tag
    assert ask(web.base, tag, opener=opener) == Poll(False, tag)


def test_by_https_only_a_server_with_a_good_certificate_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with web_server(authority.issue("server")) as web:
        stranger = ask(web.base, None)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        opener = open_web(web.base)
        first = ask(web.base, None, opener=opener)
        again = ask(web.base, first.tag, opener=opener)
    assert not stranger.is_new
    assert str(stranger.fault).startswith("certificate: ")
    assert first.is_new
    assert again == Poll(False, first.tag)


def test_a_folder_is_looked_at(tmp_path: Path) -> None:
    repository = TufRepository(tmp_path)
    base = base_of(str(tmp_path))
    first = ask(base, None)
    assert first.is_new
    assert not ask(base, first.tag).is_new
    repository.add_channel("default", {})
    repository.publish()
    assert ask(base, first.tag).is_new
    assert ask(f"{base}absent/", first.tag).fault == "No such file or directory"


@pytest.mark.parametrize(
    ("source", "base"),
    [
        ("https://models.example.org/home", "https://models.example.org/home/"),
        ("http://models.example.org/", "http://models.example.org/"),
        ("file:///srv/models", "file:///srv/models/"),
        ("/srv/our models", "file:///srv/our%20models/"),
    ],
)
def test_an_address_or_a_folder_becomes_a_base(source: str, base: str) -> None:
    assert base_of(source) == base


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 80.0), (0.5, 100.0), (1.0, 120.0)])
def test_a_fleet_does_not_ask_in_step(chance: float, seconds: float) -> None:
    assert next_wait(100.0, lambda: chance) == pytest.approx(seconds)
