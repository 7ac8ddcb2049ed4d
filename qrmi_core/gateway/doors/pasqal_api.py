# SPDX-License-Identifier: Apache-2.0
"""The REST API of Pasqal's cloud as jobs see it, whatever runs their batches: routes, logins, forms, links to results.

Programs come with the addresses that pasqal-cloud knows, under ``/r/{resource}``. Their name, password and project are
those of an account of the user's own, or made up: nothing of it goes on. The password may be the job's token.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from aiohttp import web

from qrmi_core.config import ConfiguredResource
from qrmi_core.gateway.dialects.pasqal_records import failure
from qrmi_core.gateway.doors.admission import NotAdmitted
from qrmi_core.gateway.doors.door import AT_RESOURCE, Door, Refusal, VendorVariables, Visit
from qrmi_core.leases import LeaseRecord
from qrmi_core.vendor_environment import pasqal_variables

__all__ = ["LONGEST_HOLD", "PasqalApi", "is_id", "no_batch", "no_job", "succeeded"]

CORE = f"{AT_RESOURCE}/core-fast/api"
FORM_BYTES = 16 * 1024
TOKEN_SECONDS = 3600.0
LINK_SECONDS = 3600.0
LONGEST_HOLD = 20.0
"""Seconds for which a look at a batch that has not ended is held; pasqal-cloud gives up after 30."""

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}", re.ASCII)
_RESULT = "pasqal-result"
_NOT_SERVED = {
    "workloads": "workloads are not for this QPU: send batches",
    "cudaq": "CUDA-Q jobs are not served here: send batches of Pulser sequences",
    "third-party-access": "this is no reseller's QPU: use PasqalCloudConnection, not OVHConnection",
}


class PasqalApi(Door):
    """The API for jobs; what is done with a request is for each kind of QPU."""

    repeated: ClassVar[frozenset[str]] = frozenset(
        {"id", "batch_id", "status", "project_id", "user_id", "device_type", "queue_priority"}
    )

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of pasqal-cloud 0.24, and those of our driver."""
        public = {
            "POST {at}/oauth/token": self._token,
            "GET {at}/results/{link}": self._linked_result,
            "GET {core}/v1/devices": self.devices,
            "GET {core}/v1/devices/public-specs": self.public_specs,
        }
        private = {
            "GET {at}/account/api/v1/projects": self.projects,
            "GET {core}/v1/devices/specs": self.specs,
            "GET {core}/v1/devices/specs/{device_type}": self.specs_of,
            "POST {core}/v1/batches": self.create,
            "GET {core}/v1/batches": self.batches,
            "PATCH {core}/v1/batches/cancel": self.cancel_batches,
            "GET {core}/v2/batches/{batch}": self.batch,
            "GET {core}/v1/batches/{batch}/status": self.batch_status,
            "GET {core}/v1/batches/{batch}/full_results": self.full_results,
            "POST {core}/v2/batches/{batch}/jobs": self.add_jobs,
            "PATCH {core}/v2/batches/{batch}/complete": self.complete,
            "PATCH {core}/v2/batches/{batch}/cancel": self.cancel_batch,
            "PATCH {core}/v2/batches/{batch}/cancel/jobs": self.cancel_jobs,
            "PATCH {core}/v1/batches/{batch}/tags": self.set_tags,
            "POST {core}/v1/batches/{batch}/rebatch": self.rebatch,
            "GET {core}/v2/jobs": self.jobs,
            "GET {core}/v2/jobs/{job}": self.job,
            "GET {core}/v1/jobs/{job}/status": self.job_status,
            "GET {core}/v1/jobs/{job}/results_link": self.results_link,
            "PATCH {core}/v2/jobs/{job}/cancel": self.cancel_job,
        }
        for route, handler in public.items():
            yield _route(route, self.open(handler))
        for route, guarded in private.items():
            yield _route(route, self.guarded(guarded))
        yield web.route("*", f"{CORE}/{{version}}/{{what}}{{rest:.*}}", self.guarded(self._not_served))
        yield web.route("*", f"{AT_RESOURCE}/{{rest:.*}}", self.open(self._unknown))

    def error(self, status: int, message: str, code: str | None) -> Any:
        return failure(status, message, code)

    def vendor_variables(self, resources: tuple[ConfiguredResource, ...], url: str, token: str) -> VendorVariables:
        """One cloud for pasqal-cloud: that of the job's first QPU of this kind."""
        return VendorVariables(always=pasqal_variables(f"{url}/r/{resources[0].name}", token))

    @abstractmethod
    async def devices(self, request: web.Request) -> web.StreamResponse:
        """The device types, and whether they are up."""

    @abstractmethod
    async def public_specs(self, request: web.Request) -> web.StreamResponse:
        """The devices as Pulser writes them, in a list."""

    @abstractmethod
    async def projects(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """The one project."""

    @abstractmethod
    async def specs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """The devices as Pulser writes them, by type."""

    @abstractmethod
    async def specs_of(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """One device as Pulser writes it."""

    @abstractmethod
    async def create(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Make a batch."""

    @abstractmethod
    async def batches(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """The job's batches, the newest first."""

    @abstractmethod
    async def cancel_batches(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Cancel several batches."""

    @abstractmethod
    async def batch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """One batch, with its sequence."""

    @abstractmethod
    async def batch_status(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """How many jobs of a batch are where, held until none is at work or waits."""

    @abstractmethod
    async def full_results(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """The results of all jobs of a batch."""

    @abstractmethod
    async def add_jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Add jobs to an open batch."""

    @abstractmethod
    async def complete(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Close an open batch."""

    @abstractmethod
    async def cancel_batch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Cancel a batch."""

    @abstractmethod
    async def cancel_jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Cancel the jobs of a batch that pass the filters."""

    @abstractmethod
    async def set_tags(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Replace the tags of a batch."""

    @abstractmethod
    async def rebatch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Make a batch of jobs of another one."""

    @abstractmethod
    async def jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """The jobs of the job's batches."""

    @abstractmethod
    async def job(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """One job."""

    @abstractmethod
    async def job_status(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Where one job is."""

    @abstractmethod
    async def results_link(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Where a job's result is."""

    @abstractmethod
    async def cancel_job(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        """Cancel one job."""

    @abstractmethod
    async def result(self, visit: Visit, job_id: str, request: web.Request) -> web.StreamResponse:
        """The result of one job, to which a link led."""

    def resource_of(self, request: web.Request) -> str:
        """The resource whose path it is, of a request that needs no token.

        Raises:
            Refusal: 404, there is none here.
        """
        name, known = request.match_info["resource"], self.doors.gateway.resources
        if name not in known.resources or known.resources[name].type != self.serves or known.access(name) != "gateway":
            raise Refusal(404, f"there is no QPU {name!r} here")
        return name

    def link_to(self, visit: Visit, job_id: str) -> str:
        """An address of a result for clients that fetch it without a token; for an hour, and while the lease lasts."""
        signed = self.doors.tokens.web_token(f"{_RESULT} {job_id} {visit.lease.id}", seconds=LINK_SECONDS)
        return f"{self.doors.gateway.settings.jobs_url}/r/{visit.resource}/results/{signed}"

    async def _linked_result(self, request: web.Request) -> web.StreamResponse:
        self.resource_of(request)
        kind, _, rest = (self.doors.tokens.lease_of(request.match_info["link"]) or "").partition(" ")
        if kind != _RESULT:
            raise Refusal(404, "there is no such result")
        job_id, _, lease_id = rest.partition(" ")
        token = self.doors.tokens.web_token(lease_id, seconds=TOKEN_SECONDS)
        return await self.result(await self.visit(token, request), job_id, request)

    async def visit(self, token: str | None, request: web.Request) -> Visit:
        """Whoever holds a token, at the resource whose path it is.

        Raises:
            NotAdmitted: nobody who can be believed, or it has no such resource.
        """
        lease: LeaseRecord = await self.doors.admission.lease(token, request.remote)
        resources, name = self.doors.behind(self, lease), request.match_info["resource"]
        if name not in resources:
            raise NotAdmitted
        return Visit(lease, name, resources)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        """A token for what the program takes for its password; the form may hold the user's own and is kept nowhere."""
        async with await self.doors.spool.take(request, most=FORM_BYTES) as body:
            form = dict(parse_qsl(body.read(0, body.size).decode("utf-8", "replace")))
        service = form.get("grant_type") == "client_credentials"
        try:
            visit = await self.visit(form.get("client_secret" if service else "password"), request)
        except NotAdmitted:
            said = "the password must be the token of a job that runs here: see QRMI_PASQAL_TOKEN in its environment"
            return web.json_response({"error": "invalid_grant", "error_description": said}, status=401)
        token = self.doors.tokens.web_token(visit.lease.id, seconds=TOKEN_SECONDS)
        return web.json_response({"access_token": token, "expires_in": int(TOKEN_SECONDS), "token_type": "Bearer"})

    async def _not_served(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        if (why := _NOT_SERVED.get(request.match_info["what"])) is not None:
            raise Refusal(403, why)
        return await self._unknown(request)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        raise Refusal(404, f"{request.method} of this path is not served here")


def _route(text: str, handler: Any) -> web.RouteDef:
    method, _, path = text.partition(" ")
    return web.route(method, path.replace("{at}", AT_RESOURCE).replace("{core}", CORE), handler)


def no_batch(batch_id: str) -> Refusal:
    """The answer to an id of a batch that is not the job's, be it somebody else's or nobody's."""
    return Refusal(404, f"there is no batch {batch_id[:80]}")


def no_job(job_id: str) -> Refusal:
    """The same of a job of a batch."""
    return Refusal(404, f"there is no job {job_id[:80]}")


def is_id(text: str) -> bool:
    """Whether it can be an id of the vendor's, and so one segment of a path."""
    return _ID.fullmatch(text) is not None


def succeeded(data: Any, **more: Mapping[str, Any]) -> web.Response:
    """An answer in the vendor's envelope."""
    return web.json_response({"status": "success", "code": "200", "message": "OK.", **more, "data": data})
