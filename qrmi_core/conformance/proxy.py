# SPDX-License-Identifier: Apache-2.0
"""A proxy on the loopback between a driver and its server, which makes faults on demand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from qrmi_core.gateway.faults import Faults
from qrmi_core.gateway.loopback import LARGEST_BODY, LoopbackServer

__all__ = ["FaultProxy", "behind_proxies", "endpoints"]

PER_HOP = frozenset({"connection", "content-encoding", "content-length", "host", "keep-alive", "transfer-encoding"})
NEW_WORD = "SOMETHING_NEW"


class FaultProxy(LoopbackServer):
    """Forwards to ``server`` while its ``with`` block runs.

    ``faults.next_faults`` makes faults. ``new_words`` are words of which the next one to come in an answer to a GET
    is replaced by one that no vendor has. While ``refusing`` is set, every GET is refused without being forwarded.
    ``accepted`` lists the POSTs that the server answered with success.
    """

    def __init__(self, server: str) -> None:
        self.server = server.rstrip("/")
        self.faults = Faults()
        self.new_words: list[str] = []
        self.refusing = False
        self.accepted: list[str] = []
        self.posted: list[str] = []
        super().__init__()

    @property
    def reads(self) -> int:
        """How many GETs came."""
        return sum(count for route, count in self.faults.counters.requests.items() if route.startswith("GET "))

    @property
    def made(self) -> int:
        """How many faults were made."""
        return sum(faults.total() for faults in self.faults.counters.faults.values())

    def application(self) -> web.Application:
        """Every path, passed on."""
        app = web.Application(middlewares=[self.faults.middleware], client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._forward)
        return app

    @contextlib.asynccontextmanager
    async def surroundings(self) -> AsyncIterator[None]:
        """The connections to the server."""
        async with ClientSession(
            connector=TCPConnector(limit=0), timeout=ClientTimeout(total=120), auto_decompress=True
        ) as self._session:
            yield

    async def _forward(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in PER_HOP}
        if request.method == "GET" and self.refusing:
            return web.json_response({"message": "the proxy refuses all reads"}, status=400)
        if request.method == "POST":
            self.posted.append(request.path)
        async with self._session.request(
            request.method, f"{self.server}{request.rel_url}", headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            content = await answer.read()
            if request.method == "POST" and answer.status < 300:
                self.accepted.append(request.path)
            if request.method == "GET":
                content = self._reworded(content)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in PER_HOP}
            return web.Response(status=answer.status, body=content, headers=kept)

    def _reworded(self, content: bytes) -> bytes:
        for word in self.new_words:
            quoted = f'"{word}"'.encode()
            if quoted in content:
                self.new_words.clear()
                return content.replace(quoted, f'"{NEW_WORD}"'.encode(), 1)
        return content


def endpoints(values: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold a server's address, without stores such as S3, which sign it."""
    return {
        variable: value
        for variable, value in values.items()
        if value.startswith(("http://", "https://")) and not any(word in variable for word in ("PROXY", "S3"))
    }


def behind_proxies(values: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """For each such variable the server (scheme and host) that a proxy must forward to, and the rest of the address."""
    found = {}
    for variable, value in endpoints(values).items():
        scheme, _, rest = value.partition("://")
        host, slash, path = rest.partition("/")
        found[variable] = f"{scheme}://{host}", f"{slash}{path}"
    return found
