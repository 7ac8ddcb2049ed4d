# SPDX-License-Identifier: Apache-2.0
"""IBM's cloud API (``ibm-quantum-compute-service``) in front of any device that runs IBM's programs.

It is served twice: under ``/api/v1``, and under ``/experimental/api/v1``, where qiskit-ibm-runtime looks when its
``url`` says "experimental" (then it does not rewrite the host).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from aiohttp import web

from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Dialect, DialectOptions, Refused, checked_query, iso, json_body
from qrmi_core.gateway.dialects.iam import CRN, Iam
from qrmi_core.gateway.dialects.ibm_jobs import (
    LIST_FILTERS,
    Job,
    by_another_name,
    checked_job,
    checked_tags,
    matches,
    page_of,
)
from qrmi_core.gateway.dialects.ibm_sessions import Session, new_session
from qrmi_core.gateway.dialects.offered import Offered
from qrmi_core.payloads import QiskitPrimitive
from qrmi_core.resource import ResourceStatusCode
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["ComputeService"]

ROOTS = ("/api/v1", "/experimental/api/v1")
VERSION = "1.0.0"
LONGEST_HOLD = 1.0
"""Seconds; a program that looks at its job's status itself must not wait long."""
AGAIN = 2.0
"""Seconds within which who asks for the same job again is waiting for it."""

Handler = Callable[[web.Request], Awaitable[web.Response]]


class ComputeService(Dialect):
    """One instance with one device, or several, all of whose jobs and sessions are in memory."""

    takes = QiskitPrimitive
    engine = "aer_fez"

    def __init__(self, device: Device, options: DialectOptions) -> None:
        super().__init__(device, options)
        self._iam = Iam(options)
        self._jobs: dict[str, Job] = {}
        self._sessions: dict[str, Session] = {}
        self._backend = device.resource.name
        self._offered = Offered({self._backend: device})
        self._last: tuple[str, float] | None = None
        """The job that was submitted or asked for last, and when."""

    def offer(self, offered: Offered) -> None:
        self._offered = offered

    def environment(self) -> dict[str, str]:
        return {
            "QRMI_IBM_QCS_ENDPOINT": f"{self.url}{ROOTS[0]}",
            "QRMI_IBM_QCS_IAM_ENDPOINT": self.url,
            "QRMI_IBM_QCS_IAM_APIKEY": self.options.key,
            "QRMI_IBM_QCS_SERVICE_CRN": CRN,
            "QRMI_DEVICE": self._backend,
        }

    def error(self, status: int, message: str, code: str | None) -> Any:
        error = {"code": code or str(status), "message": message, "more_info": "https://docs.quantum.ibm.com/errors"}
        return {"errors": [error], "trace": secrets.token_hex(16)}

    def routes(self) -> Iterable[web.RouteDef]:
        handlers: list[tuple[str, str, Handler]] = [
            ("GET", "/backends", self._list_backends),
            ("GET", "/backends/{name}/configuration", self._configuration),
            ("GET", "/backends/{name}/properties", self._properties),
            ("GET", "/backends/{name}/status", self._backend_status),
            ("GET", "/instances/usage", self._instance_usage),
            ("POST", "/sessions", self._create_session),
            ("GET", "/sessions/{id}", self._get_session),
            ("PATCH", "/sessions/{id}", self._change_session),
            ("DELETE", "/sessions/{id}/close", self._close_session),
            ("POST", "/jobs", self._create_job),
            ("GET", "/jobs", self._list_jobs),
            ("GET", "/jobs/{id}", self._get_job),
            ("DELETE", "/jobs/{id}", self._delete_job),
            ("POST", "/jobs/{id}/cancel", self._cancel_job),
            ("GET", "/jobs/{id}/results", self._results),
            ("GET", "/jobs/{id}/logs", self._logs),
            ("GET", "/jobs/{id}/metrics", self._metrics),
            ("PUT", "/jobs/{id}/tags", self._change_tags),
        ]
        yield from self._iam.routes()
        for root in ROOTS:
            for method, path, handler in handlers:
                yield web.route(method, root + path, self._guarded(handler))

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.Response:
            if not self._iam.accepts(request):
                raise Refused(401, "The access token is missing, wrong or expired", code="1200")
            if request.headers.get("Service-CRN") != CRN:
                raise Refused(401, "The header Service-CRN names no instance of this account", code="1201")
            return await handler(request)

        return guarded

    async def _list_backends(self, request: web.Request) -> web.Response:
        checked_query(request, {"include_mocks"})
        entries = await asyncio.gather(*map(self._listed, self._offered.names))
        return web.json_response({"devices": entries})

    async def _listed(self, name: str) -> dict[str, Any]:
        device = self._device(name)
        status = await device.status()
        configuration = await self._configured(name)
        entry = {
            "name": name,
            "status": {"name": status.status.value, "reason": status.status_reason or "available"},
            "is_simulator": False,
            "qubits": configuration["n_qubits"],
            "queue_length": await self._pending(device),
            "processor_type": configuration.get("processor_type") or {"family": "Aer", "revision": "1"},
        }
        return entry if self._offered.is_own(name) else by_another_name(entry)

    async def _configuration(self, request: web.Request) -> web.Response:
        checked_query(request, {"calibration_id"})
        return web.json_response(await self._configured(request.match_info["name"]))

    async def _properties(self, request: web.Request) -> web.Response:
        checked_query(request, {"updated_before", "calibration_id"})
        name = request.match_info["name"]
        properties = (await self._device(name).target()).json()["properties"] or {}
        return web.json_response(properties | ({"backend_name": name} if properties else {}))

    async def _backend_status(self, request: web.Request) -> web.Response:
        device = self._device(request.match_info["name"])
        status = await device.status()
        online = status.status is ResourceStatusCode.ONLINE
        document = {
            "state": online,
            "status": "active" if online else status.status.value,
            "message": status.status_reason or "",
            "length_queue": await self._pending(device),
            "backend_version": VERSION,
        }
        return web.json_response(document)

    async def _instance_usage(self, _request: web.Request) -> web.Response:
        infos = await asyncio.gather(*(self._info(job) for job in self._jobs.values()))
        used = sum(job.seconds(info) for job, info in zip(self._jobs.values(), infos, strict=True))
        created = [job.created for job in self._jobs.values()]
        document = {
            "instance_id": CRN,
            "plan_id": "emulator",
            "usage_consumed_seconds": int(used),
            "usage_period": {"start_time": iso(min(created, default=0.0)), "end_time": iso(max(created, default=0.0))},
            "usage_limit_reached": False,
        }
        return web.json_response(document)

    async def _create_session(self, request: web.Request) -> web.Response:
        session = new_session(await json_body(request))
        self._device(session.backend)
        self._sessions[session.id] = session
        return web.json_response(session.document())

    async def _get_session(self, request: web.Request) -> web.Response:
        session = self._session(request.match_info["id"])
        await self._look(session)
        return web.json_response(session.document())

    async def _change_session(self, request: web.Request) -> web.Response:
        session = self._session(request.match_info["id"])
        body = await json_body(request)
        if (
            not isinstance(body, dict)
            or set(body) != {"accepting_jobs"}
            or not isinstance(body["accepting_jobs"], bool)
        ):
            raise Refused(400, 'the body must be {"accepting_jobs": true or false}', code="1211")
        await self._look(session)
        if session.state == "closed" and body["accepting_jobs"]:
            raise Refused(409, f"Session {session.id} is closed", code="1352")
        session.accepting_jobs = body["accepting_jobs"]
        await self._look(session)
        return web.Response(status=204)

    async def _close_session(self, request: web.Request) -> web.Response:
        session = self._session(request.match_info["id"])
        session.close()
        await self._cancel_all(session)
        return web.Response(status=204)

    async def _create_job(self, request: web.Request) -> web.Response:
        body = checked_job(await json_body(request))
        device = self._device(body.get("backend"))
        session = None
        if session_id := body.get("session_id"):
            session = self._session(session_id)
            await self._look(session)
            if not session.accepting_jobs:
                raise Refused(409, f"Session {session.id} is closed and takes no jobs", code="1352")
        payload = QiskitPrimitive(body["program_id"], json.dumps(body["params"]).encode())
        created = time.time()
        task_id = await device.submit(payload)
        listed, tags = self.listed_from(), list(body.get("tags", []))
        job = Job(task_id, device, body, listed, tags, session.id if session else None, created=created)
        self._jobs[job.id] = job
        self._last = (job.id, time.monotonic())
        if session is not None:
            session.look(pending=1)
        answer = {"id": job.id, "backend": body["backend"], "private": bool(body.get("private"))}
        return web.json_response(answer | ({"session_id": job.session} if job.session else {}))

    async def _list_jobs(self, request: web.Request) -> web.Response:
        query = checked_query(request, LIST_FILTERS)
        limit, offset = page_of(query)
        tags = request.query.getall("tags", [])
        found = [job for job in self._jobs.values() if matches(job, query, tags)]
        if query.get("sort", "DESC").upper() != "ASC":
            found.reverse()
        infos = await asyncio.gather(*(self._info(job) for job in found))
        shown = [
            (job, info)
            for job, info in zip(found, infos, strict=True)
            if "pending" not in query or (query["pending"].lower() == "true") is not info.status.is_final
        ]
        brief = query.get("exclude_params", "").lower() == "true"
        page = [job.document(info, brief=brief) for job, info in shown[offset : offset + limit]]
        return web.json_response({"jobs": page, "count": len(shown), "limit": limit, "offset": offset})

    async def _get_job(self, request: web.Request) -> web.Response:
        query = checked_query(request, {"exclude_params"})
        job = self._job(request)
        brief = query.get("exclude_params", "").lower() == "true"
        info = await self._info(job)
        if self.options.hold and not info.status.is_final and self._is_waited_for(job):
            await job.device.wait(job.task_id, min(self.options.hold, LONGEST_HOLD))
            info = await self._info(job)
        return web.json_response(job.document(info, brief=brief))

    async def _delete_job(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not (await self._info(job)).status.is_final:
            raise Refused(409, f"Job {job.id} has not ended", code="1337")
        del self._jobs[job.id]
        return web.Response(status=204)

    async def _cancel_job(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if (await self._info(job)).status.is_final:
            raise Refused(409, f"Job {job.id} has ended and cannot be cancelled", code="1306")
        await job.device.cancel(job.task_id)
        return web.Response(status=204)

    async def _results(self, request: web.Request) -> web.Response:
        job = self._job(request)
        info = await self._info(job)
        if info.status is TaskStatus.COMPLETED and not job.too_long:
            return web.Response(body=await job.device.output(job.task_id), content_type="text/plain")
        return web.Response(text=info.reason or "", content_type="text/plain")

    async def _logs(self, request: web.Request) -> web.Response:
        job = self._job(request)
        logs = await job.device.logs(job.task_id)
        if not logs or not (await self._info(job)).status.is_final:
            raise Refused(404, f"Job {job.id} has no logs", code="1296")
        return web.Response(text=logs, content_type="text/plain")

    async def _metrics(self, request: web.Request) -> web.Response:
        job = self._job(request)
        return web.json_response(job.metrics(await self._info(job)))

    async def _change_tags(self, request: web.Request) -> web.Response:
        job = self._job(request)
        body = await json_body(request)
        if not isinstance(body, dict) or set(body) != {"tags"}:
            raise Refused(400, 'the body must be {"tags": [...]}', code="1211")
        job.tags = checked_tags(body["tags"])
        return web.Response(status=204)

    def _is_waited_for(self, job: Job) -> bool:
        """Whether no other was submitted or asked for in between; who looks at many is not held up."""
        before, self._last = self._last, (job.id, time.monotonic())
        return before is not None and before[0] == job.id and self._last[1] - before[1] < AGAIN

    def _device(self, name: object) -> Device:
        device = self._offered.get(name)
        if device is None:
            raise Refused(404, f"Backend not found: {name}", code="1216")
        return device

    def _job(self, request: web.Request) -> Job:
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            raise Refused(404, f"Job not found. Job ID: {request.match_info['id']}", code="1291")
        return job

    def _session(self, session_id: str) -> Session:
        if session_id not in self._sessions:
            raise Refused(404, f"Session not found: {session_id}", code="1350")
        return self._sessions[session_id]

    async def _configured(self, name: str) -> dict[str, Any]:
        """A device's configuration, in which it stands for a QPU: clients open sessions on no simulator."""
        configuration: dict[str, Any] = (await self._device(name).target()).json()["configuration"]
        return configuration | {"backend_name": name, "simulator": False, "local": False}

    async def _info(self, job: Job) -> TaskInfo:
        """What is known of a job; one that runs longer than it may is cancelled first."""
        if job.final is not None:
            return job.final
        info = await job.device.info(job.task_id)
        if not job.too_long and info.status is TaskStatus.RUNNING and job.seconds(info) > job.cost:
            await job.device.cancel(job.task_id)
            job.too_long = True
            info = await job.device.info(job.task_id)
        if job.too_long:
            info = replace(info, status=TaskStatus.CANCELLED)
        if info.status.is_final:
            job.final = info
        return info

    async def _pending(self, device: Device) -> int:
        jobs = [job for job in self._jobs.values() if job.device is device]
        infos = await asyncio.gather(*map(self._info, jobs))
        return sum(not info.status.is_final for info in infos)

    async def _look(self, session: Session) -> None:
        jobs = [job for job in self._jobs.values() if job.session == session.id]
        infos = await asyncio.gather(*(self._info(job) for job in jobs))
        if session.look(sum(not info.status.is_final for info in infos)):
            await self._cancel_all(session)

    async def _cancel_all(self, session: Session) -> None:
        jobs = [job for job in self._jobs.values() if job.session == session.id]
        await asyncio.gather(*(job.device.cancel(job.task_id) for job in jobs))
