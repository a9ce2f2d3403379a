"""The proxy does to a connection what it says, and no more."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from tests.testbeds.broker import HOST
from tests.testbeds.proxy import GOOD, Conditions, Proxy
from tests.testbeds.waiting import eventually


class Echo:
    """Sends back what it gets, and notes how each connection ended."""

    def __init__(self) -> None:
        self.endings: list[str] = []
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                Thread(target=self._echo, args=(sock,), daemon=True).start()

    def _echo(self, sock: socket.socket) -> None:
        try:
            with sock:
                while data := sock.recv(4096):
                    sock.sendall(data)
            self.endings.append("end")
        except OSError:
            self.endings.append("reset")


@pytest.fixture
def echo() -> Iterator[Echo]:
    one = Echo()
    yield one
    one.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as one:
        yield one


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, proxy.port), 10) as sock:
        sock.sendall(b"hello")
        assert _receive(sock, 5) == b"hello"
        yield sock


def _receive(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def _is_silent(sock: socket.socket) -> bool:
    sock.settimeout(0.3)
    try:
        return not sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(10)


def test_a_good_link_passes_large_messages_whole(client: socket.socket) -> None:
    message = bytes(range(256)) * 4096
    Thread(target=client.sendall, args=(message,), daemon=True).start()
    assert _receive(client, len(message)) == message


def test_a_frozen_link_holds_bytes_back_and_gives_them_later(client: socket.socket, proxy: Proxy) -> None:
    proxy.set(Conditions(is_frozen=True))
    client.sendall(b"late")
    assert _is_silent(client)
    proxy.set(GOOD)
    assert _receive(client, 4) == b"late"


def test_a_trickling_and_a_delaying_link_lose_nothing(client: socket.socket, proxy: Proxy) -> None:
    for conditions in (Conditions(bytes_per_second=400), Conditions(delay_seconds=0.1)):
        proxy.set(conditions)
        client.sendall(b"x" * 60)
        assert _receive(client, 60) == b"x" * 60


def test_a_cut_ends_both_sides_in_order(client: socket.socket, proxy: Proxy, echo: Echo) -> None:
    proxy.cut()
    assert client.recv(1) == b""
    eventually(lambda: echo.endings == ["end"], what="the end at the other side")


def test_a_reset_breaks_both_sides(client: socket.socket, proxy: Proxy, echo: Echo) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    eventually(lambda: echo.endings == ["reset"], what="the reset at the other side")


def test_a_deserted_client_hears_nothing_though_the_other_side_is_gone(
    client: socket.socket, proxy: Proxy, echo: Echo
) -> None:
    proxy.desert_client()
    eventually(lambda: echo.endings == ["end"], what="the end at the other side")
    client.sendall(b"anybody?")
    assert _is_silent(client)
    with socket.create_connection((HOST, proxy.port), 10) as other:
        other.sendall(b"new")
        assert _receive(other, 3) == b"new"
    assert proxy.deserted == 1
    proxy.bury()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_deserted_client_that_gives_up_is_forgotten(client: socket.socket, proxy: Proxy) -> None:
    proxy.desert_client()
    client.shutdown(socket.SHUT_RDWR)
    eventually(lambda: proxy.deserted == 0, what="the end of the deserted connection")


def test_a_deserted_broker_is_not_told_that_the_client_is_gone(
    client: socket.socket, proxy: Proxy, echo: Echo
) -> None:
    proxy.desert_upstream()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert echo.endings == []
    proxy.bury()
    eventually(lambda: echo.endings == ["reset"], what="the reset at the other side")


def test_a_refusing_link_and_one_that_hangs_up_let_nobody_in_for_a_while(proxy: Proxy) -> None:
    proxy.set(Conditions(is_refusing=True))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port), 10)
    proxy.set(Conditions(hang_ups=2))
    for _ in range(2):
        with socket.create_connection((HOST, proxy.port), 10) as sock:
            assert sock.recv(1) == b""
    assert proxy.carried == 0
    with socket.create_connection((HOST, proxy.port), 10) as sock:
        sock.sendall(b"back")
        assert _receive(sock, 4) == b"back"
    assert proxy.carried == 1
