# SPDX-License-Identifier: Apache-2.0
"""Pasqal's cloud: the REST API of ``apis.pasqal.cloud``, as pasqal-cloud and upstream's client use it.

Left out, as nothing here could compute them: workloads, CUDA-Q jobs, the third-party access of resellers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from aiohttp import web

from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Dialect, DialectOptions, Refused, checked_query, json_body
from qrmi_core.gateway.dialects.offered import Offered
from qrmi_core.gateway.dialects.pasqal_accounts import CLIENT, Accounts
from qrmi_core.gateway.dialects.pasqal_devices import QPU, PasqalDevices, device_of, is_like_qpu
from qrmi_core.gateway.dialects.pasqal_filters import BATCH_FILTERS, JOB_FILTERS, chosen_jobs, page, selected
from qrmi_core.gateway.dialects.pasqal_records import Batch, Job, JobSpec, checked_batch, checked_jobs, failure
from qrmi_core.payloads import PulserBatch
from qrmi_core.resource import ResourceStatusCode
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["PasqalCloudDialect"]

CORE = "/core-fast/api"

Handler = Callable[[web.Request], Any]


class PasqalCloudDialect(Dialect):
    """One project with one QPU, which is the device behind it under the name FRESNEL, and with emulators.

    Several devices are as many QPUs under names of their own. Programs for an emulator run on the one that their
    sequences are made for, or the first.
    """

    takes: ClassVar[type[Any]] = PulserBatch
    engine: ClassVar[str] = "pulser_analog"

    def __init__(self, device: Device, options: DialectOptions) -> None:
        super().__init__(device, options)
        self._accounts = Accounts(options.key, options.token_seconds, any_account=options.any_account)
        self._devices = PasqalDevices(Offered({QPU: device}))
        self._batches: dict[str, Batch] = {}
        self._jobs: dict[str, Job] = {}
        self._results: dict[str, Job] = {}
        self._adding: dict[str, asyncio.Lock] = {}

    def offer(self, offered: Offered) -> None:
        self._devices = PasqalDevices(offered)

    def environment(self) -> dict[str, str]:
        return {
            "QRMI_DEVICE": QPU,
            "QRMI_PASQAL_CLOUD_BASE_URL": self.url,
            "QRMI_PASQAL_CLOUD_AUTH_ENDPOINT": f"{self.url}/oauth/token",
            "QRMI_PASQAL_CLOUD_PROJECT_ID": self._accounts.project,
            "QRMI_PASQAL_CLOUD_CLIENT_ID": CLIENT,
            "QRMI_PASQAL_CLOUD_CLIENT_SECRET": self.options.key,
        }

    def error(self, status: int, message: str, code: str | None) -> Any:
        return failure(status, message, code)

    def routes(self) -> Iterable[web.RouteDef]:
        public = [
            web.post("/oauth/token", self._token),
            web.get("/results/{secret}", self._result),
            web.get(f"{CORE}/v1/devices", self._list_devices),
            web.get(f"{CORE}/v1/devices/public-specs", self._public_specs),
        ]
        private = [
            web.get("/account/api/v1/projects", self._projects),
            web.get(f"{CORE}/v1/devices/specs", self._all_specs),
            web.get(f"{CORE}/v1/devices/specs/{{device_type}}", self._specs_of),
            web.post(f"{CORE}/v1/batches", self._create),
            web.get(f"{CORE}/v1/batches", self._list_batches),
            web.patch(f"{CORE}/v1/batches/cancel", self._cancel_batches),
            web.get(f"{CORE}/v2/batches/{{batch}}", self._batch_view),
            web.get(f"{CORE}/v1/batches/{{batch}}/status", self._batch_status),
            web.get(f"{CORE}/v1/batches/{{batch}}/full_results", self._full_results),
            web.post(f"{CORE}/v2/batches/{{batch}}/jobs", self._add_jobs),
            web.patch(f"{CORE}/v2/batches/{{batch}}/complete", self._complete),
            web.patch(f"{CORE}/v2/batches/{{batch}}/cancel", self._cancel_batch),
            web.patch(f"{CORE}/v2/batches/{{batch}}/cancel/jobs", self._cancel_jobs),
            web.patch(f"{CORE}/v1/batches/{{batch}}/tags", self._set_tags),
            web.post(f"{CORE}/v1/batches/{{batch}}/rebatch", self._rebatch),
            web.get(f"{CORE}/v2/jobs", self._list_jobs),
            web.get(f"{CORE}/v2/jobs/{{job}}", self._job_view),
            web.get(f"{CORE}/v1/jobs/{{job}}/status", self._job_status),
            web.get(f"{CORE}/v1/jobs/{{job}}/results_link", self._results_link),
            web.patch(f"{CORE}/v2/jobs/{{job}}/cancel", self._cancel_job),
        ]
        return [*public, *(web.RouteDef(r.method, r.path, self._authenticated(r.handler), r.kwargs) for r in private)]

    def _authenticated(self, handler: Any) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            self._accounts.check(request)
            answer: web.StreamResponse = await handler(request)
            return answer

        return checked

    async def _token(self, request: web.Request) -> web.Response:
        return self._accounts.login(dict(await request.post()))

    async def _projects(self, request: web.Request) -> web.Response:
        status = checked_query(request, {"project_status"}).get("project_status", "ACTIVE")
        projects = [{"id": self._accounts.project, "name": "project", "status": "ACTIVE"}]
        return _answer(projects if status == "ACTIVE" else [])

    async def _list_devices(self, request: web.Request) -> web.Response:
        wanted = checked_query(request, {"device_type"}).get("device_type")
        found = []
        for name in self._devices.types:
            if wanted in {None, name}:
                online = (await self._devices.behind(name).status()).status is ResourceStatusCode.ONLINE
                state = {"status": "UP" if online else "DOWN", "availability": "ACTIVE" if online else "INACTIVE"}
                found.append({"device_type": name, **state})
        return _answer(found)

    async def _public_specs(self, _request: web.Request) -> web.Response:
        return _answer([{"device_type": name, "specs": await self._devices.specs(name)} for name in self._devices.qpus])

    async def _all_specs(self, _request: web.Request) -> web.Response:
        return _answer({name: await self._devices.specs(name) for name in self._devices.qpus})

    async def _specs_of(self, request: web.Request) -> web.Response:
        name = request.match_info["device_type"]
        return _answer({"device_type": name, "specs": await self._devices.specs(name)})

    async def _create(self, request: web.Request) -> web.Response:
        body = checked_batch(await json_body(request))
        if not self._accounts.is_member(body["project_id"]):
            raise Refused(403, f"this account is no member of a project {body['project_id']}")
        sequences = [text for text in [body.get("sequence_builder"), *(job.sequence for job in body["jobs"])] if text]
        device_type = body.get("device_type") or device_of(sequences)
        batch = Batch(
            device=self._devices.for_batch(device_type, sequences),
            project_id=body["project_id"],
            user_id=self._accounts.user_id,
            device_type=device_type,
            sequence=body.get("sequence_builder"),
            open=body.get("open", False),
            listed_from=self.listed_from(),
            configuration=body.get("configuration"),
            backend_configuration=body.get("backend_configuration"),
            webhook=body.get("webhook"),
            tags=body.get("tags") or (),
        )
        await self._start(batch, body["jobs"])
        return await self._shown(batch, sequence=True)

    async def _start(self, batch: Batch, specs: Sequence[JobSpec], parents: Sequence[str | None] = ()) -> None:
        shared = [spec for spec in specs if spec.sequence is None]
        infos: list[TaskInfo] = []
        if batch.sequence is not None and (shared or batch.open):
            batch.task = await self._submit(batch, batch.sequence, shared, open_batch=batch.open)
            infos = list(await batch.device.batch_jobs(batch.task))
        await self._keep(batch, specs, iter([info.id for info in infos]), batch.created, parents)
        self._batches[batch.id] = batch

    async def _submit(self, batch: Batch, sequence: str, specs: Sequence[JobSpec], *, open_batch: bool) -> str:
        like_qpu = is_like_qpu(batch)
        return await batch.device.submit(
            PulserBatch(
                sequence=(await self._devices.adapted(sequence, batch) if like_qpu else sequence).encode(),
                jobs=tuple(spec.payload() for spec in specs),
                device_type=None if like_qpu else batch.device_type,
                configuration=batch.backend_configuration.encode() if batch.backend_configuration else None,
                open=open_batch,
            )
        )

    async def _keep(
        self,
        batch: Batch,
        specs: Sequence[JobSpec],
        shared_ids: Iterator[str],
        created: float,
        parents: Sequence[str | None] = (),
    ) -> None:
        for place, spec in enumerate(specs):
            if spec.sequence is None:
                task, task_job = batch.task or "", next(shared_ids)
            else:
                own = JobSpec(spec.runs)
                task = await self._submit(batch, spec.sequence, [own], open_batch=False)
                task_job = (await batch.device.batch_jobs(task))[0].id
            parent = parents[place] if parents else None
            job = Job(
                batch.id,
                spec,
                task,
                task_job,
                created,
                len(self._jobs),
                listed_from=self.listed_from(),
                parent_id=parent,
            )
            batch.jobs.append(job)
            self._jobs[job.id] = job
            self._results[job.secret] = job

    async def _list_batches(self, request: web.Request) -> web.Response:
        checked_query(request, BATCH_FILTERS)
        now = time.monotonic()
        newest_first = [batch for batch in reversed(self._batches.values()) if batch.listed_from <= now]
        if tag := request.query.get("tag"):
            newest_first = [batch for batch in newest_first if tag in batch.tags]
        views = [batch.view(await self._infos(batch)) for batch in newest_first]
        return _answer_page(page(request, selected(request, views)))

    async def _batch_view(self, request: web.Request) -> web.Response:
        return await self._shown(self._batch(request), sequence=True)

    async def _batch_status(self, request: web.Request) -> web.Response:
        batch = self._batch(request)
        infos = await self._infos(batch)
        if self.options.hold and not all(info.status.is_final for info in infos.values()):
            await asyncio.gather(*(self._end_of(batch, task) for task in {job.task for job in batch.jobs}))
            infos = await self._infos(batch)
        view = batch.view(infos)
        return _answer({"status": view["status"], "jobs_count_per_status": view["jobs_count_per_status"]})

    async def _end_of(self, batch: Batch, task: str) -> None:
        jobs = [job.task_job for job in batch.jobs if job.task == task]
        await batch.device.batch_wait(task, jobs, self.options.hold)

    async def _full_results(self, request: web.Request) -> web.Response:
        batch = self._batch(request)
        infos = await self._infos(batch)
        results = {
            job.id: await batch.device.batch_job_output(job.task, job.task_job)
            for job in batch.jobs
            if infos[job.id].status is TaskStatus.COMPLETED
        }
        inner = b",".join(json.dumps(job_id).encode() + b":" + result for job_id, result in results.items())
        head, tail = json.dumps(_envelope(0)).encode().split(b"0}")[0], b"}"
        return web.Response(body=head + b"{" + inner + b"}" + tail, content_type="application/json")

    async def _add_jobs(self, request: web.Request) -> web.Response:
        batch, now = self._batch(request), time.time()
        specs = checked_jobs(await json_body(request), batch_has_sequence=batch.sequence is not None)
        async with self._adding.setdefault(batch.id, asyncio.Lock()):
            if not batch.open:
                raise Refused(400, f"batch {batch.id} is closed")
            shared = [spec for spec in specs if spec.sequence is None]
            added: Sequence[str] = ()
            if shared and batch.task is not None:
                if is_like_qpu(batch) and any(spec.runs is None for spec in shared):
                    raise Refused(400, "a QPU needs the number of runs")
                added = await batch.device.batch_add(batch.task, [spec.payload() for spec in shared])
            await self._keep(batch, specs, iter(added), now)
        return await self._shown(batch)

    async def _complete(self, request: web.Request) -> web.Response:
        batch = self._batch(request)
        async with self._adding.setdefault(batch.id, asyncio.Lock()):
            batch.open = False
            if batch.task is not None:
                await batch.device.batch_close(batch.task)
        return await self._shown(batch)

    async def _cancel_batch(self, request: web.Request) -> web.Response:
        batch = self._batch(request)
        await self._cancel(batch)
        return await self._shown(batch)

    async def _cancel_batches(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        ids = body.get("batch_ids") if isinstance(body, dict) else None
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise Refused(400, "batch_ids is a list of texts")
        cancelled, errors = [], {}
        for batch_id in ids:
            if (batch := self._batches.get(batch_id)) is None:
                errors[batch_id] = "no such batch"
                continue
            try:
                await self._cancel(batch)
                cancelled.append(batch.view(await self._infos(batch)))
            except Refused as refused:
                errors[batch_id] = refused.message
        return _answer({"batches": cancelled, "errors": errors})

    async def _cancel(self, batch: Batch) -> None:
        infos = await self._infos(batch)
        if not batch.open and all(info.status.is_final for info in infos.values()):
            raise Refused(400, f"batch {batch.id} has ended")
        batch.open, batch.cancelled = False, True
        for task in {batch.task, *(job.task for job in batch.jobs)} - {None}:
            await batch.device.cancel(str(task))

    async def _cancel_jobs(self, request: web.Request) -> web.Response:
        batch = self._batch(request)
        wanted = chosen_jobs(request, batch, await self._infos(batch))
        errors = {}
        for job in wanted:
            try:
                await self._stop(batch, job)
            except Refused as refused:
                errors[job.id] = refused.message
        infos = await self._infos(batch)
        return _answer(
            {"jobs": [job.view(batch, infos[job.id]) for job in wanted if job.id not in errors], "errors": errors}
        )

    async def _cancel_job(self, request: web.Request) -> web.Response:
        job = self._job(request)
        batch = self._batches[job.batch_id]
        await self._stop(batch, job)
        return _answer(job.view(batch, (await self._infos(batch))[job.id]))

    async def _stop(self, batch: Batch, job: Job) -> None:
        if (await self._infos(batch))[job.id].status.is_final:
            raise Refused(400, f"job {job.id} has ended")
        await batch.device.batch_cancel_jobs(job.task, [job.task_job])

    async def _set_tags(self, request: web.Request) -> web.Response:
        batch, tags = self._batch(request), await json_body(request)
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise Refused(400, "tags are a list of texts")
        batch.tags = tags
        return await self._shown(batch)

    async def _rebatch(self, request: web.Request) -> web.Response:
        old = self._batch(request)
        again = chosen_jobs(request, old, await self._infos(old), also={"status"})
        if not again:
            raise Refused(400, f"no job of batch {old.id} is chosen")
        batch = Batch(
            device=old.device,
            project_id=old.project_id,
            user_id=old.user_id,
            device_type=old.device_type,
            sequence=old.sequence,
            open=False,
            listed_from=self.listed_from(),
            configuration=old.configuration,
            backend_configuration=old.backend_configuration,
            webhook=old.webhook,
            tags=old.tags,
            parent_id=old.id,
        )
        await self._start(batch, [job.spec for job in again], [job.id for job in again])
        return await self._shown(batch)

    async def _list_jobs(self, request: web.Request) -> web.Response:
        checked_query(request, JOB_FILTERS)
        of_batches = request.query.getall("batch_id", list(self._batches))
        views, now = [], time.monotonic()
        for batch in (self._batches[each] for each in of_batches if each in self._batches):
            infos = await self._infos(batch)
            views += [job.view(batch, infos[job.id]) for job in batch.jobs if job.listed_from <= now]
        ascending = request.query.get("order_by_direction", "DESC").upper() == "ASC"
        views.sort(key=lambda view: int(view["creation_order"]), reverse=not ascending)
        return _answer_page(page(request, selected(request, views)))

    async def _job_view(self, request: web.Request) -> web.Response:
        job = self._job(request)
        batch = self._batches[job.batch_id]
        info = (await self._infos(batch))[job.id]
        return _answer({**job.view(batch, info), "sequence": job.spec.sequence})

    async def _job_status(self, request: web.Request) -> web.Response:
        job = self._job(request)
        return _answer({"status": job.status((await self._infos(self._batches[job.batch_id]))[job.id])})

    async def _results_link(self, request: web.Request) -> web.Response:
        job = self._job(request)
        info = (await self._infos(self._batches[job.batch_id]))[job.id]
        done = info.status is TaskStatus.COMPLETED
        return _answer({"results_link": f"{self.url}/results/{job.secret}" if done else None})

    async def _result(self, request: web.Request) -> web.Response:
        if (job := self._results.get(request.match_info["secret"])) is None:
            raise Refused(404, "there is no such result")
        body = await self._batches[job.batch_id].device.batch_job_output(job.task, job.task_job)
        return web.Response(body=body, content_type="application/json")

    async def _infos(self, batch: Batch) -> Mapping[str, TaskInfo]:
        """What the device says of each job of a batch."""
        of_tasks: dict[str, TaskInfo] = {}
        for task in dict.fromkeys(job.task for job in batch.jobs):
            of_tasks.update({info.id: info for info in await batch.device.batch_jobs(task)})
        return {job.id: of_tasks[job.task_job] for job in batch.jobs}

    async def _shown(self, batch: Batch, *, sequence: bool = False) -> web.Response:
        view = batch.view(await self._infos(batch))
        return _answer({**view, "sequence_builder": batch.sequence} if sequence else view)

    def _batch(self, request: web.Request) -> Batch:
        batch = self._batches.get(request.match_info["batch"])
        if batch is None:
            raise Refused(404, f"there is no batch {request.match_info['batch']}")
        return batch

    def _job(self, request: web.Request) -> Job:
        job = self._jobs.get(request.match_info["job"])
        if job is None:
            raise Refused(404, f"there is no job {request.match_info['job']}")
        return job


def _envelope(data: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "code": "200", "message": "OK.", **more, "data": data}


def _answer(data: Any) -> web.Response:
    return web.json_response(_envelope(data))


def _answer_page(found: tuple[list[dict[str, Any]], dict[str, int]]) -> web.Response:
    views, pagination = found
    return web.json_response(_envelope(views, pagination=pagination))
