"""``edge-agent fleet simulate``: a fleet that does not exist, at a broker that does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, print_json
from edge_agent.cli.stopping import stopping_cleanly

if TYPE_CHECKING:
    from edge_agent.fleet.simulation.run import Counts, Plan
    from edge_agent.link.address import BrokerAddress
    from edge_agent.settings import Settings

_LINE_SECONDS = 10.0
_LONGEST_LINE = 110


def simulate(
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 100,
    *,
    bad: Annotated[
        str, typer.Option(metavar="SHARE", help="On so many a new version fails its proof or is rolled back.")
    ] = "0%",
    bad_version: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION", help="Only this one is bad; may be repeated. Default: every new one."
        ),
    ] = None,
    off: Annotated[
        str, typer.Option(metavar="SHARE", help="So many are off at the start, and return later.")
    ] = "0%",
    vanishing: Annotated[
        str, typer.Option(metavar="SHARE", help="So many lose power in the middle of an update, and return.")
    ] = "0%",
    slow: Annotated[
        str, typer.Option(metavar="SHARE", help="So many take ten times as long for an update.")
    ] = "0%",
    seed: Annotated[int, typer.Option(help="Says which devices these are; another seed, others.")] = 1,
    group: Annotated[str, typer.Option(help="Their group: the channel that they tell.")] = "default",
    prefix: Annotated[str, typer.Option(help="Of their ids: sim-0001.")] = "sim",
    model: Annotated[str, typer.Option(help="The model that each has.")] = "home",
    version: Annotated[str, typer.Option(help="The version that each has at first.")] = "1.0.0",
    update: Annotated[
        str, typer.Option(metavar="TIME", help="That an update takes; half to one and a half times as much.")
    ] = "10s",
    away: Annotated[
        str, typer.Option(metavar="TIME", help="Until one that is off returns, likewise; 0: never.")
    ] = "60s",
    health: Annotated[str, typer.Option(metavar="TIME", help="Between two `health` of a device.")] = "30s",
    power: Annotated[str, typer.Option(metavar="TIME", help="Between two `power`; 0: none.")] = "10s",
    canary: Annotated[str, typer.Option(metavar="TIME", help="Between two canaries; 0: none.")] = "30s",
    keepalive: Annotated[int, typer.Option(min=5, max=3600, help="Of MQTT, in seconds.")] = 30,
    connect_rate: Annotated[
        float, typer.Option(min=1, max=10_000, help="Connections that are opened a second.")
    ] = 500.0,
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Ends after this. Default: at Ctrl-C.")
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean/--keep", help="At the end, take from the broker what it retains of them.")
    ] = True,
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="mqtt://user:password@host:port. Default: the settings'."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Run many light devices against a real broker, until Ctrl-C.

    Each has an MQTT session of its own and says what a real device says. They
    obey `model-update` and `model-rollback`, but download nothing and answer
    no requests. What fails is drawn from the seed, so it is the same each time.
    Into a pipe it prints how they are now and then, with [bold]--json[/] each
    time that this changed.

    [bold]Examples[/]
      edge-agent fleet simulate --devices 1000 --bad 10% --off 5%
      edge-agent fleet rollout home 1.1.0 --to default --soak 5s
    """
    from edge_agent.fleet.rollout.waves import parse_seconds
    from edge_agent.fleet.simulation.faults import Faults, parse_share
    from edge_agent.fleet.simulation.run import Plan
    from edge_agent.fleet.simulation.turn import Rhythm
    from edge_agent.settings import load_settings, public_settings

    settings = load_settings(config)
    plan = Plan(
        devices,
        public_settings(settings),
        prefix=prefix,
        group=group,
        base_topic=settings.mqtt.base_topic,
        model=model,
        version=version,
        faults=Faults(
            seed=seed,
            bad=parse_share(bad),
            bad_versions=frozenset(bad_version or ()),
            off=parse_share(off),
            vanishing=parse_share(vanishing),
            slow=parse_share(slow),
        ),
        rhythm=Rhythm(*(parse_seconds(text) for text in (health, power, canary, update, away))),
        keepalive_seconds=keepalive,
        session_expiry_seconds=settings.mqtt.session_expiry_seconds,
        connect_rate=connect_rate,
        clean=clean,
    )
    until = float("inf") if duration is None else monotonic() + parse_seconds(duration)
    _run(plan, _address(broker, settings), until, as_json)


def _run(plan: Plan, address: BrokerAddress, until: float, as_json: bool) -> None:
    """Ctrl-C and SIGTERM end it in order: every device says goodbye. The second Ctrl-C does not wait."""
    from edge_agent.fleet.simulation.run import simulate as run_fleet

    stopping = _Stopping(until)
    show = _shower(as_json)
    if not as_json:
        typer.echo(f"{plan.devices:,} devices at {address}; Ctrl-C ends them")
    with stopping_cleanly(), stopping:
        counts = run_fleet(plan, address, is_over=lambda: stopping.is_over, show=show)
    if as_json:
        print_json({"event": "end", **_document(counts)})
    else:
        typer.echo(f"\r\x1b[K{_line(counts)}" if sys.stdout.isatty() else _line(counts))
        what = "nothing of them stays at the broker" if plan.clean else "the broker keeps what they retained"
        typer.echo(f"all said offline; {what}")


class _Stopping:
    """Says when it is over: by the time, or by Ctrl-C."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._was_asked = False

    @property
    def is_over(self) -> bool:
        return self._was_asked or monotonic() >= self._until

    def __enter__(self) -> None:
        import signal

        self._before = signal.signal(signal.SIGINT, self._ask)
        self._before_term = signal.signal(signal.SIGTERM, self._ask)

    def __exit__(self, *_: object) -> None:
        import signal

        signal.signal(signal.SIGINT, self._before)
        signal.signal(signal.SIGTERM, self._before_term)

    def _ask(self, _number: int, _frame: object) -> None:
        if self._was_asked:
            raise KeyboardInterrupt
        self._was_asked = True
        if sys.stdout.isatty():
            with suppress(OSError):
                sys.stdout.write("\nall devices say goodbye …\n")


def _shower(as_json: bool) -> Callable[[Counts], None]:
    """What shows the counts: one live line on a terminal, else a line now and then and at landmarks."""
    if sys.stdout.isatty() and not as_json:
        return lambda counts: typer.echo(f"\r\x1b[K{_line(counts)[: _width()]}", nl=False)
    last: list[tuple[float, Counts]] = []

    def show(counts: Counts) -> None:
        is_news = not last or (
            counts != last[0][1] if as_json else _landmark(counts) != _landmark(last[0][1])
        )
        if not is_news and monotonic() - last[0][0] < _LINE_SECONDS:
            return
        last[:] = [(monotonic(), counts)]
        if as_json:
            print_json({"event": "counts", **_document(counts)})
        else:
            typer.echo(_line(counts))
        sys.stdout.flush()

    return show


def _landmark(counts: Counts) -> tuple[bool, str | None]:
    return counts.connected + counts.off == counts.devices, counts.fault


def _line(counts: Counts) -> str:
    versions = "  ".join(f"{number:,} on {name}" for name, number in sorted(counts.versions.items()))
    parts = [
        f"{counts.connected:,} connected",
        f"{counts.off:,} off",
        f"{counts.answered:,} answered",
        f"{counts.updating:,} updating",
        f"{counts.failed:,} failed",
        f"{counts.rolled_back:,} rolled back",
    ]
    fault = f"  last fault: {counts.fault}" if counts.fault else ""
    return f"{' · '.join(parts)}  {versions}{fault}"


def _document(counts: Counts) -> dict[str, object]:
    return {name: getattr(counts, name) for name in counts.__slots__}


def _width() -> int:
    import shutil

    return max(20, shutil.get_terminal_size((_LONGEST_LINE, 24)).columns - 1)


def _address(broker: str | None, settings: Settings) -> BrokerAddress:
    from edge_agent.link.address import BrokerAddress
    from edge_agent.settings import read_password

    if broker is not None:
        return BrokerAddress.from_url(broker)
    return BrokerAddress.from_settings(settings.mqtt, read_password(settings.mqtt))
