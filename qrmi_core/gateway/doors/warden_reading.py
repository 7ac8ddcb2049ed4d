# SPDX-License-Identifier: Apache-2.0
"""What programs for Pasqal's cloud may ask of a Warden: the device, and their user's batches, which are kept here."""

from __future__ import annotations

import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aiohttp import web

from qrmi_core.drivers.pasqal_local import PasqalLocal
from qrmi_core.drivers.warden_batch import counter_of
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.dialects.dialect import Refused
from qrmi_core.gateway.dialects.pasqal_filters import BATCH_FILTERS, JOB_FILTERS, page, selected
from qrmi_core.gateway.dialects.pasqal_records import WORDS, Batch
from qrmi_core.gateway.doors.door import Refusal, Visit
from qrmi_core.gateway.doors.pasqal_api import LONGEST_HOLD, is_id, no_batch, no_job, succeeded
from qrmi_core.gateway.doors.pasqal_forms import has_settled
from qrmi_core.gateway.doors.pasqal_passing import resource_of
from qrmi_core.gateway.doors.pasqal_watch import batch_watch
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.gateway.doors.upstream import Upstream
from qrmi_core.gateway.doors.warden_batches import BatchFiles, WardenBatch, WardenJob, batch_of, warden_job_of
from qrmi_core.gateway.doors.warden_native import WardenNative
from qrmi_core.gateway.doors.watch import Watch
from qrmi_core.tasks import TaskInfo, TaskStatus

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.doors import Doors

__all__ = ["BATCH", "WardenReading", "checked", "name_in", "project_of", "refusal"]

BATCH = "batch"
KEPT = 4096
SPECS_SECONDS = 60.0
SHORT_HOLD = 1.0
_NO_REASON = "Warden gives no reason for a failed job"


class WardenReading(WardenNative):
    """The routes that change nothing."""

    def __init__(self, doors: Doors) -> None:
        super().__init__(doors)
        self._files = BatchFiles(Path(doors.gateway.settings.state_dir) / "batches")
        self._ended: OrderedDict[tuple[str, int], TaskInfo] = OrderedDict()
        self._waiting: OrderedDict[str, Visit] = OrderedDict()
        self._watches: WeakKeyDictionary[Upstream, Watch[bool]] = WeakKeyDictionary()
        self._known_specs: WeakKeyDictionary[Upstream, tuple[float, str]] = WeakKeyDictionary()

    async def devices(self, request: web.Request) -> web.StreamResponse:
        name = self.resource_of(request)
        answer = await self.asked(None, name, "GET", "/accessible")
        if not answer.is_success:
            raise refusal(answer)
        told = answer.json()
        up = isinstance(told, dict) and told.get("is_accessible") is True
        state = {"status": "UP" if up else "DOWN", "availability": "ACTIVE" if up else "INACTIVE"}
        device, wanted = self.warden(name).device or name, request.query.get("device_type")
        return succeeded([{"device_type": device, **state}] if wanted in {None, device} else [])

    async def public_specs(self, request: web.Request) -> web.StreamResponse:
        visit = await self.visit(self.credential(request), request)
        device, specs = await self._device(visit)
        return succeeded([{"device_type": device, "specs": specs}])

    async def projects(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return succeeded([{"id": project_of(visit), "name": f"of {visit.resource}", "status": "ACTIVE"}])

    async def specs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        device, specs = await self._device(visit)
        return succeeded({device: specs})

    async def specs_of(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        device, specs = await self._device(visit)
        if request.match_info["device_type"] != device:
            raise Refusal(403, f"this job's device type is {device}, and no other")
        return succeeded({"device_type": device, "specs": specs})

    async def _device(self, visit: Visit) -> tuple[str, str]:
        """The QPU's device type, and the device as Pulser writes it."""
        way = self.warden(resource_of(visit))
        known = self._known_specs.get(way)
        if known is None or known[0] < time.monotonic():
            answer = await self._warden(visit, "GET", "/qpu/specs")
            told = answer.json()
            if not answer.is_success or not isinstance(told, dict) or not isinstance(told.get("specs"), str):
                raise refusal(answer)
            known = self._known_specs[way] = (time.monotonic() + SPECS_SECONDS, told["specs"])
        return way.device or name_in(known[1]), known[1]

    async def _warden(
        self, visit: Visit, method: str, path: str, body: bytes | None = None, session: str | None = None
    ) -> Answer:
        holder = visit.lease.holder
        return await self.asked(None if holder is None else holder.uid, resource_of(visit), method, path, body, session)

    async def _own(self, visit: Visit, batch_id: str) -> WardenBatch:
        """A batch that the job may know.

        Raises:
            Refusal: 404, it may not, or there is none.
        """
        task = await self.doors.books.find(visit.lease, resource_of(visit), batch_id) if is_id(batch_id) else None
        batch = None
        if task is not None and task.kind == BATCH:
            batch = self._files.at_hand(batch_id) or await self.doors.gateway.within(
                "journal", self._files.load, batch_id
            )
        if batch is None:
            raise no_batch(batch_id)
        return batch

    async def _all(self, visit: Visit) -> list[WardenBatch]:
        """The batches that the job may know, the newest first."""
        found = []
        for task in await self.doors.books.readable(visit.lease, resource_of(visit), kind=BATCH):
            try:
                found.append(await self._own(visit, task.task_id))
            except Refusal:
                continue  # its file was removed
        return found

    async def _own_job(self, visit: Visit, job_id: str) -> tuple[WardenBatch, WardenJob]:
        try:
            batch = await self._own(visit, batch_of(job_id))
        except Refusal:
            raise no_job(job_id) from None
        job = warden_job_of(batch, job_id)
        if job is None:
            raise no_job(job_id)
        return batch, job

    async def _info(self, visit: Visit, job: WardenJob) -> TaskInfo:
        """Where one job is; what has ended is not asked for again."""
        name = resource_of(visit)
        if (known := self._ended.get((name, job.number))) is not None:
            return known
        told = await self._told(visit, job)
        status = PasqalLocal.words.get(str(told.get("status")), TaskStatus.RUNNING)
        now = time.time()
        info = TaskInfo(
            str(job.number),
            status,
            reason=_NO_REASON if status is TaskStatus.FAILED else None,
            ended=now if status.is_final else None,
        )
        if status.is_final:
            self._ended[name, job.number] = info
            while len(self._ended) > KEPT:
                self._ended.popitem(last=False)
            task = await self.doors.books.find(visit.lease, name, str(job.number))
            if task is not None:
                self.learn(visit.lease, task, told)
        return info

    async def _told(self, visit: Visit, job: WardenJob) -> Mapping[str, Any]:
        answer = await self._warden(visit, "GET", f"/jobs/{job.number}")
        told = answer.json()
        if not answer.is_success or not isinstance(told, dict):
            raise refusal(answer)
        return told

    async def _view(self, visit: Visit, batch: WardenBatch) -> tuple[Batch, dict[str, TaskInfo]]:
        infos = {batch.job_id(job): await self._info(visit, job) for job in batch.jobs}
        return batch.shown(project_of(visit), _user(visit)), infos

    async def _shown(self, visit: Visit, batch: WardenBatch) -> web.Response:
        shown, infos = await self._view(visit, batch)
        return succeeded({**shown.view(infos), "sequence_builder": batch.sequence})

    async def batch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return await self._shown(visit, await self._own(visit, request.match_info["batch"]))

    async def batch_status(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        batch_id, end = request.match_info["batch"], time.monotonic() + LONGEST_HOLD
        await self._own(visit, batch_id)
        known = None
        while True:
            if known is not None or self._watch(resource_of(visit)).knows(batch_id):
                await self._waited(visit, batch_id, end - time.monotonic(), known)
            shown, infos = await self._view(visit, await self._own(visit, batch_id))
            view = shown.view(infos)
            if has_settled(view) or time.monotonic() >= end or self.doors.stopping.is_set():
                return succeeded({name: view[name] for name in ("status", "jobs_count_per_status")})
            known = time.monotonic()

    async def _waited(self, visit: Visit, batch_id: str, seconds: float, known: float | None) -> None:
        """Wait for a batch's end, for so many seconds; less where Warden does not tell."""
        self._waiting[batch_id] = visit
        while len(self._waiting) > KEPT:
            self._waiting.popitem(last=False)
        with contextlib.suppress(QRMIError):
            await self._watch(resource_of(visit)).ended(batch_id, seconds, known=known)

    def _watch(self, resource: str) -> Watch[bool]:
        way = self.warden(resource)
        if way not in self._watches:
            self._watches[way] = batch_watch(
                self._settled, min_poll=way.min_poll, is_final=bool, stopping=self.doors.stopping
            )
        return self._watches[way]

    async def _settled(self, batches: Collection[str]) -> Mapping[str, bool]:
        """Whether the jobs of some batches have all ended; of each only the first that has not is asked for."""
        settled = {}
        for batch_id in batches:
            visit = self._waiting.get(batch_id)
            with contextlib.suppress(QRMIError):
                if visit is not None:
                    settled[batch_id] = await self._has_ended(visit, await self._own(visit, batch_id))
        for batch_id in (each for each, is_over in settled.items() if is_over):
            self._waiting.pop(batch_id, None)
        return settled

    async def _has_ended(self, visit: Visit, batch: WardenBatch) -> bool:
        for job in batch.jobs:
            if not (await self._info(visit, job)).status.is_final:
                return False
        return True

    async def batches(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        _checked_keys(request, BATCH_FILTERS)
        views = []
        for batch in await self._all(visit):
            shown, infos = await self._view(visit, batch)
            views.append(shown.view(infos))
        return _listed(request, views)

    async def jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        _checked_keys(request, JOB_FILTERS)
        wanted = request.query.getall("batch_id", None)
        views: list[dict[str, Any]] = []
        for batch in reversed(await self._of(visit, wanted)):
            shown, infos = await self._view(visit, batch)
            views += [job.view(shown, infos[job.id]) for job in shown.jobs]
        if request.query.get("order_by_direction", "DESC").upper() != "ASC":
            views.reverse()
        return _listed(request, views)

    async def _of(self, visit: Visit, wanted: Collection[str] | None) -> list[WardenBatch]:
        if wanted is None:
            return await self._all(visit)
        found = []
        for batch_id in wanted:
            try:
                found.append(await self._own(visit, batch_id))
            except Refusal:
                continue
        return found

    async def full_results(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        batch = await self._own(visit, request.match_info["batch"])
        done = [job for job in batch.jobs if (await self._info(visit, job)).status is TaskStatus.COMPLETED]
        return succeeded({batch.job_id(job): await self._result(visit, job) for job in done})

    async def _result(self, visit: Visit, job: WardenJob) -> dict[str, Any]:
        told = await self._told(visit, job)
        counter = counter_of(told.get("results"), f"{visit.resource}: the results of job {job.number}")
        return {"counter": counter, "raw": None, "serialised_results": None}

    async def job(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        batch, job = await self._own_job(visit, request.match_info["job"])
        shown = batch.shown(project_of(visit), _user(visit))
        one = next(each for each in shown.jobs if each.id == batch.job_id(job))
        return succeeded({**one.view(shown, await self._info(visit, job)), "sequence": job.spec.sequence})

    async def job_status(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        batch, job = await self._own_job(visit, request.match_info["job"])
        end = time.monotonic() + LONGEST_HOLD
        while True:
            info = await self._info(visit, job)
            if info.status.is_final or time.monotonic() > end or self.doors.stopping.is_set():
                return succeeded({"status": WORDS[info.status]})
            await self._waited(visit, batch.id, SHORT_HOLD, time.monotonic())

    async def results_link(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        batch, job = await self._own_job(visit, request.match_info["job"])
        done = (await self._info(visit, job)).status is TaskStatus.COMPLETED
        return succeeded({"results_link": self.link_to(visit, batch.job_id(job)) if done else None})

    async def result(self, visit: Visit, job_id: str, request: web.Request) -> web.StreamResponse:
        _, job = await self._own_job(visit, job_id)
        return web.json_response(await self._result(visit, job))


def checked(check: Any, body: Any) -> Any:
    """What a check of the dialect makes of a body.

    Raises:
        Refusal: it is refused.
    """
    try:
        return check(body)
    except Refused as refused:
        raise Refusal(refused.status, refused.message, code=refused.code) from None


def _checked_keys(request: web.Request, known: Collection[str]) -> None:
    if unknown := sorted(set(request.query) - set(known)):
        raise Refusal(400, f"unknown query parameter {unknown[0][:80]!r}")


def _listed(request: web.Request, views: list[dict[str, Any]]) -> web.Response:
    shown, pagination = checked(lambda _: page(request, selected(request, views)), None)
    return succeeded(shown, pagination=pagination)


def refusal(answer: Answer) -> Refusal:
    """Warden's own error in the form of Pasqal's cloud."""
    told = answer.json()
    detail = told.get("detail") if isinstance(told, dict) else None
    headers = {key: value for key, value in answer.headers.items() if key.lower() == "retry-after"}
    status = answer.status if answer.status >= 400 else 502
    return Refusal(status, f"Warden answers: {detail if isinstance(detail, str) else status}", headers=headers)


def name_in(specs: str) -> str:
    """The name of the device that Warden tells.

    Raises:
        Refusal: it is none.
    """
    try:
        return str(json.loads(specs)["name"])
    except (ValueError, KeyError, TypeError):
        raise Refusal(502, "what Warden tells of its QPU is no device of Pulser's") from None


def project_of(visit: Visit) -> str:
    """A job's project: the cluster's account, as far as a project is asked for at all."""
    return (visit.lease.holder and visit.lease.holder.account) or resource_of(visit)


def _user(visit: Visit) -> str:
    return (visit.lease.holder and visit.lease.holder.user) or "user"
