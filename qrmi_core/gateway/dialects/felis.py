# SPDX-License-Identifier: Apache-2.0
"""Felis, the REST API of Alice & Bob: jobs are created, then given their program, and tell what happens to them."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
import uuid
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from qrmi_core.errors import InputError
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Dialect, DialectOptions, Refused, checked_query, iso, json_body
from qrmi_core.gateway.dialects.felis_forms import checked_job, checked_parameters, page_of
from qrmi_core.gateway.dialects.felis_jobs import Job
from qrmi_core.payloads import AliceBobFelis
from qrmi_core.resource import ResourceStatusCode

__all__ = ["Felis"]

USER = "user"
PAGE = 50
HEALTH = {ResourceStatusCode.ONLINE: "OK", ResourceStatusCode.PAUSED: "NOK", ResourceStatusCode.OFFLINE: "OFF"}


class Felis(Dialect):
    """A Felis server with one target, the device's."""

    takes = AliceBobFelis
    engine = "felis_ideal"

    def __init__(self, device: Device, options: DialectOptions) -> None:
        super().__init__(device, options)
        self._key = base64.b64encode(f"{USER}:{options.key}".encode()).decode()
        self._jobs: dict[str, Job] = {}
        self._target: dict[str, Any] = {}

    async def started(self) -> None:
        self._target = (await self.device.target()).json()

    def environment(self) -> dict[str, str]:
        return {
            "QRMI_AB_FELIS_API_KEY": self._key,
            "QRMI_AB_FELIS_BASE_ENDPOINT": self.url,
            "QRMI_DEVICE": self._target["name"],
        }

    def error(self, status: int, message: str, code: str | None) -> Any:
        if status == 422:
            where, _, problem = message.partition(": ")
            return {"detail": [{"loc": where.split("."), "msg": problem, "type": code}]}
        return {"error": {"code": status, "message": message}}

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/v1/health/", self._health),
            web.get("/v1/targets/", self._targets),
            web.get("/v1/targets/{target}/health", self._target_health),
            web.get("/v1/targets/{target}/availabilities", self._availabilities),
            web.post("/v1/jobs/", self._create),
            web.get("/v1/jobs/", self._list),
            web.get("/v1/jobs/{id}", self._show),
            web.delete("/v1/jobs/{id}", self._cancel),
            web.post("/v1/jobs/{id}/input", self._upload),
            web.get("/v1/jobs/{id}/input", self._input),
            web.get("/v1/jobs/{id}/output", self._output),
            web.get("/v1/jobs/{id}/memory", self._memory),
            web.get("/v1/jobs/{id}/transpiled", self._transpiled),
            web.get("/v1/jobs/{id}/metrics", self._metrics),
        )

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(key.encode(), self._key.encode()):
            raise Refused(401, "Invalid authentication credentials", headers={"WWW-Authenticate": "Basic"})

    async def _health(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        return web.json_response("OK")

    async def _targets(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        checked_query(request, ())
        return web.json_response([self._target])

    async def _target_health(self, request: web.Request) -> web.Response:
        self._check_target(request)
        checked_query(request, ())
        return web.json_response(HEALTH[(await self.device.status()).status])

    async def _availabilities(self, request: web.Request) -> web.Response:
        self._check_target(request)
        query = checked_query(request, ("limit", "offset"))
        limit, offset = page_of(query, "limit", PAGE, 1), page_of(query, "offset", 0, 0)
        status = await self.device.status()
        now = iso(time.time())
        one: dict[str, Any] = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:qrmi:availability:{self._target['name']}")),
            "target": self._target["name"],
            "enabled": status.status is ResourceStatusCode.ONLINE,
            "createdAt": now,
        }
        if status.status_reason:
            one["message"] = status.status_reason
        return web.json_response([one][offset : offset + limit])

    async def _create(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        target, parameters = checked_job(await json_body(request))
        self._known_target(target)
        checked_parameters(parameters, self._target["inputParams"])
        job = Job(str(uuid.uuid4()), target, parameters, USER, self.listed_from())
        self._jobs[job.id] = job
        return web.json_response(job.document())

    async def _list(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        query = checked_query(request, ("page", "limit"))
        page, limit = page_of(query, "page", 1, 1), page_of(query, "limit", PAGE, 1)
        listed = [job for job in reversed(self._jobs.values()) if job.listed <= time.monotonic()]
        shown = listed[(page - 1) * limit : page * limit]
        await asyncio.gather(*(self._follow(job) for job in shown))
        return web.json_response([job.document() for job in shown])

    async def _show(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        return web.json_response(job.document())

    async def _cancel(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        cancellable = not job.has_ended
        if cancellable and job.task is not None:
            await self.device.cancel(job.task)
            await self._follow(job)
            cancellable = not job.has_ended or job.word == "CANCELLED"
        elif cancellable:
            job.happens("CANCELLED")
        if not cancellable:
            raise Refused(409, f"Job {job.id} cannot be cancelled, it is {job.word}")
        return web.json_response(job.document())

    async def _upload(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        try:
            form = await request.post()
        except (ValueError, LookupError, AssertionError, RuntimeError, HttpProcessingError) as error:
            raise Refused(422, f"body: the form cannot be read ({error})", code="multipart") from error
        part = form.get("input")
        if not isinstance(part, web.FileField):
            raise Refused(422, "body.input: Field required", code="missing")
        if job.has_ended or job.program is not None:
            raise Refused(409, f"Job {job.id} takes no input, it is {job.word}")
        job.program = part.file.read()
        try:
            job.task = await self.device.submit(AliceBobFelis(job.program, json.dumps(job.parameters).encode()))
        except InputError as error:
            job.happens("INPUT_READY")
            job.refused(error.code or "InvalidInput", str(error))
        except BaseException:
            job.program = None
            raise
        if job.has_ended and job.task is not None:  # it was cancelled meanwhile
            await self.device.cancel(job.task)
        job.happens("INPUT_READY")
        return web.json_response(None)

    async def _input(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        if job.program is None:
            raise Refused(409, f"Job {job.id} has no input yet")
        return _text(job.program)

    async def _output(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        if job.word != "SUCCEEDED" or job.task is None:
            raise Refused(409, f"Job {job.id} is {job.word} and has no output")
        return _text(await self.device.output(job.task))

    async def _memory(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        raise Refused(409, f"Job {job.id} has no memory: its target keeps none")

    async def _transpiled(self, request: web.Request) -> web.Response:
        """The program as it was sent: this device runs it without changing it."""
        job = await self._job(request)
        if job.program is None or not job.has_been("TRANSPILED"):
            raise Refused(409, f"Job {job.id} is {job.word} and has not been transpiled")
        return _text(job.program)

    async def _metrics(self, request: web.Request) -> web.Response:
        job = await self._job(request)
        return web.json_response(job.metrics())

    async def _job(self, request: web.Request) -> Job:
        """The job that a request names, with what has happened to it."""
        self._authenticate(request)
        checked_query(request, ())
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            raise Refused(404, f"Could not find job {request.match_info['id']}")
        await self._follow(job)
        return job

    async def _follow(self, job: Job) -> None:
        if job.task is not None and not job.has_ended:
            job.follows(await self.device.info(job.task))

    def _check_target(self, request: web.Request) -> None:
        self._authenticate(request)
        self._known_target(request.match_info["target"])

    def _known_target(self, name: str) -> None:
        if name != self._target["name"]:
            raise Refused(404, f"Could not find target {name}")


def _text(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/plain", charset="utf-8")
