# SPDX-License-Identifier: Apache-2.0
"""Batches in front of a Warden, which knows single jobs only: each is a file, so that it outlives the gateway.

A batch's id ends with eight zeros; in their place stands Warden's number in the id of each of its jobs. So an id leads
to its batch and to Warden's job without being looked up. Whose a batch is, the books tell.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.pasqal_records import Batch, Job, JobSpec
from qrmi_core.gateway.doors.books import KEPT_SECONDS

__all__ = ["BatchFiles", "WardenBatch", "WardenJob", "batch_of", "warden_job_of"]

REMEMBERED = 256
TIDY_GAP = 3600.0
NUMBER = 8


@dataclass(frozen=True)
class WardenJob:
    """A job of a batch; ``number`` is Warden's."""

    number: int
    spec: JobSpec
    created: float


@dataclass(frozen=True)
class WardenBatch:
    """A batch as it was asked for, and what became of it so far."""

    device_type: str
    sequence: str | None
    open: bool
    tags: tuple[str, ...] = ()
    cancelled: bool = False
    parent: str | None = None
    jobs: tuple[WardenJob, ...] = ()
    created: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: f"{str(uuid.uuid4())[:-NUMBER]}{'0' * NUMBER}")

    def with_job(self, job: WardenJob) -> WardenBatch:
        """The same with a job more."""
        return replace(self, jobs=(*self.jobs, job))

    def job_id(self, job: WardenJob) -> str:
        """The id of one of its jobs."""
        return f"{self.id[:-NUMBER]}{job.number:0{NUMBER}x}"

    def shown(self, project: str, user: str) -> Batch:
        """The same as Pasqal's cloud shows it."""
        batch = Batch(
            device=cast("Device", None),  # nothing runs it
            project_id=project,
            user_id=user,
            device_type=self.device_type,
            sequence=self.sequence,
            open=self.open,
            listed_from=0.0,
            tags=self.tags,
            parent_id=self.parent,
            cancelled=self.cancelled,
            id=self.id,
            created=self.created,
        )
        batch.jobs = [
            Job(self.id, job.spec, "", str(job.number), job.created, place, 0.0, id=self.job_id(job))
            for place, job in enumerate(self.jobs)
        ]
        return batch

    def text(self) -> str:
        """It as JSON."""
        jobs = [[job.number, job.created, job.spec.runs, job.spec.variables, job.spec.sequence] for job in self.jobs]
        told = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps({**told, "jobs": jobs})

    @classmethod
    def of(cls, text: str) -> WardenBatch:
        """The batch that was written so."""
        told: Mapping[str, Any] = json.loads(text)
        jobs = tuple(
            WardenJob(number, JobSpec(runs, variables, sequence), created)
            for number, created, runs, variables, sequence in told["jobs"]
        )
        return cls(**{**told, "jobs": jobs, "tags": tuple(told["tags"])})


def batch_of(job_id: str) -> str:
    """The id of the batch of a job, if it is a job's id."""
    return f"{job_id[:-NUMBER]}{'0' * NUMBER}"


def warden_job_of(batch: WardenBatch, job_id: str) -> WardenJob | None:
    """The job of a batch with this id."""
    return next((job for job in batch.jobs if batch.job_id(job) == job_id), None)


class BatchFiles:
    """The files, in a directory of their own; its methods block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: OrderedDict[str, WardenBatch] = OrderedDict()
        self._tidied = float("-inf")

    def at_hand(self, batch_id: str) -> WardenBatch | None:
        """A batch that was looked at lately; it never blocks."""
        return self._known.get(batch_id)

    def load(self, batch_id: str) -> WardenBatch | None:
        """A batch; None where there is no file of it any more."""
        try:
            return self._kept(WardenBatch.of(self._file(batch_id).read_text(encoding="utf-8")))
        except OSError:
            return None

    def save(self, batch: WardenBatch) -> None:
        """Keep a batch as it is now; it is whole on the disk when this returns.

        Raises:
            OSError: it is not.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if time.monotonic() - self._tidied > TIDY_GAP:
            self._tidied = time.monotonic()
            self._tidy()
        descriptor, draft = tempfile.mkstemp(dir=self._directory)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(batch.text())
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(self._file(batch.id))
        self._kept(batch)

    def _kept(self, batch: WardenBatch) -> WardenBatch:
        self._known[batch.id] = batch
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return batch

    def _file(self, batch_id: str) -> Path:
        return self._directory / str(uuid.UUID(batch_id))

    def _tidy(self) -> None:
        old = time.time() - KEPT_SECONDS
        files: Sequence[Path] = list(self._directory.iterdir())
        for file in files:
            if file.stat().st_mtime < old:
                file.unlink(missing_ok=True)
