# SPDX-License-Identifier: Apache-2.0
"""The doors in front of IBM's cloud: requests for a job's own devices, sessions and jobs go on as they came."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from aiohttp import web
from multidict import CIMultiDict

from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.iam import iam_token
from qrmi_core.drivers.vendor import lease_tag, without_lease_tags
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.bodies import Envelope
from qrmi_core.gateway.dialects.dialect import iso
from qrmi_core.gateway.doors.door import Refusal, Visit
from qrmi_core.gateway.doors.ibm_documents import HIDDEN, Kept, brief, info_of, noted, parts_of, rebuilt
from qrmi_core.gateway.doors.ibm_routes import IBMRoutes
from qrmi_core.gateway.doors.ibm_shaped import IBMShaped, device_of
from qrmi_core.gateway.doors.ibm_submission import submitted, whole
from qrmi_core.gateway.doors.ibm_watch import JobWatch
from qrmi_core.gateway.doors.pass_through import Answer, PassThrough
from qrmi_core.gateway.doors.upstream import Bearer, Upstream, relay
from qrmi_core.http_settings import http_settings
from qrmi_core.leases import LeaseTask

__all__ = ["IBMComputeDoor", "QiskitRuntimeDoor"]

MOST_TAGS = 8
"""Tags of one job; whoever needs them all gets none of the gateway's, by which a job is found whose answer was lost."""

MOST_ADOPTED = 20

PASSED = ("Accept", "IBM-API-Version", "IBM-API-Function-Id", "User-Agent", "X-Qx-Client-Application")
"""The headers of clients that mean something to IBM."""

FOR_THE_JOB = ("SESSION_MODE", "SESSION_MAX_TTL", "TIMEOUT_SECONDS")


class IBMComputeDoor(PassThrough, IBMShaped):
    """In front of ``ibm-quantum-compute-service``; at the server's root it has the routes of IBM's cloud for all."""

    serves = "ibm-quantum-compute-service"
    acquired_late = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._watches: dict[str, JobWatch] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        yield from IBMRoutes(self).routes("")
        yield from super().routes()

    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        own = resource.environment
        site = {name: own.get(name) for name in (f"{self.prefix}_{rest}" for rest in FOR_THE_JOB)}
        return super().values(resource, url, token) | {n: value for n, value in site.items() if isinstance(value, str)}

    def for_gateway(self, values: Mapping[str, str]) -> Mapping[str, str]:
        """With sessions: a job may have opened its own, though the site's driver is to open none."""
        return {**values, f"{self.prefix}_SESSION_MODE": "dedicated"}

    def make_way(self, resource: ConfiguredResource) -> Upstream:
        values = {name: value.strip() for name, value in resource.values().items()}
        settings = http_settings(resource.name, values)
        token = iam_token(resource.name, values, settings, prefix=self.prefix)
        within = functools.partial(self.doors.gateway.within, "vendor")
        bearer = Bearer(token, within, Service_CRN=values[f"{self.prefix}_SERVICE_CRN"])
        return Upstream(values[f"{self.prefix}_ENDPOINT"], settings, bearer, name=resource.name)

    def _watch(self, name: str) -> JobWatch:
        if name not in self._watches:
            self._watches[name] = JobWatch(self, name)
        return self._watches[name]

    async def ask(self, name: str, request: web.Request, path: str, *, method: str = "GET") -> Answer:
        """The vendor's answer about a path of the API, in the client's name."""
        return await self.answer(name, request, path, method=method, headers=headers_of(request))

    async def entry(self, name: str, request: web.Request) -> Mapping[str, Any] | None:
        answer = await self.ask(name, request, f"/backends{_query(request, 'include_mocks')}")
        device, told = device_of(self.doors.resource(name)), answer.json()
        devices = told.get("devices") if isinstance(told, dict) else None
        found = (each for each in devices or () if isinstance(each, dict) and each.get("name") == device)
        return next(found, None)

    async def about_device(self, name: str, part: str, request: web.Request) -> Answer:
        device = quote(device_of(self.doors.resource(name)), safe="")
        query = _query(request, "calibration_id", "updated_before")
        return await self.ask(name, request, f"/backends/{device}/{part}{query}")

    async def limit_is_reached(self, name: str, request: web.Request) -> bool:
        told = (await self.ask(name, request, "/instances/usage")).json()
        return isinstance(told, dict) and bool(told.get("usage_limit_reached"))

    async def create_session(
        self, visit: Visit, name: str, shown: str, request: web.Request, wanted: Mapping[str, Any]
    ) -> web.Response:
        device = device_of(self.doors.resource(name))
        body = json.dumps({**wanted, "backend": device, "backend_name": device}).encode()
        # A session whose answer was lost costs nothing, for no job runs in it, and ends by itself.
        answer = await self._repeatable(name, "POST", "/sessions", request, body)
        document = answer.json()
        if answer.is_success and isinstance(document, dict) and isinstance(document.get("id"), str):
            await self.doors.books.add(visit.lease, LeaseTask(name, document["id"], kind="session"))
        return _shown_session(answer, shown)

    async def session(self, visit: Visit, task: LeaseTask, shown: str, request: web.Request) -> web.Response:
        return _shown_session(await self.ask(task.resource, request, _session(task)), shown)

    async def change_session(
        self, visit: Visit, task: LeaseTask, request: web.Request, *, accepting: bool
    ) -> web.StreamResponse:
        return (await self._changed(task, "PATCH", _session(task), request, {"accepting_jobs": accepting})).response()

    async def close_session(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        answer = await self._changed(task, "DELETE", f"{_session(task)}/close", request)
        if answer.is_success:
            self.doors.books.changed(visit.lease, replace(task, ended=time.time(), outcome="closed"))
        return answer.response()

    async def create_job(
        self, visit: Visit, name: str, shown: str, request: web.Request, envelope: Envelope
    ) -> web.Response:
        device, tags = device_of(self.doors.resource(name)), without_lease_tags(envelope.value("tags") or [])
        tag = self.doors.tokens.tag(visit.lease.id) if len(tags) < MOST_TAGS else None
        sent_tags = json.dumps(_with_ours(tags, tag, visit)).encode()
        body = envelope.rebuilt({"backend": json.dumps(device).encode(), "tags": sent_tags})
        sending = submitted(self.way(name), headers_of(request, b"{}"), body, tag)
        answer = await self.doors.answer_of(visit.lease, name, sending)
        document = answer.json()
        if not answer.is_success or not isinstance(document, dict) or not isinstance(document.get("id"), str):
            return answer.response()
        fields = {key: envelope.value(key) for key in ("cost", "session_id", "private") if key in envelope}
        program, submitted_at = envelope.value("program_id"), time.time()
        first = {
            "id": document["id"],
            "status": "Queued",
            "state": {"status": "Queued"},
            "program": {"id": program},
            "created": iso(submitted_at),
            "tags": tags,
            "usage": {"seconds": 0.0},
            **fields,
        }
        parent, detail = fields.get("session_id"), Kept(tag, first).text()
        task = LeaseTask(name, document["id"], parent=parent, program=program, detail=detail, submitted=submitted_at)
        try:
            await self.doors.books.add(visit.lease, task)
        except QRMIError as error:
            await self._changed(task, "POST", f"{_job(task)}/cancel", request)  # nobody else could end it any more
            raise Refusal(409, f"the job was cancelled, since it could not be noted: {error}") from error
        self._watch(name).submitted(visit.lease, task)
        return answer.response({**_public(document), "backend": shown})

    async def documents(self, visit: Visit, name: str, shown: str) -> list[dict[str, Any]]:
        tasks = await self.doors.books.readable(visit.lease, name)
        if unfinished := [task for task in tasks if task.ended is None]:
            await self._watch(name).refreshed(visit.lease, unfinished)
            by_now = {task.task_id: task for task in self.doors.books.of_lease(visit.lease, name)}
            tasks = [by_now.get(task.task_id, task) for task in tasks]
        return [kept.shown(shown) for kept in map(Kept.of, tasks) if kept.document and not kept.deleted]

    async def adopt(self, visit: Visit, name: str, tags: list[str]) -> None:
        query = "&".join(f"tags={quote(tag, safe='')}" for tag in tags)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        status, told = await self.way(name).json(
            "GET", f"/jobs?{query}&limit={MOST_ADOPTED}&exclude_params=true", headers=headers
        )
        answer = Answer(status, CIMultiDict(), told).json()
        jobs = answer.get("jobs") if status == 200 and isinstance(answer, dict) else None
        for document in (each for each in jobs or () if isinstance(each, dict)):
            own = [tag for tag in document.get("tags") or () if self.doors.tokens.is_tag_of(visit.lease.id, tag)]
            if own and document.get("backend") == device_of(self.doors.resource(name)):
                program = info_of(document).program
                parent, detail = document.get("session_id"), Kept(own[0], document).text()
                task = LeaseTask(name, document["id"], parent=parent, program=program, detail=detail)
                await self.doors.books.add(visit.lease, task)

    async def job(self, visit: Visit, task: LeaseTask, shown: str, request: web.Request) -> web.StreamResponse:
        if request.query.get("exclude_params", "").lower() == "true" and task.ended is None:
            seen = await self._watch(task.resource).seen(visit.lease, task)
            if seen is not None and (seen.whole or not info_of(seen.document).status.is_final):
                return web.json_response(Kept(Kept.of(task).tag, seen.document).shown(shown))
        answer = await self.ask(task.resource, request, f"{_job(task)}{_query(request, 'exclude_params')}")
        parts = parts_of(answer.body) if answer.is_success else None
        if parts is None:
            return answer.response()
        document = brief(parts)
        task = await self.doors.books.find(visit.lease, task.resource, task.task_id) or task
        self.doors.books.changed(visit.lease, noted(task, document))
        body = rebuilt(parts, Kept(Kept.of(task).tag, document).shown(shown))
        return web.Response(body=body, content_type="application/json")

    async def job_part(self, visit: Visit, task: LeaseTask, part: str, request: web.Request) -> web.StreamResponse:
        headers = {**headers_of(request), "Accept-Encoding": request.headers.get("Accept-Encoding", "identity")}
        async with self.way(task.resource).send("GET", f"{_job(task)}/{part}", headers=headers) as response:
            if 300 <= response.status < 400:
                raise Refusal(502, f"the vendor has the {part} of this job elsewhere, where the gateway does not go")
            return await relay(request, response)

    async def cancel_job(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        return (await self._changed(task, "POST", f"{_job(task)}/cancel", request)).response()

    async def delete_job(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        answer = await self._changed(task, "DELETE", _job(task), request)
        if answer.is_success:
            gone = replace(Kept.of(task), deleted=True).text()
            ended = task.ended if task.ended is not None else time.time()
            self.doors.books.changed(visit.lease, replace(task, detail=gone, ended=ended))
        return answer.response()

    async def change_tags(
        self, visit: Visit, task: LeaseTask, request: web.Request, tags: list[str]
    ) -> web.StreamResponse:
        kept, tags = Kept.of(task), without_lease_tags(tags)
        if kept.tag is not None and len(tags) >= MOST_TAGS:
            kept = replace(kept, tag=None)
        sent = _with_ours(tags, kept.tag, visit)
        answer = await self._changed(task, "PUT", f"{_job(task)}/tags", request, {"tags": sent})
        if answer.is_success:
            after = replace(kept, document={**kept.document, "tags": sent})
            self.doors.books.changed(visit.lease, replace(task, detail=after.text()))
        return answer.response()

    async def _changed(
        self, task: LeaseTask, method: str, path: str, request: web.Request, document: Any = None
    ) -> Answer:
        """The answer to a change that may be made twice, since it says what is to be."""
        body = json.dumps(document).encode() if document is not None else None
        return await self._repeatable(task.resource, method, path, request, body)

    async def _repeatable(self, name: str, method: str, path: str, request: web.Request, body: bytes | None) -> Answer:
        data = None if body is None else lambda: body
        async with self.way(name).send(
            method, path, headers=headers_of(request, body), data=data, length=len(body or b""), reads=True
        ) as response:
            return await whole(response)


class QiskitRuntimeDoor(IBMComputeDoor):
    """The same under the name that it had, whose driver reads the old variables."""

    serves = shows = "qiskit-runtime-service"
    prefix = "QRMI_IBM_QRS"

    def routes(self) -> Iterable[web.RouteDef]:
        yield from IBMShaped.routes(self)


def headers_of(request: web.Request, body: bytes | None = None) -> dict[str, str]:
    """What of a client's headers goes on to IBM, for a JSON body where there is one."""
    kept = {name: request.headers[name] for name in PASSED if name in request.headers}
    kind = {"Content-Type": "application/json"} if body is not None else {}
    return {**kept, **kind, "Accept-Encoding": "identity"}


def _with_ours(tags: list[str], tag: str | None, visit: Visit) -> list[str]:
    """The tags of a job with that of this job alone, and that of its lease where there is room for it too."""
    ours = [] if tag is None else [tag, lease_tag(visit.lease.id)]
    return [*tags, *ours][:MOST_TAGS]


def _query(request: web.Request, *known: str) -> str:
    parts = [f"{name}={quote(request.query[name], safe='')}" for name in known if name in request.query]
    return f"?{'&'.join(parts)}" if parts else ""


def _session(task: LeaseTask) -> str:
    return f"/sessions/{quote(task.task_id, safe='')}"


def _job(task: LeaseTask) -> str:
    return f"/jobs/{quote(task.task_id, safe='')}"


def _public(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in HIDDEN}


def _shown_session(answer: Answer, shown: str) -> web.Response:
    document = answer.json()
    if not answer.is_success or not isinstance(document, dict):
        return answer.response()
    return answer.response({**_public(document), "backend_name": shown})
