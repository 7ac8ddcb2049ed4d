# SPDX-License-Identifier: Apache-2.0
"""The journal of leases: what was intended and what came of it, in the order it happened.

An intent is written before each call of a vendor and its outcome after it, so that whoever reads the journal
after a crash knows what may have been left behind.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from qrmi_core.errors import LeaseError
from qrmi_core.leases.records import JobKey, LeaseRecord, LeaseState

__all__ = ["MOST_TASKS", "Journal", "JournalUnavailable", "LeaseTask", "MemoryJournal"]

MOST_TASKS = 20_000
"""Tasks of one lease that are kept, to be cancelled at its end."""


class JournalUnavailable(LeaseError):
    """The journal cannot be read or written now; what is not in it does not happen."""


@dataclass(frozen=True)
class LeaseTask:
    """A task of a lease, or (``kind`` "session") a vendor's session that its job opened; known by its first two fields.

    ``parent`` is the session or batch that it is in, ``program`` what it runs, ``detail`` a text of whoever notes it;
    times are seconds since the epoch, ``usage`` is seconds of the device, ``outcome`` how it ended.
    """

    resource: str
    task_id: str
    kind: str = field(default="task", compare=False)
    parent: str | None = field(default=None, compare=False)
    program: str | None = field(default=None, compare=False)
    detail: str | None = field(default=None, compare=False, repr=False)
    submitted: float | None = field(default=None, compare=False)
    started: float | None = field(default=None, compare=False)
    ended: float | None = field(default=None, compare=False)
    shots: int | None = field(default=None, compare=False)
    usage: float | None = field(default=None, compare=False)
    outcome: str | None = field(default=None, compare=False)

    def row(self) -> tuple[Any, ...]:
        """All that is known of it, in the order of its fields."""
        row: tuple[Any, ...] = _ALL_OF_A_TASK(self)
        return row


_ALL_OF_A_TASK = attrgetter(*(each.name for each in fields(LeaseTask)))


class Journal(ABC):
    """Where leases are kept. Every call is durable when it returns, and safe to make from several threads.

    Raises:
        JournalUnavailable: it could not be read or written; nothing has changed.
    """

    @abstractmethod
    def claim(self, record: LeaseRecord) -> LeaseRecord:
        """Keep a new record, unless its job's run has one that was not refused: then that one is returned."""

    @abstractmethod
    def write(self, record: LeaseRecord) -> None:
        """Keep the record, in place of an earlier one of the same lease."""

    @abstractmethod
    def read(self, lease_id: str) -> LeaseRecord | None:
        """The record of a lease, None when there is none."""

    @abstractmethod
    def live(self) -> list[LeaseRecord]:
        """The leases that an allocation may use, or of which a vendor may still hold something."""

    @abstractmethod
    def add_task(self, lease_id: str, task: LeaseTask, *, most: int) -> Future[bool]:
        """Keep a task of a lease, twice is no error; False where the lease has so many already.

        It is durable when the future is done, and then or before whatever is written after this call.
        """

    @abstractmethod
    def update_task(self, task: LeaseTask, *, once: bool = False) -> Future[None]:
        """Keep what is known of a task by now, whichever lease it is of; one that is not there is left out.

        It does not block; what is kept later stands, but what has ended stays so. With ``once`` a task that is known to
        have ended stays as it is.
        """

    @abstractmethod
    def tasks(self, lease_id: str) -> list[LeaseTask]:
        """The tasks of a lease that are not known to have ended, in the order of their announcement."""

    @abstractmethod
    def prune(self, before: float) -> int:
        """Forget the leases that ended before a moment (epoch seconds), with their tasks; how many those were."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files; nothing is called afterwards."""


class MemoryJournal(Journal):
    """A journal that lasts as long as its process: for leases that must not outlive it either."""

    def __init__(self) -> None:
        self._records: dict[str, LeaseRecord] = {}
        self._tasks: dict[str, dict[LeaseTask, None]] = {}
        self._lock = threading.Lock()

    def claim(self, record: LeaseRecord) -> LeaseRecord:
        with self._lock:
            for other in self._records.values():
                if record.holder and _same_run(other, record.holder.key):
                    return other
            self._records[record.id] = record
            return record

    def write(self, record: LeaseRecord) -> None:
        with self._lock:
            self._records[record.id] = record

    def read(self, lease_id: str) -> LeaseRecord | None:
        with self._lock:
            return self._records.get(lease_id)

    def live(self) -> list[LeaseRecord]:
        with self._lock:
            return [record for record in self._records.values() if record.may_hold]

    def add_task(self, lease_id: str, task: LeaseTask, *, most: int) -> Future[bool]:
        kept: Future[bool] = Future()
        with self._lock:
            tasks = self._tasks.setdefault(lease_id, {})
            room = task in tasks or len(tasks) < most
            if room:
                tasks[task] = None
        kept.set_result(room)
        return kept

    def update_task(self, task: LeaseTask, *, once: bool = False) -> Future[None]:
        with self._lock:
            for lease_id, tasks in self._tasks.items():
                if task in tasks and ((task.ended is not None and not once) or self._is_unfinished(tasks, task)):
                    self._tasks[lease_id] = {task if each == task else each: None for each in tasks}
        kept: Future[None] = Future()
        kept.set_result(None)
        return kept

    @staticmethod
    def _is_unfinished(tasks: Iterable[LeaseTask], task: LeaseTask) -> bool:
        return next(each for each in tasks if each == task).ended is None

    def tasks(self, lease_id: str) -> list[LeaseTask]:
        with self._lock:
            return [task for task in self._tasks.get(lease_id, ()) if task.ended is None]

    def prune(self, before: float) -> int:
        with self._lock:
            old = [key for key, each in self._records.items() if each.ended and each.ended < before]
            old = [key for key in old if not self._records[key].may_hold]
            for key in old:
                del self._records[key]
                self._tasks.pop(key, None)
            return len(old)

    def close(self) -> None:
        """There is nothing to let go of."""


def _same_run(record: LeaseRecord, key: JobKey) -> bool:
    return record.state is not LeaseState.REFUSED and record.holder is not None and record.holder.key == key
