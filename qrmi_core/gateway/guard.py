# SPDX-License-Identifier: Apache-2.0
"""What strangers may do to a server: requests that never end, bodies without end, and errors that tell too much."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from qrmi_core import polling

__all__ = ["HTTP_LOG", "Guard", "answer", "error_answer", "read_body"]

_log = logging.getLogger(__name__)

VERSION = 1
BODY_SECONDS = 10.0
HEAD_SECONDS = 10.0
LOOK_GAP = 1.0

HTTP_LOG = logging.getLogger("qrmi_core.gateway.http")
"""Where aiohttp's own server is to log."""


def _without_what_was_sent(record: logging.LogRecord) -> bool:
    """A request that is no HTTP may hold a credential, and its traceback shows it."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info, record.msg, record.args = None, "somebody sent what is no HTTP", ()
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return HTTP_LOG.isEnabledFor(logging.DEBUG)
    return True


HTTP_LOG.addFilter(_without_what_was_sent)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(told: Any, status: int = 200) -> web.Response:
    """A JSON object with the version in front."""
    body = msgspec.json.encode({"version": VERSION, **told})
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def error_answer(status: int, reason: str, *, transient: bool = False, **more: Any) -> web.Response:
    """What every refusal looks like."""
    return answer({"error": {"reason": reason, "transient": transient, **more}}, status)


async def read_body(request: web.Request) -> bytes:
    """The whole body.

    Raises:
        web.HTTPRequestTimeout: it did not come in time.
        web.HTTPRequestEntityTooLarge: it is larger than the application takes.
    """
    try:
        return await asyncio.wait_for(request.read(), BODY_SECONDS)
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the body did not arrive") from None


class Guard:
    """Closes connections on which no whole request comes; its middleware sees that each answer is JSON.

    One may look after several runners.
    """

    def __init__(self, *, head_seconds: float = HEAD_SECONDS) -> None:
        self._head_seconds = head_seconds
        self._busy: dict[Any, int] = {}
        self._since: dict[Any, float] = {}
        self._runners: list[web.AppRunner] = []

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every error into JSON, and note that a request is at work."""
        connection = request.protocol
        self._busy[connection] = self._busy.get(connection, 0) + 1
        try:
            return await handler(request)
        except web.HTTPException as error:
            refused = error_answer(error.status, _said(error))
            if "Allow" in error.headers:
                refused.headers["Allow"] = error.headers["Allow"]
            return refused
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001  a fault of ours is for the log, not for whoever asks
            _log.exception("%s %s failed", request.method, request.path)
            return error_answer(500, "the gateway failed at this request; its log says why", transient=True)
        finally:
            self._busy[connection] = self._busy.get(connection, 1) - 1
            self._since[connection] = time.monotonic()

    @contextlib.asynccontextmanager
    async def watching(self, runner: web.AppRunner) -> AsyncIterator[None]:
        """Look after the connections of a runner that was set up, while the block runs."""
        self._runners.append(runner)
        task = asyncio.ensure_future(self._watch(runner))
        try:
            yield
        finally:
            self._runners.remove(runner)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self, runner: web.AppRunner) -> None:
        while True:
            await polling.pause_async(min(LOOK_GAP, self._head_seconds))
            now = time.monotonic()
            known = set().union(*(_connections(each) for each in self._runners))
            for gone in [each for each in {*self._since, *self._busy} if each not in known]:
                self._since.pop(gone, None)
                self._busy.pop(gone, None)
            for connection in _connections(runner):
                since = self._since.setdefault(connection, now)
                if not self._busy.get(connection) and now - since > self._head_seconds:
                    connection.force_close()


def _connections(runner: web.AppRunner) -> set[Any]:
    return set(runner.server.connections) if runner.server is not None else set()


def _said(error: web.HTTPException) -> str:
    text = error.text or error.reason
    return text.removeprefix(f"{error.status}: ")
