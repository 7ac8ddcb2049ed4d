# SPDX-License-Identifier: Apache-2.0
"""Whose task is whose, and what came of each: what Slurm cannot know of a job's use of a QPU.

What belongs to live leases is in memory. What a user left behind is looked up in the journal: it stays readable to
later leases of the same user and account on that resource for a week.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from qrmi_core.leases import LeaseRecord, LeaseTask
from qrmi_core.leases.journal import JournalUnavailable
from qrmi_core.leases.sqlite_journal import TASK_COLUMNS, SqliteJournal

if TYPE_CHECKING:
    from qrmi_core.gateway.metrics import Metrics

__all__ = ["KEPT_SECONDS", "USAGE_PAGE", "Books", "UsagePage", "UsagePlace"]

_log = logging.getLogger(__name__)

KEPT_SECONDS = 7 * 86400.0
MOST_LISTED = 10_000
USAGE_PAGE = 1000
"""How many tasks `qrmi usage` is told of in one answer, at most: the event loop makes it into JSON."""

_COLUMNS = ", ".join(f"tasks.{name}" for name in TASK_COLUMNS)
_OWNERS = "leases.uid = ? AND leases.account IS ? AND tasks.resource = ? AND tasks.submitted > ?"
_FROM = "FROM tasks JOIN leases ON leases.id = tasks.lease"
_USAGE = ", ".join(
    ["tasks.submitted", "tasks.rowid"]
    + [f"leases.{name}" for name in ("id", "array", "job_id", "uid", "user", "account")]
    + [f"tasks.{name}" for name in ("resource", "task_id", "program", "submitted", "started", "ended")]
    + [f"tasks.{name}" for name in ("shots", "usage", "outcome")]
)
_NOTHING: dict[tuple[str, str], LeaseTask] = {}


class UsagePlace(NamedTuple):
    """Where a task stands in the list of what was run: by the time of its submission, then in the journal's order."""

    submitted: float
    row: int


class UsagePage(NamedTuple):
    """Some of what was run, the last first; the rest comes after ``next``, which is None where this is the rest."""

    tasks: list[dict[str, Any]]
    next: UsagePlace | None


class Books:
    """The tasks of jobs, by lease. Used in one event loop; the journal is written in threads."""

    def __init__(
        self,
        journal: SqliteJournal,
        note_task: Callable[[str, LeaseTask], Awaitable[None]],
        threads: Executor,
        metrics: Metrics,
    ) -> None:
        """Write by ``note_task``, which knows of leases that end meanwhile, read in ``threads``, count tasks."""
        self._journal = journal
        self._note_task = note_task
        self._threads = threads
        self._metrics = metrics
        self._known: dict[str, dict[tuple[str, str], LeaseTask]] = {}

    async def load(self) -> None:
        """Take up what the process before this one knew of live leases."""
        query = f"SELECT tasks.lease, {_COLUMNS} {_FROM} WHERE leases.may_hold"
        for lease, *row in await self._within(self._journal.rows, query):
            self._keep(lease, LeaseTask(*row))

    def _keep(self, lease: str, task: LeaseTask) -> None:
        self._known.setdefault(lease, {})[task.resource, task.task_id] = task

    def forget(self, lease: str) -> None:
        """Leave a lease that has ended to the journal."""
        self._known.pop(lease, None)

    async def add(self, lease: LeaseRecord, task: LeaseTask) -> None:
        """Note a task that a vendor has taken; it is on the disk when this returns.

        Raises:
            LeaseRefused: the lease takes no tasks any more.
            JournalUnavailable: it is not noted.
        """
        task = task if task.submitted is not None else replace(task, submitted=time.time())
        self._keep(lease.id, task)
        await self._note_task(lease.id, task)
        if task.kind == "task":
            self._metrics.submitted(task.resource, task.program)

    async def find(self, lease: LeaseRecord, resource: str, task_id: str) -> LeaseTask | None:
        """A task that the job of this lease may know, None for any other, be it there or not."""
        known = self._known.get(lease.id, {}).get((resource, task_id))
        return known or await self._older(lease, resource, task_id)

    async def _older(self, lease: LeaseRecord, resource: str, task_id: str) -> LeaseTask | None:
        query = f"SELECT {_COLUMNS} {_FROM} WHERE {_OWNERS} AND tasks.task_id = ? LIMIT 1"
        rows = await self._within(self._journal.rows, query, (*_owner(lease, resource), task_id))
        return LeaseTask(*rows[0]) if rows else None

    def of_lease(self, lease: LeaseRecord, resource: str, kind: str = "task") -> list[LeaseTask]:
        """The tasks of a lease on a resource, in the order of their submission."""
        known = self._known.get(lease.id, {}).values()
        return [task for task in known if task.resource == resource and task.kind == kind]

    def unfinished(self, resource: str) -> list[tuple[str, LeaseTask]]:
        """The tasks on a resource that are not known to have ended, with the live leases that they are of."""
        return [
            (lease, task)
            for lease, tasks in self._known.items()
            for task in tasks.values()
            if task.resource == resource and task.kind == "task" and task.ended is None
        ]

    async def readable(self, lease: LeaseRecord, resource: str, kind: str = "task") -> list[LeaseTask]:
        """The same with those of earlier leases of the same user and account, the last first, 10,000 at most."""
        query = f"SELECT {_COLUMNS} {_FROM} WHERE {_OWNERS} AND kind = ? ORDER BY tasks.submitted DESC LIMIT ?"
        rows = await self._within(self._journal.rows, query, (*_owner(lease, resource), kind, MOST_LISTED))
        found = {task.task_id: task for task in (LeaseTask(*row) for row in rows)}
        found |= {task.task_id: task for task in self.of_lease(lease, resource, kind)}
        return sorted(found.values(), key=lambda task: -(task.submitted or 0.0))

    def changed(self, lease: LeaseRecord, task: LeaseTask) -> None:
        """Note what is known of a task by now, soon: nobody waits for it."""
        before = self._known.get(lease.id, {}).get((task.resource, task.task_id))
        if before is not None:
            if before.row() == task.row():
                return
            self._keep(lease.id, task)
            if task.kind == "task" and before.ended is None and task.ended is not None:
                self._metrics.ended(task.resource, task.program, task.outcome, task.usage)

        def tell(error: BaseException) -> None:
            _log.warning("what came of task %s on %s is not in the journal: %s", task.task_id, task.resource, error)

        def written(done: Future[None]) -> None:
            if (error := done.exception()) is not None:
                tell(error)

        try:
            self._journal.update_task(task).add_done_callback(written)
        except JournalUnavailable as error:
            tell(error)

    async def usage(
        self, *, uid: int | None = None, since: float = 0.0, most: int = USAGE_PAGE, after: UsagePlace | None = None
    ) -> UsagePage:
        """What was run, the last first, as `qrmi usage` is told; of one user, or of all; that ``after`` a place."""
        where, values = "tasks.kind = 'task' AND tasks.submitted >= ?", [since]
        if uid is not None:
            where, values = f"{where} AND leases.uid = ?", [*values, uid]
        if after is not None:
            where, values = f"{where} AND (tasks.submitted, tasks.rowid) < (?, ?)", [*values, *after]
        order = "ORDER BY tasks.submitted DESC, tasks.rowid DESC LIMIT ?"
        page: UsagePage = await self._within(self._used, f"SELECT {_USAGE} {_FROM} WHERE {where} {order}", values, most)
        return page

    def _used(self, query: str, values: list[Any], most: int) -> UsagePage:
        rows = self._journal.rows(query, (*values, most + 1))
        page = rows[:most]
        following = UsagePlace(*page[-1][:2]) if len(rows) > most else None
        return UsagePage([self._told(*row[2:]) for row in page], following)

    def _told(
        self, lease: str, job: str | None, job_id: int, uid: int, user: str, account: str, *row: Any
    ) -> dict[str, Any]:
        resource, task_id, program, submitted, started, ended, shots, usage, outcome = row
        task = self._known.get(lease, _NOTHING).get((resource, task_id))
        # What the journal is still to be told is known here already; but not what was noted when the lease ended.
        if task is not None and (task.ended is not None or ended is None):
            program, submitted, started, ended = task.program, task.submitted, task.started, task.ended
            shots, usage, outcome = task.shots, task.usage, task.outcome
        return {
            "lease": lease, "job": job or str(job_id), "job_id": job_id, "uid": uid, "user": user, "account": account,
            "resource": resource, "task": task_id, "program": program, "submitted": submitted, "started": started,
            "ended": ended, "shots": shots, "usage_seconds": usage, "outcome": outcome,
        }  # fmt: skip

    async def _within(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _owner(lease: LeaseRecord, resource: str) -> tuple[Any, ...]:
    holder = lease.holder
    return (holder and holder.uid, holder and holder.account, resource, time.time() - KEPT_SECONDS)
