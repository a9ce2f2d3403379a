"""Whether this device can take updates, and how the latest one of each model ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.cli.findings import Finding, ok, problem, warning
from edge_agent.cli.findings_permissions import Access, access, who_serves

if TYPE_CHECKING:
    from edge_agent.settings import Settings
    from edge_agent.update.slots import Record

ABOUT: Final = "updates"
_ASK_SECONDS: Final = 3.0
_MOST_ROOT_BYTES: Final = 1_000_000


def check_updates(settings: Settings) -> Iterator[Finding]:
    """The root, the repository, and the records of the store."""
    rules = settings.updates
    if not rules.repository:
        yield ok(ABOUT, "by hand only; updates.repository names none")
    elif (finding := _root(rules.root)) is not None:
        yield finding
    else:
        yield _repository(rules.repository)
    yield from _records(settings)


def _root(path: Path) -> Finding | None:
    """What is wrong with the pinned root, or None. Only the updater verifies it."""
    remedy = "updates.root names the root.json that the repository's operator gave you"
    try:
        with path.open("rb") as file:
            signed = json.loads(file.read(_MOST_ROOT_BYTES))["signed"]
        expires = datetime.fromisoformat(str(signed["expires"]).replace("Z", "+00:00"))
    except OSError as error:
        return problem(ABOUT, f"{path} cannot be read: {error.strerror}", remedy)
    except (ValueError, LookupError, TypeError, RecursionError):
        return problem(ABOUT, f"{path} is no root of The Update Framework", remedy)
    caller = who_serves({})
    if caller is not None and access(caller, path, "r") is Access.NO:
        return problem(ABOUT, f"the daemon may not read {path}", f"sudo chmod a+r {path}")
    if expires < datetime.now(timezone.utc):
        # No fault: a device follows the chain of roots from any root that it knows.
        return ok(ABOUT, f"{path} expired {expires:%Y-%m-%d}; the repository must have a newer one")
    return None


def _repository(source: str) -> Finding:
    from edge_agent.update.poll import ask, base_of

    poll = ask(base_of(source), None, timeout_seconds=_ASK_SECONDS)
    if poll.fault is None:
        return ok(ABOUT, f"{source} answers")
    remedy = "updates.repository, the network, or the server; docs/updates-device.md"
    return warning(ABOUT, f"{source} does not answer: {poll.fault}", remedy)


def _records(settings: Settings) -> Iterator[Finding]:
    """How the latest update of each model ended, where it did not end well."""
    from edge_agent.service.updating.bundles import store_folder
    from edge_agent.update.record import Journal
    from edge_agent.update.slots import State
    from edge_agent.update.store import STORE

    folder = store_folder(settings.models.directories)
    if folder is None:
        return
    for record in Journal(folder / STORE / "journal").records():
        about = f"update of {record.name}"
        if record.state is State.FAILED:
            yield warning(about, _words(record), "docs/updates-device.md has each reason; then ask again")
        elif record.state is State.ROLLED_BACK:
            yield ok(about, _words(record))
        elif not record.is_at_rest:
            yield ok(about, f"{record.state.value}")


def _words(record: Record) -> str:
    wanted = f" to {record.candidate.version}" if record.candidate is not None else ""
    serving = record.serving.version if record.serving is not None else "another folder's"
    why = record.detail or (record.reason.value if record.reason is not None else "no reason is known")
    return f"{record.state.value.replace('_', ' ')}{wanted}: {why}; {serving} serves"
