# SPDX-License-Identifier: Apache-2.0
"""IBM's cloud, as far as its clients ask it: identity, devices, jobs, sessions."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from emulated_jobs import Device, Job

__all__ = ["IBM", "answer_json", "now"]

DEVICE = "ibm_emu"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer_json(document: Any, status: int = 200) -> web.Response:
    """A document as JSON."""
    return web.Response(body=json.dumps(document).encode(), content_type="application/json", status=status)


def now() -> str:
    """The moment as the vendors write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def refused(status: int, code: int, message: str) -> web.Response:
    """An error as IBM tells it."""
    return answer_json({"errors": [{"code": code, "message": message}]}, status)


class IBM:
    """The routes; ``answers`` are the documents of the device and its results by their names."""

    def __init__(self, device: Device, answers: dict[str, bytes]) -> None:
        self._device = device
        self._answers = answers
        self.tokens: set[str] = set()
        self.result = "small"

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of each."""
        api, job = "/api/v1", "/api/v1/jobs/{id}"
        return [
            ("POST", "/identity/token", self.token),
            ("POST", "/oauth/token", self.token),
            ("GET", f"{api}/backends", self.backends),
            ("GET", f"{api}/backends/{{name}}/status", self.status),
            ("GET", f"{api}/backends/{{name}}/configuration", self.document("configuration")),
            ("GET", f"{api}/backends/{{name}}/properties", self.document("properties")),
            ("GET", f"{api}/instances/usage", self.usage),
            ("POST", f"{api}/sessions", self.session),
            ("GET", f"{api}/sessions/{{id}}", self.session),
            ("PATCH", f"{api}/sessions/{{id}}", self.nothing),
            ("DELETE", f"{api}/sessions/{{id}}/close", self.nothing),
            ("POST", f"{api}/jobs", self.new),
            ("GET", f"{api}/jobs", self.listed),
            ("GET", job, self.job),
            ("DELETE", job, self.delete),
            ("GET", f"{job}/results", self.results),
            ("POST", f"{job}/cancel", self.cancel),
            ("GET", f"{job}/logs", self.logs),
            ("GET", f"{job}/metrics", self.metrics),
        ]

    async def token(self, request: web.Request) -> web.Response:
        """A token that is good for an hour."""

        def part(content: dict[str, Any]) -> str:
            return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

        begun = int(time.time())
        claims = {"iat": begun, "exp": begun + 3600, "jti": uuid.uuid4().hex, "sub": "emu"}
        token = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.c2ln"
        self.tokens.add(token)
        told = {"access_token": token, "refresh_token": "not_supported", "token_type": "Bearer", "scope": "ibm openid"}
        return answer_json({**told, "expires_in": 3600, "expiration": begun + 3600})

    async def backends(self, request: web.Request) -> web.Response:
        device = {
            "name": DEVICE, "status": {"name": "online", "reason": "available"}, "is_simulator": False, "qubits": 156,
            "clops": {"type": "hardware", "value": 195000}, "queue_length": 0,
            "processor_type": {"family": "Heron", "revision": "2", "segment": None},
        }  # fmt: skip
        return answer_json({"devices": [device]})

    async def status(self, request: web.Request) -> web.Response:
        told = {"state": True, "status": "active", "message": "available", "length_queue": 0}
        return answer_json({**told, "backend_version": "1.0.0"})

    def document(self, name: str) -> Handler:
        """A handler that answers with one document."""

        async def handler(request: web.Request) -> web.Response:
            return web.Response(body=self._answers[name], content_type="application/json")

        return handler

    async def usage(self, request: web.Request) -> web.Response:
        told = {"instance_id": "emu", "plan_id": "x", "usage_consumed_seconds": 0, "usage_remaining_seconds": 1000}
        return answer_json({**told, "usage_limit_reached": False})

    async def session(self, request: web.Request) -> web.Response:
        told = {"backend_name": DEVICE, "mode": "dedicated", "state": "open", "accepting_jobs": True, "max_ttl": 28800}
        return answer_json({"id": request.match_info.get("id", str(uuid.uuid4())), **told})

    async def nothing(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def new(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        start, end = self._device.times()
        job = Job(f"d{uuid.uuid4().hex[:19]}", body, start, end, now())
        self._device.jobs[job.id] = job
        session = {"session_id": body["session_id"]} if body.get("session_id") else {}
        return answer_json({"id": job.id, "backend": body.get("backend", DEVICE), "private": False, **session})

    @staticmethod
    def shown(job: Job, *, whole: bool) -> dict[str, Any]:
        """A job as it is told; ``whole``: with its input."""
        told = {
            "id": job.id, "backend": job.body.get("backend", DEVICE), "state": {"status": job.state},
            "status": job.state, "program": {"id": job.body.get("program_id")}, "created": job.created, "cost": 10000,
            "tags": job.body.get("tags", []), "user_id": "emu", "usage": {"quantum_seconds": 0, "seconds": 0},
            "private": False, "estimated_running_time_seconds": 1.0,
        }  # fmt: skip
        return {**told, "params": job.body.get("params", {})} if whole else told

    def known(self, request: web.Request) -> Job:
        """The job that a path names."""
        job = self._device.jobs.get(request.match_info["id"])
        if job is None:
            told = json.dumps({"errors": [{"code": 1291, "message": "Job not found."}]})
            raise web.HTTPNotFound(text=told, content_type="application/json")
        return job

    async def job(self, request: web.Request) -> web.Response:
        return answer_json(self.shown(self.known(request), whole=request.query.get("exclude_params") != "true"))

    async def listed(self, request: web.Request) -> web.Response:
        """Jobs, the newest first, with IBM's filters and its pages of 200 at most."""
        query = request.query
        jobs = [job for job in reversed(self._device.jobs.values()) if self.is_asked_for(job, query)]
        offset, limit = int(query.get("offset", 0)), min(200, int(query.get("limit", 10)))
        if query.get("sort") == "ASC":
            jobs.reverse()
        whole = query.get("exclude_params") != "true"
        page = [self.shown(job, whole=whole) for job in jobs[offset : offset + limit]]
        return answer_json({"jobs": page, "count": len(jobs), "offset": offset, "limit": limit})

    @staticmethod
    def is_asked_for(job: Job, query: Any) -> bool:
        """Whether the filters let a job through."""
        if (pending := query.get("pending")) and (pending == "true") != job.is_pending:
            return False
        if (after := query.get("created_after")) and job.created < after:
            return False
        tags = query.getall("tags", [])
        return all(tag in job.body.get("tags", []) for tag in tags)

    async def results(self, request: web.Request) -> web.Response:
        job = self.known(request)
        if job.state != "Completed":
            return refused(404, 1290, f"Job is {job.state}")
        body = self._answers["estimator" if job.body.get("program_id") == "estimator" else self.result]
        return web.Response(body=body, content_type="text/plain")

    async def cancel(self, request: web.Request) -> web.Response:
        job = self.known(request)
        if not job.is_pending:
            return refused(409, 1234, "Job is in a final state")
        job.cancelled = True
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        del self._device.jobs[self.known(request).id]
        return web.Response(status=204)

    async def logs(self, request: web.Request) -> web.Response:
        job = self.known(request)
        return web.Response(text=f"{job.created} INFO job {job.id} {job.state}\n", content_type="text/plain")

    async def metrics(self, request: web.Request) -> web.Response:
        told = {"timestamps": {"created": self.known(request).created}, "usage": {"quantum_seconds": 0, "seconds": 0}}
        return answer_json(told)
