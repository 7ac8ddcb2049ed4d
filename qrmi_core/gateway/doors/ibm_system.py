# SPDX-License-Identifier: Apache-2.0
"""The door of IBM's machines on premises: jobs see IBM's cloud, and what they send there becomes tasks of the driver.

The machine knows neither sessions nor tags: those are in the books, so that they are there for a later gateway too.
A task is noted before it is sent, under an id of our own; what comes of it is found again by that id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict

from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.ibm_system import PROGRAMS, TIMEOUT, new_task_id
from qrmi_core.errors import QRMIError, SubmissionUncertain
from qrmi_core.gateway.bodies import Envelope
from qrmi_core.gateway.dialects.dialect import iso
from qrmi_core.gateway.dialects.ibm_sessions import Session
from qrmi_core.gateway.doors.door import Refusal, Visit
from qrmi_core.gateway.doors.ibm_documents import Kept, rebuilt
from qrmi_core.gateway.doors.ibm_shaped import IBMShaped
from qrmi_core.gateway.doors.ibm_submission import UNKNOWN
from qrmi_core.gateway.doors.ibm_system_documents import (
    backend_entry,
    backend_status,
    job_metrics,
    lost,
    unsent,
    was_sent,
)
from qrmi_core.gateway.doors.ibm_system_machine import Machine
from qrmi_core.gateway.doors.ibm_system_sessions import kept_session, session_text
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.leases import LeaseRecord, LeaseTask
from qrmi_core.payloads import QiskitPrimitive
from qrmi_core.tasks import TaskInfo, TaskStatus

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.doors import Doors

__all__ = ["IBMSystemDoor"]

REFUSED = "refused"
LARGEST_INPUT = 64 * 2**20
STORED_AT_ONCE = 16
"""How many inputs are on their way from the spool to the storage; others need the threads too."""


class IBMSystemDoor(IBMShaped):
    """IBM's cloud in front of ``ibm-quantum-system``."""

    serves = "ibm-quantum-system"

    def __init__(self, doors: Doors) -> None:
        super().__init__(doors)
        self._machines: dict[str, Machine] = {}
        self._storing = asyncio.Semaphore(STORED_AT_ONCE)
        self.sending: set[str] = set()
        """The tasks that are noted and on their way to a machine."""

    def _machine(self, name: str) -> Machine:
        machine = self._machines.get(name)
        if machine is None or not machine.is_current:
            machine = self._machines[name] = Machine(self, name)
        return machine

    def values(self, resource: ConfiguredResource, url: str, token: str) -> dict[str, str]:
        # Sessions only group here, and a driver that has none asks for none.
        return {**super().values(resource, url, token), f"{self.prefix}_SESSION_MODE": "none"}

    def with_outcome(self, task: LeaseTask, info: TaskInfo | None) -> LeaseTask | None:
        return super().with_outcome(task, info or lost(task))

    async def entry(self, name: str, request: web.Request) -> Mapping[str, Any] | None:
        machine = self._machine(name)
        status, target = await asyncio.gather(machine.do(machine.driver.status), machine.target())
        return backend_entry(status, target["configuration"])

    async def about_device(self, name: str, part: str, request: web.Request) -> Answer:
        machine = self._machine(name)
        if part == "status":
            return _answer(backend_status(await machine.do(machine.driver.status)))
        document = (await machine.target())[part] or {}
        # For clients it stands for a QPU, also where an engine is behind it: they open no sessions on simulators.
        return _answer({**document, "simulator": False, "local": False} if part == "configuration" else document)

    async def limit_is_reached(self, name: str, request: web.Request) -> bool:
        return False

    async def create_session(
        self, visit: Visit, name: str, shown: str, request: web.Request, wanted: Mapping[str, Any]
    ) -> web.Response:
        session = Session(shown, wanted["mode"], wanted["max_ttl"])
        task = LeaseTask(name, session.id, kind="session", detail=session_text(session))
        await self.doors.books.add(visit.lease, task)
        return web.json_response(session.document())

    async def session(self, visit: Visit, task: LeaseTask, shown: str, request: web.Request) -> web.Response:
        return web.json_response({**(await self._looked_at(visit, task)).document(), "backend_name": shown})

    async def change_session(
        self, visit: Visit, task: LeaseTask, request: web.Request, *, accepting: bool
    ) -> web.StreamResponse:
        session = await self._looked_at(visit, task)
        if session.state == "closed" and accepting:
            raise Refusal(409, f"Session {session.id} is closed", code="1352")
        session.accepting_jobs = accepting
        session.look(len(await self._pending(visit, task)))
        self._keep(visit, task, session)
        return web.Response(status=204)

    async def close_session(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        session = kept_session(task)
        session.close()
        self._keep(visit, task, session)
        await self._cancel_all(await self._pending(visit, task))
        return web.Response(status=204)

    async def _looked_at(self, visit: Visit, task: LeaseTask) -> Session:
        """A session as it is by now; one whose time is over takes its jobs along."""
        session, pending = kept_session(task), await self._pending(visit, task)
        if session.look(len(pending)):
            await self._cancel_all(pending)
        self._keep(visit, task, session)
        return session

    async def _pending(self, visit: Visit, session: LeaseTask) -> list[LeaseTask]:
        """The jobs of a session that have not ended."""
        machine, books = self._machine(session.resource), self.doors.books

        def those() -> list[LeaseTask]:
            tasks = books.of_lease(visit.lease, session.resource)
            return [each for each in tasks if each.parent == session.task_id and each.ended is None]

        if unfinished := those():
            await machine.watch.refreshed(visit.lease, unfinished)
        return those()

    async def _cancel_all(self, tasks: Iterable[LeaseTask]) -> None:
        for task in tasks:
            machine = self._machine(task.resource)
            await machine.do(machine.driver.task_stop, task.task_id)

    def _keep(self, visit: Visit, task: LeaseTask, session: Session) -> None:
        text = session_text(session)
        if text != task.detail:
            outcome = None if session.closed is None else "closed"
            self.doors.books.changed(visit.lease, replace(task, detail=text, ended=session.closed, outcome=outcome))

    async def create_job(
        self, visit: Visit, name: str, shown: str, request: web.Request, envelope: Envelope
    ) -> web.Response:
        program = envelope.value("program_id")
        if program not in PROGRAMS:
            raise Refusal(
                400,
                f"{shown} is a machine on this site's premises: it runs {' and '.join(PROGRAMS)} programs (SamplerV2, "
                f"EstimatorV2), and no {program}",
                code="1209",
            )
        fields = _checked({key: envelope.value(key) for key in envelope.names if key != "params"})
        session = await self._session_for(visit, name, fields.get("session_id"))
        start, end = envelope.span("params") or (0, 0)
        if not envelope.is_object("params"):
            raise Refusal(400, "params must be an object", code="1211")
        if end - start > LARGEST_INPUT:
            raise Refusal(413, f"params are longer than {LARGEST_INPUT} bytes", code="8064")
        limits = [fields.get("cost"), self._configured_limit(name), _seconds_left(visit.lease)]
        limit = min((each for each in limits if each is not None), default=None)
        payload = QiskitPrimitive(program, b"", log_level=fields.get("log_level"), max_execution_time=limit)
        now, private = time.time(), bool(fields.get("private"))
        acquired = visit.lease.acquisition(name).token
        kept = {key: fields[key] for key in ("cost", "session_id") if fields.get(key) is not None}
        first = {
            "id": new_task_id(acquired),
            "status": "Queued",
            "state": {"status": "Queued"},
            "program": {"id": program},
            "created": iso(now),
            "tags": fields.get("tags") or [],
            "usage": {"seconds": 0.0},
            "private": private,
            **kept,
        }
        task = LeaseTask(
            name, first["id"], parent=fields.get("session_id"), program=program, detail=unsent(first), submitted=now
        )
        await self._sent(visit, task, payload, envelope, first)
        if session is not None:
            session[1].look(1)
            self._keep(visit, session[0], session[1])
        return web.json_response(
            {"id": task.task_id, "backend": shown, "private": private, **_only(kept, "session_id")}
        )

    async def _session_for(self, visit: Visit, name: str, session_id: str | None) -> tuple[LeaseTask, Session] | None:
        if session_id is None:
            return None
        task = await self.doors.books.find(visit.lease, name, session_id)
        if task is None:
            raise Refusal(404, f"Session not found: {session_id[:80]}", code="1350")
        session = await self._looked_at(visit, task)
        if not session.accepting_jobs or session.state == "closed":
            raise Refusal(409, f"Session {session.id} is closed and takes no jobs", code="1352")
        return task, session

    def _configured_limit(self, name: str) -> int | None:
        return self._machine(name).driver.timeout if TIMEOUT in self.doors.resource(name).environment else None

    async def _sent(
        self, visit: Visit, task: LeaseTask, payload: QiskitPrimitive, envelope: Envelope, first: Mapping[str, Any]
    ) -> None:
        """Note a task and send it; one that is refused leaves nothing behind."""
        machine = self._machine(task.resource)
        self.sending.add(task.task_id)
        try:
            await self.doors.books.add(visit.lease, task)
            async with self._storing:
                await machine.store(task.task_id, envelope.reading("params"))
            await machine.send(visit.lease, task.task_id, payload)
        except SubmissionUncertain as error:
            text = f"{error}. Look at service.jobs() before sending it again"
            raise Refusal(UNKNOWN, text, code=error.code) from error
        except QRMIError:
            self._forgotten(visit.lease, task)
            with contextlib.suppress(QRMIError):
                await machine.do(machine.driver.task_remove, task.task_id)
            raise
        finally:
            self.sending.discard(task.task_id)
        if not machine.is_granted(visit.lease):  # whoever gave it back did not find the task yet
            await self.doors.gateway.note_task(visit.lease.id, task)
        known = await self.doors.books.find(visit.lease, task.resource, task.task_id) or task
        if not was_sent(known):  # otherwise more is known of it by now
            known = replace(task, detail=Kept(None, first).text())
            self.doors.books.changed(visit.lease, known)
        machine.watch.submitted(visit.lease, known)

    def _forgotten(self, lease: LeaseRecord, task: LeaseTask) -> None:
        """Let a task that the machine never took be as if it had not been."""
        gone = replace(Kept.of(task), deleted=True).text()
        self.doors.books.changed(lease, replace(task, detail=gone, ended=time.time(), outcome=REFUSED))

    async def documents(self, visit: Visit, name: str, shown: str) -> list[dict[str, Any]]:
        machine, books = self._machine(name), self.doors.books
        tasks = await books.readable(visit.lease, name)
        if unfinished := [task for task in tasks if task.ended is None]:
            await machine.watch.refreshed(visit.lease, unfinished)
            tasks = [await machine.watch.now(visit.lease, task) if task.ended is None else task for task in tasks]
        known = (Kept.of(task) for task in tasks if was_sent(task) or task.task_id in machine.sending)
        return [kept.shown(shown) for kept in known if kept.document and not kept.deleted]

    async def _brought_up_to_date(self, visit: Visit, task: LeaseTask, *, hold: bool = False) -> LeaseTask:
        """A task as the machine tells of it by now; with ``hold`` whoever knows that already may wait for more.

        Raises:
            Refusal: 404, there is none any more, or never was one.
        """
        machine = self._machine(task.resource)
        if task.ended is None:
            task = await machine.watch.now(visit.lease, task, hold=hold)
        if not was_sent(task) and task.task_id not in machine.sending and await machine.info(task) is None:
            self._forgotten(visit.lease, task)
            raise _no_job(task)
        if Kept.of(task).deleted:
            raise _no_job(task)
        return task

    async def job(self, visit: Visit, task: LeaseTask, shown: str, request: web.Request) -> web.StreamResponse:
        without_input = request.query.get("exclude_params", "").lower() == "true"
        task = await self._brought_up_to_date(visit, task, hold=without_input)
        document = Kept.of(task).shown(shown)
        if without_input or document.get("private"):
            return web.json_response(document)
        machine = self._machine(task.resource)
        data = await machine.do(machine.driver.task_input, task.task_id)
        parts = {} if data is None else {"params": msgspec.Raw(data)}
        return web.Response(body=rebuilt(parts, document), content_type="application/json")

    async def job_part(self, visit: Visit, task: LeaseTask, part: str, request: web.Request) -> web.StreamResponse:
        task = await self._brought_up_to_date(visit, task)
        machine = self._machine(task.resource)
        if part == "metrics":
            return web.json_response(job_metrics(task))
        if part == "logs":
            logs = await machine.do(machine.driver.task_logs, task.task_id) if task.ended is not None else ""
            if not logs:
                raise Refusal(404, f"Job {task.task_id} has no logs", code="1296")
            return web.Response(text=logs, content_type="text/plain")
        if task.outcome == TaskStatus.COMPLETED.value:
            data = await machine.do(machine.driver.task_output, task.task_id)
            return web.Response(body=data, content_type="text/plain")
        return web.Response(text=Kept.of(task).document["state"].get("reason") or "", content_type="text/plain")

    async def cancel_job(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        task = await self._brought_up_to_date(visit, task)
        if task.ended is not None:
            raise Refusal(409, f"Job {task.task_id} has ended and cannot be cancelled", code="1306")
        await self._cancel_all([task])
        return web.Response(status=204)

    async def delete_job(self, visit: Visit, task: LeaseTask, request: web.Request) -> web.StreamResponse:
        task = await self._brought_up_to_date(visit, task)
        if task.ended is None:
            raise Refusal(409, f"Job {task.task_id} has not ended", code="1337")
        machine = self._machine(task.resource)
        await machine.do(machine.driver.task_remove, task.task_id)
        self.doors.books.changed(visit.lease, replace(task, detail=replace(Kept.of(task), deleted=True).text()))
        return web.Response(status=204)

    async def change_tags(
        self, visit: Visit, task: LeaseTask, request: web.Request, tags: list[str]
    ) -> web.StreamResponse:
        task = await self._brought_up_to_date(visit, task)
        kept = Kept.of(task)
        detail = replace(kept, document={**kept.document, "tags": tags}).text()
        self.doors.books.changed(visit.lease, replace(task, detail=detail))
        return web.Response(status=204)


def _answer(document: Any) -> Answer:
    headers = CIMultiDict({hdrs.CONTENT_TYPE: "application/json"})
    return Answer(200, headers, json.dumps(document).encode())


def _no_job(task: LeaseTask) -> Refusal:
    return Refusal(404, f"Job not found. Job ID: {task.task_id}", code="1291")


def _only(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}


def _seconds_left(lease: LeaseRecord) -> int | None:
    ends = lease.holder.ends if lease.holder is not None else None
    return None if ends is None else max(1, int(ends - time.time()))


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields beside a job's parameters; session, backend and tags were looked at before.

    Raises:
        Refusal: 400, one is of a wrong kind.
    """
    cost = fields.get("cost")
    if cost is not None and (type(cost) is not int or cost < 1):
        raise Refusal(400, "cost must be a positive integer", code="1211")
    if not isinstance(fields.get("log_level") or "", str):
        raise Refusal(400, "log_level must be a string", code="1211")
    if not isinstance(fields.get("private") or False, bool):
        raise Refusal(400, "private must be true or false", code="1211")
    return fields
