# SPDX-License-Identifier: Apache-2.0
"""The job of a primitive: what a user holds while a task runs, and gets back by its id in another process."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from qiskit.primitives import BasePrimitiveJob, PrimitiveResult, PubResult

from qrmi_core import ResultError, Task, TaskInfo, TaskStatus, UnsupportedFunction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qrmi_qiskit.backend import QRMIBackend

__all__ = ["JobStatus", "QRMIJob", "fetch_result"]

JobStatus = Literal["QUEUED", "RUNNING", "DONE", "ERROR", "CANCELLED"]

_STATUS: Mapping[TaskStatus, JobStatus] = {
    TaskStatus.QUEUED: "QUEUED",
    TaskStatus.RUNNING: "RUNNING",
    TaskStatus.COMPLETED: "DONE",
    TaskStatus.FAILED: "ERROR",
    TaskStatus.CANCELLED: "CANCELLED",
}


class QRMIJob(BasePrimitiveJob[PrimitiveResult[PubResult], JobStatus]):  # type: ignore[misc]
    """A job of SamplerV2 or EstimatorV2, with the methods of qiskit-ibm-runtime's ``RuntimeJobV2``.

    Get one from ``run``, or from ``backend.retrieve_job(id)`` and ``provider.job(id)`` in another process.
    Dropping it does nothing to the job.
    """

    JOB_FINAL_STATES: ClassVar[tuple[JobStatus, ...]] = ("DONE", "CANCELLED", "ERROR")

    def __init__(
        self, task: Task, backend: QRMIBackend, primitive_id: str, inputs: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(task.id)
        self._task = task
        self._backend = backend
        self._primitive_id = primitive_id
        self._inputs = inputs
        self._result: PrimitiveResult[PubResult] | None = None
        self._fetching = threading.Lock()

    def backend(self) -> QRMIBackend:
        """The backend that runs it."""
        return self._backend

    @property
    def primitive_id(self) -> str:
        """``sampler`` or ``estimator``."""
        return self._primitive_id

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The ``pubs`` and ``options`` of this job.

        Raises:
            UnsupportedFunction: the job was fetched by its id; its input stays where it was made.
        """
        if self._inputs is None:
            raise UnsupportedFunction(
                f"the input of job {self._job_id} is known to the program that submitted it only",
                task_id=self._job_id,
            )
        return self._inputs

    @property
    def creation_date(self) -> datetime | None:
        """When it was submitted, in local time; None where the vendor does not say."""
        created = self._task.info().created
        return None if created is None else datetime.fromtimestamp(created, UTC).astimezone()

    def status(self) -> JobStatus:
        """One of QUEUED, RUNNING, DONE, ERROR and CANCELLED."""
        return _STATUS[self._task.status()]

    def done(self) -> bool:
        """True when it has a result."""
        return self.status() == "DONE"

    def running(self) -> bool:
        """True while it runs."""
        return self.status() == "RUNNING"

    def cancelled(self) -> bool:
        """True when it was cancelled."""
        return self.status() == "CANCELLED"

    def errored(self) -> bool:
        """True when it failed."""
        return self.status() == "ERROR"

    def in_final_state(self) -> bool:
        """True once it is DONE, ERROR or CANCELLED."""
        return self.status() in self.JOB_FINAL_STATES

    def wait_for_final_state(self, timeout: float | None = None) -> None:
        """Wait until it has ended, whatever its end.

        Raises:
            WaitTimeout: after ``timeout`` seconds; the job goes on.
        """
        self._task.wait(timeout)

    def result(self, timeout: float | None = None) -> PrimitiveResult[PubResult]:
        """Wait for the job and return its result; asked for again, it is the same object.

        Raises:
            WaitTimeout: after ``timeout`` seconds; the job goes on.
            TaskFailed: it failed; says why.
            TaskCancelled: it was cancelled.
            ResultError: the result arrived damaged, twice.
        """
        self._task.wait(timeout)
        with self._fetching:
            if self._result is None:
                self._result = fetch_result(self._task, self._backend, self._primitive_id, self._inputs)
            return self._result

    def error_message(self) -> str | None:
        """Why it failed; None unless it did."""
        info = self._task.info()
        if info.status is not TaskStatus.FAILED:
            return None
        told = ". ".join(part.rstrip(".") for part in (info.reason, info.solution) if part) or "no reason was given"
        return f"{told} (code {info.code})" if info.code else told

    def cancel(self) -> None:
        """Cancel it; a job that has ended stays as it is."""
        self._task.cancel()

    def logs(self) -> str:
        """Its log, empty when there is none."""
        return self._task.logs()

    def usage(self) -> float:
        """Seconds of device time that are counted for it; 0 while nothing is."""
        return self._task.info().qpu_seconds or 0.0

    def metrics(self) -> dict[str, Any]:
        """Times, usage and place in the queue, named as IBM names them; None where the vendor does not say."""
        info = self._task.info()
        return {
            "timestamps": {
                "created": _iso(info.created),
                "running": _iso(info.started),
                "finished": _iso(info.ended),
            },
            "usage": {"quantum_seconds": info.qpu_seconds, "seconds": _duration(info)},
            "position_in_queue": info.position,
        }

    def __repr__(self) -> str:
        return f"<QRMIJob({self._job_id!r}, {self._primitive_id!r}) on {self._backend.name}>"


def fetch_result(
    task: Task, backend: QRMIBackend, primitive_id: str, inputs: Mapping[str, Any] | None
) -> PrimitiveResult[PubResult]:
    """The result of a task that has ended; one that arrives damaged is fetched once more.

    Raises:
        TaskFailed, TaskCancelled: there is none.
        ResultError: it cannot be read.
    """
    language = backend.language
    try:
        return language.result(task.result().data, primitive_id, inputs, backend)
    except ResultError:
        return language.result(task.result().data, primitive_id, inputs, backend)


def _iso(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _duration(info: TaskInfo) -> float | None:
    return info.ended - info.started if info.started is not None and info.ended is not None else None
