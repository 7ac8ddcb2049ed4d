# SPDX-License-Identifier: Apache-2.0
"""Pasqal's cloud, as far as its clients ask it: devices, batches and their results."""

from __future__ import annotations

import json
import uuid
from typing import Any

from aiohttp import web
from emulated_ibm import Handler, answer_json, now
from emulated_jobs import Device, Job

__all__ = ["Pasqal"]

WORDS = {
    "Queued": "PENDING", "Running": "RUNNING", "Completed": "DONE", "Failed": "ERROR", "Cancelled": "CANCELED",
}  # fmt: skip
COUNTER = {"counter": {"0000": 480, "1111": 520}}
FRESNEL = "FRESNEL"


def told(data: Any, status: int = 200, **more: Any) -> web.Response:
    """Data in Pasqal's envelope."""
    return answer_json({"status": "success", "message": "OK.", "code": str(status), "data": data, **more}, status)


class Pasqal:
    """The routes; ``specs`` is the device as Pulser writes it."""

    def __init__(self, device: Device, specs: str) -> None:
        self._device = device
        self._specs = specs

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of each."""
        v1, v2 = "/core-fast/api/v1", "/core-fast/api/v2"
        return [
            ("GET", f"{v1}/devices", self.devices),
            ("GET", f"{v1}/devices/public-specs", self.public_specs),
            ("GET", f"{v1}/devices/specs/{{type}}", self.spec),
            ("GET", f"{v1}/devices/specs", self.specs),
            ("POST", f"{v1}/batches", self.new),
            ("GET", f"{v2}/batches/{{id}}", self.batch),
            ("GET", f"{v1}/batches/{{id}}/status", self.status),
            ("GET", f"{v1}/batches/{{id}}/full_results", self.results),
            ("PATCH", f"{v2}/batches/{{id}}/cancel", self.cancel),
            ("GET", f"{v2}/jobs/{{id}}", self.job),
            ("GET", f"{v1}/jobs/{{id}}/status", self.job),
            ("GET", f"{v2}/jobs", self.jobs),
            ("GET", f"{v1}/jobs/{{id}}/results_link", self.link),
            ("GET", "/s3/{id}", self.stored),
        ]

    async def devices(self, request: web.Request) -> web.Response:
        kind = request.query.get("device_type", FRESNEL)
        return told([{"status": "UP", "availability": "ACTIVE", "device_type": kind}])

    async def public_specs(self, request: web.Request) -> web.Response:
        return told([{"device_type": FRESNEL, "specs": self._specs}])

    async def spec(self, request: web.Request) -> web.Response:
        return told({"device_type": request.match_info["type"], "specs": self._specs})

    async def specs(self, request: web.Request) -> web.Response:
        return told({FRESNEL: self._specs})

    async def new(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        start, end = self._device.times()
        jobs = [{"id": str(uuid.uuid4()), "runs": job.get("runs")} for job in body.get("jobs", [])]
        batch = Job(str(uuid.uuid4()), body, start, end, now(), details={"jobs": jobs})
        self._device.batches[batch.id] = batch
        listed = [self.shown_job(batch, job) for job in jobs]
        return told({**self.shown(batch, whole=True), "jobs": listed})

    @staticmethod
    def shown_job(batch: Job, job: dict[str, Any]) -> dict[str, Any]:
        """A job of a batch as it is told."""
        return {
            "id": job["id"], "batch_id": batch.id, "project_id": batch.body.get("project_id", "p"),
            "status": WORDS[batch.state], "runs": job["runs"], "created_at": batch.created,
            "updated_at": batch.created, "errors": None,
        }  # fmt: skip

    @staticmethod
    def shown(batch: Job, *, whole: bool) -> dict[str, Any]:
        """A batch as it is told; ``whole``: with its sequence."""
        jobs, status = batch.details["jobs"], WORDS[batch.state]
        view = {
            "id": batch.id, "open": False, "complete": True, "created_at": batch.created, "updated_at": batch.created,
            "device_type": batch.body.get("device_type") or FRESNEL, "user_id": "u", "status": status,
            "project_id": batch.body.get("project_id", "p"), "jobs_count": len(jobs),
            "jobs_count_per_status": {status: len(jobs)}, "job_ids": [job["id"] for job in jobs],
        }  # fmt: skip
        return {**view, "sequence_builder": batch.body.get("sequence_builder")} if whole else view

    def known(self, request: web.Request) -> Job:
        """The batch that a path names."""
        batch = self._device.batches.get(request.match_info["id"])
        if batch is None:
            text = json.dumps({"status": "fail", "code": "404", "message": "batch not found"})
            raise web.HTTPNotFound(text=text, content_type="application/json")
        return batch

    def known_job(self, request: web.Request) -> tuple[Job, dict[str, Any]]:
        """The job that a path names, and its batch."""
        asked = request.match_info["id"]
        for batch in self._device.batches.values():
            for job in batch.details["jobs"]:
                if job["id"] == asked:
                    return batch, job
        raise web.HTTPNotFound

    async def batch(self, request: web.Request) -> web.Response:
        return told(self.shown(self.known(request), whole=True))

    async def status(self, request: web.Request) -> web.Response:
        return told(self.shown(self.known(request), whole=False))

    async def results(self, request: web.Request) -> web.Response:
        batch = self.known(request)
        return told({job["id"]: COUNTER for job in batch.details["jobs"]} if batch.state == "Completed" else {})

    async def cancel(self, request: web.Request) -> web.Response:
        batch = self.known(request)
        if not batch.is_pending:
            return answer_json({"status": "fail", "code": "400", "message": "batch is already terminated"}, 400)
        batch.cancelled = True
        return told(self.shown(batch, whole=True))

    async def job(self, request: web.Request) -> web.Response:
        return told(self.shown_job(*self.known_job(request)))

    async def jobs(self, request: web.Request) -> web.Response:
        batch = self._device.batches.get(request.query.get("batch_id", ""))
        listed = [self.shown_job(batch, job) for job in batch.details["jobs"]] if batch else []
        return told(listed, pagination={"total": len(listed), "start": 0, "end": len(listed)})

    async def link(self, request: web.Request) -> web.Response:
        batch, job = self.known_job(request)
        return told({"results_link": f"http://{request.host}/s3/{job['id']}" if batch.state == "Completed" else None})

    async def stored(self, request: web.Request) -> web.Response:
        return answer_json({**COUNTER, "raw": None})
