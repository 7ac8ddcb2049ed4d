# SPDX-License-Identifier: Apache-2.0
"""Jobs of a batch in Pulser's words: their status, their results, and waiting between two looks at them."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Collection

from pulser.backend import Results
from pulser.backend.remote import BatchStatus, JobStatus

from qrmi_core import BatchResource, ResultError, TaskInfo, TaskStatus

__all__ = ["Progress", "batch_status", "job_status"]

LONGEST_WAIT = 1.0
RESULTS_KEPT = 1024

_JOB_STATUS = {
    TaskStatus.QUEUED: JobStatus.PENDING,
    TaskStatus.RUNNING: JobStatus.RUNNING,
    TaskStatus.COMPLETED: JobStatus.DONE,
    TaskStatus.FAILED: JobStatus.ERROR,
    TaskStatus.CANCELLED: JobStatus.CANCELED,
}


def job_status(info: TaskInfo) -> JobStatus:
    """Pulser's word for a job; a vendor's own one is kept where Pulser knows it."""
    return JobStatus.__members__.get(info.vendor_status or "") or _JOB_STATUS[info.status]


def batch_status(info: TaskInfo) -> BatchStatus:
    """Pulser's word for a batch; a vendor's own one is kept where Pulser knows it."""
    return BatchStatus.__members__.get(info.vendor_status or "") or BatchStatus[_JOB_STATUS[info.status].name]


class Progress:
    """What was seen of batches: it makes repeated questions wait, and fetches no result twice.

    Callers exist that ask in a loop without a pause. So a question that comes within a second of an answer
    waits until another job has ended or that second is over; a caller who comes more rarely never waits.
    """

    def __init__(self, resource: BatchResource) -> None:
        self._resource = resource
        self._lock = threading.Lock()
        self._answered: dict[str, tuple[float, frozenset[str]]] = {}
        self._results: OrderedDict[tuple[str, str], Results] = OrderedDict()

    def jobs(self, batch_id: str) -> tuple[TaskInfo, ...]:
        """The jobs of a batch in the order of their creation, after a wait if nothing is new."""
        infos = self._resource.batch_jobs(batch_id)
        with self._lock:
            moment, seen = self._answered.get(batch_id, (0.0, None))
        unfinished = [info.id for info in infos if not info.status.is_final]
        left = moment + LONGEST_WAIT - time.monotonic()
        if unfinished and left > 0 and seen == _ended(infos):
            self._resource.batch_wait(batch_id, unfinished, timeout=left, first=True)
            infos = self._resource.batch_jobs(batch_id)
        with self._lock:
            if all(info.status.is_final for info in infos):
                self._answered.pop(batch_id, None)
            else:
                self._answered[batch_id] = (time.monotonic(), _ended(infos))
        return infos

    def result(self, batch_id: str, job_id: str) -> Results:
        """The result of a completed job.

        Raises:
            ResultError: what came cannot be read.
        """
        with self._lock:
            kept = self._results.get((batch_id, job_id))
        if kept is not None:
            return kept
        results = _decoded(self._resource.batch_job_output(batch_id, job_id), job_id, self._resource.name)
        with self._lock:
            self._results[batch_id, job_id] = results
            while len(self._results) > RESULTS_KEPT:
                self._results.popitem(last=False)
        return results


def _ended(infos: Collection[TaskInfo]) -> frozenset[str]:
    return frozenset(info.id for info in infos if info.status.is_final)


def _decoded(data: bytes, job_id: str, resource: str) -> Results:
    try:
        told = json.loads(data)
        text = told["serialised_results"]
        if isinstance(text, str):
            return Results.from_abstract_repr(text)
        if (atoms := told.get("atom_order")) and (counts := told.get("counter")) is not None:
            return Results.from_final_bitstrings(atoms, told["total_duration"], counts)
        problem = "it holds no serialised_results, and counts alone do not tell the order of the atoms"
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise ResultError(
            f"the result of job {job_id} on {resource} cannot be read ({type(error).__name__}: {lines[0]})",
            resource=resource,
            task_id=job_id,
        ) from error
    raise ResultError(f"the result of job {job_id} on {resource} cannot be read: {problem}", resource=resource)
