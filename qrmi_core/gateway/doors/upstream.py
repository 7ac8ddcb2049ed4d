# SPDX-License-Identifier: Apache-2.0
"""The way onwards: requests to vendors, with the site's credential in place of the job's token.

What only reads is sent again when a connection breaks; what changes something is not, whoever asked decides. Answers
are passed on as they come, redirects among them: where a vendor points, the credential does not follow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from qrmi_core import polling
from qrmi_core.errors import QRMIError
from qrmi_core.http_settings import HttpSettings
from qrmi_core.proxies import PORTS, environment_proxy
from qrmi_core.tokens import BearerToken, Token
from qrmi_core.trust import tls_context

__all__ = ["Authorization", "Bearer", "Upstream", "VendorAway", "relay", "relayed_headers"]

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "host", "content-length", "expect"}
)
"""RFC 9110, 7.6.1, and what each connection says for itself."""

NOT_ADDED = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})
"""What aiohttp would say for a client that did not: that it reads gzip, for one."""

CREDENTIALS = frozenset({"authorization", "cookie", "service-crn", "x-api-key", "forwarded", "via"})
NOT_SENT_ON = HOP_BY_HOP | CREDENTIALS
NOT_SENT_BACK = HOP_BY_HOP | {"set-cookie", "location"}
CONNECTIONS = 512
IDLE_SECONDS = 15.0
COUNTED = frozenset({401, 403, 429})
"""Statuses below 500 of which the site's monitoring is to know: they are about the site, not about a request."""

READ_SECONDS = 30.0
"""For so long what only reads is sent again while the vendor cannot be reached."""


class VendorAway(QRMIError):
    """The vendor did not answer. ``arrived`` is False where the request cannot have reached it."""

    def __init__(self, text: str, *, arrived: bool) -> None:
        super().__init__(text, transient=True)
        self.arrived = arrived


class Authorization:
    """The headers with which a vendor knows the site; those of one that needs none."""

    async def headers(self) -> Mapping[str, str]:
        """What is to stand in a request that is sent now.

        Raises:
            QRMIError: there is no credential, and why.
        """
        return {}

    def rejected(self) -> bool:
        """The vendor did not take the last headers: True where there may be others now."""
        return False


class Fixed(Authorization):
    """The same headers for ever."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    async def headers(self) -> Mapping[str, str]:
        return self._headers


class Bearer(Authorization):
    """A bearer token, fetched in a thread when there is none at hand; ``more`` stands beside it."""

    def __init__(self, token: BearerToken, within: Callable[..., Awaitable[Any]], **more: str) -> None:
        self._token = token
        self._within = within
        self._more = {name.replace("_", "-"): value for name, value in more.items()}
        self._last: Token | None = None

    async def headers(self) -> Mapping[str, str]:
        self._last = self._token.at_hand or await self._within(self._token.current)
        return {"Authorization": f"Bearer {self._last.value}", **self._more}

    def rejected(self) -> bool:
        if self._last is not None:
            self._token.reject(self._last)
        return True


class Upstream:
    """One vendor's server; used in one event loop, and closed in it."""

    on_error: Callable[[str, str], None] | None = None
    """Is told of each error of the vendor's: the resource's name, and the status or what happened."""

    def __init__(self, url: str, settings: HttpSettings, authorization: Authorization, *, name: str) -> None:
        """Nothing is sent yet.

        Args:
            url: what stands before every path.
            settings: how the server is reached.
            authorization: how it knows the site.
            name: the resource's name, for texts.
        """
        self._url = url.rstrip("/")
        self._settings = settings
        self._proxy = settings.proxy or _proxy_of_the_environment(self._url)
        self._authorization = authorization
        self._name = name
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._in_use = 0
        self._retired = False

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is not None:
            return self._session
        async with self._opening:
            if self._session is None:
                self._session = await self._opened()
            return self._session

    async def _opened(self) -> aiohttp.ClientSession:
        settings = self._settings
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout, sock_read=settings.read_timeout
        )
        connector: aiohttp.BaseConnector
        if settings.socket:
            connector = aiohttp.UnixConnector(settings.socket, limit=CONNECTIONS)
        else:
            try:
                tls = await asyncio.to_thread(tls_context, settings)  # the system's roots are many
            except OSError as error:
                raise VendorAway(
                    f"{self._name} cannot be reached: the gateway cannot read the certificates for it "
                    f"({error.strerror or error})",
                    arrived=False,
                ) from error
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=IDLE_SECONDS, ssl=tls)
        return aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    @property
    def is_open(self) -> bool:
        """Whether it has connections, or may have."""
        return self._session is not None

    async def retire(self) -> None:
        """Close its connections as soon as no request uses them: another takes its place."""
        self._retired = True
        if not self._in_use:
            await self.close()

    async def close(self) -> None:
        """Close its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def failed(self, kind: str) -> None:
        """Tell of an error of the vendor's."""
        if self.on_error is not None:
            self.on_error(self._name, kind)

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Callable[[], AsyncIterable[bytes] | bytes] | None = None,
        length: int | None = None,
        reads: bool | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The vendor's answer to a request, whose body is still to be read.

        Args:
            method: the method.
            path: path and query as they are to be sent, encoded.
            headers: what the client sent besides; what is of one connection, and its credential, are left out.
            data: makes the body, anew for each try.
            length: the body's length in bytes.
            reads: whether it may be sent again; by default GET and HEAD.

        Raises:
            VendorAway: there is no answer.
            QRMIError: the site has no credential for it.
        """
        may_repeat = method in {"GET", "HEAD"} if reads is None else reads
        return _Sent(self, self._answer(method, path, headers or {}, data, length, may_repeat=may_repeat))

    def begun(self) -> None:
        """A request is under way."""
        self._in_use += 1

    async def ended(self) -> None:
        """One is no more."""
        self._in_use -= 1
        if self._retired and not self._in_use:
            await self.close()

    async def _answer(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: Callable[[], AsyncIterable[bytes] | bytes] | None,
        length: int | None,
        *,
        may_repeat: bool,
    ) -> aiohttp.ClientResponse:
        end, attempt, renewed = time.monotonic() + min(READ_SECONDS, self._settings.deadline), 0, False
        while True:
            try:
                response = await self._once(method, path, headers, data, length)
            except VendorAway as away:
                self.failed("no answer" if away.arrived else "unreachable")
                gap = polling.backoff(attempt)
                if not may_repeat or time.monotonic() + gap > end:
                    raise
                attempt += 1
                await polling.pause_async(gap)
                continue
            if response.status == 401 and not renewed and self._authorization.rejected():
                renewed = True
                response.close()
                continue
            return response

    async def _once(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: Callable[[], AsyncIterable[bytes] | bytes] | None,
        length: int | None,
    ) -> aiohttp.ClientResponse:
        sent = CIMultiDict([pair for pair in headers.items() if _goes_on(pair[0])])
        sent.update(await self._authorization.headers())
        if length is not None:
            sent["Content-Length"] = str(length)
        session = await self._open()
        try:
            return await session.request(
                method,
                URL(self._url + path, encoded=True),
                headers=sent,
                data=data() if data is not None else None,
                allow_redirects=False,
                proxy=self._proxy,
                skip_auto_headers=NOT_ADDED,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            arrived = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise VendorAway(
                f"{self._name} cannot be reached now ({type(error).__name__}): try again later", arrived=arrived
            ) from error

    async def json(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        """Status and whole body of a request that the gateway makes for itself.

        Raises:
            VendorAway: there is no answer, or only a part of one.
        """
        async with self.send(method, path, **options) as response:
            try:
                return response.status, await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise VendorAway(f"the answer of {self._name} was cut off", arrived=True) from error


class _Sent(AbstractAsyncContextManager["aiohttp.ClientResponse"]):
    """A request from its sending to the end of what is made of its answer; a generator would cost more than it."""

    def __init__(self, upstream: Upstream, answer: Coroutine[Any, Any, aiohttp.ClientResponse]) -> None:
        self._upstream = upstream
        self._answer = answer

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._upstream.begun()
        try:
            response = self._response = await self._answer
        except BaseException:
            await self._upstream.ended()
            raise
        if response.status in COUNTED or response.status >= 500:
            self._upstream.failed(str(response.status))
        return response

    async def __aexit__(self, *_: object) -> None:
        response = self._response
        response.close() if not response.content.at_eof() else response.release()
        await self._upstream.ended()


def _goes_on(header: str) -> bool:
    name = header.lower()
    return name not in NOT_SENT_ON and not name.startswith("x-forwarded")


def _proxy_of_the_environment(url: str) -> str | None:
    """The proxy that the gateway's own environment names for a server, as drivers take it too."""
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:  # the first request tells that it is none
        return None
    return environment_proxy(parts.scheme, parts.hostname or "", port)


def relayed_headers(response: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """What of an answer's headers goes on to the client; cookies and redirects are for the gateway alone."""
    return CIMultiDict([pair for pair in response.headers.items() if pair[0].lower() not in NOT_SENT_BACK])


async def relay(request: web.Request, response: aiohttp.ClientResponse) -> web.StreamResponse:
    """Pass an answer on as it comes; where it breaks off, so does what the client gets."""
    passed = web.StreamResponse(status=response.status, headers=relayed_headers(response))
    passed.content_length = response.content_length
    await passed.prepare(request)
    try:
        async for piece in response.content.iter_any():
            await passed.write(piece)
    except (aiohttp.ClientError, TimeoutError):
        if request.transport is not None:
            request.transport.close()
        raise asyncio.CancelledError from None
    await passed.write_eof()
    return passed
