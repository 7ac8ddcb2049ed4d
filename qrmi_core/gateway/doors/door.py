# SPDX-License-Identifier: Apache-2.0
"""What every door has: routes of a vendor's API, the form of its errors, and what a job gets to come in by it."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from aiohttp import web

from qrmi_core.errors import QRMIError
from qrmi_core.gateway import request_rules
from qrmi_core.gateway.doors.admission import NotAdmitted
from qrmi_core.leases import LeaseRecord, LeaseTask
from qrmi_core.leases.settling import with_outcome
from qrmi_core.tasks import TaskInfo

if TYPE_CHECKING:
    from qrmi_core.config import ConfiguredResource
    from qrmi_core.gateway.doors.doors import Doors

__all__ = ["Door", "Handler", "Refusal", "VendorVariables", "Visit"]

_log = logging.getLogger(__name__)

AT_RESOURCE = "/r/{resource}"
"""Where a resource's own door is; the clients of some vendors come to the root of the server besides."""


class Refusal(QRMIError):
    """A request that is answered with an error in the vendor's own form."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class VendorVariables:
    """What vendors' own clients read in a job: always set, set where the user has not, and words added to lists."""

    always: Mapping[str, str] = field(default_factory=dict, repr=False)
    defaults: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Visit:
    """Somebody with a lease.

    ``resource`` is the one whose door it is, None at the root of the server, where it may be any of ``resources``:
    those of the lease that this kind of door is for.
    """

    lease: LeaseRecord
    resource: str | None
    resources: tuple[str, ...]


Handler = Callable[[Visit, web.Request], Awaitable[web.StreamResponse]]


class Door(ABC):
    """One vendor's REST API for the jobs of this site, in front of one type of resource."""

    serves: ClassVar[str]
    """The type of the resources behind it."""

    shows: ClassVar[str]
    """The type that jobs see: whose API it speaks."""

    by_default: ClassVar[bool] = True
    """Whether its resources are behind it where nothing else is configured."""

    acquired_late: ClassVar[bool] = False
    """True where nothing is acquired at the grant, for clients open their own sessions."""

    together_with: ClassVar[tuple[str, ...]] = ()
    """The types whose doors have routes for its jobs too."""

    repeated: ClassVar[frozenset[str]] = frozenset()
    """The query keys that may stand several times in a request."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors

    @abstractmethod
    def routes(self) -> Iterable[web.RouteDef]:
        """The vendor's routes, each handler wrapped by :meth:`guarded` (or :meth:`open`, before there is a token)."""

    @abstractmethod
    def error(self, status: int, message: str, code: str | None) -> Any:
        """The JSON body of an error."""

    @abstractmethod
    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        """The environment block with which a driver of type :attr:`shows` reaches this door of ``resource``."""

    def vendor_variables(self, resources: tuple[ConfiguredResource, ...], url: str, token: str) -> VendorVariables:
        """What the vendor's own clients read besides, for all resources of a job that this door is for."""
        return VendorVariables()

    def for_gateway(self, values: Mapping[str, str]) -> Mapping[str, str]:
        """The environment block with which the gateway itself ends what a job left behind."""
        return values

    def with_outcome(self, task: LeaseTask, info: TaskInfo | None) -> LeaseTask | None:
        """A task of a lease that ends with what came of it, None where nothing is to be noted; called in any thread.

        ``info`` is what the vendor tells, None of a task that it does not know any more.
        """
        return with_outcome(task, info)

    def credential(self, request: web.Request) -> str | None:
        """The token that a request carries; :func:`request_rules.check` has seen that there is one header at most."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler for whoever holds a token; errors are answered in the vendor's form."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await handler(await self._admitted(request), request)

        return self.open(handle)

    def open(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler for anybody; errors are answered in the vendor's form."""

        async def handle(request: web.Request) -> web.StreamResponse:
            begun = time.perf_counter()
            try:
                request_rules.check(request, repeated=self.repeated)
                answer = await handler(request)
            except Refusal as refusal:
                return self._refused(refusal.status, str(refusal), refusal.code, refusal.headers)
            except request_rules.BadRequest as bad:
                return self._refused(bad.status, bad.reason, None, {})
            except NotAdmitted as error:
                return self._refused(401, str(error), None, {})
            except QRMIError as error:
                status = error.http_status or (503 if error.transient else 500)
                return self._refused(status, str(error), error.code, {})
            seconds = time.perf_counter() - begun
            self.doors.gateway.metrics.forwarded(self.serves, request.method, _template(request), seconds)
            return answer

        return handle

    async def _admitted(self, request: web.Request) -> Visit:
        lease = await self.doors.admission.lease(self.credential(request), request.remote)
        resources = self.doors.behind(self, lease)
        name = request.match_info.get("resource")
        if name is not None and name not in resources:
            raise Refusal(403, f"this job has no QPU {name!r} here")
        return Visit(lease, name, resources)

    def _refused(self, status: int, message: str, code: str | None, headers: Mapping[str, str]) -> web.Response:
        _log.info("refused with %d: %s", status, message)
        self.doors.gateway.metrics.refused(self.serves, status)
        return web.json_response(self.error(status, message, code), status=status, headers=headers)


def _template(request: web.Request) -> str:
    """The path of a request's route, with names in place of what users and vendors choose."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""
