"""How a rollout goes, for people and programs: lines, JSON, a live picture, and a last table."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import localtime, strftime
from typing import TYPE_CHECKING, Any, Final

import typer

from edge_agent.cli.console import print_json, print_table
from edge_agent.fleet.rollout.driver import Event, Observer
from edge_agent.fleet.rollout.rollout_state import Member, Phase, Rollout, Standing, Tally
from edge_agent.inference.manifest import is_name
from edge_agent.link.expiry import rfc3339

if TYPE_CHECKING:
    from rich.live import Live

_ENDS: Final = frozenset(Standing) - {
    Standing.PENDING,
    Standing.ASKED,
    Standing.EXECUTING,
    Standing.CONFIRMING,
    Standing.NOT_ASKED,
}
_SHOWN_BY_PICTURE: Final = frozenset({"updated", "already", "returned"})
"""On a terminal these are only counted: thousands of lines would hide the few that matter."""
_MOST_ROWS: Final = 40
_BAR: Final = 40
_MARKS: Final = (
    (frozenset({Standing.UPDATED, Standing.ALREADY}), "█", "green"),
    (frozenset({Standing.RETURNED}), "█", "cyan"),
    (frozenset({Standing.FAILED}), "█", "red"),
    (frozenset({Standing.UNREACHABLE, Standing.WITHDRAWN}), "▒", "yellow"),
    (frozenset({Standing.ASKED, Standing.EXECUTING, Standing.CONFIRMING}), "▓", "blue"),
)


def count_of(devices: int) -> str:
    """``1 device``, ``2 devices``."""
    return f"{devices} device{'' if devices == 1 else 's'}"


def words(standing: Standing) -> str:
    """A standing as people read it."""
    return standing.value.replace("_", " ")


def observer(as_json: bool) -> tuple[Observer, AbstractContextManager[Any]]:
    """What is told of a running rollout, and what is entered while it runs."""
    if as_json:
        return _JsonLines(), nullcontext()
    if not sys.stdout.isatty():
        return _Lines(), nullcontext()
    screen = _Screen()
    return screen, screen.live


class _JsonLines:
    def on_event(self, event: Event) -> None:
        document = {"time": rfc3339(event.at), "kind": event.kind, "state": event.word}
        more = {"device": event.device, "reason": event.text or None}
        print_json(document | {key: value for key, value in more.items() if value is not None})
        sys.stdout.flush()

    def on_tick(self, rollout: Rollout, now: float) -> None:
        """A program asks ``show`` for the whole."""


class _Lines:
    """A line for each thing that matters; what a device does in between is not among them."""

    def on_event(self, event: Event) -> None:
        line = line_of(event)
        if line is not None:
            typer.echo(line)
            sys.stdout.flush()

    def on_tick(self, rollout: Rollout, now: float) -> None:
        """Lines tell changes only."""


def line_of(event: Event) -> str | None:
    """An event as a line; None for one that only a program wants."""
    at = strftime("%H:%M:%S", localtime(event.at))
    text = f": {event.text}" if event.text else ""
    match event.kind:
        case "device":
            standing = Standing(event.word)
            return f"{at}  {event.device}  {words(standing)}{text}" if standing in _ENDS else None
        case "wave":
            return f"{at}  wave {event.word} {event.text}"
        case "soak":
            return f"{at}  soaking for {_span(float(event.word))} after wave {event.text.rpartition(' ')[2]}"
        case "broker":
            return f"{at}  the broker is {event.word}{text}"
    return f"{at}  {event.word.replace('_', ' ')}{text}"


class _Screen:
    """Lines above, and below them a picture that stays."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._fault: str | None = None
        self.live: Live = Live(console=self._console, auto_refresh=False, transient=True)

    def on_event(self, event: Event) -> None:
        from rich.text import Text

        if event.kind == "broker":
            self._fault = event.text or None
        line = None if event.word in _SHOWN_BY_PICTURE else line_of(event)
        if line is not None:
            style = "red" if event.word == "failed" else ""
            self._console.print(Text(line, style), soft_wrap=True)

    def on_tick(self, rollout: Rollout, now: float) -> None:
        from rich.text import Text

        terms, wave = rollout.terms, rollout.wave
        tally = Tally.of(rollout.reached())
        size = terms.sizes[wave]
        head = Text(f"{terms.model} {terms.version} → {terms.group}", "bold")
        head.append(f"  wave {wave + 1} of {len(terms.sizes)}, {size} of {terms.sizes[-1]} devices", "")
        head.append(f"  {_what(rollout, now)}", "dim")
        if self._fault is not None:
            head.append(f"\nbroker away: {self._fault}; trying again", "red")
        said = ", ".join(f"{tally[one]} {words(one)}" for one in Standing if tally[one])
        self.live.update(Text("\n").join([head, _bar(tally, size), Text(said, "dim")]), refresh=True)


def _what(rollout: Rollout, now: float) -> str:
    if rollout.phase is Phase.RUNNING and rollout.soak_from is not None:
        left = max(0.0, rollout.soak_from + rollout.terms.soak_seconds - now)
        return f"soaks for another {_span(left)}"
    return rollout.phase.value.replace("_", " ")


def _span(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _bar(tally: Tally, size: int) -> Any:
    from rich.text import Text

    bar, done, drawn = Text(), 0, 0
    for standings, mark, style in _MARKS:
        done += sum(tally[one] for one in standings)
        upto = round(_BAR * min(done, size) / size)
        bar.append(mark * (upto - drawn), style)
        drawn = upto
    return bar.append("░" * (_BAR - drawn), "dim")


def as_document(rollout: Rollout) -> dict[str, Any]:
    """A rollout for programs."""
    terms = rollout.terms
    tally = Tally.of(list(rollout.members.values()))
    return {
        "id": terms.id,
        "model": terms.model,
        "version": terms.version,
        "group": terms.group,
        "phase": rollout.phase.value,
        "reason": rollout.reason,
        "wave": rollout.wave + 1,
        "waves": list(terms.sizes),
        "counts": {one.value: tally[one] for one in Standing if tally[one]},
        "devices": [
            {
                "device": device,
                "wave": member.wave + 1,
                "state": member.standing.value,
                "since": None if member.since is None else rfc3339(member.since),
                "reason": member.reason,
            }
            for device, member in rollout.members.items()
        ],
    }


def print_rollout(rollout: Rollout, path: Path) -> None:
    """The last table: all devices of a small rollout, else those that did not do as told; and what next."""
    terms, members = rollout.terms, rollout.members
    tally = Tally.of(list(members.values()))
    quiet = (Standing.UPDATED, Standing.ALREADY, Standing.RETURNED, Standing.NOT_ASKED, Standing.PENDING)
    shown = {device: member for device, member in members.items() if member.standing not in quiet}
    rows = [_row(d, m) for d, m in (members if len(members) <= _MOST_ROWS else shown).items()]
    if rows:
        print_table(("device", "wave", "state", "since", "reason"), rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        typer.echo(f"and {len(rows) - _MOST_ROWS} more: edge-agent fleet rollout show {path} --json\n")
    said = ", ".join(f"{tally[one]} {words(one)}" for one in Standing if tally[one])
    reason = f" ({rollout.reason})" if rollout.reason else ""
    typer.echo(
        f"{terms.model} {terms.version} → {terms.group}: {rollout.phase.value.replace('_', ' ')}{reason}"
    )
    typer.echo(f"{count_of(len(members))}: {said}")
    for line in _next_steps(rollout, tally, path):
        typer.echo(line)


def _row(device: str, member: Member) -> tuple[str, ...]:
    since = "" if member.since is None else strftime("%Y-%m-%d %H:%M:%S", localtime(member.since))
    return device, str(member.wave + 1), words(member.standing), since, member.reason or ""


def _next_steps(rollout: Rollout, tally: Tally, path: Path) -> list[str]:
    terms, command = rollout.terms, "edge-agent fleet rollout"
    steps: list[str] = []
    if rollout.phase is Phase.COMPLETE:
        group = terms.group if is_name(terms.group) and terms.group != "all" else "GROUP"
        steps.append(
            f"devices that poll follow by: edge-agent fleet channel {group} {terms.model} {terms.version}"
        )
        if tally[Standing.UNREACHABLE]:
            steps.append(
                f"unreachable devices get it when they return; read their results: {command} show {path}"
            )
            steps.append(f"or take their commands back: {command} halt {path}")
    elif rollout.phase is Phase.HALTED and tally[Standing.UPDATED]:
        steps.append(f"back to the version before, where it was taken: {command} rollback {path}")
    elif rollout.phase is Phase.RUNNING:
        steps.append(f"if nobody drives it any more: {command} resume {path}")
    elif rollout.phase is Phase.PAUSED:
        steps.append(f"go on: {command} resume {path}")
        if not tally.serving and tally[Standing.UNREACHABLE]:
            steps.append(f"go on though nothing is proved: {command} resume {path} --without-proof")
        steps.append(f"take back what has not begun: {command} halt {path}")
    elif rollout.phase in (Phase.HALTING, Phase.ROLLING_BACK):
        steps.append(f"bring it to its end: {command} resume {path}")
    return steps
