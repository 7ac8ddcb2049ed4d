# SPDX-License-Identifier: Apache-2.0
"""An HTTP server on a port of the loopback that runs in a thread of its own while its ``with`` block does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, ClassVar, Self
from weakref import WeakSet

from aiohttp import web

from qrmi_core import polling

__all__ = ["LARGEST_BODY", "LoopbackServer"]

HOST = "127.0.0.1"
LARGEST_BODY = 256 * 2**20
START_SECONDS = 30.0
END_SECONDS = 10.0
CLOSING = 0.05
"""Seconds in which connections that were broken off are closed, in the next turns of the event loop."""


class LoopbackServer(ABC):
    """Serves :meth:`application`; ``url`` is where, once the ``with`` block has begun."""

    patience: ClassVar[float] = 0.1
    """Seconds that requests get to be answered when it ends."""

    def __init__(
        self, *, port: int = 0, tls: ssl.SSLContext | None = None, listening: socket.socket | None = None
    ) -> None:
        """Serve on this port, by default any free one, or on a socket that listens already; nothing is started yet."""
        self.url = ""
        self._port = port
        self._given = listening
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._accepted: WeakSet[socket.socket] = WeakSet()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    @abstractmethod
    def application(self) -> web.Application:
        """What is served."""

    @contextlib.asynccontextmanager
    async def surroundings(self) -> AsyncIterator[None]:
        """What is open in the server's event loop before it listens, and until it has ended."""
        yield

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise TimeoutError(f"the server did not listen within {START_SECONDS:g} s")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(END_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
            self._failure = error
        finally:
            self._ready.set()
            self._loop.run_until_complete(self._close_what_is_left())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self) -> None:
        async with self.surroundings():
            runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=self.patience)
            await runner.setup()
            with _Listening(self._accepted, None if self._given is None else self._given.detach()) as listening:
                try:
                    if self._given is None:
                        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        listening.bind((HOST, self._port))
                    await web.SockSite(runner, listening, ssl_context=self._tls).start()
                    self.url = f"{'https' if self._tls else 'http'}://{HOST}:{listening.getsockname()[1]}"
                    self._ready.set()
                    await self._stopping.wait()
                finally:
                    # A server of asyncio that is closed forgets, open, what it accepted in the same turn of the loop;
                    # so it is closed a turn after the last connection was accepted.
                    self._loop.remove_reader(listening)
                    await polling.pause_async(0)
                    await runner.cleanup()

    async def _close_what_is_left(self) -> None:
        """Handlers whose clients have gone, handshakes, and connections whose other side does not let go of them."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=self.patience)
        for connection in self._accepted:
            with contextlib.suppress(OSError):  # it is closed, as it should be
                connection.shutdown(socket.SHUT_RDWR)
        await polling.pause_async(CLOSING)


class _Listening(socket.socket):
    """Notes the connections that it accepts."""

    def __init__(self, accepted: WeakSet[socket.socket], fileno: int | None) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM, fileno=fileno)
        self._connections = accepted

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        self._connections.add(connection)
        return connection, address
