"""A TCP proxy that spoils a connection: cuts, freezes, trickles, delays, resets, half-opens.

It knows nothing of MQTT. An event loop in a thread of its own moves the bytes; the methods may be called from
any thread and return when the fault is in place. What was accepted while the path is spoiled stays spoiled
only as long as the conditions say so.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType
from typing import Any, TypeVar

from tests.testbeds.broker import HOST, free_port

T = TypeVar("T")
_CHUNK_BYTES = 65_536
_CALL_SECONDS = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: close sends RST, socket(7)


@dataclass(frozen=True, slots=True)
class Conditions:
    """How bytes pass, in both directions; the default is a good link.

    Attributes:
        is_frozen: nothing passes and nothing is closed.
        bytes_per_second: trickle; 0 for no limit.
        delay_seconds: of each chunk.
        is_refusing: new connections are refused by the kernel.
        hang_ups: so many new connections are accepted and hung up on at once.
    """

    is_frozen: bool = False
    bytes_per_second: float = 0.0
    delay_seconds: float = 0.0
    is_refusing: bool = False
    hang_ups: int = 0


GOOD = Conditions()


@dataclass(eq=False, slots=True)
class _Pair:
    """The two sockets of one connection; ``dead`` is the one whose other end was told that all is over."""

    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter
    dead: asyncio.StreamWriter | None = None


class Proxy:
    """Listens on ``port`` and passes on to ``upstream_port``; a context manager.

    Attributes:
        port: where to connect.
        carried: connections so far that reached the other side.
    """

    def __init__(self, upstream_port: int, port: int | None = None) -> None:
        self.port = port or free_port()
        self.carried = 0
        self._upstream_port = upstream_port
        self._conditions = GOOD
        self._hang_ups_left = 0
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thawed: asyncio.Event | None = None
        self._changed: asyncio.Event | None = None
        self._started = Event()
        self._thread = Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(_CALL_SECONDS)

    def stop(self) -> None:
        self._call(self._close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    @property
    def deserted(self) -> int:
        """Connections of which one end does not know yet that the other is gone."""
        return sum(pair.dead is not None for pair in self._pairs)

    def set(self, conditions: Conditions) -> None:
        """Changes how bytes pass from now on."""
        self._call(self._set(conditions))

    def cut(self) -> None:
        """Hangs up on both sides of every connection, in order (FIN)."""
        self._call(self._end_all(is_reset=False))

    def reset(self) -> None:
        """Breaks both sides of every connection (RST)."""
        self._call(self._end_all(is_reset=True))

    def desert_client(self) -> None:
        """The broker sees every connection end; the client does not, and talks into the void."""
        self._call(self._desert(client=True))

    def desert_upstream(self) -> None:
        """The client sees every connection break; the broker does not, and talks into the void."""
        self._call(self._desert(client=False))

    def bury(self) -> None:
        """Ends what was deserted."""
        self._call(self._bury())

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # In the thread of the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._changed = asyncio.Event()
        self._loop.run_until_complete(self._listen())
        self._started.set()
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def _set(self, conditions: Conditions) -> None:
        assert self._thawed is not None
        assert self._changed is not None
        self._conditions = conditions
        self._hang_ups_left = conditions.hang_ups
        self._changed.set()
        self._changed = asyncio.Event()
        if conditions.is_frozen:
            self._thawed.clear()
        else:
            self._thawed.set()
        if conditions.is_refusing and self._server is not None:
            self._server.close()
            self._server = None
        elif not conditions.is_refusing and self._server is None:
            await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._hang_ups_left > 0:
            self._hang_ups_left -= 1
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._upstream_port)
        except OSError:
            writer.close()
            return
        self.carried += 1
        for one in (writer, far_writer):
            sock: socket.socket = one.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(writer, far_writer)
        self._pairs.add(pair)
        for source, own, target in ((reader, writer, far_writer), (far_reader, far_writer, writer)):
            task = self._loop.create_task(self._pass_on(pair, source, own, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self,
        pair: _Pair,
        source: asyncio.StreamReader,
        own: asyncio.StreamWriter,
        target: asyncio.StreamWriter,
    ) -> None:
        with suppress(OSError):
            while data := await self._receive(source):
                if pair.dead is None:
                    target.write(data)
                    await target.drain()
        if pair.dead is not own:
            self._end(pair, is_reset=False)

    async def _receive(self, source: asyncio.StreamReader) -> bytes:
        """The next bytes once the conditions let them pass; none where the connection ends."""
        assert self._thawed is not None
        pace = self._conditions.bytes_per_second
        data = await source.read(max(1, int(pace / 20)) if pace else _CHUNK_BYTES)
        await self._thawed.wait()
        conditions = self._conditions
        if conditions.delay_seconds:
            await self._pause(conditions.delay_seconds)
        elif conditions.bytes_per_second:
            await self._pause(len(data) / conditions.bytes_per_second)
        await self._thawed.wait()
        return data

    async def _pause(self, seconds: float) -> None:
        """Waits, no longer than the conditions last."""
        assert self._changed is not None
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _end_all(self, *, is_reset: bool) -> None:
        for pair in list(self._pairs):
            self._end(pair, is_reset=is_reset)

    def _end(self, pair: _Pair, *, is_reset: bool) -> None:
        for writer in (pair.client, pair.upstream):
            _hang_up(writer, is_reset=is_reset)
        self._pairs.discard(pair)

    async def _desert(self, *, client: bool) -> None:
        for pair in [pair for pair in self._pairs if pair.dead is None]:
            pair.dead = pair.upstream if client else pair.client
            _hang_up(pair.dead, is_reset=not client)

    async def _bury(self) -> None:
        for pair in [pair for pair in self._pairs if pair.dead is not None]:
            self._end(pair, is_reset=True)

    async def _close_all(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._set_free()
        await self._end_all(is_reset=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set_free(self) -> None:
        assert self._thawed is not None
        self._conditions = GOOD
        self._thawed.set()


def _hang_up(writer: asyncio.StreamWriter, *, is_reset: bool) -> None:
    if is_reset:
        sock: socket.socket = writer.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
    else:
        writer.close()
