# SPDX-License-Identifier: Apache-2.0
"""Warden's own API for the jobs of a site: each request with a munge credential of the job's user, as at Warden itself.

A request without the job's session tells its user and its node only; then it is for all leases that he has there.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import time
from collections.abc import Iterable
from typing import Any, ClassVar

import aiohttp
from aiohttp import web

from qrmi_core import munge
from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.pasqal_local import URL, PasqalLocal
from qrmi_core.drivers.vendor import DEVICE, MIN_POLL
from qrmi_core.drivers.warden import MUNGE_SOCKET
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.bodies import Spooled, top_level
from qrmi_core.gateway.doors.admission import NotAdmitted
from qrmi_core.gateway.doors.door import AT_RESOURCE, Refusal
from qrmi_core.gateway.doors.pasqal_api import PasqalApi
from qrmi_core.gateway.doors.pasqal_forms import sendable
from qrmi_core.gateway.doors.pass_through import Answer, PassThrough
from qrmi_core.gateway.doors.upstream import Upstream, VendorAway, relayed_headers
from qrmi_core.gateway.doors.warden_way import WardenWay, acting_for
from qrmi_core.gateway.helper_client import HelperClient
from qrmi_core.leases import LeaseRecord, LeaseState, LeaseTask
from qrmi_core.tasks import TaskStatus

__all__ = ["LARGEST_SEQUENCE", "WardenNative", "number_in"]

LARGEST_SEQUENCE = 16 * 2**20
READ_TRIES = 3
ADMISSION_SECONDS = 60.0
NATIVE_JOB = "/jobs/{number:[1-9][0-9]{0,9}}"


class WardenNative(PasqalApi, PassThrough):
    """Warden's API in front of Warden."""

    serves: ClassVar[str] = "pasqal-local"
    shows: ClassVar[str] = "pasqal-local"
    by_default: ClassVar[bool] = False

    def routes(self) -> Iterable[web.RouteDef]:
        native = {
            "GET /accessible": self._accessible,
            "GET /qpu/specs": self._specs,
            "POST /jobs": self._submit,
            "GET /jobs": self._list,
            f"GET {NATIVE_JOB}": self._look,
            f"POST {NATIVE_JOB}/cancel": self._look,
            f"GET {NATIVE_JOB}/logs": self._look,
            "POST /sessions": self._no_sessions,
            "DELETE /sessions/{session}": self._no_sessions,
        }
        for route, handler in native.items():
            method, _, path = route.partition(" ")
            yield web.route(method, AT_RESOURCE + path, self.open(handler))
        yield from super().routes()

    def error(self, status: int, message: str, code: str | None) -> Any:
        """Both forms in one: Warden's clients look at ``detail``, those of Pasqal's cloud at the rest."""
        return {**super().error(status, message, code), "detail": message}

    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        configured = resource.values()
        kept = {name: configured[name] for name in (DEVICE, MIN_POLL, MUNGE_SOCKET) if configured.get(name)}
        return {URL: url, **kept}

    def make_way(self, resource: ConfiguredResource) -> Upstream:
        gateway = self.doors.gateway
        socket = gateway.settings.helper_socket
        return WardenWay(resource, HelperClient(socket) if socket else None, gateway.within)

    def warden(self, resource: str) -> WardenWay:
        """The way to the Warden of a resource."""
        way = self.way(resource)
        assert isinstance(way, WardenWay)  # noqa: S101  make_way makes no other
        return way

    async def asked(
        self,
        uid: int | None,
        resource: str,
        method: str,
        path: str,
        body: Spooled | bytes | None = None,
        session: str | None = None,
    ) -> Answer:
        """Warden's answer to a user, or to nobody in particular.

        Raises:
            VendorAway: there is none.
        """
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"X-Warden-Session": session} if session is not None else {}
        data, length = sendable(body)
        with acting_for(uid):
            for left in reversed(range(READ_TRIES if method == "GET" else 1)):
                async with self.way(resource).send(method, path, headers=headers, data=data, length=length) as response:
                    try:
                        return Answer(response.status, relayed_headers(response), await response.read())
                    except (aiohttp.ClientError, TimeoutError, OSError) as error:
                        if not left:
                            raise VendorAway(f"the answer of {resource} was cut off", arrived=True) from error
        raise AssertionError("the last try returns or raises")

    async def _admitted_by_munge(self, request: web.Request) -> tuple[int, list[LeaseRecord]]:
        """Whose request it is, and the leases of his on the node that it comes from."""
        gateway, name = self.doors.gateway, self.resource_of(request)
        credentials = request.headers.getall("X-Munge-Cred", ())
        if len(credentials) != 1:
            raise Refusal(401, "one munge credential was expected, in X-Munge-Cred")
        decode = functools.partial(munge.decode, credentials[0], socket=gateway.settings.munge_socket)
        try:
            told = await gateway.within("auth", decode)
        except munge.CredentialRejected as error:
            raise Refusal(401, str(error)) from error
        if told.payload:  # it was made for some other service, which may pass it on
            raise Refusal(401, "the munge credential was not made for Warden: it carries something")
        leases = [record for record in gateway.keeper.live() if _holds(record, told.uid, name)]
        here = [record for record in leases if await self._is_here(record, request)]
        if not here:
            raise NotAdmitted
        return told.uid, here

    async def _is_here(self, record: LeaseRecord, request: web.Request) -> bool:
        token = self.doors.tokens.web_token(record.id, seconds=ADMISSION_SECONDS)
        try:
            await self.doors.admission.lease(token, request.remote)
        except NotAdmitted:
            return False
        return True

    async def _accessible(self, request: web.Request) -> web.StreamResponse:
        return (await self.asked(None, self.resource_of(request), "GET", "/accessible")).response()

    async def _specs(self, request: web.Request) -> web.StreamResponse:
        uid, _ = await self._admitted_by_munge(request)
        return (await self.asked(uid, self.resource_of(request), "GET", "/qpu/specs")).response()

    async def _no_sessions(self, request: web.Request) -> web.StreamResponse:
        await self._admitted_by_munge(request)
        raise Refusal(403, "only the gateway opens and closes sessions: the job has its own already")

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        uid, leases = await self._admitted_by_munge(request)
        name, session = self.resource_of(request), request.headers.get("X-Warden-Session", "")
        of_session = [record for record in leases if _has_session(record, name, session)]
        if not of_session:
            raise Refusal(403, "the session is not that of a job of this user here: see QRMI_JOB_ACQUISITION_TOKEN")
        body = await self.doors.spool.take(request, most=LARGEST_SEQUENCE)
        try:
            envelope = await top_level(body)
            shots = envelope.value("shots")
            if set(envelope.names) != {"sequence", "shots"} or type(shots) is not int:
                raise Refusal(422, "a job has a sequence, which is a text, and shots, which are a number")
        except BaseException:
            body.close()
            raise
        return await self.doors.finished(self._submitted(of_session[0], uid, name, body, session, shots))

    async def _submitted(
        self, lease: LeaseRecord, uid: int, name: str, body: Spooled, session: str, shots: int
    ) -> web.Response:
        async with body:
            answer = await self.asked(uid, name, "POST", "/jobs", body, session)
        if answer.is_success:
            task = LeaseTask(name, str(number_in(answer)), program="pulser", shots=shots)
            await self.noted_or_cancelled(lease, task)
        return answer.response()

    async def noted_or_cancelled(self, lease: LeaseRecord, task: LeaseTask) -> None:
        """Note a job that Warden has taken.

        Raises:
            QRMIError: it is not noted, so nobody would end it with the lease: it is cancelled, where Warden can.
        """
        try:
            await self.doors.books.add(lease, task)
        except QRMIError:
            with contextlib.suppress(QRMIError):
                uid = None if lease.holder is None else lease.holder.uid
                await self.asked(uid, task.resource, "POST", f"/jobs/{task.task_id}/cancel")
            raise

    async def _list(self, request: web.Request) -> web.StreamResponse:
        uid, leases = await self._admitted_by_munge(request)
        name = self.resource_of(request)
        answer = await self.asked(uid, name, "GET", "/jobs")
        told = answer.json()
        if not answer.is_success or not isinstance(told, list):
            return answer.response()
        own = {task.task_id for record in leases for task in await self.doors.books.readable(record, name)}
        return answer.response([job for job in told if isinstance(job, dict) and str(job.get("id")) in own])

    async def _look(self, request: web.Request) -> web.StreamResponse:
        """What is told of one job, and what is done with it."""
        uid, leases = await self._admitted_by_munge(request)
        name, number = self.resource_of(request), request.match_info["number"]
        for record in leases:
            task = await self.doors.books.find(record, name, number)
            if task is not None and task.kind == "task":
                path = request.path.removeprefix(f"/r/{name}")
                answer = await self.asked(uid, name, request.method, path)
                if answer.is_success:
                    self.learn(record, task, answer.json())
                return answer.response()
        raise Refusal(404, "Job not found.")

    def learn(self, lease: LeaseRecord, task: LeaseTask, told: Any) -> None:
        """Note what Warden tells of a job."""
        word = str(told.get("status")) if isinstance(told, dict) else ""
        status = PasqalLocal.words.get(word, TaskStatus.RUNNING)
        if status.is_final and task.ended is None:
            self.noted(lease, task, ended=time.time(), outcome=status.value)


def number_in(answer: Answer) -> int:
    """The number of the job that Warden took.

    Raises:
        Refusal: its answer does not tell.
    """
    told = answer.json()
    number = told.get("id") if isinstance(told, dict) else None
    if type(number) is not int or not 0 < number < 2**32:
        raise Refusal(503, "nobody knows whether Warden took the job: look at your jobs before it is sent again")
    return number


def _holds(record: LeaseRecord, uid: int, resource: str) -> bool:
    if record.state is not LeaseState.GRANTED or record.holder is None or record.holder.uid != uid:
        return False
    return any(each.resource == resource for each in record.acquisitions)


def _has_session(record: LeaseRecord, resource: str, session: str) -> bool:
    token = record.acquisition(resource).token
    return token is not None and hmac.compare_digest(token.encode(), session.encode())
