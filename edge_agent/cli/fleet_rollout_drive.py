"""Drives a rollout for ``edge-agent fleet rollout``: signals pause it, the exit code says how it ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edge_agent.cli.console import print_json
from edge_agent.cli.fleet_order import known_address
from edge_agent.errors import BrokerError, SettingsError

if TYPE_CHECKING:
    from edge_agent.fleet.rollout.driver import Driver
    from edge_agent.fleet.rollout.rollout_state import Rollout
    from edge_agent.fleet.rollout.state_file import StateFile
    from edge_agent.link.address import BrokerAddress

EXIT_HALTED = 4


def drive(rollout: Rollout, file: StateFile, address: BrokerAddress, as_json: bool) -> None:
    """Runs it, prints how it ended, and leaves with the code that says so.

    Raises:
        BrokerError: the broker cannot be reached; the state is as it was.
        typer.Exit: it did not simply complete.
    """
    from edge_agent.cli.fleet_rollout_view import as_document, observer, print_rollout
    from edge_agent.fleet.rollout.driver import Driver

    watcher, shown = observer(as_json)
    driver = Driver(rollout, file, address, watcher)
    try:
        with shown, _pausing(driver) as caught:
            rollout = driver.run()
    except BrokerError as error:
        hint = error.hint or f"is a broker running there? then: edge-agent fleet rollout resume {file.path}"
        raise BrokerError(str(error), hint=hint) from error
    if as_json:
        document = as_document(rollout)
        print_json({"kind": "end", **{k: v for k, v in document.items() if k != "devices"}})
    else:
        print_rollout(rollout, file.path)
    code = 128 + caught[0] if caught else _exit_code(rollout)
    if code:
        raise typer.Exit(code)


def _exit_code(rollout: Rollout) -> int:
    from edge_agent.fleet.rollout.rollout_state import ROLLBACK, Phase, Standing

    if rollout.phase is Phase.ROLLED_BACK:
        waves, members = rollout.back_waves, rollout.members.values()
        told = [one for one in members if one.operation == ROLLBACK]
        kept = [
            one for one in members if one.standing is Standing.UPDATED and one.wave in (waves or (one.wave,))
        ]
        return 0 if not kept and all(one.standing is Standing.RETURNED for one in told) else 1
    return {Phase.COMPLETE: 0, Phase.HALTED: EXIT_HALTED}.get(rollout.phase, 1)


@contextmanager
def _pausing(driver: Driver) -> Iterator[list[int]]:
    """The first signal pauses, a second Ctrl-C leaves at once: the state is written before each action.

    Yields:
        The signals that came.
    """
    caught: list[int] = []

    def stop(number: int, _frame: object) -> None:
        caught.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        driver.stop()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield caught
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def late_results(state: StateFile, broker: str | None, config: Path | None) -> Rollout:
    """The rollout with what its devices have said since it ended; as it was, where the broker is away."""
    from edge_agent.fleet.rollout.driver import FINAL, Driver, Quiet

    rollout = state.read()
    if rollout.phase not in FINAL or not any(one.has_command for one in rollout.members.values()):
        return rollout
    try:
        address = known_address(rollout, broker, config)
        return Driver(rollout, state, address, Quiet(), only_look=True).run()
    except (BrokerError, SettingsError) as error:
        typer.echo(f"edge-agent: late results are not read: {error}", err=True)
        return rollout
