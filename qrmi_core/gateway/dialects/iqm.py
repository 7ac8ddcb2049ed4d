# SPDX-License-Identifier: Apache-2.0
"""IQM Server API v1: one quantum computer with one calibration set, in front of a device that runs circuit jobs."""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from qrmi_core.engines import EngineResource
from qrmi_core.errors import InputError, TaskNotFound
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Dialect, DialectOptions, Refused, checked_query, iso
from qrmi_core.payloads import IQMServer
from qrmi_core.resource import ResourceStatusCode
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["IQMDialect"]

LONGEST_TAG = 50
DEFAULT_WAIT = 10.0
LONGEST_WAIT = 30.0
WAITING_THREADS = 24
SLICE = 1.0
"""Seconds for which one of the device's threads waits for a job, before another waiting request gets it."""

MAX_EXECUTIONS = 1_000_000
MAX_INSTRUCTIONS = 100_000

WORDS = {
    TaskStatus.QUEUED: "waiting",
    TaskStatus.RUNNING: "processing",
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "cancelled",
}
CODES = {
    400: "invalid_input",
    401: "unauthorized",
    404: "not_found",
    405: "not_found",
    413: "request_payload_too_large",
}
STATUS_OF = {"no_booked_timeslots": 403, "request_payload_too_large": 413}
ARTIFACTS = ("measurements", "measurement_counts")


@dataclass(frozen=True)
class _Job:
    """What only this server knows of a job."""

    task_id: str
    type: str
    tag: str | None
    body: bytes

    @property
    def id(self) -> str:
        return str(uuid.UUID(self.task_id))


class IQMDialect(Dialect):
    """An IQM Server with one quantum computer; ``iqm_crystal`` has the alias ``iqm:crystal``, as IQM writes them."""

    takes = IQMServer
    engine = "iqm_crystal"

    def __init__(self, device: Device, options: DialectOptions) -> None:
        super().__init__(device, options)
        self.alias = ":".join(device.resource.name.rsplit("_", 1))
        self.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:qrmi:quantum-computer:{self.alias}"))
        self._jobs: dict[str, _Job] = {}
        self._queue: dict[str, None] = {}
        self._waiting = asyncio.Semaphore(WAITING_THREADS)

    def routes(self) -> Iterable[web.RouteDef]:
        routes = {
            "GET /about": self._about,
            "GET /quantum-computers": self._computers,
            "GET /quantum-computers/{qc}": self._computer,
            "GET /quantum-computers/{qc}/health": self._health,
            "GET /quantum-computers/{qc}/artifacts/static-quantum-architectures": self._static_architecture,
            "GET /quantum-computers/{qc}/artifacts/about": self._about_station,
            "GET /calibration-sets/{qc}/{cal}": self._calibration_set,
            "GET /calibration-sets/{qc}/{cal}/dynamic-quantum-architecture": self._dynamic_architecture,
            "GET /calibration-sets/{qc}/{cal}/metrics": self._metrics,
            "GET /jobs/{id}": self._job,
            "DELETE /jobs/{id}": self._delete,
            "GET /jobs/{id}/payload": self._payload,
            "POST /jobs/{id}/cancel": self._cancel,
            "GET /jobs/{id}/artifacts/{artifact}": self._artifact,
            "POST /jobs/{qc}/{type}": self._submit,
        }
        for route, handler in routes.items():
            method, _, path = route.partition(" ")
            yield web.route(method, f"/api/v1{path}", self._authorised(handler))

    def environment(self) -> dict[str, str]:
        return {
            "QRMI_IQM_ISA_ENDPOINT": self.url,
            "QRMI_IQM_ISA_TOKEN": self.options.key,
            "QRMI_DEVICE": self.alias,
        }

    def error(self, status: int, message: str, code: str | None) -> Any:
        return {
            "error_code": code or CODES.get(status, "internal_error"),
            "message": message,
            "request_id": str(uuid.uuid4()),
        }

    def _authorised(self, handler: Any) -> Any:
        async def checked(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != f"Bearer {self.options.key}":
                raise Refused(401, "the token is missing or wrong", code="unauthorized")
            if request.match_info.get("qc", self.alias) not in (self.alias, self.id):
                raise Refused(404, f"there is no quantum computer {request.match_info['qc']}", code="qc_not_found")
            answer: web.StreamResponse = await handler(request)
            return answer

        return checked

    async def _about(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        return web.json_response({"name": "an emulated IQM Server"})

    async def _about_station(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        return web.json_response({"version": self.device.resource.resource_type(), "software_versions": {}})

    async def _computers(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        return web.json_response(
            {
                "quantum_computers": [
                    {
                        "id": self.id,
                        "alias": self.alias,
                        "display_name": self.alias,
                        "station_control_version": None,
                        "proxy_path": None,
                    }
                ]
            }
        )

    async def _computer(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        status = await self.device.status()
        resource = self.device.resource
        shots = resource.limits.shots if isinstance(resource, EngineResource) else MAX_EXECUTIONS
        architecture = await self._document("dynamic_quantum_architecture")
        return web.json_response(
            {
                "id": self.id,
                "alias": self.alias,
                "display_name": self.alias,
                "description": status.status_reason or "",
                "backend_type": resource.resource_type(),
                "number_of_qubits": len(architecture["qubits"]),
                "pulla_enabled": False,
                "limits": {"max_executions_per_job": shots, "max_instructions_per_circuit": MAX_INSTRUCTIONS},
                "queue_length": status.pending_job_count or 0,
                "pricing": {"payg_price_per_second": "0"},
                "additional_info": {"academy_url": "", "best_suited_for": [], "documentation_url": "", "mock_url": ""},
                "operational": {ResourceStatusCode.ONLINE: "online", ResourceStatusCode.PAUSED: "maintenance"}.get(
                    status.status, "offline"
                ),
                "health": {"healthy": status.healthy is not False, "updated_at": iso(time.time())},
            }
        )

    async def _health(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        status = await self.device.status()
        return web.json_response({"healthy": status.healthy is not False, "updated_at": iso(time.time())})

    async def _static_architecture(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        return await self._told("static_quantum_architecture", "qc_artifact_not_found")

    async def _calibration_set(self, request: web.Request) -> web.Response:
        await self._check_calibration_set(request)
        return await self._told("calibration_set", "calibration_set_not_found")

    async def _dynamic_architecture(self, request: web.Request) -> web.Response:
        await self._check_calibration_set(request)
        return await self._told("dynamic_quantum_architecture", "calibration_set_not_found")

    async def _metrics(self, request: web.Request) -> web.Response:
        await self._check_calibration_set(request)
        return await self._told("quality_metrics", "quality_metrics_not_found")

    async def _document(self, key: str) -> Any:
        return (await self.device.target()).json()[key]

    async def _told(self, key: str, missing: str) -> web.Response:
        document = await self._document(key)
        if document is None:
            raise Refused(404, f"there are no {key.replace('_', ' ')} here", code=missing)
        return web.json_response(document)

    async def _check_calibration_set(self, request: web.Request) -> None:
        checked_query(request, ())
        asked = request.match_info["cal"]
        if asked not in ("default", await self._calibration_set_id()):
            raise Refused(404, f"there is no calibration set {asked}", code="calibration_set_not_found")

    async def _calibration_set_id(self) -> str:
        return str((await self._document("calibration_set"))["observation_set_id"])

    async def _submit(self, request: web.Request) -> web.Response:
        query = checked_query(request, ("use_timeslot", "tag"))
        use_timeslot = query.get("use_timeslot", "false")
        if use_timeslot not in ("true", "false"):
            raise Refused(400, f"use_timeslot is true or false, not {use_timeslot!r}", code="invalid_input")
        tag = query.get("tag")
        if tag is not None and len(tag) > LONGEST_TAG:
            raise Refused(400, f"a tag has at most {LONGEST_TAG} characters", code="invalid_input")
        body = await request.read()
        payload = IQMServer(body, request.match_info["type"], use_timeslot == "true", tag)
        try:
            task_id = await self.device.submit(payload)
        except InputError as error:
            raise Refused(STATUS_OF.get(error.code or "", 400), str(error), code=error.code) from error
        job = _Job(task_id, payload.job_type, tag, zlib.compress(body))
        self._jobs[job.id] = job
        self._queue[job.id] = None
        return web.json_response(await self._described(job, await self.device.info(task_id)), status=201)

    def _found(self, request: web.Request) -> _Job:
        asked = request.match_info["id"]
        try:
            return self._jobs[str(uuid.UUID(asked))]
        except (KeyError, ValueError):
            raise Refused(404, f"there is no job {asked}", code="job_not_found") from None

    async def _job(self, request: web.Request) -> web.Response:
        query = checked_query(request, ("wait_until_terminal", "timeout_seconds"))
        job = self._found(request)
        info = await self.device.info(job.task_id)
        headers = {}
        if query.get("wait_until_terminal") == "true" and not info.status.is_final:
            info = await self._waited_for(job, _seconds(query.get("timeout_seconds")))
            if not info.status.is_final:
                headers = {"IQM-Long-Poll-Timed-Out": "true"}
        return web.json_response(await self._described(job, info), headers=headers)

    async def _waited_for(self, job: _Job, seconds: float) -> TaskInfo:
        """The job once it has ended or the time is over; many such requests share a few of the device's threads."""
        deadline = time.monotonic() + seconds
        while True:
            async with self._waiting:
                left = deadline - time.monotonic()
                info = await self.device.wait(job.task_id, max(0.0, min(left, SLICE)))
            if info.status.is_final or time.monotonic() >= deadline:
                return info

    async def _described(self, job: _Job, info: TaskInfo) -> dict[str, Any]:
        if info.status is not TaskStatus.QUEUED:
            self._queue.pop(job.id, None)
        ended = info.status.is_final
        failed = info.status is TaskStatus.FAILED
        log = await self.device.logs(job.task_id) if ended else ""
        seconds = info.qpu_seconds if ended else None
        error = {"error_code": info.code, "message": info.reason or "", "source": "iqm-station-control"}
        return {
            "id": job.id,
            "type": job.type,
            "qc": {"id": self.id},
            "status": WORDS[info.status],
            "artifacts": [{"type": name} for name in ARTIFACTS] if info.status is TaskStatus.COMPLETED else [],
            "messages": [{"source": "iqm-station-control", "message": line} for line in log.splitlines()],
            "timeline": _timeline(info),
            "errors": [error] if failed else [],
            "queue_position": await self._position(job) if info.status is TaskStatus.QUEUED else None,
            "runtime_ms": None if seconds is None else math.ceil(seconds * 1000),
            "tag": job.tag,
            "compilation": {
                "calibration_set_id": await self._calibration_set_id(),
                "execution_runtime_estimate_ms": None,
            },
            "execution": None,
        }

    async def _position(self, job: _Job) -> int:
        """How many jobs wait in front of this one."""
        ahead = []
        for other in self._queue:
            if other == job.id:
                break
            ahead.append(other)
        infos = await asyncio.gather(*(self.device.info(self._jobs[other].task_id) for other in ahead))
        for other, info in zip(ahead, infos, strict=True):
            if info.status is not TaskStatus.QUEUED:
                self._queue.pop(other, None)
        return sum(info.status is TaskStatus.QUEUED for info in infos)

    async def _payload(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        job = self._found(request)
        return web.Response(
            body=zlib.decompress(job.body), content_type="application/json", headers={"IQM-Job-Type": job.type}
        )

    async def _cancel(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        job = self._found(request)
        info = await self.device.info(job.task_id)
        if info.status.is_final:
            raise Refused(403, f"the job is {WORDS[info.status]} already", code="illegal_job_status")
        await self.device.cancel(job.task_id)
        return web.json_response(await self._described(job, await self.device.info(job.task_id)))

    async def _delete(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        job = self._found(request)
        await self.device.cancel(job.task_id)
        self._jobs.pop(job.id, None)
        self._queue.pop(job.id, None)
        return web.Response(status=204)

    async def _artifact(self, request: web.Request) -> web.Response:
        checked_query(request, ())
        job = self._found(request)
        name = request.match_info["artifact"]
        info = await self.device.info(job.task_id)
        if name not in ARTIFACTS or info.status is not TaskStatus.COMPLETED:
            raise Refused(404, f"the job has no artifact {name}", code="job_artifact_not_found")
        try:
            output = json.loads(await self.device.output(job.task_id))
        except TaskNotFound as error:
            raise Refused(404, str(error), code="job_not_found") from error
        return web.json_response(output[name])


def _seconds(text: str | None) -> float:
    if text is None:
        return DEFAULT_WAIT
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= LONGEST_WAIT:
        raise Refused(400, f"timeout_seconds is a whole number from 1 to {LONGEST_WAIT:g}", code="invalid_input")
    return float(text)


def _timeline(info: TaskInfo) -> list[dict[str, str]]:
    steps = [
        ("iqm-server", "created", info.created),
        ("iqm-station-control", "received", info.started),
        ("iqm-station-control", WORDS[info.status], info.ended if info.status.is_final else None),
    ]
    return [
        {"source": source, "status": status, "timestamp": told}
        for source, status, moment in steps
        if (told := iso(moment)) is not None
    ]
