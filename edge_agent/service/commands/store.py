"""The durable record of commands: one small file, replaced as a whole before anything is done.

Bounded: commands that have ended are kept newest first up to a number, and what is older leaves only the time
of the newest one forgotten, so that an ``init`` sent before it is still known to be stale.

A file that cannot be read is moved aside as ``….damaged`` and the record starts anew: ids that had ended are
then no longer known, which the log says, and nothing is refused for it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent.errors import EdgeAgentError
from edge_agent.files import sync_folder, write_atomic
from edge_agent.link.commands import Status
from edge_agent.link.envelope import decode_json, encode_json
from edge_agent.log import get_logger
from edge_agent.service.commands.record import Record, from_json, to_json

FILE_NAME = "commands.json"
FORMAT = 1
KEPT = 1000
_PRIVATE = 0o600

Key = tuple[str, str]


class RecordError(EdgeAgentError):
    """The record cannot be written: disk full, read-only, no permission."""

    exit_code = 1


class CommandStore:
    """Commands that wait, are executed, or have ended. For one thread.

    Args:
        folder: the device's state directory; it must exist by the first write.
        kept: how many commands that have ended are remembered.
    """

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self._path = folder / FILE_NAME
        self._kept = kept
        self._records: dict[Key, Record] = {}
        self._forgotten_until: float | None = None
        self.fault: str | None = None
        """What was wrong with the file that was found, or None."""

    def load(self) -> None:
        """Reads what an earlier life wrote; whatever is found, the store works afterwards."""
        self._remove_leftovers()
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self._put_aside(error.strerror or type(error).__name__)
            return
        try:
            self._read(content)
        except (ValueError, RecursionError) as error:
            self._records, self._forgotten_until = {}, None
            self._put_aside(str(error).splitlines()[0] if str(error) else type(error).__name__)

    def find(self, operation: str, command_id: str) -> Record | None:
        """What is known of a command."""
        return self._records.get((operation, command_id))

    def marked(self, operation: str, mark: str) -> bool:
        """Whether the newest wish for an operation was made of this message of ``request/<op>``.

        The newest only: packet ids are used again.
        """
        in_order = [*self.ended, *(r for r in self._records.values() if not r.has_ended)]
        wishes = [r.mark for r in in_order if r.mark is not None and r.operation == operation]
        return bool(wishes) and wishes[-1] == mark

    @property
    def executing(self) -> Record | None:
        """The command that is being executed."""
        return next((r for r in self._records.values() if r.status is Status.EXECUTING), None)

    @property
    def waiting(self) -> list[Record]:
        """Those whose turn has not come, first come first."""
        return [record for record in self._records.values() if record.status is Status.INIT]

    @property
    def ended(self) -> list[Record]:
        """Those that have ended, in the order of their ends."""
        return [record for record in self._records.values() if record.has_ended]

    @property
    def forgotten_until(self) -> float | None:
        """When the newest command that is no longer remembered was asked; None while none was forgotten."""
        return self._forgotten_until

    def put(self, record: Record) -> None:
        """Writes a command down.

        Raises:
            RecordError: it cannot be written, and nothing has changed.
        """
        records, forgotten = self._with(record)
        self._write(records, forgotten)
        self._records, self._forgotten_until = records, forgotten

    def note(self, record: Record) -> None:
        """Remembers in memory what could not be written; the next :meth:`put` writes it as well."""
        self._records, self._forgotten_until = self._with(record)

    def forget(self, record: Record) -> None:
        """Takes a command that never began out of the record.

        Raises:
            RecordError: it cannot be written, and nothing has changed.
        """
        records = {key: other for key, other in self._records.items() if key != record.key}
        self._write(records, self._forgotten_until)
        self._records = records

    def _with(self, record: Record) -> tuple[dict[Key, Record], float | None]:
        records = dict(self._records)
        before = records.get(record.key)
        forgotten = self._forgotten_until
        if record.has_ended and (before is None or not before.has_ended):
            records.pop(record.key, None)  # to the end: the order is that of the ends
            records = {key: r.without_result() if r.has_ended else r for key, r in records.items()}
        records[record.key] = record
        ended = [r for r in records.values() if r.has_ended]
        for old in ended[: max(0, len(ended) - self._kept)]:
            del records[old.key]
            forgotten = max(old.asked_at, forgotten or old.asked_at)
        return records, forgotten

    def _write(self, records: dict[Key, Record], forgotten: float | None) -> None:
        document = {
            "format": FORMAT,
            "forgotten_until": forgotten,
            "commands": [to_json(record) for record in records.values()],
        }
        try:
            write_atomic(self._path, encode_json(document), mode=_PRIVATE)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise RecordError(f"the command cannot be recorded: {reason}") from error

    def _read(self, content: bytes) -> None:
        document: Any = decode_json(content.decode("utf-8"))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError("the file is not of a format that this version knows")
        forgotten, items = document.get("forgotten_until"), document.get("commands")
        if not isinstance(items, list) or not isinstance(forgotten, (int, float, type(None))):
            raise ValueError("the file lacks its list of commands")
        records = [from_json(item) for item in items]
        self._records = {record.key: record for record in records}
        self._forgotten_until = forgotten

    def _put_aside(self, reason: str) -> None:
        self.fault = f"the record of commands was damaged and starts anew: {reason}"
        aside = self._path.with_name(f"{FILE_NAME}.damaged")
        try:
            self._path.replace(aside)
            sync_folder(aside.parent)
        except OSError as error:
            get_logger().warning("commands.not_put_aside", reason=error.strerror)
        get_logger().warning(
            "commands.record_damaged",
            reason=reason,
            file=str(aside),
            hint="commands that ended are forgotten",
        )

    def _remove_leftovers(self) -> None:
        """Temporary files of writes that a power cut ended."""
        with suppress(OSError):
            for leftover in self._path.parent.glob(f".{FILE_NAME}.*.tmp"):
                leftover.unlink()
