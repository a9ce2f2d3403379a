from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import psutil
import pytest

from edge_agent.cli import stage
from edge_agent.cli.demo import SENTENCES
from edge_agent.link.requester import Requester
from tests.cli.command import DEADLINE_SECONDS, PROGRAM, assert_one_line_and_hint, edge_agent

WITHOUT_MOSQUITTO = (
    sys.executable,
    "-c",
    "import edge_agent.cli.stage as stage; stage.mosquitto_path = lambda: None\n"
    "from edge_agent.cli.main import main; main()",
)
WITHOUT_ANY_BROKER = (
    sys.executable,
    "-c",
    "import edge_agent.cli.stage as stage; stage.find_spec = stage.mosquitto_path = lambda *_: None\n"
    "from edge_agent.cli.main import main; main()",
)
UNANSWERED = (
    sys.executable,
    "-c",
    "import edge_agent.cli.demo as demo; demo.SENTENCES = (*demo.SENTENCES[:2], ' ')\n"
    "from edge_agent.cli.main import main; main()",
)


def test_once_every_sentence_is_answered_in_order(tiny_folder: Path) -> None:
    done = edge_agent("demo", "--once", "--model", tiny_folder)
    assert (done.code, done.err) == (0, "")
    assert "Mosquitto" in done.out
    places = [done.out.index(sentence) for sentence in SENTENCES]
    assert places == sorted(places)
    assert len(re.findall(r"\d+\.\d ms", done.out)) == len(SENTENCES) == 12
    assert "12 of 12 sentences answered." in done.out


def test_as_json_each_exchange_is_one_line_and_nothing_else_is_printed(tiny_folder: Path) -> None:
    done = edge_agent("demo", "--once", "--json", "--model", tiny_folder)
    exchanges = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [exchange["text"] for exchange in exchanges] == list(SENTENCES)
    assert all(exchange["answer"]["model"] == "tiny" for exchange in exchanges)


def test_without_mosquitto_the_embedded_broker_serves(tiny_folder: Path) -> None:
    done = edge_agent("demo", "--once", "--model", tiny_folder, program=WITHOUT_MOSQUITTO)
    assert (done.code, done.err) == (0, "")
    assert "amqtt" in done.out
    assert "12 of 12 sentences answered." in done.out


def test_without_any_broker_the_hint_says_how_to_get_one(tiny_folder: Path) -> None:
    done = edge_agent("demo", "--once", "--model", tiny_folder, program=WITHOUT_ANY_BROKER)
    assert done.code == 2
    assert_one_line_and_hint(done)
    assert "apt install mosquitto" in done.err


def test_once_with_a_sentence_unanswered_does_not_end_with_0(tiny_folder: Path) -> None:
    done = edge_agent("demo", "--once", "--model", tiny_folder, program=UNANSWERED)
    assert done.code == 1
    assert "empty_text" in done.out
    assert "2 of 3 sentences answered." in done.out


def test_a_model_that_is_damaged_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    done = edge_agent("demo", "--once", "--model", tmp_path)
    assert done.code == 3
    assert_one_line_and_hint(done)


def test_a_port_that_is_taken_is_a_usage_error(tiny_folder: Path) -> None:
    with socket.create_server((stage.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = edge_agent("demo", "--once", "--model", tiny_folder, "--port", str(port))
    assert done.code == 2
    assert_one_line_and_hint(done)
    assert str(port) in done.err


@contextmanager
def _running_demo(model: Path, temporary: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A demo that has invited, and what it printed."""
    temporary.mkdir()
    with subprocess.Popen(
        [*PROGRAM, "demo", "--model", str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        printed = b""
        try:
            while b"Ctrl-C ends it." not in printed:
                line = process.stdout.readline()
                assert line, process.communicate()[1].decode()
                printed += line
            yield process, printed.decode()
        finally:
            process.kill()


def test_it_stays_up_and_answers_whom_it_told_how_to_talk_to_it(tiny_folder: Path, tmp_path: Path) -> None:
    with _running_demo(tiny_folder, tmp_path / "t") as (_, printed):
        port = re.search(r"mosquitto_pub -p (\d+) .*'edge-agent/demo/in/tiny'", printed)
        assert port is not None
        with Requester.connect(f"mqtt://{stage.HOST}:{port[1]}") as requester:
            assert requester.request("tiny", "demo", "turn on the light")["intent"] == "HassTurnOn"
        invitation = re.search(r"edge-agent (send .*)", printed)
        assert invitation is not None
        done = edge_agent(*invitation[1].replace('"', "").split())
        assert done.code == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_however_it_ends_it_leaves_no_process(
    number: signal.Signals, code: int, tiny_folder: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "t"
    with _running_demo(tiny_folder, temporary) as (process, _):
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 2
        begun = monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert process.returncode == code
    assert err == b""
    assert monotonic() - begun < 10
    if number != signal.SIGKILL:
        assert not list(temporary.iterdir())
