# SPDX-License-Identifier: Apache-2.0
"""The administration's routes: nodes fetch and end leases, users look, operators act. Every answer is JSON."""

from __future__ import annotations

import json
import math
import re
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from qrmi_core.errors import InputError, LeaseRefused, QRMIError, ResourceNotFound
from qrmi_core.gateway.auth import Authenticator, Caller, Forbidden, Unauthorized, user_name
from qrmi_core.gateway.doors.books import USAGE_PAGE, UsagePlace
from qrmi_core.gateway.guard import Guard, answer, error_answer, read_body
from qrmi_core.gateway.listing import leases_told, resources_told
from qrmi_core.gateway.service import Gateway, GrantRefused
from qrmi_core.leases import LeaseState, LeaseTask
from qrmi_core.munge import MungeUnavailable
from qrmi_core.names import did_you_mean
from qrmi_core.vendor_environment import NO_PROXY, pasqal_variables

__all__ = ["LARGEST_BODY", "admin_application"]

LARGEST_BODY = 64 * 1024
LARGEST_NUMBER = 2**53
READ_BY_HOOK = pasqal_variables("", "").keys()
LONGEST_TEXT = 1000
_LEASE = re.compile(r"[0-9a-f]{32}")
_NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_TASK = re.compile(r"[A-Za-z0-9_~=+-][A-Za-z0-9_.:,~=+-]{0,999}")
_JOB = re.compile(r"[1-9][0-9]{0,9}")
_PLACE = re.compile(r"[0-9a-f]{32}")
_AS_BYTES = struct.Struct(">dq")

Body = Mapping[str, Any]
Work = Callable[[web.Request, Caller, Body], Awaitable[web.StreamResponse]]


def admin_application(gateway: Gateway, guard: Guard) -> web.Application:
    """The routes, to be served on a unix socket and on a port alike."""
    application = web.Application(middlewares=[guard.middleware], client_max_size=LARGEST_BODY)
    Admin(gateway).add_to(application)
    return application


class Admin:
    """The routes; each takes a credential that was made for the very request."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._authenticator = Authenticator(gateway.settings.munge_socket)

    def add_to(self, application: web.Application) -> None:
        """Add them."""
        router = application.router
        router.add_get("/healthz", self._health, allow_head=False)
        routes: tuple[tuple[str, str, Work], ...] = (
            ("POST", "/v1/leases", self._grant),
            ("GET", "/v1/leases", self._leases),
            ("POST", "/v1/leases/{lease}/node-done", self._node_done),
            ("POST", "/v1/leases/{lease}/tasks", self._add_task),
            ("POST", "/v1/jobs/{job}/node-done", self._job_node_done),
            ("POST", "/v1/jobs/{job}/ending", self._ending),
            ("POST", "/v1/jobs/{job}/release", self._release),
            ("GET", "/v1/usage", self._usage),
            ("GET", "/v1/resources", self._resources),
            ("GET", "/v1/resources/{resource}/target", self._target),
            ("GET", "/v1/resources/{resource}/status", self._status),
            ("PUT", "/v1/resources/{resource}/maintenance", self._begin_maintenance),
            ("DELETE", "/v1/resources/{resource}/maintenance", self._end_maintenance),
        )
        for method, path, work in routes:
            router.add_route(method, path, self._authenticated(work))

    def _authenticated(self, work: Work) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                body = await read_body(request)
                await self._gateway.until_ready()
                headers = request.headers.getall("Authorization", [])
                caller = await self._gateway.within(
                    "auth", self._authenticator.check, request.method, request.raw_path, body, headers
                )
                return await work(request, caller, _object(body))
            except QRMIError as error:
                return _refused(error)

        return handle

    async def _health(self, _: web.Request) -> web.Response:
        slurmctld = await self._gateway.slurm.health()
        journal = await self._gateway.journal_health()
        status = "ok" if slurmctld == journal == "ok" else "degraded"
        return answer({"status": status, "journal": journal, "slurmctld": "ok" if slurmctld == "ok" else "unreachable"})

    def _must(self, allowed: bool) -> None:
        if not allowed:
            raise Forbidden

    async def _must_be_root_of(self, caller: Caller, node: str) -> None:
        self._must(await self._gateway.slurm.ask(self._gateway.slurm.hosts.is_root_of, caller, node))

    async def _grant(self, request: web.Request, caller: Caller, body: Body) -> web.Response:
        job_id, node = int(_number(body, "job_id", most=2**32)), _node(body)
        wait = _number(body, "wait", default=self._gateway.settings.grant_wait, most=3600)
        await self._must_be_root_of(caller, node)
        job = await self._gateway.slurm.job(job_id)
        if job is None:
            raise LeaseRefused(f"slurmctld knows no job {job_id}")
        self._must(node in job.nodes)
        record, variables = await self._gateway.grant(job, wait)
        hook = self._gateway.settings.pasqal_hook if READ_BY_HOOK & variables.vendor.always.keys() else None
        return answer(
            {
                "lease": record.id,
                "uid": job.uid,
                "environment": variables.environment,
                "defaults": variables.defaults,
                "absent": variables.absent,
                "vendor": {
                    "set": variables.vendor.always,
                    "default": variables.vendor.defaults,
                    "extend": dict.fromkeys(NO_PROXY, variables.no_proxy) if variables.no_proxy else {},
                },
                **({"pythonpath": hook} if hook else {}),
            }
        )

    async def _node_done(self, request: web.Request, caller: Caller, body: Body) -> web.Response:
        lease_id, node = request.match_info["lease"], _node(body)
        await self._must_be_root_of(caller, node)
        record = await self._gateway.lease(lease_id) if _LEASE.fullmatch(lease_id) else None
        if record is not None and record.state is LeaseState.GRANTED:
            self._must(record.holder is not None and node in record.holder.nodes)
            await self._gateway.node_done(lease_id, node)
        return answer({})

    async def _job_node_done(self, request: web.Request, caller: Caller, body: Body) -> web.Response:
        job_id, node = _job_id(request), _node(body)
        before = _number(body, "before", most=LARGEST_NUMBER)
        await self._must_be_root_of(caller, node)
        leases = self._gateway.keeper.of_job(job_id)
        if any(record.holder is not None and node in record.holder.nodes for record in leases):
            await self._gateway.nodes_done_of(job_id, node, before)
        return answer({})

    async def _ending(self, request: web.Request, caller: Caller, _: Body) -> web.Response:
        job_id = _job_id(request)
        self._must(await self._gateway.slurm.is_controller(caller))
        self._gateway.job_ends(job_id)
        return answer({})

    async def _add_task(self, request: web.Request, caller: Caller, body: Body) -> web.Response:
        lease_id = request.match_info["lease"]
        task = LeaseTask(_text(body, "resource"), _task(body), submitted=time.time())
        record = await self._gateway.lease(lease_id) if _LEASE.fullmatch(lease_id) else None
        self._must(record is not None and record.holder is not None and record.holder.uid == caller.uid)
        has_token = self._gateway.doors.tokens.has(lease_id)
        goes_directly = record is not None and record.state is LeaseState.GRANTED and not has_token  # since a reload
        if self._gateway.resources.is_behind_a_door(task.resource) and not goes_directly:
            return answer({})  # its door has seen it, and whose it is
        await self._gateway.note_task(lease_id, task)
        return answer({})

    async def _leases(self, request: web.Request, caller: Caller, _: Body) -> web.Response:
        records = self._gateway.keeper.live()
        if request.query.get("all") == "1":
            self._must(await self._is_operator(caller))
        else:
            records = [record for record in records if record.holder and record.holder.uid == caller.uid]
        return answer({"leases": leases_told(records)})

    async def _usage(self, request: web.Request, caller: Caller, _: Body) -> web.Response:
        everybody = request.query.get("all") == "1"
        if everybody:
            self._must(await self._is_operator(caller))
        try:
            since = float(request.query.get("since", "0"))
        except ValueError:
            raise InputError("since: seconds since the epoch were expected") from None
        most, after = _limit(request, USAGE_PAGE), _place(request)
        uid = None if everybody else caller.uid
        page = await self._gateway.doors.books.usage(uid=uid, since=since, most=most, after=after)
        following = {"next": _AS_BYTES.pack(*page.next).hex()} if page.next is not None else {}
        return answer({"tasks": page.tasks, **following})

    async def _release(self, request: web.Request, caller: Caller, _: Body) -> web.Response:
        job_id = _job_id(request)
        records = self._gateway.keeper.of_job(job_id)
        if not await self._is_operator(caller):
            own = [record for record in records if record.holder and record.holder.uid == caller.uid]
            self._must(bool(own))
            records = own
        who = await self._gateway.within("auth", user_name, caller.uid)
        released: list[str] = []
        pending: list[str] = []
        for record in records:
            left = await self._gateway.release(record.id, f"{who} released it")
            (pending if left is not None and not left.is_given_back else released).append(record.id)
        return answer({"released": released, "pending": pending})

    async def _is_operator(self, caller: Caller) -> bool:
        return await self._gateway.within("auth", self._gateway.slurm.hosts.is_operator, caller)

    async def _resources(self, _: web.Request, caller: Caller, __: Body) -> web.Response:
        return answer({"resources": await resources_told(self._gateway)})

    async def _target(self, request: web.Request, caller: Caller, _: Body) -> web.Response:
        target = await self._gateway.vendors.target(self._resource(request))
        return web.Response(body=target, content_type="application/json")

    async def _status(self, request: web.Request, caller: Caller, _: Body) -> web.Response:
        status = await self._gateway.vendors.status(self._resource(request))
        return answer(status.to_dict())

    async def _begin_maintenance(self, request: web.Request, caller: Caller, body: Body) -> web.Response:
        return await self._maintenance(request, caller, _text(body, "reason"))

    async def _end_maintenance(self, request: web.Request, caller: Caller, _: Body) -> web.Response:
        return await self._maintenance(request, caller, None)

    async def _maintenance(self, request: web.Request, caller: Caller, reason: str | None) -> web.Response:
        self._must(await self._is_operator(caller))
        name = self._resource(request)
        who = await self._gateway.within("auth", user_name, caller.uid)
        await self._gateway.within("release", self._gateway.outages.maintenance, name, reason, who)
        return answer({})

    def _resource(self, request: web.Request) -> str:
        name = request.match_info["resource"]
        known = self._gateway.resources.resources
        if name not in known:
            shown = name[:60].encode("ascii", "replace").decode()
            raise ResourceNotFound(
                f"this site has no QPU {shown!r}: {did_you_mean(name[:60], list(known), command='qrmi qpus')}"
            )
        return name


def _refused(error: QRMIError) -> web.Response:
    if isinstance(error, MungeUnavailable):
        return error_answer(503, "the gateway cannot check munge credentials now; its log says why", transient=True)
    by_kind = {Unauthorized: 401, Forbidden: 403, InputError: 400, ResourceNotFound: 404}
    status = next((status for kind, status in by_kind.items() if isinstance(error, kind)), None)
    if status is None:
        status = 503 if error.transient else 409
    more = {"requeue": error.requeue} if isinstance(error, GrantRefused) and error.requeue else {}
    return error_answer(status, str(error), transient=error.transient, **more)


def _object(body: bytes) -> Body:
    """The body as an object; an empty one has no keys."""
    try:
        told = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise InputError("the body is not JSON") from None
    if not isinstance(told, dict):
        raise InputError("a JSON object was expected")
    return told


def _number(body: Body, key: str, *, most: float, default: float | None = None) -> float:
    value = body.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{key}: a number was expected")
    if not 0 <= value <= most:
        raise InputError(f"{key}: a number from 0 to {most:g} was expected")
    return value


def _text(body: Body, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value or len(value) > LONGEST_TEXT or not value.isprintable():
        raise InputError(f"{key}: a text of at most {LONGEST_TEXT} characters in one line was expected")
    return value


def _task(body: Body) -> str:
    """The gateway names it to a vendor, in whose eyes it is the site: so it is a word, and no path."""
    task = _text(body, "task")
    if not _TASK.fullmatch(task):
        raise InputError("task: the id that the vendor gave was expected")
    return task


def _node(body: Body) -> str:
    node = body.get("node")
    if not isinstance(node, str) or not _NODE.fullmatch(node):
        raise InputError("node: the name of a node was expected")
    return node


def _job_id(request: web.Request) -> int:
    text = request.match_info["job"]
    if not _JOB.fullmatch(text):
        raise InputError("a job's number was expected in the path: of a task of an array its own")
    return int(text)


def _limit(request: web.Request, most: int) -> int:
    """How many are asked for; as many as there are in one answer by default."""
    text = request.query.get("limit", str(most))
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not 1 <= int(text) <= most:
        raise InputError(f"limit: a number from 1 to {most} was expected")
    return int(text)


def _place(request: web.Request) -> UsagePlace | None:
    """The place after which it goes on, as the answer before told it."""
    text = request.query.get("after")
    if text is None:
        return None
    if not _PLACE.fullmatch(text):
        raise InputError("after: the next of the answer before was expected")
    return UsagePlace(*_AS_BYTES.unpack(bytes.fromhex(text)))
