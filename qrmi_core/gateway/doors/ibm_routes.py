# SPDX-License-Identifier: Apache-2.0
"""The routes of IBM's cloud API for jobs: whose is what, and which of a job's QPUs a request is for.

A QPU answers to its own name and to that of its device. What is somebody else's and what does not exist are answered
alike, in IBM's own words.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from qrmi_core.errors import AuthenticationFailed
from qrmi_core.gateway.bodies import Envelope, Spooled, top_level
from qrmi_core.gateway.dialects.dialect import iso
from qrmi_core.gateway.dialects.ibm_jobs import by_another_name
from qrmi_core.gateway.doors.door import Refusal, Visit
from qrmi_core.gateway.doors.ibm_account import INSTANCE, Account, check_instance
from qrmi_core.gateway.doors.ibm_documents import listed
from qrmi_core.gateway.doors.ibm_shaped import ROOTS, IBMShaped, device_of
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.leases import LeaseTask
from qrmi_core.names import answering

__all__ = ["IBMRoutes"]

_log = logging.getLogger(__name__)

LARGEST_JOB = 256 * 2**20
LARGEST_CHANGE = 64 * 1024
LONGEST_SESSION = 28800
AFTER_THE_JOB = 60.0
MODES = ("dedicated", "batch")
PROGRAMS = ("sampler", "estimator", "executor", "noise-learner")
JOB_KEYS = frozenset(
    {"program_id", "backend", "params", "cost", "session_id", "tags", "log_level", "private", "calibration_id"}
    | {"runtime"}
)
SESSION_KEYS = frozenset({"mode", "backend", "backend_name", "instance", "max_ttl"})

_Work = Callable[["Offer", web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Offer:
    """The QPUs of a visitor, each with the door that it is behind, and what its vendor calls it."""

    visit: Visit
    doors: Mapping[str, IBMShaped]
    devices: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> list[str]:
        """All that one QPU answers to, own names first."""
        known = dict.fromkeys([*self.devices, *(name for names in self.devices.values() for name in names)])
        return [name for name in known if len(answering(name, self.devices)) == 1]

    def find(self, backend: object) -> str:
        """The QPU that answers to a name.

        Raises:
            Refusal: 403, there is none; 400, there are several.
        """
        found = answering(backend, self.devices) if isinstance(backend, str) else []
        if len(found) == 1:
            return found[0]
        if found:
            raise Refusal(400, f"several QPUs of this job are a {backend}, name one of them: {', '.join(found)}")
        raise Refusal(403, f"backend: this job has no such QPU, it has {', '.join(self.names)}", code="1216")

    def shown(self, name: str) -> str:
        """What a QPU is called: as its device where no other one is the same."""
        (device,) = self.devices[name]
        return device if answering(device, self.devices) == [name] else name


class IBMRoutes:
    """The routes of one door, or of all doors that are IBM's cloud together."""

    def __init__(self, door: IBMShaped) -> None:
        self._door = door
        self._doors = door.doors
        self._account = Account(door.doors)

    def routes(self, at: str) -> Iterable[web.RouteDef]:
        """All of them, below a path."""
        works: list[tuple[str, str, _Work]] = [
            ("GET", "/backends", self._backends),
            ("GET", "/backends/{name}/{part:configuration|properties|status}", self._about_backend),
            ("GET", "/instances/usage", self._usage),
            ("POST", "/sessions", self._create_session),
            ("GET", "/sessions/{id}", self._session),
            ("PATCH", "/sessions/{id}", self._change_session),
            ("DELETE", "/sessions/{id}/close", self._close_session),
            ("POST", "/jobs", self._create_job),
            ("GET", "/jobs", self._jobs),
            ("GET", "/jobs/{id}", self._job),
            ("DELETE", "/jobs/{id}", self._delete_job),
            ("POST", "/jobs/{id}/cancel", self._cancel_job),
            ("GET", "/jobs/{id}/{part:results|logs|metrics}", self._job_part),
            ("PUT", "/jobs/{id}/tags", self._change_tags),
        ]
        yield from self._account.routes(at, self._door)
        for root in ROOTS if at else ROOTS[1:]:  # at the server's root /api/v1 is where IQM's client comes
            for method, path, work in works:
                yield web.route(method, f"{at}{root}{path}", self._door.guarded(self._for(work)))

    def _for(self, work: _Work) -> Callable[[Visit, web.Request], Awaitable[web.StreamResponse]]:
        async def handle(visit: Visit, request: web.Request) -> web.StreamResponse:
            check_instance(request)
            try:
                return await work(self._offer(visit), request)
            except AuthenticationFailed as error:
                _log.error("%s", error)
                text = f"the vendor of {error.resource} does not take this site's credential: tell its administrators"
                raise Refusal(502, text) from error

        return handle

    def _offer(self, visit: Visit) -> Offer:
        behind: dict[str, IBMShaped] = {}
        if visit.resource is not None:
            behind[visit.resource] = self._door
        else:
            for door in self._doors.all():
                if isinstance(door, IBMShaped):
                    behind |= dict.fromkeys(self._doors.behind(door, visit.lease), door)
        if not behind:
            raise Refusal(403, "this job has no QPU here")
        devices = {name: (device_of(self._doors.resource(name)),) for name in behind}
        return Offer(visit, behind, devices)

    async def _backends(self, offer: Offer, request: web.Request) -> web.Response:
        names = list(offer.doors)
        entries = await asyncio.gather(*(offer.doors[name].entry(name, request) for name in names))
        told = {name: entry for name, entry in zip(names, entries, strict=True) if entry is not None}
        shown = {offer.shown(name): {**entry, "name": offer.shown(name)} for name, entry in told.items()}
        others = {name: offer.find(name) for name in offer.names if name not in shown}
        also = [by_another_name({**told[qpu], "name": name}) for name, qpu in others.items() if qpu in told]
        return web.json_response({"devices": [*shown.values(), *also]})

    async def _about_backend(self, offer: Offer, request: web.Request) -> web.Response:
        asked, part = request.match_info["name"], request.match_info["part"]
        name = offer.find(asked)
        answer = await offer.doors[name].about_device(name, part, request)
        return _named(answer, asked) if part != "status" else answer.response()

    async def _usage(self, offer: Offer, request: web.Request) -> web.Response:
        reached = await asyncio.gather(*(door.limit_is_reached(name, request) for name, door in offer.doors.items()))
        tasks = [task for name in offer.doors for task in self._doors.books.of_lease(offer.visit.lease, name)]
        period = {"start_time": iso(offer.visit.lease.granted), "end_time": iso(time.time())}
        document = {
            "instance_id": INSTANCE,
            "plan_id": "qrmi-gateway",
            "usage_consumed_seconds": int(sum(task.usage or 0.0 for task in tasks)),
            "usage_period": period,
            "usage_limit_reached": all(reached),
        }
        return web.json_response(document)

    async def _create_session(self, offer: Offer, request: web.Request) -> web.Response:
        async with await self._doors.spool.take(request, most=LARGEST_CHANGE) as body:
            fields = _fields(await top_level(body), SESSION_KEYS)
        backend = fields.get("backend", fields.get("backend_name"))
        name = offer.find(backend)
        if offer.find(fields.get("backend_name", backend)) != name:
            raise Refusal(400, "backend and backend_name are two devices", code="1211")
        if fields.get("instance", INSTANCE) != INSTANCE:
            raise Refusal(403, "instance: this job has one instance, that of QISKIT_IBM_INSTANCE", code="1201")
        if fields.get("mode") not in MODES:
            raise Refusal(400, f"mode must be one of {', '.join(MODES)}", code="1211")
        longest = fields.get("max_ttl", LONGEST_SESSION)
        if not isinstance(longest, int) or isinstance(longest, bool) or longest < 1:
            raise Refusal(400, "max_ttl must be a positive number of seconds", code="1211")
        wanted = {"mode": fields["mode"], "max_ttl": min(longest, _seconds_left(offer.visit))}
        work = offer.doors[name].create_session(offer.visit, name, offer.shown(name), request, wanted)
        return await self._doors.finished(work)

    async def _session(self, offer: Offer, request: web.Request) -> web.Response:
        task = await self._own(offer, request, "session")
        return await offer.doors[task.resource].session(offer.visit, task, offer.shown(task.resource), request)

    async def _change_session(self, offer: Offer, request: web.Request) -> web.StreamResponse:
        task = await self._own(offer, request, "session")
        async with await self._doors.spool.take(request, most=LARGEST_CHANGE) as body:
            fields = _fields(await top_level(body), {"accepting_jobs"})
        if not isinstance(fields.get("accepting_jobs"), bool):
            raise Refusal(400, 'the body must be {"accepting_jobs": true or false}', code="1211")
        door, accepting = offer.doors[task.resource], fields["accepting_jobs"]
        return await door.change_session(offer.visit, task, request, accepting=accepting)

    async def _close_session(self, offer: Offer, request: web.Request) -> web.StreamResponse:
        task = await self._own(offer, request, "session")
        return await offer.doors[task.resource].close_session(offer.visit, task, request)

    async def _create_job(self, offer: Offer, request: web.Request) -> web.Response:
        body = await self._doors.spool.take(request, most=LARGEST_JOB)
        try:
            envelope = await top_level(body)
            name = await self._checked_job(offer, envelope)
        except BaseException:
            body.close()
            raise
        return await self._doors.finished(self._created(offer, name, request, body, envelope))

    async def _created(
        self, offer: Offer, name: str, request: web.Request, body: Spooled, envelope: Envelope
    ) -> web.Response:
        """Submit it, also where whoever sent it is gone."""
        async with body:
            return await offer.doors[name].create_job(offer.visit, name, offer.shown(name), request, envelope)

    async def _checked_job(self, offer: Offer, envelope: Envelope) -> str:
        """The QPU that a job is for."""
        if unknown := sorted(set(envelope.names) - JOB_KEYS):
            raise Refusal(400, f"unknown keys: {', '.join(unknown)[:200]}", code="1211")
        program = envelope.value("program_id")
        if program not in PROGRAMS:
            raise Refusal(403, f"program_id: this site runs {', '.join(PROGRAMS)}", code="1209")
        if "params" not in envelope:
            raise Refusal(400, "params are missing", code="1211")
        checked_tags(envelope.value("tags") if "tags" in envelope else [])
        name = offer.find(envelope.value("backend"))
        session = envelope.value("session_id")
        if session is not None and await self._found(offer, session, "session", (name,)) is None:
            raise _unknown("session", session)
        return name

    async def _jobs(self, offer: Offer, request: web.Request) -> web.Response:
        backends = None
        if "backend" in request.query:
            name = offer.find(request.query["backend"])
            backends = (offer.shown(name),)
        page = listed(request, await self._documents(offer), backends)
        if not page["count"] and (tags := request.query.getall("tags", [])):
            await asyncio.gather(*(door.adopt(offer.visit, name, tags) for name, door in offer.doors.items()))
            page = listed(request, await self._documents(offer), backends)
        return web.json_response(page)

    async def _documents(self, offer: Offer) -> list[dict[str, Any]]:
        found = await asyncio.gather(
            *(door.documents(offer.visit, name, offer.shown(name)) for name, door in offer.doors.items())
        )
        return [document for documents in found for document in documents]

    async def _job(self, offer: Offer, request: web.Request) -> web.StreamResponse:
        task = await self._own(offer, request, "task")
        return await offer.doors[task.resource].job(offer.visit, task, offer.shown(task.resource), request)

    async def _job_part(self, offer: Offer, request: web.Request) -> web.StreamResponse:
        task = await self._own(offer, request, "task")
        return await offer.doors[task.resource].job_part(offer.visit, task, request.match_info["part"], request)

    async def _cancel_job(self, offer: Offer, request: web.Request) -> web.StreamResponse:
        task = await self._own(offer, request, "task")
        return await offer.doors[task.resource].cancel_job(offer.visit, task, request)

    async def _delete_job(self, offer: Offer, request: web.Request) -> web.StreamResponse:
        task = await self._own(offer, request, "task")
        return await offer.doors[task.resource].delete_job(offer.visit, task, request)

    async def _change_tags(self, offer: Offer, request: web.Request) -> web.StreamResponse:
        task = await self._own(offer, request, "task")
        async with await self._doors.spool.take(request, most=LARGEST_CHANGE) as body:
            fields = _fields(await top_level(body), {"tags"})
        tags = checked_tags(fields.get("tags"))
        return await offer.doors[task.resource].change_tags(offer.visit, task, request, tags)

    async def _own(self, offer: Offer, request: web.Request, kind: str) -> LeaseTask:
        wanted = request.match_info["id"]
        if (task := await self._found(offer, wanted, kind, offer.doors)) is None:
            raise _unknown(kind, wanted)
        return task

    async def _found(self, offer: Offer, wanted: object, kind: str, names: Iterable[str]) -> LeaseTask | None:
        if not isinstance(wanted, str):
            return None
        for name in names:
            task = await self._doors.books.find(offer.visit.lease, name, wanted)
            if task is not None and task.kind == kind:
                return task
        return None


def checked_tags(tags: Any) -> list[str]:
    """The tags of a request.

    Raises:
        Refusal: 400, they are no list of texts.
    """
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Refusal(400, "tags must be a list of texts", code="1211")
    return tags


def _fields(envelope: Envelope, known: Iterable[str]) -> dict[str, Any]:
    if unknown := sorted(set(envelope.names) - set(known)):
        raise Refusal(400, f"unknown keys: {', '.join(unknown)[:200]}", code="1211")
    return {name: envelope.value(name) for name in envelope.names}


def _unknown(kind: str, wanted: object) -> Refusal:
    shown = str(wanted)[:80]
    if kind == "session":
        return Refusal(404, f"Session not found: {shown}", code="1350")
    return Refusal(404, f"Job not found. Job ID: {shown}", code="1291")


def _seconds_left(visit: Visit) -> int:
    ends = visit.lease.holder.ends if visit.lease.holder is not None else None
    if ends is None:
        return LONGEST_SESSION
    return max(1, min(LONGEST_SESSION, int(ends - time.time() + AFTER_THE_JOB)))


def _named(answer: Answer, name: str) -> web.Response:
    """The answer with the name that was asked for; clients compare them."""
    document = answer.json()
    if not answer.is_success or not isinstance(document, dict) or not document:
        return answer.response()
    return web.Response(
        status=answer.status, body=json.dumps({**document, "backend_name": name}), content_type="application/json"
    )
