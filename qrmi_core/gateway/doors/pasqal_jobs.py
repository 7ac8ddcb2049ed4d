# SPDX-License-Identifier: Apache-2.0
"""The jobs of batches on Pasqal's cloud, and their results; whose a job is, its batch tells."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from aiohttp import web

from qrmi_core.drivers.pasqal_batches import batch_info, job_info
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.doors.door import Refusal, Visit
from qrmi_core.gateway.doors.pasqal_api import LONGEST_HOLD, is_id, no_job, succeeded
from qrmi_core.gateway.doors.pasqal_forms import (
    JOB_FILTERS,
    PAGE,
    UNFINISHED,
    decoded,
    filters,
    listed,
    page,
)
from qrmi_core.gateway.doors.pasqal_passing import PasqalPassing, resource_of
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.gateway.doors.upstream import relay

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.doors import Doors

__all__ = ["PasqalJobs"]


REMEMBERED = 10_000
AGAIN_SECONDS = 2.0
SHORT_HOLD = 1.0
"""A list of jobs that the same job has seen within so many seconds unfinished is held so long for what is new."""


class PasqalJobs(PasqalPassing):
    """The routes of jobs."""

    def __init__(self, doors: Doors) -> None:
        super().__init__(doors)
        self._batch_of: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._unfinished: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._closed: OrderedDict[tuple[str, str], bool] = OrderedDict()

    async def jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        asked = filters(request, JOB_FILTERS)
        wanted = list(dict.fromkeys(request.query.getall("batch_id", ())))
        own = await self._own_ids(visit) if len(wanted) != 1 else await self._own_of(visit, wanted[0])
        ids = [each for each in own if not wanted or each in wanted][:PAGE]
        offset, limit = page(request)
        if not ids:
            return succeeded([], pagination={"total": 0, "start": offset, "end": offset})
        if len(ids) == 1:
            await self._hold(visit, ids[0])
        rest = [(key, value) for key, value in asked if key != "batch_id"]
        filtered = any(key not in {"order_by", "order_by_direction"} for key, _ in rest)
        query = urlencode([*rest, *(("batch_id", each) for each in ids), ("offset", offset), ("limit", limit)])
        answer = await self._ask(resource_of(visit), "GET", f"/v2/jobs?{query}")
        if not answer.is_success:
            return answer.response()
        jobs = await listed(answer)
        if any(each.get("batch_id") not in ids for each in jobs):
            raise Refusal(502, "the list of jobs is not of the batches that were asked for")
        await self._learn(visit, ids, jobs, whole=not offset and len(jobs) < limit and not filtered)
        return answer.response()

    async def _own_of(self, visit: Visit, batch_id: str) -> list[str]:
        return [batch_id] if await self.own_task(visit, batch_id) is not None else []

    async def _hold(self, visit: Visit, batch_id: str) -> None:
        """Let who asks again and again wait for a moment, so that the vendor is not asked for each of them."""
        seen = self._unfinished.get((visit.lease.id, batch_id))
        if seen is not None and time.monotonic() - seen < AGAIN_SECONDS:
            with contextlib.suppress(QRMIError):
                await self._watch(resource_of(visit)).ended(batch_id, SHORT_HOLD, known=seen)

    async def _learn(self, visit: Visit, ids: list[str], jobs: list[dict[str, Any]], *, whole: bool) -> None:
        """Remember whose jobs these are; and what they used, where they are all of a batch that has ended."""
        for job in jobs:
            self._keep(self._batch_of, (resource_of(visit), str(job.get("id"))), str(job["batch_id"]))
        if len(ids) != 1:
            return
        if any(job.get("status") in UNFINISHED for job in jobs):
            self._keep(self._unfinished, (visit.lease.id, ids[0]), time.monotonic())
            return
        self._unfinished.pop((visit.lease.id, ids[0]), None)
        task = await self.own_task(visit, ids[0])
        if whole and jobs and task is not None:
            infos = [job_info(job, task.resource) for job in jobs]
            info = batch_info(task.task_id, infos, closed=(task.resource, ids[0]) in self._closed, word=None)
            self.noted(
                visit.lease,
                task,
                started=info.started,
                ended=info.ended,
                usage=info.qpu_seconds,
                shots=info.shots,
                outcome=info.status.value if info.status.is_final else None,
            )

    @staticmethod
    def _keep(kept: OrderedDict[tuple[str, str], Any], key: tuple[str, str], value: Any) -> None:
        kept[key] = value
        while len(kept) > REMEMBERED:
            kept.popitem(last=False)

    async def _own_job(self, visit: Visit, request: web.Request) -> str:
        """The id of a job that is in one of the job's own batches."""
        return await self._checked_job(visit, request.match_info["job"])

    async def _checked_job(self, visit: Visit, job_id: str) -> str:
        resource = resource_of(visit)
        batch_id = self._batch_of.get((resource, job_id)) if is_id(job_id) else None
        if batch_id is None:
            answer = await self._job_view(visit, job_id)
            if not answer.is_success:
                raise Refusal(answer.status, f"job {job_id[:80]} cannot be looked at now", headers=_again(answer))
        elif await self.own_task(visit, batch_id) is None:
            raise no_job(job_id)
        return job_id

    async def _job_view(self, visit: Visit, job_id: str) -> Answer:
        """A job of the job's own, or the vendor's error."""
        if not is_id(job_id):
            raise no_job(job_id)
        answer = await self._ask(resource_of(visit), "GET", f"/v2/jobs/{job_id}")
        if answer.status in {400, 403, 404, 422}:
            raise no_job(job_id)
        if answer.is_success:
            batch_id = str((await decoded(answer)).get("batch_id"))
            if await self.own_task(visit, batch_id) is None:
                raise no_job(job_id)
            self._keep(self._batch_of, (resource_of(visit), job_id), batch_id)
        return answer

    async def job(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return (await self._job_view(visit, request.match_info["job"])).response()

    async def job_status(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        job_id, end = await self._own_job(visit, request), time.monotonic() + LONGEST_HOLD
        name = resource_of(visit)
        while True:
            answer = await self._ask(name, "GET", f"/v1/jobs/{job_id}/status")
            unfinished = answer.is_success and (await decoded(answer)).get("status") in UNFINISHED
            if not unfinished or time.monotonic() > end or self.doors.stopping.is_set():
                return answer.response()
            batch_id = self._batch_of.get((name, job_id), job_id)
            with contextlib.suppress(QRMIError):
                await self._watch(name).ended(batch_id, SHORT_HOLD, known=time.monotonic())

    async def cancel_job(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        job_id = await self._own_job(visit, request)
        return (await self._ask(resource_of(visit), "PATCH", f"/v2/jobs/{job_id}/cancel")).response()

    async def results_link(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        job_id = await self._own_job(visit, request)
        answer = await self._ask(resource_of(visit), "GET", f"/v1/jobs/{job_id}/results_link")
        if not answer.is_success:
            return answer.response()
        there = (await decoded(answer)).get("results_link")
        return succeeded({"results_link": self.link_to(visit, job_id) if there else None})

    async def result(self, visit: Visit, job_id: str, request: web.Request) -> web.StreamResponse:
        await self._checked_job(visit, job_id)
        name = request.match_info["resource"]
        answer = await self._ask(name, "GET", f"/v1/jobs/{job_id}/results_link")
        if not answer.is_success:
            return answer.response()
        found = self._way(name).to_result(str((await decoded(answer)).get("results_link")))
        if found is None:
            raise Refusal(404, "there is no such result")
        storage, path = found
        async with storage.send("GET", path) as response:
            return await relay(request, response)


def _again(answer: Answer) -> dict[str, str]:
    return {key: value for key, value in answer.headers.items() if key.lower() == "retry-after"}
