# SPDX-License-Identifier: Apache-2.0
"""A vendor that outlives the processes of a test: a directory with a file for each acquisition and each task."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from qrmi_core import (
    JobContext,
    Payload,
    QiskitPrimitive,
    QRMIError,
    QuantumResource,
    ResourceStatus,
    ResourceUnavailable,
    Target,
    TaskInfo,
    TaskNotFound,
    TaskStatus,
    UnsupportedFunction,
    VendorUnreachable,
)
from qrmi_core.leases import Holder, JobKey, LeaseRecord, LeaseTask
from qrmi_core.leases.keeper import JOB_OVER, LeaseKeeper
from qrmi_core.leases.settling import with_outcome

__all__ = ["Shelf", "ShelfSource", "holder", "look", "retry"]


class Shelf(QuantumResource):
    """In its directory ``refuse``, ``away`` and ``cannot-cancel`` make it do so, ``sticky`` lets tasks run on.

    ``of-LEASE`` lists the tasks that carry a lease's mark.
    """

    type: ClassVar[str] = "shelf"
    takes = (QiskitPrimitive,)

    def __init__(self, name: str, directory: Path, context: JobContext) -> None:
        super().__init__(name, context)
        self.directory = directory / name
        for part in ("held", "tasks", "released"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        return cls(name, Path(values["QRMI_SHELF"]), context)

    def _is(self, what: str) -> bool:
        return (self.directory / what).exists()

    def _answer(self) -> None:
        if self._is("away"):
            raise VendorUnreachable(f"{self.name} does not answer", transient=True, resource=self.name)

    def status(self) -> ResourceStatus:
        raise NotImplementedError

    def target(self) -> Target:
        raise NotImplementedError

    def acquire(self) -> str:
        self._answer()
        if self._is("refuse"):
            raise ResourceUnavailable(f"{self.name} is not for you", resource=self.name)
        token = os.urandom(8).hex()
        (self.directory / "held" / token).touch()
        return token

    def release(self, acquisition_token: str) -> None:
        self._answer()
        held = self.directory / "held" / acquisition_token
        if held.exists():
            held.rename(self.directory / "released" / acquisition_token)

    def held(self) -> list[str]:
        return [file.name for file in (self.directory / "held").iterdir()]

    def task_start(self, payload: Payload) -> str:
        raise NotImplementedError

    def start(self, task_id: str) -> str:
        (self.directory / "tasks" / task_id).write_text("running")
        return task_id

    def task_stop(self, task_id: str) -> None:
        if self._is("cannot-cancel") and not self.task_info(task_id).status.is_final:
            raise UnsupportedFunction(f"{self.name} cannot cancel")
        if not self._is("sticky") and not self.task_info(task_id).status.is_final:
            self.end(task_id, "cancelled")

    def unfinished_of_lease(self, lease: str) -> list[str] | None:
        self._answer()
        listed = self.directory / f"of-{lease}"
        tasks = listed.read_text().split() if listed.exists() else None
        return tasks and [task for task in tasks if not self.task_info(task).status.is_final]

    def end(self, task_id: str, how: str) -> None:
        (self.directory / "tasks" / task_id).write_text(how)

    def task_info(self, task_id: str) -> TaskInfo:
        self._answer()
        file = self.directory / "tasks" / task_id
        if not file.exists():
            raise TaskNotFound(f"no task {task_id}")
        return TaskInfo(task_id, TaskStatus(file.read_text()))

    def task_output(self, task_id: str) -> bytes:
        raise NotImplementedError


class ShelfSource:
    """Resources on one shelf; ``local`` has nothing to acquire, ``secret`` is for nobody."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.queues: dict[str, int] = {}
        self.direct: set[str] = set()

    def to_acquire(self, name: str, holder: Holder, seconds: float) -> Shelf | None:
        return self.make(name, holder, None, seconds)

    def make(self, name: str, holder: Holder, token: str | None, seconds: float) -> Shelf | None:
        return None if name == "local" else Shelf(name, self.directory, JobContext(token))

    def may_have_missed(self, record: LeaseRecord, name: str) -> bool:
        return name in self.direct

    def with_outcome(self, task: LeaseTask, info: TaskInfo | None) -> LeaseTask | None:
        return with_outcome(task, info)

    def refusal(self, name: str, holder: Holder) -> str | None:
        return f"{holder.user} may not use secret" if name == "secret" else None

    def queue(self, name: str) -> int:
        return self.queues.get(name, 0)


def holder(job: int = 1, *, restarts: int = 0, nodes: tuple[str, ...] = ("n1",), ends: float | None = None) -> Holder:
    return Holder(JobKey("test", job, 1000, restarts), 1000, "ada", "phys", nodes, ends)


def retry(keeper: LeaseKeeper) -> None:
    """What the gateway does every few seconds."""
    for record in keeper.due():
        with contextlib.suppress(QRMIError):
            keeper.release(record.id, why=record.reason or "")


def look(keeper: LeaseKeeper, alive: Mapping[int, tuple[JobKey, float | None]], *, taken: float) -> None:
    """What the gateway does when it has asked which jobs there are."""
    for record in keeper.ended(alive, taken=taken):
        keeper.release(record.id, why=JOB_OVER)


def main() -> None:
    """Grant and release in a process that may be ended at any step; what is on the shelf stays."""
    from qrmi_core.leases.sqlite_journal import SqliteJournal

    directory = Path(sys.argv[1])
    keeper = LeaseKeeper(SqliteJournal(directory / "journal"), ShelfSource(directory), {"a": 1, "b": 1})
    keeper.recover()
    answers = []
    asking = [
        threading.Thread(target=lambda: answers.append(keeper.grant(holder(), {"a": 1, "b": 1}, wait=5)))
        for _ in range(16)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len({record.id for record in answers}) == 1, answers
    keeper.note_task(answers[0].id, LeaseTask("a", Shelf("a", directory, JobContext()).start("task-1"))).result()
    keeper.node_done(answers[0].id, "n1")


if __name__ == "__main__":
    main()
