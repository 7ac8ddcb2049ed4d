# SPDX-License-Identifier: Apache-2.0
"""The machine's side of a storage: plain HTTP to URLs that somebody else has signed."""

from __future__ import annotations

import aiohttp
from yarl import URL

from qrmi_core import polling

__all__ = ["Presigned", "TransferFailed"]

TRIES = 15
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
SECONDS = 60.0
LARGEST = 256 * 2**20
PIECE = 2**16
RETRIED = frozenset({429, 500, 502, 503, 504})


class TransferFailed(Exception):
    """An object could not be fetched or stored; the text says why, without the URL's signature."""


class Presigned:
    """Fetches and stores objects, again when the storage fails for the moment."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Called once in the event loop that uses it."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str) -> bytes:
        """The object.

        Raises:
            TransferFailed: it cannot be had.
        """
        return await self._transfer("GET", url, None)

    async def put(self, url: str, data: bytes) -> None:
        """Store the object.

        Raises:
            TransferFailed: it was refused, for instance because the URL has expired.
        """
        await self._transfer("PUT", url, data)

    async def _transfer(self, method: str, url: str, data: bytes | None) -> bytes:
        if self._session is None:
            raise RuntimeError("open() comes first")
        problem = ""
        for attempt in range(TRIES):
            try:
                async with self._session.request(
                    method, URL(url, encoded=True), data=data, allow_redirects=False
                ) as answer:
                    body = await _limited(answer)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                problem = type(error).__name__
                if isinstance(error, ValueError):
                    break
            else:
                if answer.status < 300:
                    return body
                problem = f"{answer.status} {answer.reason}"
                if answer.status not in RETRIED:
                    break
            await polling.pause_async(min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE))
        raise TransferFailed(f"{method} {url.partition('?')[0]}: {problem}")


async def _limited(answer: aiohttp.ClientResponse) -> bytes:
    """The body of an answer.

    Raises:
        TransferFailed: there is no end to it.
    """
    body = bytearray()
    async for piece in answer.content.iter_chunked(PIECE):
        body += piece
        if len(body) > LARGEST:
            raise TransferFailed(f"{answer.method} {answer.url.with_query(None)}: larger than {LARGEST} bytes")
    return bytes(body)
