# SPDX-License-Identifier: Apache-2.0
"""A vendor of few words, and a door in front of it: what every door does, without a vendor's API."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

from qrmi_core.config import ConfiguredResource
from qrmi_core.gateway.doors.door import AT_RESOURCE, Door, Visit
from qrmi_core.gateway.doors.upstream import Fixed, Upstream, relay
from qrmi_core.gateway.loopback import LoopbackServer
from qrmi_core.http_settings import HttpSettings
from qrmi_core.leases import LeaseTask

TYPE = "iqm-server"
PATIENCE = 30.0


class Vendor(LoopbackServer):
    """Answers with its requests' numbers and tokens; while ``open`` is not set, it answers to nothing."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.arrived = threading.Semaphore(0)
        self.tokens: list[str] = []
        self.statuses: list[int] = []
        self._numbers = itertools.count(1)
        super().__init__()

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/api"):
            raise web.HTTPNotFound  # the gateway's own driver asks for the state of the resource
        number = next(self._numbers)
        self.tokens.append(request.headers.get("Authorization", ""))
        self.arrived.release()
        await asyncio.to_thread(self.open.wait, PATIENCE)
        status = self.statuses.pop(0) if self.statuses else 200
        return web.json_response({"number": number, "path": request.path}, status=status)

    def resource(self, key_file: Path, name: str = "garnet") -> dict[str, Any]:
        """The entry for qrmi_config.json."""
        values = {"QRMI_IQM_ISA_ENDPOINT": self.url, "QRMI_IQM_ISA_TOKEN": {"file": str(key_file)}}
        return {"name": name, "type": TYPE, "environment": values, "lanes": 100}


class PlainDoor(Door):
    """Passes everything on; takes tasks, and holds polls until the gateway ends."""

    serves: ClassVar[str] = TYPE
    shows: ClassVar[str] = TYPE
    held = 0

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get(f"{AT_RESOURCE}/held", self.guarded(self._held))
        yield web.get(f"{AT_RESOURCE}/broken", self.guarded(self._broken))
        yield web.post(f"{AT_RESOURCE}/tasks", self.guarded(self._submit))
        yield web.get(f"{AT_RESOURCE}/tasks/{{id}}", self.guarded(self._pass))

    def error(self, status: int, message: str, code: str | None) -> Any:
        return {"status": status, "message": message}

    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        return {"QRMI_IQM_ISA_ENDPOINT": url, "QRMI_IQM_ISA_TOKEN": token}

    def way(self, visit: Visit) -> Upstream:
        assert visit.resource is not None
        return self.doors.upstream(visit.resource, _way)

    async def _held(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        PlainDoor.held += 1
        await asyncio.wait_for(self.doors.stopping.wait(), PATIENCE)
        return web.json_response({"state": "running"})

    async def _broken(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        raise AssertionError("a fault of the gateway's")

    async def _pass(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        async with self.way(visit).send("GET", f"/{request.match_info['id']}", headers=request.headers) as response:
            return await relay(request, response)

    async def _submit(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": await self.doors.finished(self._submitted(visit))})

    async def _submitted(self, visit: Visit) -> str:
        assert visit.resource is not None
        status, _ = await self.way(visit).json("POST", "/tasks")
        task = LeaseTask(visit.resource, f"task-{len(self.doors.books.of_lease(visit.lease, visit.resource))}")
        await self.doors.books.add(visit.lease, task)
        return f"{task.task_id} {status}"


def _way(resource: ConfiguredResource) -> Upstream:
    values = resource.values()
    token = Fixed({"Authorization": f"Bearer {values['QRMI_IQM_ISA_TOKEN']}"})
    return Upstream(values["QRMI_IQM_ISA_ENDPOINT"], HttpSettings(read_timeout=PATIENCE), token, name=resource.name)
