"""Keeps a request that crashes the runtime from coming back for ever.

What crashes the process is not acknowledged, so the broker sends it again. So a digest of what is in hand
lies in a small mapped file in memory (the runtime folder, a tmpfs), whose pages the kernel keeps when the
process dies: two copies of some bytes for a request, no system call, nothing on flash, no text. The next
start reads what was in hand, and counts a death for each **if the process died by a fatal signal of its own**
(:mod:`~edge_agent.service.crash_note`) on the thread that had the requests in hand, or on one of the
runtime's. So neither SIGKILL, the kernel out of memory, a power cut, nor systemd's watchdog (its SIGABRT
comes to the main thread) ever condemns a request by itself, however often they strike. A request that hangs
the runtime is told by another sign: the main thread notes here that what is in hand has been there for too
long, and the note stands until the runtime returns. A process that ends before that died of what it held.
The price: a native stack overflow is not caught.

    deaths  verdict  what the worker does
    0       OK       as usual, several together
    1       ALONE    runs it by itself: what passes alone was innocent, and is cleared
    2       POISON   answers ``internal`` and does not run it

All that were in hand together are suspects, and only the guilty one can die alone a second time. The record
is bounded (the oldest suspects are forgotten) and goes with the boot. A torn write can only make it forget.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from threading import get_ident

from edge_agent.service.crash_note import Crash, CrashNote, open_own

MOST_IN_HAND = 16
MOST_SUSPECTS = 64
DEATHS_OF_POISON = 2

_MAGIC = b"edge-agent hand2"
_DIGEST = 16
_ENTRY = struct.Struct("<16sB")
_KEY_AT = len(_MAGIC)
_THREAD_AT = _KEY_AT + _DIGEST
_HUNG_AT = _THREAD_AT + 8
_HAND_AT = _HUNG_AT + 1
_HAND_BYTES = MOST_IN_HAND * _DIGEST
_SUSPECTS_AT = _HAND_AT + _HAND_BYTES
_SUSPECTS_BYTES = MOST_SUSPECTS * _ENTRY.size
_SIZE = _SUSPECTS_AT + _SUSPECTS_BYTES + _DIGEST
_EMPTY_HAND = bytes(1 + _HAND_BYTES)  # with it goes the note that it hung
_NOTHING = bytes(_DIGEST)


class Verdict(Enum):
    """What is to be done with a request."""

    OK = "ok"
    ALONE = "alone"
    POISON = "poison"


class PoisonGuard:
    """Made by :meth:`open`; used by one thread, the worker, save for :meth:`note_hang`.

    Attributes:
        fault: why nothing is guarded, or what was lost, in words; or None.
        crash: how the last process died, if by a fatal signal.
        hung: it ended while what it had in hand did not return.
        suspected: requests that were in hand then, of which one may be to blame.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self.crash: Crash | None = None
        self.hung = False
        self.suspected = 0
        self._memory: mmap.mmap | None = None
        self._note: CrashNote | None = None
        self._hash = hashlib.blake2b(digest_size=_DIGEST)
        self._suspects: dict[bytes, int] = {}
        self._in_hand: list[bytes] = []
        self._thread = 0

    @classmethod
    def open(cls, path: Path, *, crash_note: bool = True) -> PoisonGuard:
        """Reads what the last process had in hand, and guards from now on.

        Args:
            path: of the record, in a folder in memory; the crash note lies beside it.
            crash_note: fatal signals count. A process has one such note; another guard goes by
                :meth:`note_hang` alone.

        Returns:
            A guard in any case. Where the folder cannot be used it is off, and its ``fault`` says why.
        """
        guard = cls()
        try:
            if crash_note:
                guard._note = CrashNote(path.with_name(path.name + ".crash"))
            guard._map(path)
            guard.crash = guard._note.read() if guard._note is not None else None
            guard._judge()
            if guard._note is not None:
                guard._note.expect()
        except OSError as error:
            guard.close()
            reason = error.strerror or type(error).__name__
            guard.fault = f"requests that crash the runtime are not recognised: {path}: {reason}"
        return guard

    @property
    def is_on(self) -> bool:
        """Whether anything is guarded."""
        return self._memory is not None

    def verdict(self, topic: str, payload: bytes) -> Verdict:
        """What is to be done with a request."""
        if not self._suspects:
            return Verdict.OK
        deaths = self._suspects.get(self._digest(topic, payload), 0)
        if deaths >= DEATHS_OF_POISON:
            return Verdict.POISON
        return Verdict.ALONE if deaths else Verdict.OK

    def hold(self, requests: Sequence[tuple[str, bytes]]) -> None:
        """Notes (topic, payload) of what goes into the runtime now; up to ``MOST_IN_HAND`` of them."""
        if self._memory is None:
            return
        thread = get_ident()
        if thread != self._thread:
            self._thread = thread
            self._memory[_THREAD_AT:_HUNG_AT] = thread.to_bytes(8, "little")
        digests = [self._digest(topic, payload) for topic, payload in requests[:MOST_IN_HAND]]
        self._memory[_HUNG_AT:_SUSPECTS_AT] = b"\0" + b"".join(digests).ljust(_HAND_BYTES, b"\0")
        self._in_hand = digests

    def release(self) -> None:
        """Notes that the runtime came back, with an answer or an exception: nothing in hand was to blame."""
        if self._memory is None:
            return
        self._memory[_HUNG_AT:_SUSPECTS_AT] = _EMPTY_HAND
        if self._suspects and any(digest in self._suspects for digest in self._in_hand):
            for digest in self._in_hand:
                self._suspects.pop(digest, None)
            self._write_suspects()
        self._in_hand = []

    def note_hang(self) -> None:
        """Notes that what is in hand has been there for too long; from the main thread.

        It stands until the runtime comes back. Should that be just now, the note falls on what comes next,
        and counts only if the process ends within that.
        """
        if self._memory is not None:
            self._memory[_HUNG_AT] = 1

    def forgive(self) -> None:
        """Forgets all suspects: another model may take them well."""
        if self._suspects:
            self._suspects = {}
            self._write_suspects()

    def close(self) -> None:
        """Guards no more; leaves a record with nothing in hand."""
        if self._memory is not None:
            self._memory[_HUNG_AT:_SUSPECTS_AT] = _EMPTY_HAND
            self._memory.close()
            self._memory = None
        if self._note is not None:
            self._note.close()
            self._note = None
        self._suspects = {}

    def _map(self, path: Path) -> None:
        """Maps the record; one that is new or damaged is made anew."""
        descriptor = open_own(path)
        try:
            found = os.pread(descriptor, _SIZE + 1, 0)
            if len(found) != _SIZE or not found.startswith(_MAGIC):
                if found:
                    self.fault = f"the record of requests in hand was damaged and is made anew: {path}"
                os.ftruncate(descriptor, 0)
            # A page that memory has no room for must fail here, and not as SIGBUS when it is written to.
            os.posix_fallocate(descriptor, 0, _SIZE)
            self._memory = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        if self._memory[:_KEY_AT] != _MAGIC:
            self._memory[_KEY_AT:_THREAD_AT] = os.urandom(_DIGEST)
            self._memory[:_KEY_AT] = _MAGIC
        self._hash = hashlib.blake2b(digest_size=_DIGEST, key=self._memory[_KEY_AT:_THREAD_AT])

    def _judge(self) -> None:
        """Counts a death for what was in hand at a crash; a kill in the middle can only lose one."""
        assert self._memory is not None
        hand = self._memory[_HAND_AT:_SUSPECTS_AT]
        thread = int.from_bytes(self._memory[_THREAD_AT:_HUNG_AT], "little")
        self.hung = self._memory[_HUNG_AT] != 0
        self._memory[_HUNG_AT:_SUSPECTS_AT] = _EMPTY_HAND
        self._suspects = self._read_suspects()
        if not self.hung and (self.crash is None or self.crash.thread not in (None, thread)):
            return
        digests = dict.fromkeys(hand[at : at + _DIGEST] for at in range(0, _HAND_BYTES, _DIGEST))
        digests.pop(_NOTHING, None)
        for digest in digests:
            self._suspects[digest] = min(self._suspects.pop(digest, 0) + 1, DEATHS_OF_POISON)
        self.suspected = len(digests)
        self._write_suspects()

    def _digest(self, topic: str, payload: bytes) -> bytes:
        one = self._hash.copy()
        one.update(topic.encode("utf-8", "surrogatepass"))
        one.update(b"\0")
        one.update(payload)
        return one.digest()

    def _read_suspects(self) -> dict[bytes, int]:
        assert self._memory is not None
        table = self._memory[_SUSPECTS_AT : _SUSPECTS_AT + _SUSPECTS_BYTES]
        if self._memory[_SUSPECTS_AT + _SUSPECTS_BYTES :] != self._checksum(table):
            return {}
        return {digest: deaths for digest, deaths in _ENTRY.iter_unpack(table) if deaths}

    def _write_suspects(self) -> None:
        assert self._memory is not None
        self._suspects = dict(list(self._suspects.items())[-MOST_SUSPECTS:])
        table = b"".join(_ENTRY.pack(digest, deaths) for digest, deaths in self._suspects.items())
        table = table.ljust(_SUSPECTS_BYTES, b"\0")
        self._memory[_SUSPECTS_AT:] = table + self._checksum(table)

    def _checksum(self, table: bytes) -> bytes:
        one = self._hash.copy()
        one.update(table)
        return one.digest()
