"""Logs: events with fields on standard error, JSON when nobody watches.

The only file that imports structlog. Nothing here sees a request's text unless the settings say so; who
logs a request decides that.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def configure_log(
    level: str, style: str = "auto", stream: TextIO | None = None, *, watch: Processor | None = None
) -> None:
    """Sets up what :func:`get_logger` writes.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``json``, ``text``, or ``auto``: text on a terminal, else JSON.
        stream: where to, by default standard error.
        watch: sees each event on its way.
    """
    out = stream or sys.stderr
    as_text = style == "text" or (style == "auto" and out.isatty())
    renderer: Any = structlog.processors.JSONRenderer(default=str)
    if as_text:
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    processors: list[Any] = [
        *([] if watch is None else [watch]),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not as_text:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )


def get_logger(**fields: Any) -> FilteringBoundLogger:
    """A logger whose lines carry these fields; it obeys the last :func:`configure_log`."""
    logger: FilteringBoundLogger = structlog.get_logger(**fields)
    return logger
