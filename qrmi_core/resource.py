# SPDX-License-Identifier: Apache-2.0
"""QuantumResource: what every driver implements, and what every program calls."""

from __future__ import annotations

import enum
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

from qrmi_core import polling
from qrmi_core.errors import ResultError, UnsupportedFunction, UnsupportedPayload
from qrmi_core.expectations import Expectations, likeness
from qrmi_core.payloads import Payload, PulserJob
from qrmi_core.tasks import Task, TaskInfo, TaskResult, TaskStatus
from qrmi_core.variables import Variable

__all__ = [
    "BatchResource",
    "JobContext",
    "QuantumResource",
    "ResourceCapacity",
    "ResourceStatus",
    "ResourceStatusCode",
    "Target",
]


_Kind: TypeAlias = type[Any]


class ResourceStatusCode(enum.Enum):
    """Whether a resource takes tasks."""

    ONLINE = "online"
    OFFLINE = "offline"
    PAUSED = "paused"


@dataclass(frozen=True)
class ResourceCapacity:
    """Lanes of a resource: how many there are and how many are free."""

    max_slots: int
    available_slots: int


@dataclass(frozen=True)
class ResourceStatus:
    """A resource at one moment; None where the vendor does not say."""

    status: ResourceStatusCode
    status_reason: str | None = None
    healthy: bool | None = None
    busy: bool | None = None
    capacity: ResourceCapacity | None = None
    pending_job_count: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        capacity = self.capacity
        return {
            "status": self.status.value,
            "status_reason": self.status_reason,
            "healthy": self.healthy,
            "busy": self.busy,
            "capacity": capacity and {"max_slots": capacity.max_slots, "available_slots": capacity.available_slots},
            "pending_job_count": self.pending_job_count,
        }


@dataclass(frozen=True)
class Target:
    """What a compiler needs to know of a resource: the vendor's JSON, untouched."""

    data: bytes

    @property
    def value(self) -> str:
        """The JSON as text."""
        return self.data.decode()

    def json(self) -> Any:
        """The decoded JSON.

        Raises:
            ResultError: it is not JSON.
        """
        try:
            return json.loads(self.data)
        except ValueError as error:
            raise ResultError(f"the target is not JSON ({error}); ask the resource again", transient=True) from error


@dataclass(frozen=True)
class JobContext:
    """What a driver may know of the job that it runs in; ``lease`` is of the gateway that granted its resources."""

    acquisition_token: str | None = None
    timeout_seconds: int | None = None
    uid: int | None = None
    job_id: str | None = None
    lease: str | None = None


class QuantumResource(ABC):
    """One QPU or simulator.

    All methods are synchronous and safe to call from several threads; constructors and destructors do no
    I/O. A driver implements the abstract ones. It is found by its resource type through the entry-point
    group ``qrmi.drivers`` and made by :meth:`from_environment`.
    """

    type: ClassVar[str]
    """The resource type that this driver speaks, as configuration files name it."""

    variables: ClassVar[Sequence[Variable]] = ()
    """The variables of its environment block, without the resource's name in front."""

    takes: ClassVar[tuple[_Kind, ...]]
    """The kinds of payload that it runs, from :mod:`qrmi_core.payloads`."""

    min_poll: float = 0.0
    """The least time in seconds between two looks at a task."""

    def __init__(self, name: str, context: JobContext) -> None:
        self.name = name
        self.context = context
        self._expected = Expectations()
        if context.lease is not None:
            import qrmi_core.announcements  # noqa: F401  only jobs need it, and no submission waits for it here

    @classmethod
    @abstractmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        """Make the resource ``name`` from its variables, which were checked against :attr:`variables`.

        Raises:
            ResourceUnavailable: a value cannot be used; says which one and what was expected.
        """

    def resource_id(self) -> str:
        """The resource's name at this site."""
        return self.name

    def resource_type(self) -> str:
        """The resource's type."""
        return self.type

    def is_accessible(self) -> bool:
        """True when the resource is online."""
        return self.status().status is ResourceStatusCode.ONLINE

    @abstractmethod
    def status(self) -> ResourceStatus:
        """Whether the resource takes tasks, and how long its queue is."""

    @abstractmethod
    def target(self) -> Target:
        """What a compiler needs to know."""

    def verify_access(self) -> None:
        """Try whether tasks could be sent: credentials are used, nothing is run.

        Raises:
            QRMIError: they could not, and why.
        """
        self.target()

    def metadata(self) -> dict[str, str]:
        """What else is known, as text."""
        return {}

    @abstractmethod
    def acquire(self) -> str:
        """Acquire the resource for this allocation and return the acquisition token."""

    @abstractmethod
    def release(self, acquisition_token: str) -> None:
        """Give the acquisition back: its unfinished tasks are cancelled. Doing it twice is no error."""

    @abstractmethod
    def task_start(self, payload: Payload) -> str:
        """Submit a payload once and return the task's id.

        Raises:
            UnsupportedPayload: this resource does not take it.
            LimitExceeded: it is larger than the resource allows.
        """

    @abstractmethod
    def task_stop(self, task_id: str) -> None:
        """Cancel a task; one that has ended already is left as it is."""

    @abstractmethod
    def task_info(self, task_id: str) -> TaskInfo:
        """What is known of a task.

        Raises:
            TaskNotFound: this resource knows no such task.
        """

    @abstractmethod
    def task_output(self, task_id: str) -> bytes:
        """The result of a task that is known to be completed; call :meth:`task_result` where it is not known."""

    def task_status(self, task_id: str) -> TaskStatus:
        """The task's status."""
        return self.task_info(task_id).status

    def task_result(self, task_id: str) -> TaskResult:
        """The result of a completed task.

        Raises:
            TaskNotReady, TaskFailed, TaskCancelled: there is none, and why.
        """
        self.task_info(task_id).raise_unless_completed(self.name)
        return TaskResult(self.task_output(task_id))

    def task_logs(self, task_id: str) -> str:
        """The task's log, empty when there is none."""
        raise UnsupportedFunction(f"{self.name} ({self.type}) keeps no logs of tasks", resource=self.name)

    def task_ids(self) -> list[str]:
        """The ids of the tasks that this user sent to this resource, the newest first."""
        raise UnsupportedFunction(f"{self.name} ({self.type}) cannot list tasks", resource=self.name)

    def unfinished_of_lease(self, lease: str) -> list[str] | None:
        """The ids of the tasks that were sent for a lease and have not ended.

        None where this vendor's tasks carry no mark of their lease: then only those that were announced are known.
        """
        return None

    def task_wait(
        self, task_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        """Wait for all of the tasks, or for the ``first`` of them, and return those that have ended.

        After ``timeout`` seconds it returns what has ended until then, perhaps nothing. A driver whose
        vendor can notify or long-poll overrides this; otherwise one loop asks for all tasks in turn.
        """
        ids = list(dict.fromkeys(task_ids))
        return polling.poll(
            self._expected.looking(self.task_info),
            ids,
            timeout=timeout,
            first=first,
            times=self._expected.times(ids, self.min_poll),
            look_at_many=self.tasks_seen,
        )

    def tasks_seen(self, task_ids: Collection[str]) -> Iterator[TaskInfo]:
        """What is known of many tasks; a driver whose vendor lists tasks asks for the list, and may leave some out."""
        return map(self.task_info, task_ids)

    def refuse_other_kinds(self, payload: Payload) -> None:
        """Raise UnsupportedPayload unless the payload is of a kind in :attr:`takes`."""
        if not isinstance(payload, self.takes):
            taken = " or ".join(kind.__name__ for kind in self.takes)
            raise UnsupportedPayload(
                f"{self.name} ({self.type}) takes {taken}, not {type(payload).__name__}: choose another QPU",
                resource=self.name,
            )

    def submit(self, payload: Payload) -> Task:
        """Submit a payload and return the handle of its task.

        Whoever granted this job its resources is told of the task, so that it can be cancelled when the job dies.
        """
        task = Task(self, self.task_start(payload))
        self._expected.submitted(task.id, likeness(payload))
        if self.context.lease is not None:
            from qrmi_core.announcements import announce

            announce(self.context.lease, self.name, task.id)
        return task

    def task(self, task_id: str) -> Task:
        """The handle of a task that was submitted before, perhaps by another process.

        Raises:
            TaskNotFound: this resource knows no such task.
        """
        self.task_info(task_id)
        return Task(self, task_id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({self.type})>"


class BatchResource(QuantumResource):
    """A resource whose tasks are Pulser batches: several jobs of one sequence, perhaps added later.

    The task id is the batch id. The task has ended when the batch is closed and every job has ended; it is
    completed when at least one job is.
    """

    open_batches: ClassVar[bool] = True
    """Whether a batch may take more jobs later."""

    @abstractmethod
    def batch_jobs(self, batch_id: str) -> tuple[TaskInfo, ...]:
        """The jobs of a batch in the order of their creation."""

    def batch_job_ids(self, batch_id: str) -> list[str]:
        """The ids of the jobs of a batch, in the order of their creation."""
        return [info.id for info in self.batch_jobs(batch_id)]

    @abstractmethod
    def batch_is_open(self, batch_id: str) -> bool:
        """True while jobs can be added."""

    @abstractmethod
    def batch_add(self, batch_id: str, jobs: Sequence[PulserJob]) -> tuple[str, ...]:
        """Add jobs to an open batch and return their ids.

        Raises:
            InputError: the batch is closed.
        """

    @abstractmethod
    def batch_close(self, batch_id: str) -> None:
        """Close an open batch; its jobs go on. Closing twice is no error."""

    @abstractmethod
    def batch_cancel_jobs(self, batch_id: str, job_ids: Collection[str]) -> None:
        """Cancel some jobs of a batch; those that have ended are left as they are."""

    @abstractmethod
    def batch_job_output(self, batch_id: str, job_id: str) -> bytes:
        """The result of a completed job: the JSON object ``{"counter", "raw", "serialised_results"}``.

        A vendor that serialises no results adds ``atom_order`` and ``total_duration`` (nanoseconds) to the counter.
        """

    @abstractmethod
    def batch_wait(
        self, batch_id: str, job_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        """Like :meth:`task_wait`, for jobs of one batch."""
