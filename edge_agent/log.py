"""Logs: events with fields on standard error; JSON when nobody watches, with priorities for journald.

The only file that imports structlog. Nothing here sees a request's text unless the settings say so; who
logs a request decides that. What a foreign exception says is never written, since it may quote the text.

Every event is one line. The same event more often than :data:`BURST` times in a minute is held back and
summed up in one ``log.suppressed``; ``debug`` is not: there, one line per request is what was asked for.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from edge_agent.errors import EdgeAgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping

    from structlog.typing import FilteringBoundLogger, Processor


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Makes a module look absent while another is imported, unless it is in already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


with _without("rich"):  # structlog imports it where it is installed: 6 MB and 60 ms that a daemon never uses
    import structlog

SUPPRESSED = "log.suppressed"
BURST = 10
"""How often the same event with the same identity is written in one window."""
EVENT_BURST = 50
"""How often events of one name are, whatever their identities: a peer may choose what is in a reason."""
WINDOW_SECONDS = 60.0
_MOST_WINDOWS = 512
_IDENTITY = ("name", "model", "sensor", "operation", "code", "error", "what", "reason")
_LONGEST_IDENTITY = 120
_NUMBER = re.compile(r"\d+")

_LONGEST_LINE = 40_000
"""Characters, all ASCII. journald splits at 48 KiB (``LineMax=`` in journald.conf(5)), and the rest loses its
priority."""
_SHORT_FIELDS, _SHORT_KEY, _SHORT_VALUE = 20, 30, 120
"""20 × (30 + 120) characters, each 12 bytes at most as two ``\\uXXXX``, stay under :data:`_LONGEST_LINE`."""

_PRIORITIES = {"critical": 2, "exception": 3, "error": 3, "warning": 4, "warn": 4, "info": 6, "debug": 7}
"""The numbers of syslog, as sd-daemon(3) has them."""

_SPEAKS_OF_US = (EdgeAgentError, OSError, ImportError, MemoryError)
"""Exceptions whose message is about this machine; any other may quote what it choked on."""


def configure_log(
    level: str, style: str = "auto", stream: TextIO | None = None, *, watch: Processor | None = None
) -> None:
    """Sets up what :func:`get_logger` writes.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``json``, ``text``, or ``auto``: text on a terminal, else JSON.
        stream: where to, by default standard error. Where it is the journal's (systemd.exec(5),
            ``$JOURNAL_STREAM``), each line begins with its priority.
        watch: sees each event on its way, held back or not.
    """
    out = stream or sys.stderr
    as_text = style == "text" or (style == "auto" and out.isatty())
    ending: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_exception,
        *([_escape, _for_people(out.isatty())] if as_text else [_render_json]),
        *([_with_priority] if is_journal(out) else []),
    ]
    factory = structlog.WriteLoggerFactory(file=out)
    limiter = RepeatLimiter(structlog.wrap_logger(factory(), ending, structlog.BoundLogger))
    flush_log()
    structlog.configure(
        processors=[*([] if watch is None else [watch]), limiter, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )
    atexit.unregister(flush_log)
    atexit.register(flush_log)


def _for_people(has_colors: bool) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(colors=has_colors, exception_formatter=structlog.dev.plain_traceback)


def get_logger(**fields: Any) -> FilteringBoundLogger:
    """A logger whose lines carry these fields; it obeys the last :func:`configure_log`."""
    logger: FilteringBoundLogger = structlog.get_logger(**fields)
    return logger


def flush_log() -> None:
    """Tells what is held back. A plain exit does so by itself; call it before ``exec`` or a fatal signal."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, RepeatLimiter):
            processor.flush()


def is_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written there goes to journald: ``JOURNAL_STREAM`` is its device and inode.

    Source: systemd.exec(5). The variable alone says nothing, for it is inherited by who writes elsewhere.
    """
    told = environment.get("JOURNAL_STREAM")
    if not told:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return told == f"{found.st_dev}:{found.st_ino}"


def with_priority(level: str, text: str, stream: TextIO) -> str:
    """A text for standard error that is no event, each line with its priority where the journal reads it."""
    return _prefixed(level, text) if is_journal(stream) else text


@dataclass(slots=True)
class _Window:
    """What came of one kind since a moment."""

    ends: float
    event: str
    level: str
    fields: dict[str, Any]
    passed: int = 0
    held: int = 0


class RepeatLimiter:
    """Holds back what repeats, and sums it up when its minute is over. For any thread; a structlog processor.

    Two budgets: :data:`BURST` for one event with one identity (its reason without numbers, its model …), and
    :data:`EVENT_BURST` for all of that name. The thread that waits for a minute's end lives only while
    something is held back. Memory is bounded: at most 512 kinds, the oldest make room.

    Args:
        logger: writes the sums.
        clock: monotonic seconds.
        window_seconds: length of the minute.
    """

    def __init__(
        self,
        logger: structlog.BoundLogger,
        clock: Callable[[], float] = time.monotonic,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._seconds = window_seconds
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, ...], _Window] = {}
        self._timer: threading.Timer | None = None

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Passes an event on.

        Raises:
            DropEvent: it is held back.
        """
        if method == "debug":
            return event
        with self._lock:
            over: list[_Window] = []
            is_held = self._is_held(method, event, self._clock(), over)
            if is_held and self._timer is None:
                self._wait_for_the_end()
        self._tell(over)
        if is_held:
            raise structlog.DropEvent
        return event

    def flush(self) -> None:
        """Tells what is held back now, and begins anew."""
        with self._lock:
            over = list(self._windows.values())
            self._windows.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._tell(over)

    def _is_held(self, level: str, event: Mapping[str, Any], now: float, over: list[_Window]) -> bool:
        name = str(event.get("event"))[:_LONGEST_IDENTITY]
        whole = self._window((level, name), {}, now, over)
        if whole.passed >= EVENT_BURST:
            whole.held += 1
            return True
        fields = {key: _short(event[key]) for key in _IDENTITY if event.get(key) is not None}
        identity = (f"{key}={_NUMBER.sub('#', str(value))}" for key, value in fields.items())
        own = self._window((level, name, *identity, ""), fields, now, over)
        if own.passed >= BURST:
            own.held += 1
            return True
        own.passed += 1
        whole.passed += 1
        return False

    def _window(
        self, key: tuple[str, ...], fields: dict[str, Any], now: float, over: list[_Window]
    ) -> _Window:
        found = self._windows.get(key)
        if found is not None and now < found.ends:
            return found
        if found is not None:
            over.append(self._windows.pop(key))
        elif len(self._windows) >= _MOST_WINDOWS:
            over.append(self._windows.pop(next(iter(self._windows))))
        self._windows[key] = _Window(now + self._seconds, key[1], key[0], fields)
        return self._windows[key]

    def _wait_for_the_end(self) -> None:
        """Starts the timer for the first minute that ends; with the lock held."""
        held = [window.ends for window in self._windows.values() if window.held]
        self._timer = None
        if held:
            timer = threading.Timer(max(0.0, min(held) - self._clock()), self._end)
            timer.daemon, timer.name = True, "log"
            with suppress(RuntimeError):  # no thread can be had; the next event or the end tells it
                timer.start()
                self._timer = timer

    def _end(self) -> None:
        with self._lock:
            now = self._clock()
            ended = [key for key, window in self._windows.items() if window.ends <= now]
            over = [self._windows.pop(key) for key in ended]
            self._wait_for_the_end()
        self._tell(over)

    def _tell(self, over: list[_Window]) -> None:
        for window in over:
            if window.held:
                level = "error" if window.level == "exception" else window.level
                with suppress(OSError, ValueError):  # the stream may be closed by now
                    getattr(self._logger, level)(
                        SUPPRESSED, of=window.event, count=window.held, **window.fields
                    )


def _short(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float)) else _words(value)[:_LONGEST_IDENTITY]


def _words(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # a log line ends nothing
        return f"<{type(value).__name__}>"


def _tell_exception(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turns ``exc_info`` into ``exception``: where it broke, and what it says only where that is ours."""
    if "exception" in event:
        event["exception"] = _printable(event["exception"])
    told = event.pop("exc_info", None)
    if isinstance(told, BaseException):
        told = (type(told), told, told.__traceback__)
    elif told and not isinstance(told, tuple):
        told = sys.exc_info()
    if told and told[1] is not None:
        event["exception"] = "".join(_lines_of(told[1])).rstrip()
    return event


def _lines_of(error: BaseException) -> Iterator[str]:
    """As ``traceback.print_exception`` has it, without what strangers' errors say."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    for one in reversed(chain):
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(one.__traceback__)
        yield f"{type(one).__qualname__}{f': {_printable(one)}' if isinstance(one, _SPEAKS_OF_US) else ''}\n"


def _render_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """One line of ASCII, whatever is in the fields."""
    line = _dump(event)
    if len(line) <= _LONGEST_LINE:
        return line
    known = [(key, event[key]) for key in ("event", "level", "timestamp") if key in event]
    return _dump(
        {_words(k)[:_SHORT_KEY]: _cut(v) for k, v in islice([*known, *event.items()], _SHORT_FIELDS)}
    )


def _dump(event: Mapping[Any, Any]) -> str:
    try:
        return json.dumps(event, default=_words, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # odd keys, NaN, a circle
        return json.dumps({_words(key): _plain(value) for key, value in event.items()})


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, str)) else _words(value)


def _cut(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    text = _words(value)
    return text if len(text) <= _SHORT_VALUE else f"{text[: _SHORT_VALUE - 1]}…"


def _escape(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """For people: nothing in a field ends the line or moves the cursor."""
    return {
        _printable(key): value
        if key == "exception" or value is None or isinstance(value, (bool, int, float))
        else _printable(value)
        for key, value in event.items()
    }


def _printable(value: Any) -> str:
    text = _words(value)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _with_priority(_logger: Any, method: str, line: str) -> str:
    return _prefixed(method, line)


def _prefixed(level: str, text: str) -> str:
    """``<N>`` before each line, as sd-daemon(3) has it."""
    mark = f"<{_PRIORITIES.get(level, _PRIORITIES['info'])}>"
    return "\n".join(mark + line if line else "" for line in text.split("\n"))
