# SPDX-License-Identifier: Apache-2.0
"""Warden, which stands before a Pasqal QPU at the site: users by munge, sessions, and single jobs.

What was not seen of the real one is chosen strictly: a credential is good once. The user that runs this server counts
as root, so that developers can open sessions. Warden 0.1.0 is without ``cancel`` and ``logs``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web

from qrmi_core import munge
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Dialect, DialectOptions, Refused, checked_query, json_body
from qrmi_core.payloads import PulserBatch, PulserJob
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["Warden"]

LARGEST_ID = 2**31

_WORDS = {
    TaskStatus.QUEUED: "PENDING",
    TaskStatus.RUNNING: "RUNNING",
    TaskStatus.COMPLETED: "DONE",
    TaskStatus.FAILED: "ERROR",
    TaskStatus.CANCELLED: "CANCELED",
}


@dataclass
class _Session:
    uid: str
    revoked: bool = False


@dataclass(frozen=True)
class _Job:
    """A job; without a task where the device refused it, of which Warden tells no more than ERROR."""

    id: int
    uid: str
    task: str | None


class Warden(Dialect):
    """Warden's REST API."""

    takes: ClassVar[type[Any]] = PulserBatch
    engine: ClassVar[str] = "pulser_analog"
    optional: ClassVar[frozenset[str]] = frozenset({"cancel", "logs"})
    hint: ClassVar[str] = (
        "programs need libmunge and a munged with the same key as this server's; its user may open sessions as root may"
    )

    def __init__(self, device: Device, options: DialectOptions) -> None:
        super().__init__(device, options)
        self._ids = itertools.count(1)
        self._sessions: dict[str, _Session] = {}
        self._jobs: dict[int, _Job] = {}
        self._accessible: dict[str, Any] = {"is_accessible": True, "message": "ok"}
        self._roots = {"0", str(os.geteuid())}

    def routes(self) -> Iterable[web.RouteDef]:
        routes = [
            web.get("/accessible", self._tell_accessible, allow_head=False),
            web.post("/accessible", self._set_accessible),
            web.post("/sessions", self._open_session),
            web.delete("/sessions/{session}", self._revoke_session),
            web.get("/qpu/specs", self._specs, allow_head=False),
            web.post("/jobs", self._submit),
            web.get("/jobs", self._list, allow_head=False),
            web.get("/jobs/{job}", self._tell, allow_head=False),
        ]
        if "cancel" not in self.options.without:
            routes.append(web.post("/jobs/{job}/cancel", self._cancel))
        if "logs" not in self.options.without:
            routes.append(web.get("/jobs/{job}/logs", self._logs, allow_head=False))
        return routes

    def environment(self) -> dict[str, str]:
        socket = self.options.munge_socket
        return {"QRMI_WARDEN_URL": self.url} | ({} if socket is None else {"QRMI_WARDEN_MUNGE_SOCKET": socket})

    def error(self, status: int, message: str, code: str | None) -> Any:
        return {"detail": message}

    async def _tell_accessible(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        return web.json_response(self._accessible)

    async def _set_accessible(self, request: web.Request) -> web.Response:
        await self._root(request)
        told = await _object(request, is_accessible=bool, message=str)
        self._accessible = {"is_accessible": told["is_accessible"], "message": told["message"]}
        return web.json_response(self._accessible)

    async def _open_session(self, request: web.Request) -> web.Response:
        await self._root(request)
        told = await _object(request, user_id=str, slurm_job_id=str)
        session = str(uuid.uuid4())
        self._sessions[session] = _Session(told["user_id"])
        return web.json_response({"id": session})

    async def _revoke_session(self, request: web.Request) -> web.Response:
        await self._root(request)
        session = _uuid(request.match_info["session"])
        if session not in self._sessions:
            raise Refused(404, "Session not found.")
        self._sessions[session].revoked = True
        return web.json_response({"id": session})

    async def _specs(self, request: web.Request) -> web.Response:
        await self._user(request)
        target = await self.device.target()
        return web.json_response({"specs": target.value})

    async def _submit(self, request: web.Request) -> web.Response:
        uid = await self._user(request)
        self._check_session(request, uid)
        told = await _object(request, sequence=str, shots=int)
        payload = PulserBatch(told["sequence"].encode(errors="replace"), (PulserJob(told["shots"]),))
        try:
            task = await self.device.submit(payload)
        except QRMIError:
            task = None  # Warden checks nothing: such a job is taken, and fails
        job = _Job(next(self._ids), uid, task)
        self._jobs[job.id] = job
        return web.json_response(await self._told(job))

    def _check_session(self, request: web.Request, uid: str) -> None:
        header = request.headers.get("X-Warden-Session")
        if header is None:
            raise Refused(403, "No session was given.")
        session = self._sessions.get(_uuid(header))
        if session is None:
            raise Refused(403, "Session not found.")
        if session.uid != uid:
            raise Refused(403, "The session belongs to another user.")
        if session.revoked:
            raise Refused(403, "The session was revoked.")

    async def _list(self, request: web.Request) -> web.Response:
        uid = await self._user(request)
        jobs = [job for job in self._jobs.values() if job.uid == uid]
        return web.json_response(await asyncio.gather(*map(self._told, jobs)))

    async def _tell(self, request: web.Request) -> web.Response:
        return web.json_response(await self._told(await self._job(request)))

    async def _cancel(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        if job.task is not None:
            await self.device.cancel(job.task)
        return web.json_response(await self._told(job))

    async def _logs(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        return web.json_response({"logs": "" if job.task is None else await self.device.logs(job.task)})

    async def _job(self, request: web.Request) -> _Job:
        uid = await self._user(request)
        text = request.match_info["job"]
        if not (text.isascii() and text.isdigit() and int(text) < LARGEST_ID):
            raise Refused(422, f"{text} is no job id")
        job = self._jobs.get(int(text))
        if job is None or job.uid != uid:
            raise Refused(404, "Job not found.")
        return job

    async def _told(self, job: _Job) -> dict[str, Any]:
        info = TaskInfo("", TaskStatus.FAILED) if job.task is None else await self.device.info(job.task)
        results = None
        if job.task is not None and info.status is TaskStatus.COMPLETED:
            counter = json.loads(await self.device.output(job.task))["counter"]
            results = json.dumps({"counter": counter})
        return {"id": job.id, "user_id": job.uid, "status": _WORDS[info.status], "results": results}

    async def _root(self, request: web.Request) -> None:
        if await self._user(request) not in self._roots:
            raise Refused(403, "Endpoint restricted to root user.")

    async def _user(self, request: web.Request) -> str:
        """The uid that the request's credential attests; every route but one asks for it first."""
        checked_query(request, ())
        credential = request.headers.get("X-Munge-Cred")
        if not credential:
            raise Refused(401, "No munge credential was given.")
        try:
            told = await asyncio.to_thread(munge.decode, credential, socket=self.options.munge_socket)
        except munge.CredentialRejected as error:
            raise Refused(401, str(error)) from error
        return str(told.uid)


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Refused(422, "The session is not a UUID.") from None


async def _object(request: web.Request, **kinds: type) -> dict[str, Any]:
    body = await json_body(request)
    if not isinstance(body, dict):
        raise Refused(422, "the body is not a JSON object")
    for key, kind in kinds.items():
        if type(body.get(key)) is not kind:
            raise Refused(422, f"{key} is missing or not of the type {kind.__name__}")
    return body
