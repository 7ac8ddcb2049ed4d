# SPDX-License-Identifier: Apache-2.0
"""The unfinished jobs of one device in IBM's cloud: asked about in one request for all jobs of a site."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import hdrs

from qrmi_core.drivers.ibm_compute import IBMQuantumComputeService
from qrmi_core.drivers.vendor import MIN_POLL
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.dialects.dialect import iso
from qrmi_core.gateway.doors.ibm_documents import Kept, info_of, noted, word_of
from qrmi_core.gateway.doors.ibm_shaped import device_of
from qrmi_core.gateway.doors.watch import Watch
from qrmi_core.http_settings import number
from qrmi_core.leases import LeaseRecord, LeaseTask

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.ibm_compute import IBMComputeDoor

__all__ = ["JobWatch", "Seen"]

HOLD_SECONDS = 1.0
SEEN_SECONDS = 2.0
"""A request is held if its client saw this very state no longer ago."""

FEW = 2
PAGE = 200
MOST_PAGES = 10
MOST_ALONE = 50
CLOCKS_APART = 300.0
MOST_CLIENTS = 50_000
GONE_SECONDS = 600.0
"""After so long a job that the vendor does not know is none."""

HEADERS = {"Accept": "application/json", "IBM-API-Version": "2025-01-01", hdrs.ACCEPT_ENCODING: "identity"}


@dataclass(frozen=True)
class Seen:
    """What the vendor told of a job; ``whole`` if it was asked for this one alone."""

    document: Mapping[str, Any]
    whole: bool


class LookFailed(QRMIError):
    """The vendor does not tell of its jobs now."""


class JobWatch:
    """Looks at a device's jobs for all who ask, and keeps the books up to date."""

    min_poll = IBMQuantumComputeService.min_poll

    def __init__(self, door: IBMComputeDoor, name: str) -> None:
        self._door = door
        self._name = name
        resource = door.doors.resource(name)
        self._device = device_of(resource)
        told = {key: value for key, value in resource.environment.items() if isinstance(value, str)}
        gap = number(name, told, MIN_POLL, self.min_poll, at_least=0.0)
        stopping = door.doors.stopping
        self._watch = Watch(self._look, gap=gap, is_final=_is_final, stopping=stopping)
        self._of: dict[str, LeaseRecord] = {}
        self._tasks: dict[str, LeaseTask] = {}
        self._just: dict[str, str] = {}
        self._clients: dict[tuple[str, str], tuple[str, float]] = {}
        for lease_id, task in door.doors.books.unfinished(name):
            if (lease := door.doors.gateway.keeper.current(lease_id)) is not None:
                self._add(lease, task)

    def submitted(self, lease: LeaseRecord, task: LeaseTask) -> None:
        """A job was submitted."""
        self._add(lease, task)
        if len(self._just) >= MOST_CLIENTS:
            self._just.clear()
        self._just[lease.id] = task.task_id

    def _add(self, lease: LeaseRecord, task: LeaseTask) -> None:
        if self._watch.add(task.task_id):
            self._of[task.task_id], self._tasks[task.task_id] = lease, task

    async def refreshed(self, lease: LeaseRecord, tasks: Iterable[LeaseTask]) -> None:
        """See that the books tell of a moment ago, where the vendor answers."""
        for task in tasks:
            self._add(lease, task)
        await self.refresh()

    async def refresh(self) -> None:
        """Look at all that is not known to have ended, where the vendor answers."""
        if watched := self._watch.watched:
            with suppress(QRMIError):
                await self._watch.told(watched[0])

    async def seen(self, lease: LeaseRecord, task: LeaseTask) -> Seen | None:
        """What the vendor tells of a job; held for a while where its client knows that already.

        Whoever has just submitted a job and asks for that one next waits for its end. None where the vendor has to be
        asked for this job alone.
        """
        self._add(lease, task)
        client = (lease.id, task.task_id)
        word, moment = self._clients.get(client, ("", float("-inf")))
        just = self._just.pop(lease.id, None) == task.task_id
        try:
            if just:
                seen = await self._watch.ended(task.task_id, HOLD_SECONDS)
            elif time.monotonic() - moment < SEEN_SECONDS:
                seen = await self._watch.ended(
                    task.task_id, HOLD_SECONDS, changed=lambda told: word_of(told.document) != word
                )
            else:
                seen = await self._watch.told(task.task_id)
        except QRMIError:
            return None
        if seen is None or _is_final(seen):
            self._clients.pop(client, None)
        else:
            if len(self._clients) >= MOST_CLIENTS:
                self._clients.clear()
            self._clients[client] = (word_of(seen.document), time.monotonic())
        return seen

    async def _look(self, tasks: tuple[str, ...]) -> Mapping[str, Seen]:
        found: dict[str, Seen] = {}
        if len(tasks) > FEW:
            found = await self._listed(set(tasks))
        alone = [task for task in tasks if task not in found][:MOST_ALONE]
        for task_id, seen in zip(alone, await asyncio.gather(*map(self._alone, alone)), strict=True):
            if seen is not None:
                found[task_id] = seen
        for task_id, seen in found.items():
            await self._note(task_id, seen)
        for task_id in alone:
            if task_id not in found and time.time() - (self._tasks[task_id].submitted or 0.0) > GONE_SECONDS:
                self._forget(task_id)
        return found

    def _forget(self, task_id: str) -> None:
        """A job that was deleted elsewhere."""
        lease, task = self._of.pop(task_id), self._tasks.pop(task_id)
        self._door.doors.books.changed(lease, replace(task, ended=time.time(), outcome="gone"))
        self._watch.drop(task_id)

    async def _listed(self, wanted: set[str]) -> dict[str, Seen]:
        """Those of the jobs that the vendor's list shows by now."""
        oldest = min(self._tasks[task].submitted or 0.0 for task in wanted) - CLOCKS_APART
        query = f"limit={PAGE}&sort=DESC&exclude_params=true&backend={quote(self._device, safe='')}"
        path = f"/jobs?{query}&created_after={quote(iso(oldest), safe='')}"
        found: dict[str, Seen] = {}
        for page in range(MOST_PAGES):
            jobs = (await self._json(f"{path}&offset={page * PAGE}")).get("jobs", [])
            found |= {job["id"]: Seen(job, whole=False) for job in jobs if job.get("id") in wanted}
            if len(jobs) < PAGE or len(found) == len(wanted):
                break
        return found

    async def _alone(self, task_id: str) -> Seen | None:
        document = await self._json(f"/jobs/{quote(task_id, safe='')}?exclude_params=true", missing={})
        return Seen(document, whole=True) if document else None

    async def _json(self, path: str, *, missing: Any = None) -> Any:
        if self._name not in self._door.doors.gateway.resources.resources:
            raise LookFailed(f"{self._name} is not configured any more")
        status, told = await self._door.way(self._name).json("GET", path, headers=HEADERS)
        if status == 404 and missing is not None:
            return missing
        try:
            document = json.loads(told) if status == 200 else None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise LookFailed(f"{self._name} does not tell of its jobs now (status {status})", transient=True)
        return {key: value for key, value in document.items() if key != "params"}

    async def _note(self, task_id: str, seen: Seen) -> None:
        """Write what is new into the books."""
        lease, task = self._of[task_id], self._tasks[task_id]
        books = self._door.doors.books
        known = await books.find(lease, self._name, task_id) or task
        self._tasks[task_id] = after = noted(known, seen.document)
        if _news(known) != _news(after):
            books.changed(lease, after)
        if _is_final(seen):
            del self._of[task_id], self._tasks[task_id]


def _news(task: LeaseTask) -> tuple[object, ...]:
    """What of a job is worth a line in the books."""
    document = Kept.of(task).document
    return (word_of(document), document.get("created"), document.get("tags"), task.outcome)


def _is_final(seen: Seen) -> bool:
    return info_of(seen.document).status.is_final
