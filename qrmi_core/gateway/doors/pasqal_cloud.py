# SPDX-License-Identifier: Apache-2.0
"""The door of Pasqal's cloud: a job sees its device type and its own batches, and nothing else of the site's project.

A batch is a task in the books. Its tag of ours, by which it is found where an answer was lost, clients never see.
Results are fetched through the gateway: the storage's own addresses are good for whoever knows them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from qrmi_core import polling
from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.pasqal_batches import ENDS, WORDS
from qrmi_core.drivers.pasqal_cloud import BASE_URL
from qrmi_core.drivers.pasqal_config import AUTH_ENDPOINT, AUTH_TOKEN, PROJECT
from qrmi_core.drivers.vendor import DEVICE, MIN_POLL, lease_tag, seconds_since_epoch, without_lease_tags
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.bodies import Envelope, Rebuilt, Spooled, top_level
from qrmi_core.gateway.doors.door import Refusal, Visit
from qrmi_core.gateway.doors.pasqal_api import LONGEST_HOLD, is_id, no_batch, succeeded
from qrmi_core.gateway.doors.pasqal_forms import (
    BATCH_FILTERS,
    OF_JOBS,
    PAGE,
    decoded,
    filters,
    listed,
    new_tag,
    page,
)
from qrmi_core.gateway.doors.pasqal_jobs import PasqalJobs
from qrmi_core.gateway.doors.pasqal_passing import LARGEST_LIST, resource_of
from qrmi_core.gateway.doors.pasqal_watch import Status
from qrmi_core.gateway.doors.pasqal_way import PasqalWay
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.gateway.doors.submitting import Unanswered, sent_once
from qrmi_core.gateway.doors.upstream import VendorAway
from qrmi_core.leases import LeaseTask
from qrmi_core.submission import LIST_LAG

__all__ = ["PasqalCloudDoor"]

LARGEST_BATCH = 64 * 2**20
MOST_LISTED = 1000
"""Batches, the newest, that lists without other filters are made from."""

FIELDS = frozenset(
    {"sequence_builder", "jobs", "open", "device_type", "project_id", "webhook", "configuration"}
    | {"backend_configuration", "tags"}
)


class PasqalCloudDoor(PasqalJobs):
    """Pasqal's API in front of Pasqal's cloud."""

    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        way = PasqalWay(resource, self.doors.gateway.within)
        return {
            DEVICE: way.device, BASE_URL: url, AUTH_ENDPOINT: f"{url}/oauth/token", AUTH_TOKEN: token,
            PROJECT: way.project, MIN_POLL: "0",
        }  # fmt: skip

    async def create(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        way, tag = self._way(resource_of(visit)), new_tag()
        body = await self.doors.spool.take(request, most=LARGEST_BATCH)
        try:
            envelope = await top_level(body)
            device_type, tags = self._checked(way, envelope)
        except BaseException:
            body.close()
            raise
        ours = [tag, lease_tag(visit.lease.id)]
        replaced = {"project_id": way.project, "device_type": device_type, "tags": [*without_lease_tags(tags), *ours]}
        rebuilt = envelope.rebuilt({name: json.dumps(value).encode() for name, value in replaced.items()}, {"webhook"})
        task = LeaseTask(resource_of(visit), "", program=device_type, detail=tag)
        return await self.doors.finished(self._created(visit, "/v1/batches", body, rebuilt, task))

    @staticmethod
    def _checked(way: PasqalWay, envelope: Envelope) -> tuple[str, list[str]]:
        """The device type and the tags of a new batch.

        Raises:
            Refusal: it asks for what the job has not.
        """
        if unknown := sorted(set(envelope.names) - FIELDS):
            raise Refusal(403, f"a batch cannot have {unknown[0][:80]!r} here")
        if envelope.value("webhook") is not None:
            raise Refusal(403, "webhooks are not for batches of this site's project: fetch the results")
        device_type, tags = envelope.value("device_type") or way.device, envelope.value("tags") or []
        if not isinstance(device_type, str) or not way.has(device_type):
            raise Refusal(403, f"this job's device type is {way.device}: it may not use {str(device_type)[:80]!r}")
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise Refusal(400, "tags are a list of texts")
        return device_type, tags

    async def _created(
        self, visit: Visit, path: str, body: Spooled, rebuilt: Rebuilt | None, task: LeaseTask
    ) -> web.Response:
        async with body:
            answer = await self.doors.answer_of(visit.lease, task.resource, self._sent(visit, path, rebuilt, task))
        if not answer.is_success:
            return answer.response()
        view = await decoded(answer)
        batch_id = str(view["id"])
        noted = LeaseTask(task.resource, batch_id, program=task.program or view.get("device_type"), detail=task.detail)
        try:
            await self.doors.books.add(visit.lease, noted)
        except QRMIError:
            # Nobody would end what stands in no books.
            with contextlib.suppress(QRMIError):
                await self._ask(task.resource, "PATCH", f"/v2/batches/{batch_id}/cancel")
            raise
        self._note(visit, noted, view)
        self._watch(task.resource).submitted(batch_id, visit.lease.id)
        return answer.response()

    async def _sent(self, visit: Visit, path: str, rebuilt: Rebuilt | None, task: LeaseTask) -> Answer:
        """The answer to a new batch, which the vendor takes once; a success names it.

        Raises:
            Refusal: nobody knows whether it was taken.
        """
        look_up = functools.partial(self._found, visit, task, lag=LIST_LAG)

        async def send() -> Answer:
            answer = await self._ask(task.resource, "POST", path, rebuilt)
            if answer.status >= 500:
                return await self._found(visit, task) or answer
            if answer.is_success and not is_id(str((await decoded(answer)).get("id", ""))):
                found = await look_up()
                if found is None:
                    raise _unknown()
                return found
            return answer

        try:
            return await sent_once(send, look_up)
        except Unanswered as away:
            raise _unknown() from away

    async def _found(self, visit: Visit, task: LeaseTask, *, lag: float = 0.0) -> Answer | None:
        """The batch with this tag, as the vendor would have answered; None where it is not there.

        Raises:
            Refusal: that cannot be told.
        """
        query = urlencode({"tag": task.detail, "offset": 0, "limit": PAGE})
        for pause in (0.0, lag) if lag else (0.0,):
            await polling.pause_async(pause)
            try:
                answer = await self._ask(task.resource, "GET", f"/v1/batches?{query}")
                for each in await listed(answer) if answer.is_success else ():
                    batch_id = str(each.get("id", ""))
                    known = await self.doors.books.find(visit.lease, task.resource, batch_id) is not None
                    if each.get("parent_id") == task.parent and is_id(batch_id) and not known:
                        return await self._ask(task.resource, "GET", f"/v2/batches/{batch_id}")
            except VendorAway as away:
                raise _unknown() from away
            if lag and not answer.is_success:
                raise _unknown()
        return None

    async def batches(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        asked = filters(request, BATCH_FILTERS)
        wanted = set(request.query.getall("id", ()))
        own = await self._own_ids(visit)
        ids = [each for each in own if not wanted or each in wanted][:MOST_LISTED]
        rest = [(key, value) for key, value in asked if key != "id"]
        views: list[dict[str, Any]] = []
        for first in range(0, len(ids), PAGE):
            part = ids[first : first + PAGE]
            query = urlencode([*rest, *(("id", each) for each in part), ("offset", 0), ("limit", PAGE)])
            answer = await self._ask(resource_of(visit), "GET", f"/v1/batches?{query}")
            if not answer.is_success:
                return answer.response()
            views += [each for each in await listed(answer) if each.get("id") in part]
        order = {each: place for place, each in enumerate(ids)}
        views.sort(key=lambda view: order[view["id"]])
        offset, limit = page(request)
        shown = views[offset : offset + limit]
        return succeeded(shown, pagination={"total": len(views), "start": offset, "end": offset + len(shown)})

    async def batch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return await self._about(visit, request, "GET", "")

    async def complete(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return await self._about(visit, request, "PATCH", "/complete")

    async def cancel_batch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return await self._about(visit, request, "PATCH", "/cancel")

    async def add_jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        await self._own(visit, request.match_info["batch"])
        body = await self.doors.spool.take(request, most=LARGEST_BATCH)
        return await self.doors.finished(self._added(visit, request, body))

    async def _added(self, visit: Visit, request: web.Request, body: Spooled) -> web.StreamResponse:
        async with body:
            try:
                answer = await sent_once(lambda: self._about(visit, request, "POST", "/jobs", body))
            except Unanswered as away:
                raise _unknown() from away
        if answer.status < 300:
            self._watch(resource_of(visit)).submitted(request.match_info["batch"], visit.lease.id)
        return answer

    async def set_tags(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task = await self._own(visit, request.match_info["batch"])
        tags = await self._small(request)
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise Refusal(400, "tags are a list of texts")
        ours = [task.detail, lease_tag(visit.lease.id)] if task.detail else []
        body = json.dumps([*without_lease_tags(tags), *ours]).encode()
        return await self._about(visit, request, "PATCH", "/tags", body, version="v1")

    async def _about(
        self,
        visit: Visit,
        request: web.Request,
        method: str,
        rest: str,
        body: Spooled | bytes | None = None,
        *,
        version: str = "v2",
    ) -> web.Response:
        """The answer to what is asked of, or done with, one batch; it is the batch as it is then."""
        task = await self._own(visit, request.match_info["batch"])
        answer = await self._ask(task.resource, method, f"/{version}/batches/{task.task_id}{rest}", body)
        if answer.is_success:
            self._note(visit, task, await decoded(answer))
        return answer.response()

    def _note(self, visit: Visit, task: LeaseTask, view: Mapping[str, Any]) -> None:
        word = str(view.get("status"))
        if view.get("open") is False:
            self._keep(self._closed, (task.resource, task.task_id), True)
        if word in ENDS:
            ended = seconds_since_epoch(view.get("end_datetime")) or task.ended or time.time()
            started = seconds_since_epoch(view.get("start_datetime"))
            self.noted(visit.lease, task, started=started, ended=ended, outcome=WORDS[word].value)

    async def batch_status(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task = await self._own(visit, request.match_info["batch"])
        watch, known = self._watch(task.resource), None
        end = time.monotonic() + LONGEST_HOLD
        while True:
            status = None
            if known is not None or watch.knows(task.task_id):
                with contextlib.suppress(QRMIError):
                    status = await watch.ended(task.task_id, end - time.monotonic(), known=known)
            if status is None:
                answer = await self._ask(task.resource, "GET", f"/v1/batches/{task.task_id}/status")
                status = Status(await decoded(answer), answer)
                if not answer.is_success:
                    return answer.response()
            if status.has_settled or time.monotonic() >= end or self.doors.stopping.is_set():
                self._note(visit, task, status.view)
                if status.answer is not None:
                    return status.answer.response()
                return succeeded({name: status.view.get(name) for name in ("status", "jobs_count_per_status")})
            known = time.monotonic()

    async def cancel_batches(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        told = await self._small(request)
        ids = told.get("batch_ids") if isinstance(told, dict) and set(told) == {"batch_ids"} else None
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise Refusal(400, "batch_ids is a list of texts")
        own = set(await self._own_ids(visit))
        errors = {each: str(no_batch(each)) for each in ids if each not in own}
        if not own.intersection(ids):
            return succeeded({"batches": [], "errors": errors})
        body = json.dumps({"batch_ids": [each for each in ids if each in own]}).encode()
        answer = await self._ask(resource_of(visit), "PATCH", "/v1/batches/cancel", body)
        if not answer.is_success:
            return answer.response()
        done = await decoded(answer)
        return succeeded({**done, "errors": {**(done.get("errors") or {}), **errors}})

    async def cancel_jobs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task = await self._own(visit, request.match_info["batch"])
        query = urlencode(filters(request, OF_JOBS))
        path = f"/v2/batches/{task.task_id}/cancel/jobs"
        return (await self._ask(task.resource, "PATCH", f"{path}?{query}" if query else path)).response()

    async def rebatch(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        old = await self._own(visit, request.match_info["batch"])
        query = urlencode(filters(request, OF_JOBS | {"status"}))
        path = f"/v1/batches/{old.task_id}/rebatch"
        # The vendor gives the new batch the tags of the old one.
        task = LeaseTask(old.resource, "", program=old.program, detail=old.detail, parent=old.task_id)
        body = await self.doors.spool.take(request, most=LARGEST_LIST)
        return await self.doors.finished(self._created(visit, f"{path}?{query}" if query else path, body, None, task))


def _unknown() -> Refusal:
    return Refusal(503, "nobody knows whether Pasqal's cloud took it: look at your batches before it is sent again")
