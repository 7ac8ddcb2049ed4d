# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests while they are looked at and sent on: small ones in memory, others in a file without a name.

The server must leave bodies as they come (``AppRunner(app, auto_decompress=False)``): gzip is undone here, within
limits.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, TypeVar

from aiohttp import hdrs, web

from qrmi_core.gateway.bodies.unpacking import PIECE, Gunzip
from qrmi_core.gateway.request_rules import BadRequest

__all__ = ["IN_MEMORY", "PIECE", "Spool", "Spooled"]

IN_MEMORY: Final = 256 * 1024
"""Up to how many bytes a body stays in memory; also how many are written or read by a thread at once."""

IDLE_SECONDS: Final = 30.0
_Result = TypeVar("_Result")


class Spool:
    """Takes bodies in; ``budget`` is how many bytes all of those in use may have together."""

    def __init__(self, directory: Path, *, budget: int) -> None:
        self.directory = directory
        self.budget = budget
        self.used = 0

    async def take(self, request: web.Request, *, most: int, idle_seconds: float = IDLE_SECONDS) -> Spooled:
        """The body of a request, of at most so many bytes, both as it comes and unpacked; the caller closes it.

        Raises:
            BadRequest: 413 it is longer; 400 its gzip or its chunks are broken; 408 nothing came for ``idle_seconds``;
                503 the budget or the disk is used up.
        """
        if (request.content_length or 0) > most:
            raise _too_long(most)
        body = Spooled(self)
        try:
            if request.content.is_eof() and hdrs.CONTENT_ENCODING not in request.headers:
                await body.add(_within(most, request.content.read_nowait()))  # all of it came with its head
            else:
                await self._fill(body, request, most, idle_seconds)
            await body.complete()
        except BaseException as error:
            body.close()
            if isinstance(error, web.RequestPayloadError):
                raise BadRequest(400, "the body is not what its headers say") from None
            if isinstance(error, TimeoutError):
                raise BadRequest(408, "the body did not arrive") from None
            if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                raise BadRequest(503, "the gateway has no room for the body; try again later") from error
            raise
        return body

    async def _fill(self, body: Spooled, request: web.Request, most: int, idle_seconds: float) -> None:
        packed = request.headers.get(hdrs.CONTENT_ENCODING, "").lower() == "gzip"
        gunzip = Gunzip() if packed else None
        loop, came = asyncio.get_running_loop(), 0
        async with asyncio.timeout(idle_seconds) as waiting:
            async for data in request.content.iter_any():
                came += len(data)
                if came > most:
                    raise _too_long(most)
                for piece in gunzip.unpacked(data) if gunzip else (data,):
                    if body.size + len(piece) > most:
                        raise _too_long(most)
                    await body.add(piece)
                waiting.reschedule(loop.time() + idle_seconds)
        if gunzip:
            gunzip.end()

    async def keep(self, pieces: AsyncIterable[bytes]) -> Spooled:
        """Bytes that come from elsewhere, for as long as somebody has them or until they are closed.

        Raises:
            BadRequest: 503, the budget is used up.
            OSError: the disk is.
        """
        body = Spooled(self)
        try:
            async for piece in pieces:
                await body.add(piece)
            await body.complete()
        except BaseException:
            body.close()
            raise
        return body

    def reserve(self, count: int) -> None:
        """Note that so many bytes more are in use.

        Raises:
            BadRequest: 503, there is no room for them.
        """
        if self.used + count > self.budget:
            raise BadRequest(503, "the gateway holds as many bodies as it can; try again later")
        self.used += count


class Spooled:
    """One body, to be read as often as wanted until it is closed."""

    def __init__(self, spool: Spool) -> None:
        self.size = 0
        self._spool = spool
        self._held: bytearray | bytes = bytearray()
        self._file: IO[bytes] | None = None
        self._in_threads = 0
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def in_memory(self) -> bool:
        """Whether it is short enough for no file."""
        return self._file is None

    async def add(self, data: bytes) -> None:
        """Take more; for the spool."""
        self._spool.reserve(len(data))
        self.size += len(data)
        self._held += data
        if len(self._held) > IN_MEMORY:
            await self._write()

    async def complete(self) -> None:
        """There is no more; for the spool."""
        if self._file is None:
            self._held = bytes(self._held)
        elif self._held:
            await self._write()

    def read(self, start: int, end: int) -> bytes:
        """So many bytes at once: few."""
        self._check_open()
        if self._file is None:
            return bytes(self._held[start:end])
        return _read(self._file.fileno(), start, end)

    async def pieces(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes in between, 64 kB at a time."""
        stop = self.size if end is None else end
        for begin in range(start, stop, IN_MEMORY):
            self._check_open()
            until = min(begin + IN_MEMORY, stop)
            if self._file is None:
                block = bytes(self._held) if until - begin == len(self._held) else bytes(self._held[begin:until])
            else:
                block = await self._in_thread(_read, self._file.fileno(), begin, until)
            if len(block) <= PIECE:
                yield block
                continue
            for at in range(0, len(block), PIECE):
                yield block[at : at + PIECE]

    def __del__(self) -> None:
        """An answer whose reader has gone is closed by nobody else."""
        self.close()

    def close(self) -> None:
        """Give the room back; what a thread still reads or writes is let end first."""
        if not self._closed:
            self._closed = True
            self._spool.used -= self.size
            self._held = b""
            self._close_file()

    def _close_file(self) -> None:
        if self._closed and self._file is not None and not self._in_threads:
            self._file.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("this body was closed")

    async def _write(self) -> None:
        data, self._held = self._held, bytearray()
        if self._file is None:
            self._file = await self._in_thread(_new_file, self._spool.directory)
        await self._in_thread(_write, self._file.fileno(), data)

    async def _in_thread(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        """Do it in a thread; the file stays open until it ends there, also when nobody waits for it any more."""
        self._check_open()
        self._in_threads += 1
        working = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        working.add_done_callback(self._thread_ended)
        return await asyncio.shield(working)

    def _thread_ended(self, working: asyncio.Future[Any]) -> None:
        self._in_threads -= 1
        if not working.cancelled():
            working.exception()
        self._close_file()


def _within(most: int, data: bytes) -> bytes:
    if len(data) > most:
        raise _too_long(most)
    return data


def _too_long(most: int) -> BadRequest:
    return BadRequest(413, f"the body is longer than {most} bytes")


def _new_file(directory: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=directory, buffering=0)


def _write(file: int, data: bytearray) -> None:
    with memoryview(data) as rest:
        done = 0
        while done < len(rest):
            done += os.write(file, rest[done:])


def _read(file: int, start: int, end: int) -> bytes:
    parts = []
    while start < end:
        part = os.pread(file, end - start, start)
        if not part:
            raise OSError("a spooled body is shorter than it was")
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
