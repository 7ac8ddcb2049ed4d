# SPDX-License-Identifier: Apache-2.0
"""One machine on premises as its door sees it: the driver, in threads, and what is known of the machine's tasks.

The machine has no queue, and records of ended tasks may occupy its lanes: those are removed as soon as the books tell
how the tasks ended. Inputs, results and logs stay in the bucket, for who comes back for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from qrmi_core import polling
from qrmi_core.drivers.ibm_system import BUSY_POLL, IBMQuantumSystem
from qrmi_core.errors import QRMIError, TaskNotFound, VendorError
from qrmi_core.exchanges import Body
from qrmi_core.gateway.doors.door import Refusal
from qrmi_core.gateway.doors.ibm_documents import Kept, job_document, noted
from qrmi_core.gateway.doors.ibm_system_documents import lost
from qrmi_core.gateway.doors.ibm_watch import JobWatch, Seen
from qrmi_core.leases import LeaseRecord, LeaseState, LeaseTask
from qrmi_core.leases.sqlite_journal import TASK_COLUMNS
from qrmi_core.payloads import QiskitPrimitive
from qrmi_core.resource import JobContext
from qrmi_core.tasks import TaskInfo

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.ibm_system import IBMSystemDoor

__all__ = ["Machine"]

VENDOR_SECONDS = 30.0
TARGET_SECONDS = 60.0
BUSY = frozenset({423, 429})
LEFT_BEHIND = f"""SELECT {", ".join(f"tasks.{name}" for name in TASK_COLUMNS)} FROM tasks
    JOIN leases ON leases.id = tasks.lease
    WHERE tasks.resource = ? AND tasks.task_id = ? AND (tasks.ended IS NOT NULL OR NOT leases.may_hold)"""  # noqa: S608

_Answer = TypeVar("_Answer")


class Machine:
    """Used in one event loop."""

    def __init__(self, door: IBMSystemDoor, name: str) -> None:
        """Nothing is asked yet."""
        self.doors = door.doors
        self._name = name
        self._made_of = self.doors.gateway.resources
        made = self._made_of.bare(name, JobContext(uid=0), VENDOR_SECONDS)
        assert isinstance(made, IBMQuantumSystem)  # noqa: S101  the door is in front of nothing else
        self.driver = made
        self.keeps_records, self.patience = made.keep, made.busy_deadline
        made.keep, made.busy_deadline = True, 0.0  # what is removed when, and how long is waited, is for the door
        self.sending = door.sending
        self.watch = _MachineWatch(door, name, self)
        self._target: tuple[float, dict[str, Any]] | None = None

    @property
    def is_current(self) -> bool:
        """Whether the configuration that it was made from is in force."""
        return self._made_of is self.doors.gateway.resources

    async def do(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Something of the driver's, in a thread."""
        return await self.doors.gateway.within("vendor", work, *arguments)

    async def target(self) -> dict[str, Any]:
        """The machine's ``configuration`` and ``properties``, from a minute ago at most."""
        now = time.monotonic()
        if self._target is None or now - self._target[0] > TARGET_SECONDS:
            self._target = now, await self.do(lambda: self.driver.target().json())
        return self._target[1]

    async def store(self, task_id: str, parameters: Body) -> None:
        """Store a task's input.

        Raises:
            QRMIError: it is not stored.
        """
        await self.do(self.driver.store_input, task_id, parameters)

    def is_granted(self, lease: LeaseRecord) -> bool:
        """Whether a lease has not ended meanwhile."""
        record = self.doors.gateway.keeper.current(lease.id)
        return record is not None and record.state is LeaseState.GRANTED

    async def send(self, lease: LeaseRecord, task_id: str, payload: QiskitPrimitive) -> None:
        """Submit a task whose input is stored, once, as soon as the machine takes it; its lease's end ends the wait.

        Raises:
            SubmissionUncertain: nobody knows whether it was taken.
            QRMIError: it was not.
        """
        give_up = time.monotonic() + self.patience
        for now, then in itertools.pairwise(polling.look_times(BUSY_POLL)):
            try:
                await self.do(self.driver.submit_stored, task_id, payload)
                return
            except VendorError as error:
                if error.http_status not in BUSY:
                    raise
                cause = error.__cause__
                told = cause.retry_after if isinstance(cause, VendorError) else None
                pause = max(told or 0.0, then - now)
                given_up = self.doors.stopping.is_set() or not self.is_granted(lease)
                if given_up or time.monotonic() + pause > give_up:
                    what = "is reserved by others" if error.http_status == 423 else "has no free lane"
                    text = f"{self._name} {what}, also after waiting {self.patience:g} s: try again later"
                    raise Refusal(429, text, code=error.code) from error
            await self.watch.refresh()  # what has ended frees its lane
            if not now:
                await self._free_left_behind()
            await polling.pause_async(pause)

    async def _free_left_behind(self) -> None:
        """Note how tasks ended after which nobody asked, and remove their records; records of others stay."""
        if self.keeps_records:
            return
        journal, within = self.doors.gateway.journal, self.doors.gateway.within
        with contextlib.suppress(QRMIError):
            for info in (await self.do(self.driver.task_infos)).values():
                rows = await within("journal", journal.rows, LEFT_BEHIND, (self._name, info.id))
                if info.status.is_final and rows:
                    task = LeaseTask(*rows[0])
                    if task.ended is None:
                        after = noted(task, job_document(Kept.of(task).document, info))
                        await within("journal", journal.update_task, after)
                    await self.do(self.driver.free_lane, info.id)

    async def info(self, task: LeaseTask) -> TaskInfo | None:
        """What is known of a task that the list of the machine does not show; None of one that was never taken."""
        try:
            return await self.do(self.driver.task_info, task.task_id)
        except TaskNotFound:
            return lost(task)


class _MachineWatch(JobWatch):
    """Looks at all unfinished tasks of a machine in one request."""

    min_poll = IBMQuantumSystem.min_poll

    def __init__(self, door: IBMSystemDoor, name: str, machine: Machine) -> None:
        super().__init__(cast("Any", door), name)
        self._machine = machine
        self._ended: set[str] = set()
        self._freeing: set[asyncio.Task[None]] = set()

    async def now(self, lease: LeaseRecord, task: LeaseTask, *, hold: bool = False) -> LeaseTask:
        """A task as it is by now, where the machine tells; with ``hold`` whoever knows that already waits for more.

        The books are behind with tasks of earlier leases: those are written, and read again, in the journal.
        """
        seen: Seen | None = None
        if hold:
            seen = await self.seen(lease, task)
        else:
            self._add(lease, task)
            with contextlib.suppress(QRMIError):
                seen = await self._watch.told(task.task_id)
        known = await self._machine.doors.books.find(lease, self._name, task.task_id) or task
        if seen is None or known.ended is not None:
            return known
        return noted(known, {**seen.document, "tags": Kept.of(known).document.get("tags")})

    async def _look(self, tasks: tuple[str, ...]) -> Mapping[str, Seen]:
        machine = self._machine
        found: dict[str, Seen] = {}
        there = await machine.do(machine.driver.task_infos)
        for task_id in tasks:
            books, lease = self._machine.doors.books, self._of[task_id]
            task = await books.find(lease, self._name, task_id) or self._tasks[task_id]
            info = there.get(task_id)
            if info is None and task_id not in machine.sending:
                info = await machine.info(task)
            if info is None:
                continue
            found[task_id] = seen = Seen(job_document(Kept.of(task).document, info), whole=True)
            await self._note(task_id, seen)
            if info.status.is_final and not machine.keeps_records:
                self._ended.add(task_id)
        self._ended &= there.keys()
        for task_id in self._ended:
            freeing = asyncio.ensure_future(self._free(task_id))
            self._freeing.add(freeing)
            freeing.add_done_callback(self._freeing.discard)
        return found

    async def _free(self, task_id: str) -> None:
        """Remove the record of a task that has ended; where that fails, the next look tries it again."""
        with contextlib.suppress(QRMIError):
            await self._machine.do(self._machine.driver.free_lane, task_id)
