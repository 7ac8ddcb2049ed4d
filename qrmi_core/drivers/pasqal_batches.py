# SPDX-License-Identifier: Apache-2.0
"""Batches and jobs of Pasqal's cloud: what is sent, and what the answers say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from qrmi_core.drivers.vendor import expect, seconds_since_epoch
from qrmi_core.errors import InputError
from qrmi_core.payloads import PulserBatch, PulserJob
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["ENDS", "WORDS", "batch_body", "batch_info", "is_emulator", "job_bodies", "job_info", "matching", "packed"]

WORDS = {
    "PENDING": TaskStatus.QUEUED,
    "PAUSED": TaskStatus.QUEUED,
    "RUNNING": TaskStatus.RUNNING,
    "CANCELING": TaskStatus.RUNNING,
    "DONE": TaskStatus.COMPLETED,
    "ERROR": TaskStatus.FAILED,
    "TIMED_OUT": TaskStatus.FAILED,
    "CANCELED": TaskStatus.CANCELLED,
}
"""A batch or job that is being cancelled has not ended; a paused one waits for its turn again."""

ENDS = frozenset(word for word, status in WORDS.items() if status.is_final)

WORTH_PACKING = 2048
TIMED_OUT = "it timed out before it was done"


def is_emulator(device_type: str) -> bool:
    """True for Pasqal's emulators, whose configuration says what to compute."""
    return device_type.startswith("EMU_")


def batch_body(
    batch: PulserBatch, device_type: str, project: str, tags: Sequence[str], resource: str
) -> dict[str, Any]:
    """The body that makes a batch.

    Raises:
        InputError: it cannot be run as it is; nothing is sent.
    """
    if not batch.jobs and not batch.open:
        raise InputError(f"{resource}: a batch that is not open needs a job at least", resource=resource)
    body: dict[str, Any] = {
        "sequence_builder": batch.sequence.decode(),
        "jobs": job_bodies(batch.jobs, device_type, resource),
        "open": batch.open,
        "device_type": device_type,
        "project_id": project,
        "tags": list(tags),
    }
    if batch.configuration is not None:
        if not is_emulator(device_type):
            raise InputError(
                f"{resource}: an emulation configuration was given, and {device_type} is no emulator: leave it out, or "
                f"use a remote emulator backend (pasqal_cloud.RemoteEmuFreeBackend)",
                resource=resource,
            )
        body["backend_configuration"] = batch.configuration.decode()
    return body


def job_bodies(jobs: Sequence[PulserJob], device_type: str | None, resource: str) -> list[dict[str, Any]]:
    """Jobs as they are sent; ``device_type`` None where it is not known.

    Raises:
        InputError: a QPU's job has no number of shots, or variables are not JSON.
    """
    bodies = []
    for number, job in enumerate(jobs, 1):
        body: dict[str, Any] = {}
        if job.runs is not None:
            body["runs"] = job.runs
        elif device_type is not None and not is_emulator(device_type):
            raise InputError(f"job {number}: a QPU needs the number of shots, give it `runs`", resource=resource)
        if job.variables is not None:
            try:
                body["variables"] = json.loads(job.variables)
            except ValueError as error:
                raise InputError(f"job {number}: its variables are not JSON: {error}", resource=resource) from error
        bodies.append(body)
    return bodies


def packed(body: Any) -> tuple[bytes, dict[str, str]]:
    """A body as it is sent, and the headers that say so; a large one is compressed."""
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    if len(data) <= WORTH_PACKING:
        return data, headers
    return gzip.compress(data, 5), {**headers, "Content-Encoding": "gzip"}


def job_info(job: Mapping[str, Any], resource: str) -> TaskInfo:
    """What an answer says of a job.

    Raises:
        ResultError: it lacks what every job has.
    """
    word = str(expect(job, "status", resource=resource, what="a job"))
    runs = job.get("runs")
    started, ended = seconds_since_epoch(job.get("start_timestamp")), seconds_since_epoch(job.get("end_timestamp"))
    return TaskInfo(
        id=str(expect(job, "id", resource=resource, what="a job")),
        status=WORDS.get(word, TaskStatus.RUNNING),
        vendor_status=word,
        reason=_reason(word, job.get("errors")),
        created=seconds_since_epoch(job.get("created_at")),
        started=started,
        ended=ended,
        qpu_seconds=ended - started if started is not None and ended is not None else None,
        shots=runs if isinstance(runs, int) else None,
    )


def _reason(word: str, errors: Any) -> str | None:
    if errors:
        return "; ".join(map(str, errors)) if isinstance(errors, list) else str(errors)
    return TIMED_OUT if word == "TIMED_OUT" else None


def batch_info(
    batch_id: str, jobs: Sequence[TaskInfo], *, closed: bool, word: str | None, whole: bool = True
) -> TaskInfo:
    """A batch from its jobs: completed when one of them is, ended when it is ``closed`` and they all have.

    ``word`` is its own status where it was asked for. It alone counts for the end of a batch that shows no job, or not
    all of them (``whole``).
    """
    unfinished = [info for info in jobs if not info.status.is_final]
    found = {info.status for info in jobs}
    if not unfinished and not (jobs and whole):
        status = WORDS.get(word or "", TaskStatus.RUNNING)
    elif unfinished or not closed:
        status = TaskStatus.QUEUED if found <= {TaskStatus.QUEUED} else TaskStatus.RUNNING
    else:
        order = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)
        status = next(each for each in order if each in found)
    ended = status.is_final
    counted = ended and whole
    starts = [info.started for info in jobs if info.started is not None]
    ends = [info.ended for info in jobs if info.ended is not None]
    seconds = [info.qpu_seconds for info in jobs if info.qpu_seconds is not None]
    shots = [info.shots for info in jobs if info.status is TaskStatus.COMPLETED and info.shots is not None]
    reasons = dict.fromkeys(info.reason for info in jobs if info.reason)
    return TaskInfo(
        id=batch_id,
        status=status,
        vendor_status=word or (unfinished or list(jobs) or [TaskInfo("", status)])[0].vendor_status,
        reason="; ".join(reasons) or (TIMED_OUT if word == "TIMED_OUT" else None),
        created=min((info.created for info in jobs if info.created is not None), default=None),
        started=min(starts, default=None),
        ended=max(ends, default=None) if ended else None,
        qpu_seconds=sum(seconds) if counted and seconds else None,
        shots=sum(shots) if counted and shots else None,
    )


def matching(wanted: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The ids of those listed jobs that are the ones which were sent, in their order; None where one is missing."""
    left, ids = list(listed), []
    for body in wanted:
        for job in left:
            if job.get("runs") == body.get("runs") and (job.get("variables") or None) == (
                body.get("variables") or None
            ):
                ids.append(str(job["id"]))
                left.remove(job)
                break
        else:
            return None
    return ids
