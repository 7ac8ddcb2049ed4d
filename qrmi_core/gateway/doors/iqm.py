# SPDX-License-Identifier: Apache-2.0
"""The door of IQM Servers (API v1): a job sees its quantum computer and its own jobs, and nothing else of the account.

IQM's client takes no path in a server's address, so it comes to the root; our driver comes to ``/r/{resource}``.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote

from aiohttp import web

from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.iqm import CALIBRATION_SET, ENDPOINT, TIMED_OUT, TOKEN, IQMServerDriver
from qrmi_core.drivers.vendor import DEVICE, MIN_POLL, seconds_since_epoch
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.bodies import Spooled, top_level
from qrmi_core.gateway.doors.door import AT_RESOURCE, Handler, Refusal, VendorVariables, Visit
from qrmi_core.gateway.doors.iqm_computers import Computer, IQMWay
from qrmi_core.gateway.doors.pass_through import Answer, PassThrough, checked_query
from qrmi_core.gateway.doors.submitting import Unanswered
from qrmi_core.gateway.doors.upstream import Upstream
from qrmi_core.leases import LeaseTask
from qrmi_core.tasks import TaskStatus

__all__ = ["IQMDoor"]

ROOT = "/api/v1"
JSON_JOBS = frozenset({"circuit", "sweep"})
JOB_TYPES = JSON_JOBS | {"run"}
LARGEST_JOB = 256 * 2**20
COMPUTER_ARTIFACTS = frozenset(
    {"static-quantum-architectures", "chip-design-records", "channel-properties", "settings", "about"}
)
CALIBRATION_PARTS = frozenset({"dynamic-quantum-architecture", "metrics"})
CODES = {400: "invalid_input", 401: "unauthorized", 404: "not_found", 413: "request_payload_too_large"}


class IQMDoor(PassThrough):
    """IQM's API in front of IQM Servers."""

    serves: ClassVar[str] = "iqm-server"
    shows: ClassVar[str] = "iqm-server"

    def routes(self) -> Iterable[web.RouteDef]:
        routes: Mapping[str, Handler] = {
            "GET /about": self._about,
            "GET /quantum-computers": self._computers,
            "GET /quantum-computers/{qc}": self._computer,
            "GET /quantum-computers/{qc}/{part:health|limits|queue-availability}": self._computer,
            "GET /quantum-computers/{qc}/artifacts/{artifact}": self._computer_artifact,
            "GET /calibration-sets/{qc}/{cal}": self._calibration,
            "GET /calibration-sets/{qc}/{cal}/{part}": self._calibration,
            "GET /jobs/{id}": self._job,
            "DELETE /jobs/{id}": self._delete,
            "GET /jobs/{id}/payload": self._payload,
            "POST /jobs/{id}/cancel": self._cancel,
            "GET /jobs/{id}/artifacts/{artifact}": self._artifact,
            "POST /jobs/{qc}/{type}": self._submit,
        }
        for route, handler in routes.items():
            method, _, path = route.partition(" ")
            for root in (AT_RESOURCE + ROOT, ROOT):
                yield web.route(method, root + path, self.guarded(handler))

    def error(self, status: int, message: str, code: str | None) -> Any:
        word = code or CODES.get(status, "internal_error" if status >= 500 else "forbidden")
        return {"error_code": word, "message": message, "request_id": str(uuid.uuid4())}

    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        configured = resource.values()
        kept = {name: configured[name] for name in (DEVICE, CALIBRATION_SET, MIN_POLL) if configured.get(name)}
        return {ENDPOINT: url, TOKEN: token, **kept}

    def vendor_variables(self, resources: tuple[ConfiguredResource, ...], url: str, token: str) -> VendorVariables:
        return VendorVariables(always={"IQM_SERVER_URL": url, "IQM_TOKEN": token})

    def make_way(self, resource: ConfiguredResource) -> Upstream:
        return IQMWay(resource)

    async def _computers_of(self, visit: Visit) -> dict[str, Computer]:
        names = visit.resources if visit.resource is None else (visit.resource,)
        return {name: await self._iqm_way(name).computer() for name in names}

    def _iqm_way(self, resource: str) -> IQMWay:
        way = self.way(resource)
        assert isinstance(way, IQMWay)  # noqa: S101  make_way makes no other
        return way

    async def _chosen(self, visit: Visit, request: web.Request) -> tuple[str, str]:
        """The resource whose quantum computer a path names, and how its name is written in paths.

        Raises:
            Refusal: 403, the job has no such one.
        """
        asked = request.match_info["qc"]
        known = await self._computers_of(visit)
        for name, computer in known.items():
            if asked in {computer.alias, computer.id}:
                return name, quote(computer.alias, safe=":")
        aliases = ", ".join(computer.alias for computer in known.values())
        raise Refusal(403, f"this job has the quantum computer {aliases}, and no other", code="forbidden")

    async def _about(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return await self.passed(visit.resource or visit.resources[0], request, "/about" + checked_query(request, ()))

    async def _computers(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        checked_query(request, ())
        known = await self._computers_of(visit)
        return web.json_response({"quantum_computers": [computer.entry for computer in known.values()]})

    async def _computer(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        name, qc = await self._chosen(visit, request)
        part = request.match_info.get("part")
        path = f"/quantum-computers/{qc}{f'/{part}' if part else ''}"
        return await self.passed(name, request, path + checked_query(request, ()))

    async def _computer_artifact(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        name, qc = await self._chosen(visit, request)
        artifact = request.match_info["artifact"]
        if artifact not in COMPUTER_ARTIFACTS:
            raise Refusal(404, f"there is no artifact {artifact[:80]!r}", code="qc_artifact_not_found")
        return await self.passed(
            name, request, f"/quantum-computers/{qc}/artifacts/{artifact}{checked_query(request, ())}"
        )

    async def _calibration(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        name, qc = await self._chosen(visit, request)
        part = request.match_info.get("part")
        if part is not None and part not in CALIBRATION_PARTS:
            raise Refusal(404, f"there is no {part[:80]!r} of calibration sets", code="not_found")
        path = f"/calibration-sets/{qc}/{quote(request.match_info['cal'], safe='')}{f'/{part}' if part else ''}"
        return await self.passed(name, request, path + checked_query(request, ()))

    async def _submit(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        name, qc = await self._chosen(visit, request)
        kind = request.match_info["type"]
        if kind not in JOB_TYPES:
            raise Refusal(400, f"IQM has no jobs of the type {kind[:80]!r}", code="unsupported_job_type")
        path = f"/jobs/{qc}/{kind}{checked_query(request, ('use_timeslot', 'tag'))}"
        body = await self.doors.spool.take(request, most=LARGEST_JOB)
        try:
            shots = (await top_level(body)).value("shots") if kind in JSON_JOBS else None
        except BaseException:
            body.close()
            raise
        task = LeaseTask(name, "", program=kind, shots=shots if type(shots) is int else None)
        return await self.doors.finished(self._submitted(visit, request, path, body, task))

    async def _submitted(
        self, visit: Visit, request: web.Request, path: str, body: Spooled, task: LeaseTask
    ) -> web.StreamResponse:
        tag = request.query.get("tag")
        async with body:
            try:
                answer = await self.submitted(task.resource, request, path, body)
            except Unanswered as away:
                raise _unknown(tag) from away
        if not answer.is_success:
            return answer.response()
        document = answer.json()
        try:
            task_id = str(uuid.UUID(document["id"]))
        except (TypeError, KeyError, ValueError, AttributeError):
            raise _unknown(tag) from None
        task = replace(task, task_id=task_id, submitted=time.time())
        try:
            await self.doors.books.add(visit.lease, task)
        except QRMIError as error:  # nobody else could end it any more
            await self.answer(task.resource, request, f"/jobs/{task_id}/cancel", method="POST", body=b"", headers={})
            raise Refusal(409, f"the job was cancelled, since it could not be noted: {error}") from error
        self.noted(visit.lease, task, **_told(document))
        return answer.response()

    async def _own(self, visit: Visit, request: web.Request) -> tuple[LeaseTask, str]:
        """The task that a path names, and its own path.

        Raises:
            Refusal: 404, whether somebody else has it or nobody.
        """
        asked = request.match_info["id"]
        try:
            task = await self.own_task(visit, str(uuid.UUID(asked)))
        except ValueError:
            task = None
        if task is None:
            raise Refusal(404, f"there is no job {asked[:80]}", code="job_not_found")
        return task, f"/jobs/{task.task_id}"

    async def _job(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        query = checked_query(request, ("wait_until_terminal", "timeout_seconds"))
        asking = asyncio.ensure_future(self.answer(task.resource, request, path + query))
        stopping = asyncio.ensure_future(self.doors.stopping.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if query and not asking.done():
                answer = await self.answer(task.resource, request, path)
                answer.headers[TIMED_OUT] = "true"
            else:
                answer = await asking
        finally:
            asking.cancel()
            stopping.cancel()
        return self._seen(visit, task, answer)

    def _seen(self, visit: Visit, task: LeaseTask, answer: Answer) -> web.Response:
        if answer.is_success:
            self.noted(visit.lease, task, **_told(answer.json()))
        return answer.response()

    async def _cancel(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        answer = await self.answer(task.resource, request, f"{path}/cancel{checked_query(request, ())}", body=b"")
        return self._seen(visit, task, answer)

    async def _delete(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        return (await self.answer(task.resource, request, path + checked_query(request, ()))).response()

    async def _payload(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        return await self.passed(task.resource, request, f"{path}/payload{checked_query(request, ())}")

    async def _artifact(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        artifact = quote(request.match_info["artifact"], safe="")
        return await self.passed(task.resource, request, f"{path}/artifacts/{artifact}{checked_query(request, ())}")


def _unknown(tag: str | None) -> Refusal:
    look = (
        f"look for a job with the tag {tag[:80]} on the server's web page" if tag else "look on the server's web page"
    )
    return Refusal(502, f"nobody knows whether the job was taken: {look} before it is sent again")


def _told(job: Any) -> dict[str, Any]:
    """What a job's document says for the books: times, seconds of the device, and how it ended."""
    if not isinstance(job, dict):
        return {}
    status = IQMServerDriver.words.get(str(job.get("status")), TaskStatus.RUNNING)
    steps = job.get("timeline")
    moments = {
        step.get("status"): seconds_since_epoch(step.get("timestamp"))
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, dict)
    }
    runtime = job.get("runtime_ms")
    return {
        "started": moments.get("execution_started") or moments.get("received"),
        "ended": (moments.get(job.get("status")) or time.time()) if status.is_final else None,
        "usage": runtime / 1000 if isinstance(runtime, int | float) else None,
        "outcome": status.value if status.is_final else None,
    }
