# SPDX-License-Identifier: Apache-2.0
"""A server that behaves as IBM's cloud does for jobs: states by the clock, lists, results. It computes nothing.

A job's tag ``seconds:1.5`` says how long it runs. ``/_seen`` tells how many requests of each kind there were.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

__all__ = ["TAG", "main"]

TAG = "seconds:"
RESULT = json.dumps({"results": [{"data": {"meas": "x" * 2000}}], "metadata": {"version": 2}})


class Vendor:
    """The jobs, the last one last."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.seen: Counter[str] = Counter()
        self._numbers = itertools.count()

    def application(self) -> web.Application:
        application = web.Application()
        router, api = application.router, "/api/v1"
        router.add_post("/identity/token", self.token)
        router.add_get(f"{api}/backends/{{device}}/status", self.status)
        router.add_get(f"{api}/instances/usage", self.usage)
        router.add_post(f"{api}/jobs", self.submit)
        router.add_get(f"{api}/jobs", self.listed)
        router.add_get(f"{api}/jobs/{{id}}", self.job)
        router.add_get(f"{api}/jobs/{{id}}/results", self.results)
        router.add_get("/_seen", self.told)
        return application

    async def token(self, _: web.Request) -> web.Response:
        self.seen["token"] += 1
        return web.json_response({"access_token": "t", "expires_in": 3600})

    async def status(self, _: web.Request) -> web.Response:
        self.seen["device"] += 1
        return web.json_response({"state": True, "status": "active", "message": "available", "length_queue": 0})

    async def usage(self, _: web.Request) -> web.Response:
        self.seen["usage"] += 1
        return web.json_response({"usage_consumed_seconds": 0, "usage_limit_reached": False})

    async def submit(self, request: web.Request) -> web.Response:
        self.seen["submission"] += 1
        body = json.loads(await request.read())
        seconds = next((float(tag.removeprefix(TAG)) for tag in body["tags"] if tag.startswith(TAG)), 0.0)
        name = f"d{next(self._numbers)}"
        now = time.time()
        self.jobs[name] = {
            "id": name, "backend": body["backend"], "program": {"id": body["program_id"]}, "tags": body["tags"],
            "created": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
            "cost": 600, "private": False, "user_id": "u", "since": now, "end": now + seconds,
        }  # fmt: skip
        return web.json_response({"id": name, "backend": body["backend"], "private": False})

    def document(self, job: dict[str, Any]) -> dict[str, Any]:
        over = time.time() >= job["end"]
        word = "Completed" if over else "Running"
        seconds = job["end"] - job["since"] if over else 0.0
        kept = {key: value for key, value in job.items() if key not in {"since", "end"}}
        return {**kept, "status": word, "state": {"status": word}, "usage": {"seconds": seconds}}

    async def listed(self, request: web.Request) -> web.Response:
        self.seen["list"] += 1
        query = request.query
        after = datetime.fromisoformat(query["created_after"]).timestamp() if "created_after" in query else 0.0
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 20))
        newest = itertools.takewhile(lambda job: job["since"] > after, reversed(self.jobs.values()))
        jobs = [self.document(job) for job in itertools.islice(newest, offset, offset + limit)]
        return web.json_response({"jobs": jobs, "count": len(self.jobs), "offset": offset, "limit": limit})

    async def job(self, request: web.Request) -> web.Response:
        self.seen["job"] += 1
        job = self.jobs.get(request.match_info["id"])
        return web.json_response({"errors": []}, status=404) if job is None else web.json_response(self.document(job))

    async def results(self, request: web.Request) -> web.Response:
        self.seen["results"] += 1
        return web.Response(text=RESULT)

    async def told(self, _: web.Request) -> web.Response:
        return web.json_response(self.seen)


async def main() -> None:
    """Serve at a free port, which is printed, until the process is ended."""
    runner = web.AppRunner(Vendor().application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
