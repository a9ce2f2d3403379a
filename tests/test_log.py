"""Lines of the log: one an event, with its priority, without strangers' words, and not the same for ever."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BundleError
from edge_agent.log import (
    BURST,
    EVENT_BURST,
    RepeatLimiter,
    configure_log,
    flush_log,
    get_logger,
    is_journal,
    with_priority,
)
from edge_agent.service.lasting import LastingStream

LEVELS = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
NASTY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=20), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


class Journal:
    """A file that the environment declares to be the journal's, as systemd does with its socket."""

    def __init__(self, path: Path) -> None:
        self.stream = path.open("w+", encoding="utf-8")
        found = os.fstat(self.stream.fileno())
        self.environment = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}

    def lines(self) -> list[str]:
        self.stream.flush()
        return Path(self.stream.name).read_text(encoding="utf-8").split("\n")[:-1]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    for name, value in journal.environment.items():
        monkeypatch.setenv(name, value)
    yield journal
    configure_log("info", "json", io.StringIO())
    journal.stream.close()


def written(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


# Priorities


@pytest.mark.parametrize("level", LEVELS)
def test_under_systemd_a_line_begins_with_its_priority_and_stays_json(level: str, journal: Journal) -> None:
    configure_log("debug", "auto", journal.stream)
    getattr(get_logger(name="home"), level)("model.loaded", version="1.0.0")
    (line,) = journal.lines()
    assert line.startswith(f"<{LEVELS[level]}>{{")
    assert json.loads(line[3:]) | {"timestamp": ""} == {
        "event": "model.loaded",
        "level": level,
        "name": "home",
        "version": "1.0.0",
        "timestamp": "",
    }


def test_an_exception_has_the_priority_of_an_error(journal: Journal) -> None:
    configure_log("info", "json", journal.stream)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        get_logger().exception("mqtt.internal")
    (line,) = journal.lines()
    assert line.startswith("<3>")
    assert "ZeroDivisionError" in json.loads(line[3:])["exception"]


def test_every_line_of_a_text_for_the_journal_has_the_priority(journal: Journal) -> None:
    configure_log("info", "text", journal.stream)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        get_logger().exception("mqtt.internal")
    lines = journal.lines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)
    assert with_priority("error", "one\ntwo\n", journal.stream) == "<3>one\n<3>two\n"


def test_a_stream_that_is_not_the_journals_gets_no_priorities(journal: Journal, tmp_path: Path) -> None:
    with (tmp_path / "elsewhere").open("w") as elsewhere:
        assert not is_journal(elsewhere)
    assert not is_journal(io.StringIO())
    assert not is_journal(journal.stream, {})
    assert not is_journal(journal.stream, {"JOURNAL_STREAM": "nonsense"})
    assert is_journal(journal.stream)
    assert with_priority("error", "text", io.StringIO()) == "text"


def test_a_real_process_prefixes_its_standard_error_alone(tmp_path: Path) -> None:
    program = (
        "from edge_agent.log import configure_log, get_logger\n"
        "configure_log('info')\nget_logger().error('agent.bug')\n"
    )
    with (tmp_path / "journal").open("wb") as err:
        found = os.fstat(err.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        subprocess.run([sys.executable, "-c", program], stderr=err, env=environment, check=True, timeout=60)
    assert (tmp_path / "journal").read_text().startswith("<3>{")


# One event, one line


@given(st.dictionaries(st.text(min_size=1), NASTY, max_size=5), st.text())
def test_no_field_ends_the_line_of_json(fields: dict[str, Any], event: str) -> None:
    out = io.StringIO(newline="")
    configure_log("debug", "json", out)
    fields.pop("event", None)
    structlog.get_logger().bind(**fields).error(event)
    line = out.getvalue()
    assert line.endswith("}\n")
    assert line.isascii()
    assert not set(line[:-1]) & set(LINE_ENDS)
    assert json.loads(line, parse_constant=pytest.fail)["level"] == "error"


@given(st.dictionaries(st.text(min_size=1), NASTY, max_size=5), st.text())
def test_no_field_ends_the_line_of_text(fields: dict[str, Any], event: str) -> None:
    out = io.StringIO(newline="")
    configure_log("debug", "text", out)
    for name in ("event", "exc_info", "stack_info", "stack"):
        fields.pop(name, None)
    structlog.get_logger().bind(**fields).error(event)
    line = out.getvalue()
    assert line.endswith("\n")
    assert not set(line[:-1]) & set(LINE_ENDS + "\x1b\x07\x08")


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError


def test_what_cannot_be_told_is_named_and_the_line_is_written() -> None:
    out = io.StringIO()
    configure_log("info", "json", out)
    circle: list[Any] = []
    circle.append(circle)
    get_logger().info("odd", thing=Unspeakable(), number=float("nan"), circle=circle, half="\ud800")
    (line,) = written(out)
    assert (line["thing"], line["number"], line["half"]) == ("<Unspeakable>", "nan", "\ud800")


def test_a_line_that_journald_would_split_is_shortened_and_still_json() -> None:
    out = io.StringIO()
    configure_log("info", "json", out)
    get_logger(**{f"field{number}": "😀" * 5000 for number in range(40)}).warning("huge", reason="x" * 9**6)
    assert len(out.getvalue()) < 48 * 1024
    (line,) = written(out)
    assert (line["event"], line["level"]) == ("huge", "warning")
    assert line["field0"].endswith("…")


# What strangers said


def test_a_foreign_exception_tells_where_and_not_what_it_choked_on() -> None:
    for style in ("json", "text"):
        out = io.StringIO()
        configure_log("info", style, out)
        words = "the user's" + " words"  # in two, since a traceback shows lines of the source
        try:
            try:
                raise KeyError(words)
            except KeyError as error:
                raise ValueError(words) from error
        except ValueError:
            get_logger().exception("mqtt.internal")
        assert "the user's words" not in out.getvalue()
        assert "test_log.py" in out.getvalue()
        assert out.getvalue().index("KeyError") < out.getvalue().index("ValueError")


def test_an_exception_of_our_own_says_its_line() -> None:
    out = io.StringIO()
    configure_log("info", "json", out)
    get_logger().error("model.failed", exc_info=BundleError("vocab.txt: altered\nnot so"))
    assert written(out)[0]["exception"].endswith("BundleError: vocab.txt: altered\\nnot so")


# Repeats


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Limited:
    """A limiter with a clock of its own, and what it lets through."""

    def __init__(self, window_seconds: float = 60.0) -> None:
        self.clock = Clock()
        self.told: list[dict[str, Any]] = []
        self.limiter = RepeatLimiter(structlog.wrap_logger(None, [self._note]), self.clock, window_seconds)

    def _note(self, _logger: Any, method: str, event: Any) -> Any:
        self.told.append({"level": method, **event})
        raise structlog.DropEvent

    def passes(self, level: str = "warning", event: str = "mqtt.lost", **fields: Any) -> bool:
        try:
            self.limiter(None, level, {"event": event, **fields})
        except structlog.DropEvent:
            return False
        return True


def test_repeats_are_held_back_and_summed_up_when_the_minute_is_over() -> None:
    limited = Limited()
    assert [limited.passes(reason="gone") for _ in range(BURST + 5)] == [True] * BURST + [False] * 5
    assert limited.told == []
    limited.clock.now += 61
    assert limited.passes(reason="gone")
    assert limited.told == [
        {"level": "warning", "event": "log.suppressed", "of": "mqtt.lost", "count": 5, "reason": "gone"}
    ]


def test_another_event_another_level_and_another_model_are_not_affected() -> None:
    limited = Limited()
    while limited.passes(model="home"):
        pass
    assert limited.passes(model="sentiment")
    assert limited.passes(level="error", model="home")
    assert limited.passes(event="mqtt.unreachable", model="home")


def test_a_reason_with_another_number_is_the_same_reason() -> None:
    limited = Limited()
    assert sum(limited.passes(reason=f"no answer for {number} s") for number in range(40)) == BURST


def test_reasons_that_a_peer_makes_up_are_held_back_together() -> None:
    limited = Limited()
    passed = sum(limited.passes(reason="x" * number) for number in range(110))
    limited.limiter.flush()
    assert passed == EVENT_BURST
    assert limited.told == [
        {"level": "warning", "event": "log.suppressed", "of": "mqtt.lost", "count": 110 - EVENT_BURST}
    ]


def test_debug_lines_are_never_held_back() -> None:
    limited = Limited()
    assert all(limited.passes(level="debug", event="request.answered") for _ in range(500))


def test_memory_is_bounded_whatever_comes_and_every_line_is_written_or_counted() -> None:
    limited = Limited()
    passed = sum(limited.passes(event=f"event{number % 3000}") for number in range(9000))
    passed += sum(limited.passes() for _ in range(100))
    assert len(limited.limiter._windows) <= 512
    limited.limiter.flush()
    assert passed + sum(sum_["count"] for sum_ in limited.told) == 9100


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.floats(0, 40)), min_size=30, max_size=200
    )
)
def test_every_event_is_written_or_counted_at_any_times(events: list[tuple[str, str, float]]) -> None:
    limited = Limited()
    passed = 0
    for name, reason, pause in events:
        limited.clock.now += pause if pause > 35 else 0
        passed += limited.passes(event=name, reason=reason)
    limited.limiter.flush()
    assert passed + sum(one["count"] for one in limited.told) == len(events)


def test_the_sum_comes_though_nothing_more_happens() -> None:
    told = threading.Event()

    def note(_logger: Any, _method: str, event: Any) -> Any:
        assert event["count"] == 1
        told.set()
        raise structlog.DropEvent

    limiter = RepeatLimiter(structlog.wrap_logger(None, [note]), window_seconds=0.2)
    for number in range(BURST + 1):
        try:
            limiter(None, "info", {"event": "again"})
        except structlog.DropEvent:
            assert number == BURST
    assert told.wait(30)


def test_many_threads_lose_no_count() -> None:
    out = io.StringIO()
    configure_log("info", "json", out)
    threads = [
        threading.Thread(target=lambda: [get_logger().warning("again", model="home") for _ in range(200)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flush_log()
    lines = written(out)
    assert [line["event"] for line in lines] == ["again"] * BURST + ["log.suppressed"]
    assert lines[-1]["count"] == 1600 - BURST


def test_what_is_held_back_is_told_at_the_end_of_the_process() -> None:
    program = (
        "from edge_agent.log import configure_log, get_logger\n"
        "configure_log('info')\nfor _ in range(15): get_logger().error('again')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    last = json.loads(ended.stderr.splitlines()[-1])
    assert (last["event"], last["of"], last["count"], last["level"]) == (
        "log.suppressed",
        "again",
        5,
        "error",
    )


class Dead(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    configure_log("info", "json", cast(TextIO, LastingStream(Dead())))
    for _ in range(30):
        get_logger().info("agent.ready")
    flush_log()
    closed = io.StringIO()
    configure_log("info", "json", closed)
    for _ in range(30):
        get_logger().info("agent.ready")
    closed.close()
    configure_log("info", "json", io.StringIO())


def test_a_level_that_is_off_sees_neither_watch_nor_limiter() -> None:
    seen: list[str] = []

    def watch(_logger: Any, method: str, event: Any) -> Any:
        seen.append(method)
        return event

    configure_log("warning", "json", io.StringIO(), watch=watch)
    get_logger().info("not.written")
    for _ in range(30):
        get_logger().warning("again")
    assert seen == ["warning"] * 30
