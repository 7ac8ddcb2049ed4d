# SPDX-License-Identifier: Apache-2.0
"""Answers in which a vendor repeats what it was sent, perhaps many megabytes: those are in a file, never in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import hdrs, web

from qrmi_core.gateway.bodies import IN_MEMORY, SMALL, Rebuilt, Spool, Spooled, top_level
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.gateway.doors.upstream import relayed_headers
from qrmi_core.gateway.request_rules import BadRequest

__all__ = ["LongAnswer", "received"]


@dataclass(frozen=True)
class LongAnswer(Answer):
    """One whose ``body`` is empty, for it is in a file: what the client gets of it, and its ``data``'s short values."""

    kept: Spooled = field(repr=False)
    shown: Rebuilt = field(repr=False)
    data: dict[str, Any]

    def response(self, document: Any = None) -> web.Response:
        """It for the client, once: what is in the file is gone when it was sent."""
        if document is not None:
            return super().response(document)
        headers = self.headers.copy()
        headers[hdrs.CONTENT_LENGTH] = str(self.shown.length)
        return web.Response(status=self.status, headers=headers, body=self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        async with self.kept:
            async for piece in self.shown.pieces():
                yield piece


async def received(
    response: aiohttp.ClientResponse, spool: Spool, *, repeats: str, tags: str, clean: Callable[[bytes], bytes]
) -> Answer:
    """A vendor's answer to the end, without what is not for the client.

    Args:
        response: the answer, whose body is still to be read.
        spool: where a long one is kept.
        repeats: the key of its object ``data`` under which it repeats what it was sent.
        tags: the key there that is cleaned, where the answer is long; of a short one all is.
        clean: takes out what is not for the client.

    Raises:
        aiohttp.ClientError, TimeoutError, OSError: it was cut off, or there is no room for it.
    """
    headers, begun = relayed_headers(response), bytearray()
    pieces = aiter(response.content.iter_any())
    async for piece in pieces:
        begun += piece
        if len(begun) > IN_MEMORY:
            break
    else:
        return Answer(response.status, headers, clean(bytes(begun)))

    async def rest() -> AsyncIterator[bytes]:
        yield bytes(begun)
        begun.clear()
        async for piece in pieces:
            yield piece

    try:
        kept = await spool.keep(rest())
    except BadRequest as error:
        raise OSError(error.reason) from error
    if (found := await _parts(kept, repeats, tags, clean)) is not None:
        return LongAnswer(response.status, headers, b"", kept, *found)
    async with kept:
        whole = await asyncio.to_thread(kept.read, 0, kept.size)
    return Answer(response.status, headers, clean(whole))


async def _parts(
    kept: Spooled, repeats: str, tags: str, clean: Callable[[bytes], bytes]
) -> tuple[Rebuilt, dict[str, Any]] | None:
    """What the client gets, and the short values; None of an answer that repeats nothing."""
    try:
        span = (await top_level(kept)).span("data")
        data = await top_level(kept, span) if span is not None else None
        if data is None or repeats not in data:
            return None
        spans = {name: at for name in data.names if (at := data.span(name)) and at[1] - at[0] <= SMALL}
        short = {name: kept.read(*at) for name, at in spans.items()}
        parts: list[bytes | tuple[int, int]] = [(0, kept.size)]
        if tags in spans:
            (start, end), short[tags] = spans[tags], clean(short[tags])
            parts = [(0, start), short[tags], (end, kept.size)]
        return Rebuilt(kept, parts), {name: json.loads(value) for name, value in short.items()}
    except (BadRequest, ValueError, RecursionError):
        return None
