# SPDX-License-Identifier: Apache-2.0
"""The door of a Warden: its own API, and that of Pasqal's cloud in front of it, for programs that know no other.

A batch of several jobs is as many jobs of Warden's; an open batch is open here only. Warden's QPU gives bitstrings: who
asks for an emulator or for observables is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from qrmi_core.drivers.warden import TOO_LATE
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.bodies import top_level
from qrmi_core.gateway.dialects.pasqal_filters import chosen_jobs
from qrmi_core.gateway.dialects.pasqal_records import JobSpec, checked_batch, checked_jobs
from qrmi_core.gateway.doors.door import Refusal, Visit
from qrmi_core.gateway.doors.pasqal_api import succeeded
from qrmi_core.gateway.doors.pasqal_building import Builder, NotBuilt
from qrmi_core.gateway.doors.pasqal_passing import LARGEST_LIST, resource_of
from qrmi_core.gateway.doors.submitting import Unanswered, sent_once
from qrmi_core.gateway.doors.warden_batches import WardenBatch, WardenJob
from qrmi_core.gateway.doors.warden_native import LARGEST_SEQUENCE, number_in
from qrmi_core.gateway.doors.warden_reading import BATCH, WardenReading, checked, name_in, project_of, refusal
from qrmi_core.leases import LeaseTask

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.doors import Doors

__all__ = ["WardenDoor"]

LOCKS = 4096


class WardenDoor(WardenReading):
    """Both APIs in front of Warden."""

    def __init__(self, doors: Doors) -> None:
        super().__init__(doors)
        self._turns: dict[str, asyncio.Lock] = {}
        self._builder = Builder()
        doors.when_stopping(self._builder.stop)

    async def create(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        document = await self._document(request)
        if isinstance(document, dict):
            document["project_id"] = project_of(visit)
        asked = checked(checked_batch, document)
        device_type = await self._checked_device(visit, asked)
        batch = WardenBatch(
            device_type, asked.get("sequence_builder"), asked.get("open", False), tuple(asked.get("tags") or ())
        )
        return await self.doors.finished(self._created(visit, batch, asked["jobs"]))

    async def _checked_device(self, visit: Visit, asked: Mapping[str, Any]) -> str:
        """The device type of a new batch.

        Raises:
            Refusal: it asks for what a QPU behind Warden cannot do.
        """
        device, specs = await self._device(visit)
        wanted = asked.get("device_type") or device
        if wanted not in {device, name_in(specs)}:
            raise Refusal(
                403,
                f"this job's QPU is {device} at the site, which has no emulators: it may not use {wanted[:80]!r}",
            )
        if asked.get("backend_configuration") is not None:
            raise Refusal(400, f"{device} gives bitstrings and no other observables: leave out backend_configuration")
        if asked.get("webhook") is not None:
            raise Refusal(403, "webhooks are not called from here: fetch the results")
        return device

    async def _created(self, visit: Visit, batch: WardenBatch, specs: Sequence[JobSpec]) -> web.Response:
        task = LeaseTask(resource_of(visit), batch.id, kind=BATCH, program=batch.device_type)
        await self.doors.books.add(visit.lease, task)
        async with self._turn(batch.id):
            await self._keep(batch)
            try:
                batch = await self._started(visit, batch, specs)
            except BaseException:
                with contextlib.suppress(QRMIError):
                    await self._keep(replace(self._files.at_hand(batch.id) or batch, open=False, cancelled=True))
                raise
        return await self._shown(visit, batch)

    def _turn(self, batch_id: str) -> asyncio.Lock:
        """Who changes a batch has its turn; the locks of those that nobody changes are forgotten."""
        if len(self._turns) > LOCKS:
            self._turns = {each: lock for each, lock in self._turns.items() if lock.locked()}
        return self._turns.setdefault(batch_id, asyncio.Lock())

    async def _started(self, visit: Visit, batch: WardenBatch, specs: Sequence[JobSpec]) -> WardenBatch:
        """The batch with these jobs, all of which Warden has taken.

        Raises:
            Refusal: it has not taken one of them; those before it are cancelled.
        """
        if any(spec.runs is None for spec in specs):
            raise Refusal(400, "a QPU needs the number of runs")
        ready = [await self._built(visit, batch, spec) for spec in specs]
        before = len(batch.jobs)
        for spec, sequence in zip(specs, ready, strict=True):
            try:
                number = await self._submitted_one(visit, batch, sequence, spec.runs or 0)
            except BaseException:
                with contextlib.suppress(QRMIError):
                    await self._cancelled(visit, batch, batch.jobs[before:])
                raise
            batch = batch.with_job(WardenJob(number, spec, time.time()))
            await self._keep(batch)
        self._watch(resource_of(visit)).submitted(batch.id, visit.lease.id)
        return batch

    async def _built(self, visit: Visit, batch: WardenBatch, spec: JobSpec) -> str:
        if spec.sequence is not None or not spec.variables:
            return spec.sequence or batch.sequence or ""
        try:
            specs = (await self._device(visit))[1]
            build, sequence = self._builder.built, batch.sequence or ""
            return await self.doors.gateway.within("vendor", build, sequence, spec.variables, specs)
        except NotBuilt as error:
            raise Refusal(500 if error.ours else 400, str(error)) from error

    async def _submitted_one(self, visit: Visit, batch: WardenBatch, sequence: str, runs: int) -> int:
        name = resource_of(visit)
        session = visit.lease.acquisition(name).token
        if session is None:
            raise Refusal(403, "the job has no session at Warden")
        body = json.dumps({"sequence": sequence, "shots": runs}).encode()
        try:
            answer = await sent_once(lambda: self._warden(visit, "POST", "/jobs", body, session))
        except Unanswered as away:
            raise Refusal(
                503, "nobody knows whether Warden took a job: look at its QPU before it is sent again"
            ) from away
        if not answer.is_success:
            raise refusal(answer)
        number = number_in(answer)
        task = LeaseTask(name, str(number), parent=batch.id, program="pulser", shots=runs)
        await self.noted_or_cancelled(visit.lease, task)
        return number

    async def _keep(self, batch: WardenBatch) -> None:
        try:
            await self.doors.gateway.within("journal", self._files.save, batch)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Refusal(503, f"the gateway cannot keep the batch ({reason}): try again later") from error

    async def add_jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        batch = await self._own(visit, request.match_info["batch"])
        document = await self._document(request)
        specs = checked(lambda body: checked_jobs(body, batch_has_sequence=batch.sequence is not None), document)
        return await self.doors.finished(self._added(visit, batch.id, specs))

    async def _added(self, visit: Visit, batch_id: str, specs: Sequence[JobSpec]) -> web.Response:
        async with self._turn(batch_id):
            batch = await self._own(visit, batch_id)
            if not batch.open:
                raise Refusal(400, f"batch {batch_id} is closed")
            batch = await self._started(visit, batch, specs)
        return await self._shown(visit, batch)

    async def complete(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return await self._changed(visit, request.match_info["batch"], open=False)

    async def set_tags(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        tags = await self._document(request, most=LARGEST_LIST)
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise Refusal(400, "tags are a list of texts")
        return await self._changed(visit, request.match_info["batch"], tags=tuple(tags))

    async def _changed(self, visit: Visit, batch_id: str, **news: Any) -> web.Response:
        async with self._turn(batch_id):
            batch = replace(await self._own(visit, batch_id), **news)
            await self._keep(batch)
        return await self._shown(visit, batch)

    async def cancel_batch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return await self._shown(visit, await self._ended_early(visit, request.match_info["batch"]))

    async def _ended_early(self, visit: Visit, batch_id: str) -> WardenBatch:
        async with self._turn(batch_id):
            batch = await self._own(visit, batch_id)
            left = [job for job in batch.jobs if not (await self._info(visit, job)).status.is_final]
            if not batch.open and not left:
                raise Refusal(400, f"batch {batch_id} has ended")
            await self._cancelled(visit, batch, left)
            batch = replace(batch, open=False, cancelled=True)
            await self._keep(batch)
        return batch

    async def cancel_batches(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        told = await self._document(request, most=LARGEST_LIST)
        ids = told.get("batch_ids") if isinstance(told, dict) else None
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise Refusal(400, "batch_ids is a list of texts")
        done, errors = [], {}
        for batch_id in ids:
            try:
                shown, infos = await self._view(visit, await self._ended_early(visit, batch_id))
                done.append(shown.view(infos))
            except Refusal as refusal:
                errors[batch_id] = str(refusal)
        return succeeded({"batches": done, "errors": errors})

    async def cancel_jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        batch = await self._own(visit, request.match_info["batch"])
        shown, infos = await self._view(visit, batch)
        wanted = checked(lambda _: chosen_jobs(request, shown, infos), None)
        errors = {job.id: f"job {job.id} has ended" for job in wanted if infos[job.id].status.is_final}
        left = [job for job in batch.jobs if batch.job_id(job) in {each.id for each in wanted} - set(errors)]
        await self._cancelled(visit, batch, left)
        shown, infos = await self._view(visit, batch)
        ids = {batch.job_id(job) for job in left}
        return succeeded(
            {"jobs": [job.view(shown, infos[job.id]) for job in shown.jobs if job.id in ids], "errors": errors}
        )

    async def cancel_job(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        batch, job = await self._own_job(visit, request.match_info["job"])
        if (await self._info(visit, job)).status.is_final:
            raise Refusal(400, f"job {batch.job_id(job)} has ended")
        await self._cancelled(visit, batch, [job])
        return await self.job(visit, request)

    async def _cancelled(self, visit: Visit, batch: WardenBatch, jobs: Iterable[WardenJob]) -> None:
        """Ask Warden to cancel jobs.

        Raises:
            Refusal: it cannot, or does not.
        """
        for job in jobs:
            answer = await self._warden(visit, "POST", f"/jobs/{job.number}/cancel")
            if answer.status in {404, 405}:
                raise Refusal(501, "this Warden cannot cancel jobs: they run when their turn comes")
            if not answer.is_success and answer.status not in TOO_LATE:
                raise refusal(answer)

    async def rebatch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        old = await self._own(visit, request.match_info["batch"])
        shown, infos = await self._view(visit, old)
        chosen = checked(lambda _: chosen_jobs(request, shown, infos, also={"status"}), None)
        if not chosen:
            raise Refusal(400, f"no job of batch {old.id} is chosen")
        batch = WardenBatch(old.device_type, old.sequence, open=False, tags=old.tags, parent=old.id)
        return await self.doors.finished(self._created(visit, batch, [job.spec for job in chosen]))

    async def _document(self, request: web.Request, most: int = LARGEST_SEQUENCE) -> Any:
        """The decoded body of a request, in which sequences are texts."""
        async with await self.doors.spool.take(request, most=most) as body:
            text = body.read(0, body.size)
            if text.lstrip()[:1] == b"{":
                await top_level(body)  # refuses keys that stand twice, and what is nested without end
        try:
            return await asyncio.to_thread(json.loads, text)
        except (ValueError, RecursionError):
            raise Refusal(400, "the body is not JSON") from None
