# SPDX-License-Identifier: Apache-2.0
"""Doors at which jobs see IBM's cloud API, whatever is behind them: what the API's routes ask of each.

The routes (:mod:`ibm_routes`) have seen whose a job or session is and what a body may hold; a door does the rest.
"""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from aiohttp import web

from qrmi_core.drivers.vendor import DEVICE, MIN_POLL
from qrmi_core.gateway.bodies import Envelope
from qrmi_core.gateway.doors.door import AT_RESOURCE, Door, VendorVariables, Visit
from qrmi_core.gateway.doors.ibm_account import INSTANCE
from qrmi_core.gateway.doors.ibm_documents import Kept, job_document
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.leases import LeaseTask
from qrmi_core.tasks import TaskInfo
from qrmi_core.vendor_environment import ibm_variables

if TYPE_CHECKING:
    from qrmi_core.config import ConfiguredResource

__all__ = ["ROOTS", "IBMShaped", "device_of"]

ROOTS = ("/api/v1", "/experimental/api/v1")
"""IBM's client leaves the host of a URL as it is where it says "experimental"."""

MORE = "https://docs.quantum.ibm.com/errors"


def device_of(resource: ConfiguredResource) -> str:
    """The vendor's name of a resource."""
    told = resource.environment.get(DEVICE)
    return resource.device or (told if isinstance(told, str) and told else resource.name)


class IBMShaped(Door):
    """One of the doors that are IBM's cloud together: all QPUs of a job behind them are one instance."""

    shows = "ibm-quantum-compute-service"
    prefix: ClassVar[str] = "QRMI_IBM_QCS"
    """What the variables of the job's own driver begin with."""

    together_with = ("ibm-quantum-compute-service",)  # which has the routes at the root of the server
    repeated = frozenset({"tags"})

    def routes(self) -> Iterable[web.RouteDef]:
        from qrmi_core.gateway.doors.ibm_routes import IBMRoutes  # it knows these doors in its turn

        yield from IBMRoutes(self).routes(AT_RESOURCE)

    def error(self, status: int, message: str, code: str | None) -> Any:
        error = {"code": code or str(status), "message": message, "more_info": MORE}
        return {"errors": [error], "trace": secrets.token_hex(16)}

    def credential(self, request: web.Request) -> str | None:
        """IBM's client sends the key itself where it could not get a token for it."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() in {"bearer", "apikey"} else None

    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        return {
            f"{self.prefix}_ENDPOINT": f"{url}{ROOTS[0]}",
            f"{self.prefix}_IAM_ENDPOINT": url,
            f"{self.prefix}_IAM_APIKEY": token,
            f"{self.prefix}_SERVICE_CRN": INSTANCE,
            DEVICE: device_of(resource),
            MIN_POLL: "0",
        }

    def vendor_variables(self, resources: tuple[ConfiguredResource, ...], url: str, token: str) -> VendorVariables:
        return VendorVariables(always=ibm_variables(url, token, INSTANCE))

    def with_outcome(self, task: LeaseTask, info: TaskInfo | None) -> LeaseTask | None:
        """With its document, which later jobs of the same user are shown."""
        after, kept = super().with_outcome(task, info), Kept.of(task)
        if after is None or info is None or not kept.document:
            return after
        return replace(after, detail=replace(kept, document=job_document(kept.document, info)).text())

    @abstractmethod
    async def entry(self, name: str, request: web.Request) -> Mapping[str, Any] | None:
        """What the list of devices tells of a resource; None where its vendor does not list it now."""

    @abstractmethod
    async def about_device(self, name: str, part: str, request: web.Request) -> Answer:
        """A device's ``configuration``, ``properties`` or ``status``."""

    @abstractmethod
    async def limit_is_reached(self, name: str, request: web.Request) -> bool:
        """Whether the site has no time left there."""

    @abstractmethod
    async def create_session(
        self, visit: Visit, name: str, shown: str, request: web.Request, wanted: Mapping[str, Any]
    ) -> web.Response:
        """Open a session of a ``mode`` and, at most, ``max_ttl`` on the device that the job calls ``shown``."""

    @abstractmethod
    async def session(self, visit: Visit, task: LeaseTask, shown: str, request: web.Request) -> web.Response:
        """A session's document."""

    @abstractmethod
    async def change_session(
        self, visit: Visit, task: LeaseTask, request: web.Request, *, accepting: bool
    ) -> web.StreamResponse:
        """Let a session take jobs, or no more."""

    @abstractmethod
    async def close_session(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        """End a session and cancel what it holds."""

    @abstractmethod
    async def create_job(
        self, visit: Visit, name: str, shown: str, request: web.Request, envelope: Envelope
    ) -> web.Response:
        """Submit a job, whose body was checked, once; and book it before this is answered."""

    @abstractmethod
    async def documents(self, visit: Visit, name: str, shown: str) -> list[dict[str, Any]]:
        """The documents, without their inputs, of all jobs on a resource that the visitor may see."""

    async def adopt(self, visit: Visit, name: str, tags: list[str]) -> None:
        """Book what the visitor submitted and the gateway, which ended at that moment, did not note.

        A driver that got no answer looks for its job by a tag of its own; it must not be told that there is none.
        """

    @abstractmethod
    async def job(self, visit: Visit, task: LeaseTask, shown: str, request: web.Request) -> web.StreamResponse:
        """A job's document; ``exclude_params`` in the query leaves its input out."""

    @abstractmethod
    async def job_part(self, visit: Visit, task: LeaseTask, part: str, request: web.Request) -> web.StreamResponse:
        """A job's ``results``, ``logs`` or ``metrics``."""

    @abstractmethod
    async def cancel_job(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        """Cancel a job."""

    @abstractmethod
    async def delete_job(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        """Delete a job that has ended."""

    @abstractmethod
    async def change_tags(
        self, visit: Visit, task: LeaseTask, request: web.Request, tags: list[str]
    ) -> web.StreamResponse:
        """Give a job other tags."""
