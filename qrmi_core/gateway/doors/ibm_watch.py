# SPDX-License-Identifier: Apache-2.0
"""The unfinished jobs of one device in IBM's cloud: asked about in one request for all jobs of a site."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import hdrs

from qrmi_core.drivers.ibm_compute import SESSION_POLL, IBMQuantumComputeService
from qrmi_core.drivers.vendor import MIN_POLL
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.dialects.dialect import iso
from qrmi_core.gateway.doors.ibm_documents import Kept, info_of, noted, word_of
from qrmi_core.gateway.doors.ibm_shaped import device_of
from qrmi_core.gateway.doors.watch import Watch
from qrmi_core.http_settings import number
from qrmi_core.leases import LeaseRecord, LeaseState, LeaseTask

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.ibm_compute import IBMComputeDoor

__all__ = ["JobWatch", "Seen"]

HOLD_SECONDS = 1.0
SEEN_SECONDS = 2.0
"""A request is held if its client saw this very state no longer ago."""

PROBE_SECONDS = 0.05
"""Who asks for one job after another is held no longer, once in a while, to see whether others ask meanwhile."""

PAUSE = 0.5
"""Seconds for which IBM's client sleeps between two looks, where it has not shown another pause."""

FEW = 2
PAGE = 200
MOST_PAGES = 10
MOST_ALONE = 50
CLOCKS_APART = 300.0
MOST_SEEN = 1_000
MOST_ASKERS = 10_000
GONE_SECONDS = 600.0
"""After so long a job that the vendor does not know is none."""

HEADERS = {"Accept": "application/json", "IBM-API-Version": "2025-01-01", hdrs.ACCEPT_ENCODING: "identity"}


@dataclass(frozen=True)
class Seen:
    """What the vendor told of a job; ``whole`` if it was asked for this one alone."""

    document: Mapping[str, Any]
    whole: bool


@dataclass
class _Asker:
    """How the programs of a lease ask: for which job last, whether for several at the same time, and how often.

    One that goes through its jobs one after another is not to be held at each.
    """

    last: str
    held: int = 0
    several: float = float("-inf")
    probed: float = float("-inf")
    pause: float = PAUSE
    seen: dict[str, tuple[str | None, float]] = field(default_factory=dict)
    """The state that was told of each job last, and when; None is what its submission was answered with."""

    def tells(self, task_id: str, word: str | None) -> None:
        """A program is told of a job's state."""
        if len(self.seen) >= MOST_SEEN:
            self.seen.clear()
        self.seen[task_id] = (word, time.monotonic())

    def comes(self, task_id: str) -> float:
        """A program asks for a job; for how many seconds it is held at most."""
        now = time.monotonic()
        same, self.last = self.last == task_id, task_id
        if self.held:
            self.several = now
        word, told = self.seen.get(task_id, (None, float("-inf")))
        if now - told >= SEEN_SECONDS:
            return 0.0
        if same and word is not None:
            self.pause = now - told
        if same or now - self.several < SEEN_SECONDS:
            return HOLD_SECONDS
        if now - self.probed < SEEN_SECONDS:
            return 0.0
        self.probed = now
        return PROBE_SECONDS


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
        self._session_gap = gap if told.get(MIN_POLL) else min(gap, SESSION_POLL)
        stopping = door.doors.stopping
        self._watch = Watch(self._look, gap=gap, is_final=_is_final, stopping=stopping)
        self._of: dict[str, LeaseRecord] = {}
        self._tasks: dict[str, LeaseTask] = {}
        self._askers: dict[str, _Asker] = {}
        for lease_id, task in door.doors.books.unfinished(name):
            if (lease := door.doors.gateway.keeper.current(lease_id)) is not None:
                self._add(lease, task)

    def submitted(self, lease: LeaseRecord, task: LeaseTask) -> None:
        """A job was submitted."""
        gap = None if task.parent is None else self._session_gap
        self._watch.submitted(task.task_id, lease.id, gap=gap)
        self._add(lease, task, Seen(Kept.of(task).document, whole=True))
        asker = self._asker(lease, task)
        asker.last = task.task_id
        asker.tells(task.task_id, None)

    def _asker(self, lease: LeaseRecord, task: LeaseTask) -> _Asker:
        if lease.id not in self._askers:
            if len(self._askers) >= MOST_ASKERS:
                self._askers.clear()
            self._askers[lease.id] = _Asker(task.task_id)
        return self._askers[lease.id]

    def _add(self, lease: LeaseRecord, task: LeaseTask, told: Seen | None = None) -> None:
        if self._watch.add(task.task_id, told):
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
        asker = self._asker(lease, task)
        word = asker.seen.get(task.task_id, (None, 0.0))[0]
        try:
            if seconds := asker.comes(task.task_id):
                seen = await self._held(asker, task.task_id, word, seconds)
            else:
                seen = await self._watch.told(task.task_id)
        except QRMIError:
            return None
        if seen is None or _is_final(seen):
            asker.seen.pop(task.task_id, None)
        else:
            asker.tells(task.task_id, word_of(seen.document))
        return seen

    async def _held(self, asker: _Asker, task_id: str, word: str | None, seconds: float) -> Seen | None:
        asker.held += 1
        try:
            return await self._watch.ended(
                task_id,
                seconds,
                changed=lambda told: word is not None and word_of(told.document) != word,
                pause=asker.pause,
            )
        finally:
            asker.held -= 1

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
        current = self._door.doors.gateway.keeper.current(lease.id)
        if current is None or current.state is not LeaseState.GRANTED:
            books.forget(lease.id)  # whoever gives it back notes in the journal what came of its tasks
        known = await books.find(lease, self._name, task_id) or task
        self._tasks[task_id] = after = known if known.ended is not None else noted(known, seen.document)
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
