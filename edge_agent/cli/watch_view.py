"""``edge-agent watch`` drawn for people: a line a device, the worst first, with reasons under the unwell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.text import Text

from edge_agent.cli.watch_documents import ModelPicture
from edge_agent.cli.watch_state import Picture, Wellness

_GAP = "  "
_NARROWEST_DEVICE = 12
_WIDEST_DEVICE = 28
_MODELS_WIDTH = 24
_SILENT_SECONDS = 300.0
_STYLES = {
    Wellness.OFFLINE: "red",
    Wellness.DOWN: "bold red",
    Wellness.DEGRADED: "yellow",
    Wellness.UNKNOWN: "dim",
    Wellness.UP: "green",
}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column; its cells have a style where they do not go by the line's."""

    heading: str
    width: int
    cell: Callable[[Picture, float], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where and when it is drawn.

    Attributes:
        width: of the terminal, in cells.
        height: lines that may be used; None for as many as there are.
        now: seconds since the epoch.
        broker: its address.
        fault: why the broker is away, None while it is there.
        hidden: more devices were heard than are kept.
    """

    width: int
    height: int | None
    now: float
    broker: str
    fault: str | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class _Layout:
    device: int
    columns: tuple[_Column, ...]
    models: int


def draw(pictures: Sequence[Picture], frame: Frame) -> Group:
    """The whole picture.

    Args:
        pictures: in the order in which they are to stand.
        frame: where and when.
    """
    lines = [_summary(pictures, frame)]
    if frame.fault is not None:
        lines.append(_cut(Text(f"broker away: {frame.fault}; trying again", "red"), frame.width))
    if not pictures:
        lines.append(Text("no device has said anything yet" if frame.fault is None else "", "dim"))
        return Group(*lines)
    layout = _layout(pictures, frame.width)
    lines.append(_headings(layout))
    room = None if frame.height is None else max(2, frame.height - len(lines))
    lines += _fit(pictures, room, lambda picture: _device(picture, layout, frame))
    return Group(*lines)


def _fit(pictures: Sequence[Picture], room: int | None, block: Callable[[Picture], list[Text]]) -> list[Text]:
    """As many devices as there is room for, and how many more there are; no more are drawn than that."""
    if room is None or len(pictures) <= room:
        lines = [line for picture in pictures for line in block(picture)]
        if room is None or len(lines) <= room:
            return lines
    shown: list[Text] = []
    number = 0
    while number < len(pictures) and len(shown) < room - 1:
        shown += block(pictures[number])[: room - 1 - len(shown)]
        number += 1
    return [*shown, Text(f"and {len(pictures) - number} more", "dim")]


def _summary(pictures: Sequence[Picture], frame: Frame) -> Text:
    """How many are how, and what they do together; the broker's address last, since it may be cut."""
    more = "+" if frame.hidden else ""
    text = Text().append(f"{len(pictures)}{more} device{'' if len(pictures) == 1 else 's'}", "bold")
    counts = Counter(picture.wellness for picture in pictures)
    for wellness in Wellness:
        if counts[wellness]:
            text.append(" · ", "dim").append(f"{counts[wellness]} {wellness.word}", _STYLES[wellness])
    there = [one for one in pictures if one.wellness is not Wellness.OFFLINE]
    rates = [one.per_minute for one in there if one.per_minute is not None]
    watts = [one.power_w for one in there if one.power_w is not None]
    if rates:
        text.append(f" · {sum(rates):,.0f} req/min")
    if watts:
        is_estimate = any(one.estimated for one in there if one.power_w is not None)
        text.append(f" · {'~' if is_estimate else ''}{sum(watts):.1f} W")
    return _cut(text.append(f" · {frame.broker}", "dim"), frame.width)


def _layout(pictures: Sequence[Picture], width: int) -> _Layout:
    """The columns that fit, the less important ones left out."""
    longest = max(cell_len(picture.device) for picture in pictures)
    device = min(max(longest, len("DEVICE")), _WIDEST_DEVICE)
    columns: Sequence[_Column] = _BY_IMPORTANCE
    while len(columns) > 1 and _needed(min(device, _NARROWEST_DEVICE), columns) > width:
        columns = columns[:-1]
    left = width - _needed(0, columns)
    device = max(1, min(device, left))
    models = left - device - len(_GAP)
    ordered = tuple(column for column in _ORDER if column in columns)
    return _Layout(device, ordered, models if models >= _MODELS_WIDTH else 0)


def _needed(device: int, columns: Sequence[_Column]) -> int:
    return device + sum(len(_GAP) + column.width for column in columns)


def _headings(layout: _Layout) -> Text:
    cells = [set_cell_size("DEVICE", layout.device)]
    cells += [_aligned(column.heading, column) for column in layout.columns]
    if layout.models:
        cells.append("MODELS")
    return Text(_GAP.join(cells).rstrip(), "dim", no_wrap=True)


def _device(picture: Picture, layout: _Layout, frame: Frame) -> list[Text]:
    """A device's line, and one more where there is something to say."""
    wellness = picture.wellness
    is_there = wellness is not Wellness.OFFLINE
    style = "" if is_there else "dim"
    line = Text(no_wrap=True).append(_cell(picture.device, layout.device), "bold" if is_there else "dim")
    for column in layout.columns:
        value, own = column.cell(picture, frame.now)
        line.append(_GAP).append(_aligned(value, column), own or style)
    if layout.models:
        line.append(_GAP).append_text(_cut(_models(picture, style), layout.models))
    lines = [line]
    notes = _notes(picture, with_models=not layout.models)
    if notes:
        said = (
            Text()
            .append("  └ ", "dim")
            .append(notes, _STYLES[wellness] if wellness < Wellness.UNKNOWN else "dim")
        )
        lines.append(_cut(said, frame.width))
    return lines


def _health_cell(picture: Picture, _now: float) -> tuple[str, str]:
    return picture.wellness.word, _STYLES[picture.wellness]


def _seen_cell(picture: Picture, now: float) -> tuple[str, str]:
    age = None if picture.seen is None else max(0.0, now - picture.seen)
    is_silent = age is not None and age > _SILENT_SECONDS and picture.wellness is not Wellness.OFFLINE
    return _age(age), "yellow" if is_silent else ""


def _while_there(text: Callable[[Picture], tuple[str, str]]) -> Callable[[Picture, float], tuple[str, str]]:
    """What a device that is away said last is not what is."""
    return lambda picture, _now: ("–", "") if picture.wellness is Wellness.OFFLINE else text(picture)


def _queue_cell(picture: Picture) -> tuple[str, str]:
    return _number(picture.queue, 0), "yellow" if picture.queue else ""


def _watts_cell(picture: Picture) -> tuple[str, str]:
    sign = "~" if picture.estimated and picture.power_w is not None else ""
    return sign + _number(picture.power_w, 1), "yellow" if picture.under_voltage else ""


def _latency(picture: Picture) -> str:
    if picture.p50_ms is None and picture.p99_ms is None:
        return "–"
    return f"{_milliseconds(picture.p50_ms)}/{_milliseconds(picture.p99_ms)}"


def _milliseconds(value: float | None) -> str:
    return _number(value, 1 if value is not None and value < 100 else 0)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _models(picture: Picture, style: str) -> Text:
    text = Text(style=style)
    for name, model in picture.models.items():
        if text:
            text.append(", ")
        text.append(name, "red" if model.state == "failed" else "")
        text.append(_version(model), "dim")
    return text


def _version(model: ModelPicture) -> str:
    version = "" if model.version is None else f" {model.version}"
    if model.updating:
        return f"{version} updating"
    return version + (f" → {model.latest}" if model.latest else "")


def _notes(picture: Picture, *, with_models: bool) -> str:
    """The first reason, what ails the board, and the models where they have no column of their own."""
    notes: list[str] = []
    if picture.wellness in (Wellness.DOWN, Wellness.DEGRADED) and picture.reasons:
        more = len(picture.reasons) - 1
        notes.append(picture.reasons[0] + (f" (and {more} more)" if more else ""))
    if picture.wellness is not Wellness.OFFLINE:
        said = " ".join(notes).lower()
        ailments = ((picture.under_voltage, "under-voltage"), (picture.throttled, "throttled"))
        notes += [word for is_so, word in ailments if is_so and word not in said]
        if picture.battery_percent is not None and picture.battery_percent < 20:
            notes.append(f"battery {picture.battery_percent:.0f} %")
        waits = any(model.updating or model.latest for model in picture.models.values())
        if with_models and waits:
            notes.append(_models(picture, "").plain)
    return " · ".join(notes)


def _aligned(text: str, column: _Column) -> str:
    """Words to the left, numbers to the right."""
    missing = column.width - cell_len(text)
    return _cell(text, column.width) if column is _HEALTH or missing < 0 else " " * missing + text


def _cell(text: str, width: int) -> str:
    """Exactly so wide, with an ellipsis where it is cut."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _cut(text: Text, width: int) -> Text:
    text.truncate(max(1, width), overflow="ellipsis")
    text.no_wrap = True
    return text


_HEALTH = _Column("HEALTH", 8, _health_cell)
_SEEN = _Column("SEEN", 5, _seen_cell)
_REQUESTS = _Column("REQ/MIN", 7, _while_there(lambda picture: (_number(picture.per_minute, 0), "")))
_LATENCY = _Column("P50/P99 MS", 11, _while_there(lambda picture: (_latency(picture), "")))
_QUEUE = _Column("QUEUE", 5, _while_there(_queue_cell))
_WATTS = _Column("WATTS", 6, _while_there(_watts_cell))
_TEMPERATURE = _Column("°C", 4, _while_there(lambda picture: (_number(picture.temperature_c, 0), "")))
_ORDER = (_HEALTH, _REQUESTS, _LATENCY, _QUEUE, _WATTS, _TEMPERATURE, _SEEN)
_BY_IMPORTANCE = (_HEALTH, _SEEN, _REQUESTS, _LATENCY, _WATTS, _TEMPERATURE, _QUEUE)
"""On a narrow terminal the last go first."""
