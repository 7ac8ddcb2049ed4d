# SPDX-License-Identifier: Apache-2.0
"""Tasks: one payload in flight or finished, with an id."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qrmi_core.errors import TaskCancelled, TaskFailed, TaskNotReady, WaitTimeout

if TYPE_CHECKING:
    from qrmi_core.resource import QuantumResource

__all__ = ["Task", "TaskInfo", "TaskResult", "TaskStatus"]


class TaskStatus(enum.Enum):
    """Where a task is in its life; the vendor's own word for it is in ``TaskInfo.vendor_status``."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True once the task cannot change any more."""
        return self in _FINAL


_FINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


@dataclass(frozen=True)
class TaskInfo:
    """What is known of a task (or of one job of a batch) at one moment.

    Times are seconds since the epoch, ``qpu_seconds`` the device time that the vendor counts, ``shots`` the
    shots it counts; each is None where the vendor does not say. ``vendor_status`` is the vendor's own word.
    """

    id: str
    status: TaskStatus
    vendor_status: str | None = None
    reason: str | None = None
    code: str | None = None
    solution: str | None = None
    program: str | None = None
    position: int | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    qpu_seconds: float | None = None
    shots: int | None = None

    def raise_unless_completed(self, resource: str) -> None:
        """Raise the error that says why this task has no result.

        Raises:
            TaskNotReady: it is queued or running.
            TaskFailed: it failed; with the vendor's reason, code and solution.
            TaskCancelled: it was cancelled.
        """
        if self.status is TaskStatus.COMPLETED:
            return
        told = ". ".join(part.rstrip(".") for part in (self.reason, self.solution) if part)
        if self.status is TaskStatus.FAILED:
            code = f" (code {self.code})" if self.code else ""
            raise TaskFailed(
                f"task {self.id} on {resource} failed{code}: {told or 'no reason was given; see the logs of the task'}",
                resource=resource,
                task_id=self.id,
                code=self.code,
                reason=self.reason,
                solution=self.solution,
            )
        if self.status is TaskStatus.CANCELLED:
            because = f": {told}" if told else ""
            raise TaskCancelled(
                f"task {self.id} on {resource} was cancelled{because}",
                resource=resource,
                task_id=self.id,
                reason=self.reason,
            )
        raise TaskNotReady(
            f"task {self.id} on {resource} is {self.status.value}: wait for it before asking for its result",
            resource=resource,
            task_id=self.id,
            transient=True,
        )


@dataclass(frozen=True)
class TaskResult:
    """The result of a completed task, as the vendor sent it."""

    data: bytes

    @property
    def value(self) -> str:
        """The result as text."""
        return self.data.decode()


@dataclass(eq=False)
class Task:
    """A handle on one task; dropping it does nothing to the task.

    Get one from :meth:`QuantumResource.submit`, or from :meth:`QuantumResource.task` in another process.
    """

    resource: QuantumResource
    id: str
    _final: TaskInfo | None = field(default=None, init=False, repr=False)

    def info(self) -> TaskInfo:
        """What is known of the task now; asked of the resource until the task has ended."""
        if self._final is None:
            info = self.resource.task_info(self.id)
            if not info.status.is_final:
                return info
            self._final = info
        return self._final

    def status(self) -> TaskStatus:
        """The task's status now."""
        return self.info().status

    def wait(self, timeout: float | None = None) -> TaskInfo:
        """Wait until the task has ended, whatever its end.

        Raises:
            WaitTimeout: after ``timeout`` seconds; the task goes on.
        """
        if self._final is None:
            ended = self.resource.task_wait([self.id], timeout=timeout)
            if self.id not in ended:
                raise WaitTimeout(
                    f"task {self.id} on {self.resource.resource_id()} has not ended after {timeout:g} s; it goes on, "
                    f"wait again or cancel it",
                    resource=self.resource.resource_id(),
                    task_id=self.id,
                    transient=True,
                )
            self._final = ended[self.id]
        return self._final

    def result(self, timeout: float | None = None) -> TaskResult:
        """Wait for the task and fetch its result.

        Raises:
            WaitTimeout: after ``timeout`` seconds.
            TaskFailed, TaskCancelled: it ended without a result.
        """
        self.wait(timeout).raise_unless_completed(self.resource.resource_id())
        return TaskResult(self.resource.task_output(self.id))

    def cancel(self) -> None:
        """Cancel the task; a task that has ended already is left as it is."""
        self.resource.task_stop(self.id)

    def logs(self) -> str:
        """The task's log, empty when there is none."""
        return self.resource.task_logs(self.id)
