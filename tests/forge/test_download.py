"""Data is fetched once from its address, proven, and kept; anything else leaves nothing behind."""

from __future__ import annotations

import hashlib
import lzma
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_agent.errors import DataError
from edge_agent.forge.data.download import default_cache, download, is_allowed
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.sources import read_section
from edge_agent.forge.recipe import DataSection

CONTENT = b"text,label\n" + b"".join(b"row number %d,x\n" % n for n in range(9_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A real HTTP server whose pages a test fills; it counts what it was asked for."""

    pages: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if self.path in state.redirects:
                self.send_response(302)
                self.send_header("Location", state.redirects[self.path])
                self.end_headers()
            elif self.path in state.pages:
                content = state.pages[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) - state.cut])
            else:
                self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state.port = httpd.server_address[1]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        httpd.shutdown()
        thread.join(10)


def section(**changes: object) -> DataSection:
    fields: dict[str, object] = {
        "use": "train",
        "kind": "table",
        "file": "mine/a.csv",
        "lang": "en",
        "licence": "CC0",
        "others": "keep",
        "sha256": SHA256,
    }
    return DataSection.model_validate(fields | changes)


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(tmp_path: Path, server: Server) -> None:
    server.pages["/a.csv"] = CONTENT
    steps: list[tuple[str, int, int | None]] = []
    folders = DataFolders(
        tmp_path, [tmp_path], cache=tmp_path / "cache", progress=lambda *step: steps.append(step)
    )
    entry = section(address=server.address("/a.csv"))
    assert folders.find(entry) == folders.find(entry) == tmp_path / "cache/mine/a.csv"
    assert server.asked == ["/a.csv"]
    assert folders.find(entry).read_bytes() == CONTENT
    assert len(steps) > 1
    assert steps[-1] == ("a.csv", len(CONTENT), len(CONTENT))
    assert [path.name for path in (tmp_path / "cache/mine").iterdir()] == ["a.csv"]


def test_a_data_folder_goes_before_the_cache_and_the_address(tmp_path: Path, server: Server) -> None:
    (tmp_path / "data/mine").mkdir(parents=True)
    (tmp_path / "data/mine/a.csv").write_bytes(CONTENT)
    folders = DataFolders(tmp_path, [tmp_path / "data"], cache=tmp_path / "cache")
    assert folders.find(section(address=server.address("/a.csv"))) == tmp_path / "data/mine/a.csv"
    assert server.asked == []
    assert not (tmp_path / "cache").exists()


def test_a_compressed_file_may_be_published_plain_and_is_read_alike(tmp_path: Path, server: Server) -> None:
    server.pages["/a.csv"] = CONTENT
    packed = lzma.compress(CONTENT)
    entry = section(
        file="mine/a.csv.xz",
        sha256=hashlib.sha256(packed).hexdigest(),
        address=server.address("/a.csv"),
        address_sha256=SHA256,
    )
    path = DataFolders(tmp_path, cache=tmp_path / "cache").find(entry)
    assert path.name == "a.csv"
    (tmp_path / "a.csv.xz").write_bytes(packed)
    assert read_section(entry, path) == read_section(entry, tmp_path / "a.csv.xz")


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path, server: Server) -> None:
    server.pages["/a.csv"] = CONTENT
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.csv").write_bytes(CONTENT[:-1])
    path = DataFolders(tmp_path, cache=tmp_path).find(section(address=server.address("/a.csv")))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("page", "cut", "largest", "reason"),
    [
        (CONTENT + b"x", 0, 1 << 20, "its content has changed: sha256 is"),
        (CONTENT, 70_000, 1 << 20, "broken off after"),
        (CONTENT, 0, 100_000, "larger than the 0 MB"),
        (None, 0, 1 << 20, "HTTP 404"),
    ],
)
def test_what_is_altered_broken_or_too_large_leaves_nothing(
    tmp_path: Path, server: Server, page: bytes | None, cut: int, largest: int, reason: str
) -> None:
    if page is not None:
        server.pages["/a.csv"] = page
    server.cut = cut
    with pytest.raises(DataError, match=reason) as error:
        download(server.address("/a.csv"), tmp_path / "cache/a.csv", sha256=SHA256, largest_bytes=largest)
    assert server.address("/a.csv") in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_failed_download_leaves_the_old_file_as_it_was(tmp_path: Path, server: Server) -> None:
    (tmp_path / "a.csv").write_bytes(b"old")
    with pytest.raises(DataError):
        download(server.address("/a.csv"), tmp_path / "a.csv", sha256=SHA256)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_bytes() == b"old"


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/a: cannot be fetched: .*refused"):
        download("http://127.0.0.1:1/a", tmp_path / "a", sha256=SHA256)


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(DataError, match=r"cannot be fetched: (no answer in time|timed out)"):
            download(address, tmp_path / "a", sha256=SHA256, timeout_seconds=0.2)
    assert list(tmp_path.iterdir()) == []


def test_a_redirection_is_followed_only_to_where_data_may_come_from(tmp_path: Path, server: Server) -> None:
    server.pages["/a.csv"] = CONTENT
    server.redirects |= {
        "/near": "/a.csv",
        "/far": "http://example.org/a.csv",
        "/file": "file:///etc/hostname",
    }
    download(server.address("/near"), tmp_path / "near", sha256=SHA256)
    for path in ("/far", "/file"):
        with pytest.raises(DataError, match=r"by https only|is not allowed"):
            download(server.address(path), tmp_path / "other", sha256=SHA256)
    assert [path.name for path in tmp_path.iterdir()] == ["near"]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://example.org/a", True),
        ("http://localhost:8000/a", True),
        ("http://example.org/a", False),
        ("http://localhost.example.org/a", False),
        ("file:///etc/passwd", False),
        ("ftp://example.org/a", False),
        ("https:///a", False),
    ],
)
def test_data_comes_by_https_or_from_this_machine(address: str, allowed: bool) -> None:
    assert is_allowed(address) == allowed


def test_a_recipe_cannot_name_an_address_without_proof() -> None:
    with pytest.raises(ValidationError, match="address needs sha256"):
        section(address="https://example.org/a", sha256=None)
    with pytest.raises(ValidationError, match="https only"):
        section(address="http://example.org/a")


def test_absent_data_without_an_address_says_where_it_is_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found") as error:
        DataFolders(tmp_path, [tmp_path], cache=tmp_path).find(section(origin="the university's page"))
    assert error.value.hint == (
        "give the folder that holds mine/a.csv by --data DIR (the set is from the university's page)"
    )


def test_the_cache_is_where_the_desktop_standard_says() -> None:
    assert default_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/edge-agent/data")
    assert default_cache({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache/edge-agent/data"
    assert default_cache({}) == Path.home() / ".cache/edge-agent/data"
