from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from edge_agent.errors import SettingsError
from edge_agent.settings.board_sections import MetricsSettings
from edge_agent.telemetry.metrics.facts import MetricFacts
from edge_agent.telemetry.metrics.server import MOST_CONNECTIONS, MetricsServer, start_metrics
from tests.telemetry.metrics.sample_facts import full_facts
from tests.testbeds.broker import free_port

HOST = "127.0.0.1"
DEADLINE_SECONDS = 20.0


def page(_accept: str) -> tuple[str, bytes]:
    return "text/plain", b"edge_agent_queue_length 1\n"


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    running = MetricsServer(HOST, 0, page, patience_seconds=0.3)
    yield running
    running.stop()


def ask(
    port: int, path: str = "/metrics", method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=DEADLINE_SECONDS)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read()
    finally:
        connection.close()


def silent_client(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=DEADLINE_SECONDS)


def read_all(client: socket.socket) -> bytes:
    """All that the server sends, until it hangs up."""
    received = b""
    try:
        while part := client.recv(4096):
            received += part
    except ConnectionResetError:
        pass
    return received


def test_the_settings_start_an_endpoint_that_tells_the_facts_of_the_moment() -> None:
    told = [MetricFacts(version="1", device="pi", queue=number) for number in (1, 2)]
    settings = MetricsSettings(enabled=True, port=free_port())
    running = start_metrics(settings, lambda: told.pop(0))
    try:
        assert b"edge_agent_queue_length 1.0\n" in ask(settings.port)[2]
        assert b"edge_agent_queue_length 2.0\n" in ask(settings.port)[2]
    finally:
        running.stop()


def test_who_accepts_openmetrics_gets_it() -> None:
    settings = MetricsSettings(enabled=True, port=free_port())
    running = start_metrics(settings, full_facts)
    try:
        _, kind, body = ask(settings.port, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    finally:
        running.stop()
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_the_metrics_stand_under_their_path_and_nothing_else_does(server: MetricsServer) -> None:
    assert ask(server.port) == (200, "text/plain", b"edge_agent_queue_length 1\n")
    assert ask(server.port, "/metrics?name=x")[0] == 200
    assert ask(server.port, "/")[2] == b"edge-agent: see /metrics\n"
    for path in ("/metric", "/metrics/", "/../etc/passwd", "/favicon.ico"):
        assert ask(server.port, path)[0] == 404


def test_head_is_get_without_the_body(server: MetricsServer) -> None:
    assert ask(server.port, method="HEAD") == (200, "text/plain", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_no_other_method_is_known(server: MetricsServer, method: str) -> None:
    assert ask(server.port, method=method)[0] == 501


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\0" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01" + b"\r\n\r\n",
    ],
)
def test_rubbish_is_refused_and_the_next_is_answered(server: MetricsServer, rubbish: bytes) -> None:
    with silent_client(server.port) as client:
        client.sendall(rubbish)
        assert b"edge_agent_queue_length" not in read_all(client)
    assert ask(server.port)[0] == 200


def test_a_client_that_says_nothing_is_hung_up_on(server: MetricsServer) -> None:
    with silent_client(server.port) as client:
        assert read_all(client) == b""


def test_a_client_that_drips_has_no_more_time_than_others(server: MetricsServer) -> None:
    with silent_client(server.port) as client:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    client.sendall(b"X")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert read_all(client) == b""
        finally:
            stop.set()
            dripping.join()


def test_a_head_without_end_is_not_kept(server: MetricsServer) -> None:
    with silent_client(server.port) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(b"GET /metrics HTTP/1.0\r\nX: " + b"y" * 100_000)
        assert read_all(client) == b""
    assert ask(server.port)[0] == 200


def test_beyond_a_few_connections_one_is_told_that_it_is_busy_and_later_served() -> None:
    running = MetricsServer(HOST, 0, page, patience_seconds=DEADLINE_SECONDS)
    others = [silent_client(running.port) for _ in range(MOST_CONNECTIONS)]
    try:
        assert ask(running.port)[0] == 503
        for other in others:
            other.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert read_all(other).startswith(b"HTTP/1.0 200")
        assert ask(running.port)[0] in (200, 503)  # the last one's thread may be on its way out
    finally:
        for other in others:
            other.close()
        running.stop()


def test_many_who_ask_at_once_are_rendered_for_one_after_the_other() -> None:
    inside, most = 0, 0

    def render(_accept: str) -> tuple[str, bytes]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.02)
        inside -= 1
        return "text/plain", b""

    running = MetricsServer(HOST, 0, render)
    try:
        threads = [threading.Thread(target=ask, args=(running.port,)) for _ in range(MOST_CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        running.stop()
    assert most == 1


def test_facts_that_cannot_be_gathered_are_an_error_of_that_scrape_only() -> None:
    faults: list[Exception] = [ValueError("a sentence of the user")]

    def render(accept: str) -> tuple[str, bytes]:
        if faults:
            raise faults.pop()
        return page(accept)

    running = MetricsServer(HOST, 0, render)
    try:
        status, _, body = ask(running.port)
        assert status == 500
        assert b"sentence" not in body
        assert ask(running.port)[0] == 200
    finally:
        running.stop()


def test_a_port_that_is_taken_is_told_in_words_with_a_remedy(server: MetricsServer) -> None:
    settings = MetricsSettings(enabled=True, port=server.port)
    with pytest.raises(SettingsError, match=rf"{HOST}:{server.port}: Address already in use") as caught:
        start_metrics(settings, full_facts)
    assert caught.value.hint is not None
    assert "metrics.port" in caught.value.hint


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a" * 70])
def test_an_address_that_is_not_ours_is_told_in_words(host: str) -> None:
    with pytest.raises(SettingsError, match="cannot listen on"):
        MetricsServer(host, 0, page)


def test_once_stopped_it_does_not_listen_and_the_port_is_free_again(server: MetricsServer) -> None:
    port = server.port
    assert ask(port)[0] == 200
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        silent_client(port)
    again = MetricsServer(HOST, port, page)
    again.stop()


def test_the_library_is_not_loaded_before_somebody_wants_metrics() -> None:
    program = (
        "import sys, edge_agent.telemetry.metrics, edge_agent.telemetry.metrics.server\n"
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
