# SPDX-License-Identifier: Apache-2.0
"""Batches and jobs as Pasqal's cloud keeps and shows them, and what it takes as one."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Refused, iso
from qrmi_core.payloads import PulserJob
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["Batch", "Job", "JobSpec", "checked_batch", "checked_jobs", "failure"]

WORDS = {
    TaskStatus.QUEUED: "PENDING",
    TaskStatus.RUNNING: "RUNNING",
    TaskStatus.COMPLETED: "DONE",
    TaskStatus.FAILED: "ERROR",
    TaskStatus.CANCELLED: "CANCELED",
}
ENDED = frozenset({"DONE", "ERROR", "CANCELED"})

BATCH_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "sequence_builder": (str, type(None)),
    "jobs": list,
    "open": bool,
    "device_type": (str, type(None)),
    "project_id": str,
    "webhook": (str, type(None)),
    "configuration": (dict, type(None)),
    "backend_configuration": (str, type(None)),
    "tags": (list, type(None)),
}
JOB_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "runs": (int, type(None)),
    "variables": (dict, type(None)),
    "sequence": (str, type(None)),
}


@dataclass(frozen=True)
class JobSpec:
    """A job as it was asked for; ``sequence`` where it has one of its own."""

    runs: int | None = None
    variables: Mapping[str, Any] | None = None
    sequence: str | None = None

    def payload(self) -> PulserJob:
        """The same for a device."""
        return PulserJob(self.runs, json.dumps(self.variables).encode() if self.variables else None)


@dataclass
class Job:
    """A job; ``task`` and ``task_job`` are its ids on the device, ``secret`` is in the address of its result."""

    batch_id: str
    spec: JobSpec
    task: str
    task_job: str
    created: float
    order: int
    listed_from: float
    parent_id: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    secret: str = field(default_factory=lambda: uuid.uuid4().hex, repr=False)

    def status(self, info: TaskInfo) -> str:
        """The vendor's word for what the device says."""
        return WORDS[info.status]

    def view(self, batch: Batch, info: TaskInfo) -> dict[str, Any]:
        """What lists show of it."""
        return {
            "id": self.id,
            "batch_id": self.batch_id,
            "project_id": batch.project_id,
            "user_id": batch.user_id,
            "status": self.status(info),
            "runs": self.spec.runs,
            "variables": self.spec.variables,
            "errors": [info.reason] if info.reason and info.status is TaskStatus.FAILED else None,
            "created_at": iso(self.created),
            "updated_at": iso(info.ended or info.started or self.created),
            "start_timestamp": iso(info.started),
            "end_timestamp": iso(info.ended),
            "parent_id": self.parent_id,
            "creation_order": self.order,
        }


@dataclass
class Batch:
    """A batch; ``task`` is its id on the device, None while only jobs with sequences of their own are in it."""

    device: Device
    project_id: str
    user_id: str
    device_type: str
    sequence: str | None
    open: bool
    listed_from: float
    configuration: Mapping[str, Any] | None = None
    backend_configuration: str | None = None
    webhook: str | None = None
    tags: Sequence[str] = ()
    parent_id: str | None = None
    task: str | None = None
    cancelled: bool = False
    jobs: list[Job] = field(default_factory=list)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: float = field(default_factory=time.time)

    def status(self, words: Sequence[str]) -> str:
        """Its own status, from those of its jobs."""
        if self.open or any(word not in ENDED for word in words):
            return "PENDING" if all(word == "PENDING" for word in words) else "RUNNING"
        if self.cancelled or (words and all(word == "CANCELED" for word in words)):
            return "CANCELED"
        return "ERROR" if words and "DONE" not in words and "ERROR" in words else "DONE"

    def view(self, infos: Mapping[str, TaskInfo]) -> dict[str, Any]:
        """What lists show of it; ``infos`` are those of its jobs."""
        words = [job.status(infos[job.id]) for job in self.jobs]
        status = self.status(words)
        starts = [info.started for info in infos.values() if info.started]
        ends = [info.ended for info in infos.values() if info.ended] if status in ENDED else []
        return {
            "id": self.id,
            "project_id": self.project_id,
            "user_id": self.user_id,
            "device_type": self.device_type,
            "status": status,
            "open": self.open,
            "complete": not self.open,
            "created_at": iso(self.created),
            "updated_at": iso(max([self.created, *starts, *ends])),
            "start_datetime": iso(min(starts, default=None)),
            "end_datetime": iso(max(ends, default=None)),
            "jobs_count": len(self.jobs),
            "jobs_count_per_status": dict(Counter(words)),
            "job_ids": [job.id for job in self.jobs],
            "webhook": self.webhook,
            "configuration": self.configuration,
            "backend_configuration": self.backend_configuration,
            "tags": list(self.tags),
            "parent_id": self.parent_id,
        }


def checked_batch(body: Any) -> dict[str, Any]:
    """The body of a request for a batch.

    Raises:
        Refused: 400, it is not of the form that is documented.
    """
    checked = _checked(body, BATCH_FIELDS, "a batch")
    if "project_id" not in checked:
        raise Refused(400, "a batch needs a project_id")
    if not all(isinstance(tag, str) for tag in checked.get("tags") or ()):
        raise Refused(400, "tags are texts")
    if any(value not in (None, False) for value in (checked.get("configuration") or {}).values()):
        raise Refused(400, "the old configuration is not served here: send backend_configuration")
    checked["jobs"] = checked_jobs(checked.get("jobs", []), batch_has_sequence=bool(checked.get("sequence_builder")))
    if not checked["jobs"] and not checked.get("open"):
        raise Refused(400, "a batch that is not open needs jobs")
    return checked


def checked_jobs(body: Any, *, batch_has_sequence: bool) -> list[JobSpec]:
    """The jobs in the body of a request.

    Raises:
        Refused: 400, as for batches.
    """
    if not isinstance(body, list):
        raise Refused(400, "jobs are a list")
    specs = []
    for number, job in enumerate(body):
        spec = JobSpec(**_checked(job, JOB_FIELDS, f"job {number}"))
        if isinstance(spec.runs, bool) or (spec.runs is not None and spec.runs < 1):
            raise Refused(400, f"job {number}: runs is a whole number of at least 1")
        if spec.sequence is None and not batch_has_sequence:
            raise Refused(400, f"job {number} has no sequence and neither has the batch")
        if spec.sequence is not None and spec.variables:
            raise Refused(400, f"job {number} has a sequence of its own and variables")
        specs.append(spec)
    return specs


def _checked(body: Any, fields: Mapping[str, type | tuple[type, ...]], what: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(400, f"{what} is an object")
    if unknown := sorted(set(body) - set(fields)):
        raise Refused(400, f"{what} has no field {', '.join(unknown)}")
    for name, value in body.items():
        if not isinstance(value, fields[name]):
            raise Refused(400, f"{name} of {what} cannot be {json.dumps(value)[:80]}")
        if isinstance(value, str) and not value.isascii() and _is_no_text(value):
            raise Refused(400, f"{name} of {what} is no text that can be written in UTF-8")
    return dict(body)


def _is_no_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def failure(status: int, message: str, code: str | None) -> dict[str, Any]:
    """The body of an error, in the form of JSend as Pasqal's cloud has it."""
    return {
        "status": "fail" if status < 500 else "error",
        "code": code or str(status),
        "message": message,
        "data": {"description": message},
    }
