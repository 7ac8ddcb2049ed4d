# SPDX-License-Identifier: Apache-2.0
"""The server that every client is measured against, in a process of its own, with knobs and counters.

``POST /_ctl/use`` sets the knobs and forgets what was counted: ``service`` (seconds, or [least, most] to draw
log-uniformly from), ``lanes`` (0: every job begins as it comes), ``seed``, ``rtt`` (seconds in front of every answer),
``result`` (small or large), and ``faults``: {status, share, match (of "METHOD path"), retry_after} of requests that are
answered so and not carried out. ``GET /_ctl/counts`` tells what was counted, ``GET /_ctl/work/ID`` the
seconds of a job and the requests for it; ``POST /_ctl/finish`` ends all jobs, ``POST /_ctl/meet/N``
answers when N have asked.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from emulated_ibm import IBM, answer_json
from emulated_jobs import Device
from emulated_pasqal import Pasqal

KEPT = 120.0
USUAL: dict[str, Any] = {"service": 0.0, "lanes": 0, "seed": 1, "rtt": 0.0, "result": "small", "faults": []}
WORK = re.compile(r"/(?:jobs|batches|sessions)/([^/]+)")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Emulator:
    """The routes of both vendors behind one middleware, which counts, delays and refuses."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._device = Device()
        self._ibm = IBM(self._device, answers)
        self._pasqal = Pasqal(self._device, answers["pulser_device"].decode())
        self._all_here = asyncio.Event()
        self._met = 0
        self._set(USUAL)

    def app(self) -> web.Application:
        @web.middleware
        async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._counted(request, handler)

        app = web.Application(middlewares=[counted], client_max_size=2**30)
        for method, path, handler in [*self._ibm.routes(), *self._pasqal.routes()]:
            app.router.add_route(method, path, handler)
        app.router.add_post("/_ctl/use", self._use)
        app.router.add_get("/_ctl/counts", self._counts)
        app.router.add_get("/_ctl/work/{id}", self._work)
        app.router.add_post("/_ctl/finish", self._finish)
        app.router.add_post("/_ctl/meet/{count}", self._meet)
        return app

    def _set(self, knobs: dict[str, Any]) -> None:
        self._knobs = knobs
        self._device.jobs.clear()
        self._device.batches.clear()
        self._device.use(service=knobs["service"], lanes=knobs["lanes"], seed=knobs["seed"])
        self._ibm.result = knobs["result"]
        self._chance = random.Random(knobs["seed"])
        self._requests: collections.Counter[str] = collections.Counter()
        self._looks: collections.Counter[str] = collections.Counter()
        self._faults: collections.Counter[str] = collections.Counter()
        self._up = self._down = 0

    async def _use(self, request: web.Request) -> web.Response:
        self._set({**USUAL, **await request.json()})
        return answer_json({})

    async def _counts(self, request: web.Request) -> web.Response:
        """What was counted; ``works`` are jobs and batches that the device was given."""
        return answer_json(
            {
                "requests": self._requests.total(),
                "by_route": self._requests,
                "up": self._up,
                "down": self._down,
                "faults": self._faults,
                "works": len(self._device.jobs) + len(self._device.batches),
            }
        )

    async def _work(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        work = self._device.jobs.get(name) or self._device.batches[name]
        return answer_json({"seconds": work.end - work.start, "requests": 1 + self._looks[name]})

    async def _finish(self, request: web.Request) -> web.Response:
        for job in self._device.jobs.values():
            job.end = min(job.end, time.monotonic())
        return answer_json({})

    async def _meet(self, request: web.Request) -> web.Response:
        self._met += 1
        if self._met % int(request.match_info["count"]) == 0:
            self._all_here.set()
            self._all_here = asyncio.Event()
        else:
            await self._all_here.wait()
        return answer_json({})

    def _fault(self, route: str) -> web.Response | None:
        for fault in self._knobs["faults"]:
            if re.search(fault.get("match", ""), route) and self._chance.random() < fault["share"]:
                status = fault["status"]
                self._faults[str(status)] += 1
                answer = answer_json({"errors": [{"code": status, "message": "emulated fault"}]}, status)
                if "retry_after" in fault:
                    answer.headers["Retry-After"] = str(fault["retry_after"])
                return answer
        return None

    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_ctl/"):
            return await handler(request)
        route = f"{request.method} {request.path}"
        if (named := WORK.search(request.path)) is not None:
            route = route.replace(named[1], "{id}")
            self._looks[named[1]] += 1
        self._requests[route] += 1
        if request.can_read_body:
            self._up += len(await request.read())
        if self._knobs["rtt"]:
            await asyncio.sleep(self._knobs["rtt"])
        if (fault := self._fault(route)) is not None:
            return fault
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path.startswith("/api/v1") and bearer not in self._ibm.tokens:
            return answer_json({"errors": [{"code": 1200, "message": "Authentication token is not valid."}]}, 401)
        answer = await handler(request)
        if isinstance(answer, web.Response) and isinstance(answer.body, bytes):
            self._down += len(answer.body)
        return answer


async def serve(answers: Path) -> None:
    """Serve until the standard input closes; the first line that is printed is the port."""
    documents = {path.stem: path.read_bytes() for path in answers.glob("*.json")}
    runner = web.AppRunner(Emulator(documents).app(), access_log=None, keepalive_timeout=KEPT)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(Path(sys.argv[1])))
