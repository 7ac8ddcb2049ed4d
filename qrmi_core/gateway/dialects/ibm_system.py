# SPDX-License-Identifier: Apache-2.0
"""IBM's API of machines on a site's own premises.

The machine fetches a job's input by the presigned URL that the client made, and puts the result and the log to two
others. There is no queue: a job runs from the moment it is taken, and one that finds no free lane is refused.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from qrmi_core.errors import QRMIError
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Dialect, DialectOptions, Refused, checked_query, iso, json_body
from qrmi_core.gateway.dialects.iam import CRN, Iam
from qrmi_core.gateway.dialects.presigned import Presigned, TransferFailed
from qrmi_core.payloads import QiskitPrimitive
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["QuantumSystem"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LANES = 10
KINDS = ("input", "results", "logs")
LEVELS = ("critical", "error", "warning", "info", "debug")
PROGRAMS = ("sampler", "estimator")
STORAGES = ("s3_compatible", "ibmcloud_cos")
KEYS = frozenset({"id", "backend", "program_id", "log_level", "timeout_secs", "storage"})
LOOK = 5.0
ENDING = 5.0

UNAUTHORIZED, NO_BACKEND, DUPLICATE, NO_LANE, RESERVED = "1201", "1216", "1231", "1232", "1233"
NO_JOB, ENDED, RUNS = "1291", "1306", "1337"
TOO_LONG, FAILED = 1305, 1517


@dataclass
class Job:
    """A job as it was sent, and what has become of it."""

    sent: dict[str, Any]
    listed_from: float
    created: float = field(default_factory=time.time)
    status: str = "Running"
    ended: float | None = None
    nanoseconds: int | None = None
    code: int | None = None
    reason: str | None = None
    solution: str | None = None
    work: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return str(self.sent["id"])

    def end(self, status: str, *, code: int | None = None, reason: str | None = None, solution: str = "") -> None:
        """Say how it ended."""
        self.status, self.ended = status, time.time()
        self.code, self.reason, self.solution = code, reason, solution

    def url(self, kind: str) -> str:
        """The presigned URL of its input, results or logs."""
        return str(self.sent["storage"][kind]["presigned_url"])

    def document(self) -> dict[str, Any]:
        """The job as the API tells it."""
        told = {**self.sent, "status": self.status, "created_time": iso(self.created)}
        if self.ended is not None:
            told |= {"end_time": iso(self.ended), "usage": {"quantum_nanoseconds": self.nanoseconds or 0}}
        if self.code is not None:
            told |= {"reason_code": self.code, "reason_message": self.reason, "reason_solution": self.solution}
        return told


class QuantumSystem(Dialect):
    """One machine; tests and the curious set what follows while it runs.

    ``reserved`` makes it refuse jobs (423); ``paused`` is a reason why it is so. With ``counts_ended_jobs`` a job
    occupies its lane until its record is deleted, as one implementation of this API has it. ``DialectOptions.without``
    takes ``lanes``.
    """

    takes = QiskitPrimitive
    engine = "aer_fez"
    optional = frozenset({"lanes"})
    hint = (
        "inputs and results go through an S3 storage of your own: name it in the entry's QRMI_IBM_QS_S3_... and "
        "QRMI_IBM_QS_AWS_..., or start `moto_server` (pip install 'moto[s3,server]') and make the bucket with "
        "`curl -X PUT http://127.0.0.1:5000/qrmi`"
    )

    def __init__(self, device: Device, options: DialectOptions) -> None:
        super().__init__(device, options)
        self.reserved = False
        self.paused: str | None = None
        self.counts_ended_jobs = False
        self.jobs: dict[str, Job] = {}
        self._iam = Iam(options)
        self._storage = Presigned()
        self._lanes = device.lanes or LANES
        self._name = device.resource.name

    def routes(self) -> Iterable[web.RouteDef]:
        known = self._for_those_known
        routes = [
            web.get("/version", self._version),
            web.get("/versions", self._versions),
            web.get("/v1/backends", known(self._backends)),
            web.get("/v1/backends/{name}", known(self._backend)),
            web.get("/v1/backends/{name}/configuration", known(self._configuration)),
            web.get("/v1/backends/{name}/properties", known(self._properties)),
            web.post("/v1/jobs", known(self._take)),
            web.get("/v1/jobs", known(self._list)),
            web.get("/v1/jobs/{id}", known(self._tell)),
            web.post("/v1/jobs/{id}/cancel", known(self._cancel)),
            web.delete("/v1/jobs/{id}", known(self._delete)),
        ]
        if "lanes" not in self.options.without:
            routes.append(web.get("/v1/backends/{name}/lanes", known(self._tell_lanes)))
        return [*self._iam.routes(), *routes]

    def environment(self) -> dict[str, str]:
        """What reaches this server; the storage is the user's own, described as `moto_server` has it."""
        return {
            "QRMI_DEVICE": self._name,
            "QRMI_IBM_QS_ENDPOINT": self.url,
            "QRMI_IBM_QS_IAM_ENDPOINT": self.url,
            "QRMI_IBM_QS_IAM_APIKEY": self.options.key,
            "QRMI_IBM_QS_SERVICE_CRN": CRN,
            "QRMI_IBM_QS_S3_ENDPOINT": "http://127.0.0.1:5000",
            "QRMI_IBM_QS_S3_BUCKET": "qrmi",
            "QRMI_IBM_QS_S3_REGION": "us-east-1",
            "QRMI_IBM_QS_AWS_ACCESS_KEY_ID": "testing",
            "QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY": "testing",
        }

    def error(self, status: int, message: str, code: str | None) -> Any:
        told = {"message": message, "more_info": "https://quantum.cloud.ibm.com/docs/errors"}
        return {
            "status_code": status,
            "title": message,
            "trace": str(uuid.uuid4()),
            "errors": [{"code": code, **told} if code else told],
        }

    async def started(self) -> None:
        await self._storage.open()

    async def ended(self) -> None:
        works = [job.work for job in self.jobs.values() if job.work is not None and job.work.cancel()]
        if works:
            await asyncio.wait(works, timeout=ENDING)
        await self._storage.close()

    def _for_those_known(self, handler: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            if not self._iam.accepts(request):
                raise Refused(401, "Invalid credentials: the token is missing, wrong or expired", code=UNAUTHORIZED)
            if request.headers.get("Service-CRN") != CRN:
                raise Refused(401, "Invalid credentials: there is no such instance", code=UNAUTHORIZED)
            checked_query(request, ())
            return await handler(request)

        return checked

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": "1.0.0"})

    async def _versions(self, _request: web.Request) -> web.Response:
        return web.json_response({"versions": ["2025-08-01"]})

    async def _backends(self, _request: web.Request) -> web.Response:
        return web.json_response({"backends": [await self._about_backend()]})

    async def _backend(self, request: web.Request) -> web.Response:
        self._check_backend(request.match_info["name"])
        return web.json_response(await self._about_backend())

    async def _about_backend(self) -> dict[str, Any]:
        status = await self.device.status()
        word, reason = status.status.value, status.status_reason
        if self.paused is not None:
            word, reason = "paused", self.paused
        told: dict[str, Any] = {"name": self._name, "status": word, "version": "1.0.0"}
        if word == "online":
            told["locked"] = self.reserved
        if reason:
            told["message"] = reason
        return told

    async def _configuration(self, request: web.Request) -> web.Response:
        return await self._part_of_target(request, "configuration")

    async def _properties(self, request: web.Request) -> web.Response:
        return await self._part_of_target(request, "properties")

    async def _part_of_target(self, request: web.Request, part: str) -> web.Response:
        self._check_backend(request.match_info["name"])
        target = (await self.device.target()).json()
        if target.get(part) is None:
            raise Refused(404, f"{self._name} has no {part}", code=NO_BACKEND)
        return web.json_response(target[part])

    async def _tell_lanes(self, request: web.Request) -> web.Response:
        self._check_backend(request.match_info["name"])
        lanes = {"hpc_workload_manager": {"lanes": self._lanes}, "ibm_quantum_compute": {"lanes": 0}}
        return web.json_response(lanes)

    def _check_backend(self, name: object) -> None:
        if name != self._name:
            raise Refused(404, f"Backend not found: {name}", code=NO_BACKEND)

    async def _take(self, request: web.Request) -> web.Response:
        sent = _checked_job(await json_body(request))
        self._check_backend(sent["backend"])
        if sent["id"] in self.jobs:
            raise Refused(409, f"A job of this id exists: {sent['id']}", code=DUPLICATE)
        if self.reserved:
            raise Refused(423, f"Backend {self._name} is reserved", code=RESERVED)
        occupying = sum(self.counts_ended_jobs or job.status == "Running" for job in self.jobs.values())
        if occupying >= self._lanes:
            raise Refused(429, f"All {self._lanes} lanes of {self._name} are taken", code=NO_LANE)
        job = self.jobs[sent["id"]] = Job(sent, self.listed_from())
        job.work = asyncio.create_task(self._run(job))
        return web.Response(status=204)

    async def _list(self, _request: web.Request) -> web.Response:
        now = time.monotonic()
        return web.json_response({"jobs": [job.document() for job in self.jobs.values() if job.listed_from <= now]})

    async def _tell(self, request: web.Request) -> web.Response:
        return web.json_response(self._job(request).document())

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if job.status != "Running":
            raise Refused(409, f"Job {job.id} has ended: {job.status}", code=ENDED)
        job.end("Cancelled")
        if job.work is not None:
            job.work.cancel()
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if job.status == "Running":
            raise Refused(409, f"Job {job.id} runs: cancel it first", code=RUNS)
        del self.jobs[job.id]
        return web.Response(status=204)

    def _job(self, request: web.Request) -> Job:
        job_id = request.match_info["id"]
        try:
            return self.jobs[job_id]
        except KeyError:
            raise Refused(404, f"Job not found. Job ID: {job_id}", code=NO_JOB) from None

    async def _run(self, job: Job) -> None:
        try:
            async with asyncio.timeout(job.sent["timeout_secs"]):
                info, output, log = await self._execute(job)
            if output is not None:
                await self._storage.put(job.url("results"), output)
            await self._storage.put(job.url("logs"), log.encode())
        except TimeoutError:
            limit = job.sent["timeout_secs"]
            job.end("Cancelled", code=TOO_LONG, reason=f"Ran longer than {limit} s", solution="Ask for more time.")
        except TransferFailed as error:
            job.end("Failed", code=FAILED, reason=str(error), solution="Check the storage and the life of its URLs.")
        except Exception as error:  # noqa: BLE001  whatever it is, the job has ended by it
            solution = error.solution if isinstance(error, QRMIError) else None
            job.end("Failed", code=FAILED, reason=str(error), solution=solution or "")
        else:
            job.nanoseconds = _nanoseconds(info)
            if info.status is TaskStatus.COMPLETED:
                job.end("Completed")
            else:
                job.end("Failed", code=FAILED, reason=info.reason, solution=info.solution or "")

    async def _execute(self, job: Job) -> tuple[TaskInfo, bytes | None, str]:
        """Run a job on the device; how it ended, its result if there is one, and its log."""
        payload = QiskitPrimitive(job.sent["program_id"], await self._storage.get(job.url("input")))
        task_id = await self.device.submit(payload)
        try:
            while not (info := await self.device.wait(task_id, LOOK)).status.is_final:
                pass
        except asyncio.CancelledError:
            await asyncio.shield(self.device.cancel(task_id))
            raise
        output = await self.device.output(task_id) if info.status is TaskStatus.COMPLETED else None
        return info, output, await self.device.logs(task_id)


def _checked_job(body: Any) -> dict[str, Any]:
    """The body of a new job.

    Raises:
        Refused: 400, it is not one.
    """
    if not isinstance(body, dict):
        raise Refused(400, "the body is not an object")
    if wrong := sorted(body.keys() ^ KEYS):
        raise Refused(400, f"these keys are missing or unknown: {', '.join(map(str, wrong))}")
    if not _is_uuid(body["id"]):
        raise Refused(400, "id is not a UUID")
    for key, words in (("program_id", PROGRAMS), ("log_level", LEVELS)):
        if body[key] not in words:
            raise Refused(400, f"{key} is none of {', '.join(words)}")
    timeout = body["timeout_secs"]
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout <= 0:
        raise Refused(400, "timeout_secs is not a positive number")
    storage = body["storage"]
    if not isinstance(storage, dict) or sorted(storage) != sorted(KINDS):
        raise Refused(400, f"storage has not the keys {', '.join(KINDS)}")
    for kind in KINDS:
        place = storage[kind]
        if not isinstance(place, dict) or place.get("type") not in STORAGES:
            raise Refused(400, f"storage.{kind}.type is none of {', '.join(STORAGES)}")
        if not str(place.get("presigned_url", "")).startswith(("http://", "https://")):
            raise Refused(400, f"storage.{kind}.presigned_url is no URL")
    return body


def _is_uuid(text: object) -> bool:
    try:
        return str(uuid.UUID(str(text))) == text
    except ValueError:
        return False


def _nanoseconds(info: TaskInfo) -> int:
    seconds = info.qpu_seconds
    if seconds is None and info.started is not None and info.ended is not None:
        seconds = info.ended - info.started
    return round((seconds or 0.0) * 1e9)
