# SPDX-License-Identifier: Apache-2.0
"""The door of Felis, Alice & Bob's cloud: a job sees its target and its own jobs, and nothing else of the account."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote

from aiohttp import hdrs, web

from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.felis import API_KEY, BASE_ENDPOINT, DEFAULT_ENDPOINT, JOBS, TARGETS, target_name
from qrmi_core.drivers.felis_answers import WORDS, created, info_of, last_event
from qrmi_core.drivers.vendor import DEVICE, MIN_POLL
from qrmi_core.environment import own_values
from qrmi_core.gateway.bodies import Spooled, top_level
from qrmi_core.gateway.doors.door import AT_RESOURCE, Handler, Refusal, Visit
from qrmi_core.gateway.doors.pass_through import Answer, PassThrough, checked_query
from qrmi_core.gateway.doors.submitting import Unanswered
from qrmi_core.gateway.doors.upstream import Fixed, Upstream
from qrmi_core.http_settings import http_settings
from qrmi_core.leases import LeaseTask
from qrmi_core.tasks import TaskStatus

__all__ = ["FelisDoor"]

USER = "qrmi"
"""Felis's keys are base64 of ``user:password``; a job's token is the password."""

LARGEST_REQUEST = 64 * 1024
LARGEST_PROGRAM = 256 * 2**20
PAGE = 50
LARGEST_PAGE = 100
AT_ONCE = 8
"""How many jobs of a list are asked for at the same time, where the vendor's own list does not have them."""

JOB_KEYS = frozenset({"inputDataFormat", "outputDataFormat", "target", "inputParams"})
PARTS = "input|output|memory|transpiled"


class FelisDoor(PassThrough):
    """Felis's API in front of Felis."""

    serves: ClassVar[str] = "alice-bob-felis"
    shows: ClassVar[str] = "alice-bob-felis"

    def routes(self) -> Iterable[web.RouteDef]:
        routes: Mapping[str, Handler] = {
            "GET /v1/health/": self._health,
            "GET /v1/targets/": self._targets,
            "GET /v1/targets/{target}/{part:health|availabilities}": self._target,
            "POST /v1/jobs/": self._create,
            "GET /v1/jobs/": self._list,
            "GET /v1/jobs/{id}": self._show,
            "DELETE /v1/jobs/{id}": self._show,
            "POST /v1/jobs/{id}/input": self._upload,
            f"GET /v1/jobs/{{id}}/{{part:{PARTS}}}": self._part,
            "GET /v1/jobs/{id}/metrics": self._metrics,
        }
        for route, handler in routes.items():
            method, _, path = route.partition(" ")
            yield web.route(method, AT_RESOURCE + path, self.guarded(handler))

    def error(self, status: int, message: str, code: str | None) -> Any:
        if status == 422:
            return {"detail": [{"loc": [code or "body"], "msg": message, "type": "value_error"}]}
        return {"error": {"code": code or status, "message": message}}

    def credential(self, request: web.Request) -> str | None:
        """The password of an API key; a key that holds none is taken for the token itself."""
        scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() not in {"basic", "api-key"}:
            return None
        try:
            user, colon, password = base64.b64decode(key.strip(), validate=True).decode("ascii").partition(":")
        except (binascii.Error, ValueError):
            return key.strip()
        return password if user and colon else key.strip()

    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        configured = resource.values()
        kept = {MIN_POLL: configured[MIN_POLL]} if configured.get(MIN_POLL) else {}
        key = base64.b64encode(f"{USER}:{token}".encode()).decode()
        # The vendor's own client joins paths as a browser does: without the last slash it would leave out the name.
        return {API_KEY: key, BASE_ENDPOINT: f"{url}/", DEVICE: _target(resource), **kept}

    def make_way(self, resource: ConfiguredResource) -> Upstream:
        values = {**own_values((API_KEY, BASE_ENDPOINT)), **resource.values()}
        return Upstream(
            values.get(BASE_ENDPOINT) or DEFAULT_ENDPOINT,
            http_settings(resource.name, values),
            Fixed({hdrs.AUTHORIZATION: f"Basic {values.get(API_KEY, '').strip()}"}),
            name=resource.name,
        )

    async def _health(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        return await self.passed(_name(visit), request, f"/v1/health/{checked_query(request, ())}")

    async def _targets(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        answer = await self.answer(_name(visit), request, TARGETS + checked_query(request, ()))
        if not answer.is_success:
            return answer.response()
        target, listed = self._target_of(visit), answer.json()
        entries = listed if isinstance(listed, list) else []
        return answer.response([one for one in entries if isinstance(one, dict) and one.get("name") == target])

    async def _target(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        self._check_target(visit, request.match_info["target"])
        query = checked_query(request, ("limit", "offset"))
        path = f"{TARGETS}{quote(self._target_of(visit), safe='')}/{request.match_info['part']}{query}"
        return await self.passed(_name(visit), request, path)

    def _target_of(self, visit: Visit) -> str:
        return _target(self.doors.resource(_name(visit)))

    def _check_target(self, visit: Visit, asked: object) -> None:
        target = self._target_of(visit)
        if asked != target:
            raise Refusal(403, f"this job has the target {target}, and no other")

    async def _create(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        path = JOBS + checked_query(request, ())
        body = await self.doors.spool.take(request, most=LARGEST_REQUEST)
        try:
            envelope = await top_level(body)
            if unknown := sorted(set(envelope.names) - JOB_KEYS):
                raise Refusal(422, f"Extra inputs are not permitted: {unknown[0][:80]}", code="body")
            self._check_target(visit, envelope.value("target"))
            parameters = envelope.value("inputParams")
        except BaseException:
            body.close()
            raise
        shots = parameters.get("nbShots") if isinstance(parameters, dict) else None
        task = LeaseTask(_name(visit), "", program="qir", shots=int(shots) if isinstance(shots, int | float) else None)
        return await self.doors.finished(self._created(visit, request, path, body, task))

    async def _created(
        self, visit: Visit, request: web.Request, path: str, body: Spooled, task: LeaseTask
    ) -> web.StreamResponse:
        async with body:
            answer = await self.submitted(task.resource, request, path, body)
        document = answer.json()
        if answer.is_success and isinstance(document, dict) and isinstance(document.get("id"), str):
            await self.doors.books.add(visit.lease, replace(task, task_id=document["id"]))
        return answer.response()

    async def _own(self, visit: Visit, request: web.Request) -> tuple[LeaseTask, str]:
        """The task that a path names, and its own path.

        Raises:
            Refusal: 404, whether somebody else has it or nobody.
        """
        asked = request.match_info["id"]
        task = await self.own_task(visit, asked)
        if task is None:
            raise Refusal(404, f"Could not find job {asked[:80]}")
        return task, _path(task)

    async def _list(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        checked_query(request, ("page", "limit"))
        page, limit = _number(request, "page", 1), min(_number(request, "limit", PAGE), LARGEST_PAGE)
        own = await self.doors.books.readable(visit.lease, _name(visit))
        wanted = own[(page - 1) * limit : page * limit]
        if not wanted:
            return web.json_response([])
        listed = await self.answer(_name(visit), request, f"{JOBS}?limit={LARGEST_PAGE}", headers={})
        if not listed.is_success:
            return listed.response()
        documents = listed.json()
        there = {
            one.get("id"): one for one in (documents if isinstance(documents, list) else []) if isinstance(one, dict)
        }
        turns = asyncio.Semaphore(AT_ONCE)

        async def document(task: LeaseTask) -> Any:
            if task.task_id in there:
                return there[task.task_id]
            async with turns:
                answer = await self.answer(task.resource, request, _path(task), headers={})
            return answer.json() if answer.is_success else None

        found = [one for one in await asyncio.gather(*map(document, wanted)) if isinstance(one, dict)]
        return web.json_response(sorted(found, key=created, reverse=True))

    async def _show(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        answer = await self.answer(task.resource, request, path + checked_query(request, ()))
        self._see(visit, task, answer)
        return answer.response()

    def _see(self, visit: Visit, task: LeaseTask, answer: Answer) -> None:
        document = answer.json()
        if not answer.is_success or not isinstance(document, dict):
            return
        info = info_of(document, task.task_id, _status)
        ended = (info.ended or time.time()) if info.status.is_final and task.ended is None else None
        outcome = info.status.value if info.status.is_final else None
        self.noted(visit.lease, task, started=info.started, ended=ended, outcome=outcome)

    async def _upload(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        query = checked_query(request, ())
        body = await self.doors.spool.take(request, most=LARGEST_PROGRAM)
        return await self.doors.finished(self._uploaded(request, task, f"{path}/input{query}", body))

    async def _uploaded(self, request: web.Request, task: LeaseTask, path: str, body: Spooled) -> web.StreamResponse:
        async with body:
            try:
                return (await self.submitted(task.resource, request, path, body)).response()
            except Unanswered:
                pass
        job = await self.answer(task.resource, request, _path(task), method="GET", headers={})
        document = job.json()
        if job.is_success and isinstance(document, dict) and last_event(document) not in {None, "CREATED"}:
            return web.json_response(None)
        raise Refusal(502, f"nobody knows whether the program of job {task.task_id} arrived: look at the job")

    async def _part(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        query = checked_query(request, ())
        return await self.passed(task.resource, request, f"{path}/{request.match_info['part']}{query}")

    async def _metrics(self, visit: Visit, request: web.Request) -> web.StreamResponse:
        task, path = await self._own(visit, request)
        answer = await self.answer(task.resource, request, f"{path}/metrics{checked_query(request, ())}")
        told = answer.json()
        spent = told.get("qpu_duration_ns") if answer.is_success and isinstance(told, dict) else None
        self.noted(visit.lease, task, usage=spent / 1e9 if isinstance(spent, int | float) else None)
        return answer.response()


def _name(visit: Visit) -> str:
    assert visit.resource is not None  # noqa: S101  all routes are below a resource's own path
    return visit.resource


def _target(resource: ConfiguredResource) -> str:
    return resource.values().get(DEVICE) or target_name(resource.name)


def _path(task: LeaseTask) -> str:
    return f"{JOBS}{quote(task.task_id, safe='')}"


def _status(word: str) -> TaskStatus:
    return WORDS.get(word, TaskStatus.RUNNING)


def _number(request: web.Request, name: str, default: int) -> int:
    """A whole number of the query, at least 1.

    Raises:
        Refusal: 422, it is none.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) >= 1):
        raise Refusal(422, "Input should be a valid integer, at least 1", code=name)
    return int(text)
