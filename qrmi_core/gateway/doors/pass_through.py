# SPDX-License-Identifier: Apache-2.0
"""What doors share whose vendors speak the same API behind them: requests go on as they came, once they are checked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict

from qrmi_core.config import ConfiguredResource
from qrmi_core.gateway.bodies import Spooled
from qrmi_core.gateway.doors.door import Door, Refusal, Visit
from qrmi_core.gateway.doors.submitting import sent_once
from qrmi_core.gateway.doors.upstream import Upstream, VendorAway, relay, relayed_headers
from qrmi_core.leases import LeaseRecord, LeaseTask

__all__ = ["Answer", "PassThrough", "changed_task", "checked_query"]


@dataclass(frozen=True)
class Answer:
    """A vendor's whole answer."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the vendor did what was asked."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The decoded body, None where it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None

    def response(self, document: Any = None) -> web.Response:
        """It for the client; with ``document`` in place of its body."""
        body = self.body if document is None else msgspec.json.encode(document)
        return web.Response(status=self.status, headers=self.headers, body=body)


class PassThrough(Door):
    """A door for one vendor's API in front of the same API."""

    @abstractmethod
    def make_way(self, resource: ConfiguredResource) -> Upstream:
        """The way to the vendor of a resource, with the site's credential."""

    def way(self, resource: str) -> Upstream:
        """The same, made once."""
        return self.doors.upstream(resource, self.make_way)

    async def passed(self, resource: str, request: web.Request, path: str) -> web.StreamResponse:
        """The vendor's answer to a request without a body, as it comes."""
        async with self.way(resource).send(request.method, path, headers=request.headers) as response:
            return await relay(request, response)

    async def answer(
        self,
        resource: str,
        request: web.Request,
        path: str,
        *,
        method: str | None = None,
        body: Spooled | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The vendor's whole answer, to be looked into; ``headers`` stand in place of the client's.

        Raises:
            VendorAway: there is none.
        """
        sent = CIMultiDict(request.headers if headers is None else headers)
        sent[hdrs.ACCEPT_ENCODING] = "identity"
        sent.popall(hdrs.CONTENT_ENCODING, None)
        data, length = _data(body)
        if body is None:
            sent.popall(hdrs.CONTENT_TYPE, None)
        async with self.way(resource).send(
            method or request.method, path, headers=sent, data=data, length=length
        ) as response:
            try:
                return Answer(response.status, relayed_headers(response), await response.read())
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise VendorAway(f"the answer of {resource} was cut off", arrived=True) from error

    async def submitted(self, resource: str, request: web.Request, path: str, body: Spooled) -> Answer:
        """The answer to what must happen once; it is sent again only while none of it can have arrived.

        Raises:
            Unanswered: there is none, and the vendor may have taken it.
            VendorAway: there is none, and it was not taken.
        """
        return await sent_once(lambda: self.answer(resource, request, path, body=body))

    async def own_task(self, visit: Visit, task_id: str) -> LeaseTask | None:
        """The task of this id that the job may know, on whichever of its resources."""
        for name in (visit.resource,) if visit.resource is not None else visit.resources:
            if (task := await self.doors.books.find(visit.lease, name, task_id)) is not None and task.kind == "task":
                return task
        return None

    def noted(self, lease: LeaseRecord, task: LeaseTask, **told: Any) -> None:
        """Write down what the vendor tells of a task, where that is new; None is nothing that was told."""
        after = changed_task(task, **told)
        if after is not task:
            self.doors.books.changed(lease, after)


def changed_task(task: LeaseTask, **told: Any) -> LeaseTask:
    """The task with what is known by now; the same object where nothing is new."""
    news = {name: value for name, value in told.items() if value is not None and value != getattr(task, name)}
    return replace(task, **news) if news else task


def checked_query(request: web.Request, known: Collection[str]) -> str:
    """The request's query, encoded anew with its question mark; empty where there is none.

    Raises:
        Refusal: 400, there is a key in it that is not known here.
    """
    if unknown := sorted(set(request.query) - set(known)):
        raise Refusal(400, f"unknown query parameter {unknown[0][:80]!r}")
    return f"?{urlencode(dict(request.query))}" if request.query else ""


def _data(body: Spooled | bytes | None) -> tuple[Callable[[], AsyncIterable[bytes] | bytes] | None, int | None]:
    if body is None:
        return None, None
    if isinstance(body, bytes):
        return (lambda: body), len(body)
    if body.in_memory:
        return (lambda: body.read(0, body.size)), body.size
    return body.pieces, body.size
