# SPDX-License-Identifier: Apache-2.0
"""What a job may ask Pasqal's cloud, on the way there: the devices, and which of its batches are the job's own."""

from __future__ import annotations

import functools
import json
import time
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import web

from qrmi_core.config import ConfiguredResource
from qrmi_core.gateway.bodies import Rebuilt, Spooled
from qrmi_core.gateway.doors.door import Refusal, Visit
from qrmi_core.gateway.doors.long_answers import received
from qrmi_core.gateway.doors.pasqal_api import PasqalApi, is_id, no_batch, succeeded
from qrmi_core.gateway.doors.pasqal_forms import (
    PAGE,
    decoded,
    listed,
    sendable,
    without_tags,
)
from qrmi_core.gateway.doors.pasqal_watch import Status, batch_watch
from qrmi_core.gateway.doors.pasqal_way import PasqalWay
from qrmi_core.gateway.doors.pass_through import Answer, PassThrough
from qrmi_core.gateway.doors.upstream import Upstream, VendorAway, relay
from qrmi_core.gateway.doors.watch import Watch
from qrmi_core.leases import LeaseTask

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.doors import Doors

__all__ = ["LARGEST_LIST", "PasqalPassing", "resource_of"]


LARGEST_LIST = 64 * 1024
READ_TRIES = 3
DEVICES_SECONDS = 5.0


class PasqalPassing(PasqalApi, PassThrough):
    """A door in front of Pasqal's cloud, so far as it asks and changes nothing."""

    serves: ClassVar[str] = "pasqal-cloud"
    shows: ClassVar[str] = "pasqal-cloud"

    def __init__(self, doors: Doors) -> None:
        super().__init__(doors)
        self._watches: WeakKeyDictionary[PasqalWay, Watch[Status]] = WeakKeyDictionary()
        self._devices: WeakKeyDictionary[PasqalWay, dict[str, tuple[float, Answer]]] = WeakKeyDictionary()

    def make_way(self, resource: ConfiguredResource) -> Upstream:
        return PasqalWay(resource, functools.partial(self.doors.gateway.within, "vendor"))

    def _way(self, resource: str) -> PasqalWay:
        way = self.way(resource)
        assert isinstance(way, PasqalWay)  # noqa: S101  make_way makes no other
        return way

    async def _ask(
        self, resource: str, method: str, path: str, body: Rebuilt | Spooled | bytes | None = None
    ) -> Answer:
        """The vendor's whole answer without our tags; what only reads is asked again where it was cut off.

        Raises:
            VendorAway: there is none.
        """
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data, length = sendable(body)
        for left in reversed(range(READ_TRIES if method == "GET" else 1)):
            async with self.way(resource).send(method, path, headers=headers, data=data, length=length) as response:
                try:
                    return await received(
                        response, self.doors.spool, repeats="sequence_builder", tags="tags", clean=without_tags
                    )
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    if left:
                        continue
                    raise VendorAway(f"the answer of {resource} was cut off", arrived=True) from error
        raise AssertionError("the last try returns or raises")

    async def devices(self, request: web.Request) -> web.StreamResponse:
        name = self.resource_of(request)
        way, wanted = self._way(name), request.query.get("device_type")
        answer = await self._public(name, "/v1/devices")
        if not answer.is_success:
            return answer.response()
        found = [each for each in await listed(answer) if way.has(str(each.get("device_type")))]
        return succeeded([each for each in found if wanted in {None, each["device_type"]}])

    async def public_specs(self, request: web.Request) -> web.StreamResponse:
        name = self.resource_of(request)
        way, answer = self._way(name), await self._public(name, "/v1/devices/public-specs")
        if not answer.is_success:
            return answer.response()
        found = await listed(answer)
        return succeeded([each for each in found if way.is_emulator or each.get("device_type") == way.device])

    async def _public(self, resource: str, path: str) -> Answer:
        """What the vendor tells anybody; asked once in a few seconds, whoever asks here."""
        known = self._devices.setdefault(self._way(resource), {})
        until, answer = known.get(path, (0.0, None))
        if answer is None or time.monotonic() > until:
            answer = await self._ask(resource, "GET", path)
            if answer.is_success:
                known[path] = (time.monotonic() + DEVICES_SECONDS, answer)
        return answer

    async def projects(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        project = self._way(resource_of(visit)).project
        return succeeded([{"id": project, "name": f"of {visit.resource}", "status": "ACTIVE"}])

    async def specs(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        name = resource_of(visit)
        way, answer = self._way(name), await self._ask(name, "GET", "/v1/devices/specs")
        if not answer.is_success:
            return answer.response()
        told = await decoded(answer)
        return succeeded({each: told[each] for each in told if way.is_emulator or each == way.device})

    async def specs_of(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        name, wanted = resource_of(visit), request.match_info["device_type"]
        if wanted != self._way(name).device:
            raise Refusal(403, f"this job's device type is {self._way(name).device}, and no other")
        return (await self._ask(name, "GET", f"/v1/devices/specs/{wanted}")).response()

    async def _own_ids(self, visit: Visit) -> list[str]:
        """The batches that the job may know, the newest first."""
        return [task.task_id for task in await self.doors.books.readable(visit.lease, resource_of(visit))]

    async def _own(self, visit: Visit, batch_id: str) -> LeaseTask:
        task = await self.own_task(visit, batch_id) if is_id(batch_id) else None
        if task is None:
            raise no_batch(batch_id)
        return task

    async def full_results(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task = await self._own(visit, request.match_info["batch"])
        return await self._relayed(request, task.resource, f"/v1/batches/{task.task_id}/full_results")

    async def _relayed(self, request: web.Request, resource: str, path: str) -> web.StreamResponse:
        async with self.way(resource).send("GET", path, headers={"Accept": "application/json"}) as response:
            return await relay(request, response)

    async def _small(self, request: web.Request) -> Any:
        """A body that is a list or a small object."""
        async with await self.doors.spool.take(request, most=LARGEST_LIST) as body:
            try:
                return json.loads(body.read(0, body.size))
            except (ValueError, RecursionError):
                raise Refusal(400, "the body is not JSON") from None

    def _watch(self, resource: str) -> Watch[Status]:
        way = self._way(resource)
        if way not in self._watches:
            self._watches[way] = batch_watch(
                functools.partial(self._statuses, resource),
                min_poll=way.min_poll,
                is_final=lambda status: status.has_settled,
                stopping=self.doors.stopping,
            )
        return self._watches[way]

    async def _statuses(self, resource: str, batches: tuple[str, ...]) -> dict[str, Status]:
        """What is told of some batches, in one request for as many as lists hold."""
        if len(batches) == 1:
            answer = await self._ask(resource, "GET", f"/v1/batches/{batches[0]}/status")
            return {batches[0]: Status(await decoded(answer), answer)} if answer.is_success else {}
        found: dict[str, Status] = {}
        for first in range(0, len(batches), PAGE):
            part = batches[first : first + PAGE]
            query = urlencode([*(("id", each) for each in part), ("offset", 0), ("limit", PAGE)])
            answer = await self._ask(resource, "GET", f"/v1/batches?{query}")
            if answer.is_success:
                found |= {str(each.get("id")): Status(each) for each in await listed(answer)}
        return found


def resource_of(visit: Visit) -> str:
    """The resource whose path it is."""
    assert visit.resource is not None  # noqa: S101  all routes are below one
    return visit.resource
