# SPDX-License-Identifier: Apache-2.0
"""Pasqal QPUs at the site, behind Warden.

Warden runs single jobs of one built sequence each. A batch is made here: one Warden job for each of its jobs, and an id
that leads back to all of them from any process (see :mod:`qrmi_core.drivers.warden_batch`).
"""

from __future__ import annotations

import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

from qrmi_core import polling
from qrmi_core.converters import converter
from qrmi_core.drivers.vendor import VENDOR_VARIABLES, VendorResource
from qrmi_core.drivers.warden import MUNGE_SOCKET, TOO_LATE, WardenClient
from qrmi_core.drivers.warden_batch import Batch, Built, counter_of, status_of_batch
from qrmi_core.errors import (
    InputError,
    LimitExceeded,
    QRMIError,
    QRMIWarning,
    ResourceUnavailable,
    ResultError,
    TaskNotFound,
    UnsupportedFunction,
    UnsupportedPayload,
    VendorError,
)
from qrmi_core.locks import ForkSafeLock
from qrmi_core.payloads import Payload, PulserBatch, PulserJob
from qrmi_core.resource import BatchResource, JobContext, ResourceStatus, ResourceStatusCode, Target
from qrmi_core.tasks import TaskInfo, TaskStatus
from qrmi_core.variables import Variable

__all__ = ["PasqalLocal"]

URL = "QRMI_WARDEN_URL"
OLD_URL = "QRMI_URL"
NO_JOB = "0"
KEPT = 1024

_REASONS = {
    TaskStatus.FAILED: "Warden gives no reason for a failed job",
    TaskStatus.CANCELLED: "on request, or by Warden because it took too long",
}


@dataclass(frozen=True)
class _Job:
    """One of Warden's jobs at one moment; its results are as they came."""

    info: TaskInfo
    results: Any


class PasqalLocal(VendorResource, BatchResource):
    """A Pasqal QPU behind Warden."""

    type = "pasqal-local"
    takes = (PulserBatch,)
    open_batches = False
    min_poll = 1.0
    variables: ClassVar[Sequence[Variable]] = (
        Variable(URL, "Warden's address, such as http://warden:4207", endpoint=True),
        Variable(OLD_URL, f"the old name of {URL}", endpoint=True),
        Variable(MUNGE_SOCKET, "the socket of munged, where it is not the one that libmunge was built with"),
        *VENDOR_VARIABLES,
    )
    words: ClassVar[Mapping[str, TaskStatus]] = {
        "PENDING": TaskStatus.QUEUED,
        "RUNNING": TaskStatus.RUNNING,
        "CANCELING": TaskStatus.RUNNING,
        "DONE": TaskStatus.COMPLETED,
        "ERROR": TaskStatus.FAILED,
        "CANCELED": TaskStatus.CANCELLED,
    }

    def __init__(self, name: str, values: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, values, context)
        socket = values.get(MUNGE_SOCKET) or None
        self._warden = WardenClient(self._address(), self.http, resource=name, socket=socket)
        self._session = context.acquisition_token
        self._target: Target | None = None
        self._asking_for_target = ForkSafeLock()
        self._lock = ForkSafeLock()
        self._started: set[int] = set()
        self._ended: OrderedDict[int, _Job] = OrderedDict()

    def _address(self) -> str:
        if address := self.values.get(URL):
            return address
        if address := self.values.get(OLD_URL):
            warnings.warn(f"{OLD_URL} of {self.name} will stop working: call it {URL}", QRMIWarning, stacklevel=4)
            return address
        raise ResourceUnavailable(
            f"{self.name}: the type {self.type} needs {URL}, Warden's address, such as http://warden:4207",
            resource=self.name,
        )

    def credentials_from(self, *, root: Callable[[], str], user: Callable[[], str] | None) -> None:
        """Take munge credentials from these calls, for a process that is neither root nor the job's user.

        ``root`` makes those that open and close sessions, ``user`` all others; None: this process's own.
        """
        self._warden.root_credential = root
        if user is not None:
            self._warden.credential = user

    def status(self) -> ResourceStatus:
        """Whether Warden says that the QPU is accessible, with its message."""
        accessible, message = self._warden.accessible()
        if accessible:
            return ResourceStatus(ResourceStatusCode.ONLINE, status_reason=message or None, healthy=True)
        reason = message or "Warden says that the QPU is not accessible, and gives no reason"
        return ResourceStatus(ResourceStatusCode.OFFLINE, status_reason=reason, healthy=False)

    def target(self) -> Target:
        """The device as Pulser writes it."""
        self._target = Target(self._warden.specs())
        return self._target

    def _known_target(self) -> Target:
        with self._asking_for_target:
            return self._target or self.target()

    def acquire(self) -> str:
        """Open a session for the job's user; only root may. Outside a job it is for who runs this process."""
        uid = os.getuid() if self.context.uid is None else self.context.uid
        session = self._warden.open_session(uid, self.context.job_id or NO_JOB)
        self._session = self._session or session
        return session

    def release(self, acquisition_token: str) -> None:
        """Cancel what this object started, where Warden can cancel, and close the session even where that fails.

        Warden does not tell which jobs were started in a session, so those of other processes go on.
        """
        with self._lock:
            started = sorted(self._started)
        problems: list[QRMIError] = []
        for job in started:
            try:
                self._cancel(job)
            except (TaskNotFound, UnsupportedFunction):
                continue
            except QRMIError as error:
                problems.append(error)
        self._warden.close_session(acquisition_token)
        if self._session == acquisition_token:
            self._session = None
        if problems:
            raise problems[0]

    def task_start(self, payload: Payload) -> str:
        """Submit each job of a batch once and return the batch's id.

        Raises:
            SubmissionUncertain: nobody knows whether a job was taken.
            QRMIError: a job was not taken. Where others of its batch were before it, the text and ``task_id`` tell.
        """
        self.refuse_other_kinds(payload)
        batch = cast("PulserBatch", payload)
        self._refuse(batch)
        session = self._session
        if session is None:
            raise ResourceUnavailable(
                f"{self.name}: Warden takes jobs in a session only, and QRMI_JOB_ACQUISITION_TOKEN is not set: run the "
                f"program in a job that asks for this QPU (--qpu={self.name})",
                resource=self.name,
            )
        different = dict.fromkeys(job.variables for job in batch.jobs)
        built = {variables: self._built(batch.sequence, variables) for variables in different}
        known = tuple(facts for job in batch.jobs if (facts := built[job.variables][1]) is not None)
        sent: list[int] = []
        for job in batch.jobs:
            try:
                sent.append(self._warden.submit(built[job.variables][0], cast("int", job.runs), session))
            except QRMIError as error:
                if sent:
                    error.task_id = Batch(tuple(sent), known[: len(sent)] or None).id
                    part = f"the jobs before it were taken, as task {error.task_id}, and those behind it were not sent"
                    error.args = (f"{error}. Of the same batch {part}",)
                raise
            with self._lock:
                self._started.add(sent[-1])
        return Batch(tuple(sent), known or None).id

    def _refuse(self, batch: PulserBatch) -> None:
        cannot = {
            "open batches: give all jobs at once": batch.open,
            f"the device type {batch.device_type}: it has its QPU only (QPUBackend)": batch.device_type is not None,
            "an emulation configuration: its QPU gives bitstrings, and no other observables": batch.configuration,
            "batches without jobs": not batch.jobs,
        }
        if what := next((what for what, asked in cannot.items() if asked), None):
            raise UnsupportedPayload(f"{self.name}: Warden does not take {what}", resource=self.name)
        most = self._device().get("max_runs")
        for number, job in enumerate(batch.jobs, 1):
            if job.runs is None or job.runs < 1:
                raise InputError(f"job {number}: a QPU needs the number of shots, give it `runs` of 1 or more")
            if most is not None and job.runs > most:
                raise LimitExceeded(
                    f"job {number}: {job.runs} runs were asked for and {self.name} takes {most} at most",
                    resource=self.name,
                )

    def _device(self) -> dict[str, Any]:
        device = self._known_target().json()
        if not isinstance(device, dict):
            raise ResultError(f"{self.name}: the specs that Warden tells are no device, but {str(device)[:80]!r}")
        return device

    def _built(self, sequence: bytes, variables: bytes | None) -> tuple[bytes, Built | None]:
        try:
            build = converter("pulser-sequence", extra="pulser")
        except ResourceUnavailable as error:
            if variables is None:
                return sequence, None
            raise ResourceUnavailable(
                f"{self.name}: Warden takes sequences without variables, and this one cannot be built here: {error}",
                resource=self.name,
            ) from error
        ready, atoms, duration = build(sequence, variables, self._known_target())
        return ready, Built(atoms, duration)

    def task_stop(self, task_id: str) -> None:
        for job in self._batch(task_id).jobs:
            self._cancel(job)

    def _cancel(self, job: int) -> None:
        if job in self._ended:
            return
        try:
            self._warden.cancel(job)
        except (UnsupportedFunction, VendorError) as error:
            if isinstance(error, VendorError) and error.http_status not in TOO_LATE:
                raise
            if not self._info(job).status.is_final:
                raise

    def task_info(self, task_id: str) -> TaskInfo:
        infos = self.batch_jobs(task_id)
        status = status_of_batch([info.status for info in infos])
        alike = next((info for info in infos if info.status is status), TaskInfo(task_id, status))
        return replace(alike, id=task_id)

    def task_wait(
        self, task_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        def look(task_id: str) -> TaskInfo:
            return self._unfinished(self._batch(task_id).jobs) or self.task_info(task_id)

        return polling.poll(look, task_ids, timeout=timeout, first=first, min_poll=self.min_poll)

    def task_output(self, task_id: str) -> bytes:
        """The result; of a batch of several jobs ``{"jobs": [{"id", "status", "reason", "result"}, ...]}``."""
        batch = self._batch(task_id)
        if len(batch.jobs) == 1:
            return self._output(batch, batch.jobs[0])
        jobs = []
        for job, info in zip(batch.jobs, self.batch_jobs(task_id), strict=True):
            result = json.loads(self._output(batch, job)) if info.status is TaskStatus.COMPLETED else None
            jobs.append({"id": info.id, "status": info.status.value, "reason": info.reason, "result": result})
        return json.dumps({"jobs": jobs}).encode()

    def task_logs(self, task_id: str) -> str:
        return "".join(self._logs(job) for job in self._batch(task_id).jobs)

    def _logs(self, job: int) -> str:
        try:
            return self._warden.logs(job)
        except UnsupportedFunction:
            self._info(job)  # says if it is the job that is not there
            raise

    def task_ids(self) -> list[str]:
        """The user's jobs, the newest first; each by itself, since Warden knows no batches."""
        return [str(job) for job in sorted(self._warden.jobs(), reverse=True)]

    def batch_jobs(self, batch_id: str) -> tuple[TaskInfo, ...]:
        return tuple(self._info(job) for job in self._batch(batch_id).jobs)

    def batch_job_ids(self, batch_id: str) -> list[str]:
        return [str(job) for job in self._batch(batch_id).jobs]

    def batch_is_open(self, batch_id: str) -> bool:
        return False

    def batch_add(self, batch_id: str, jobs: Sequence[PulserJob]) -> tuple[str, ...]:
        raise InputError(f"{self.name}: Warden has no open batches: submit a new one", resource=self.name)

    def batch_close(self, batch_id: str) -> None:
        self._batch(batch_id)

    def batch_cancel_jobs(self, batch_id: str, job_ids: Collection[str]) -> None:
        for job in [self._job_of(batch_id, job_id) for job_id in job_ids]:
            self._cancel(job)

    def batch_job_output(self, batch_id: str, job_id: str) -> bytes:
        """The JSON object ``{"counter", "raw", "serialised_results", "atom_order", "total_duration"}``.

        Warden gives the counter alone; the last two are what the batch's id tells of the sequence, null if nothing.
        """
        return self._output(self._batch(batch_id), self._job_of(batch_id, job_id))

    def batch_wait(
        self, batch_id: str, job_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        jobs = {job_id: self._job_of(batch_id, job_id) for job_id in job_ids}

        def look(job_id: str) -> TaskInfo:
            return self._info(jobs[job_id])

        def look_at_all(_: str) -> TaskInfo:
            return self._unfinished(jobs.values()) or TaskInfo(batch_id, TaskStatus.COMPLETED)

        if first:
            return polling.poll(look, jobs, timeout=timeout, first=True, min_poll=self.min_poll)
        polling.poll(look_at_all, [batch_id], timeout=timeout, min_poll=self.min_poll)
        infos = {job_id: look(job_id) for job_id in jobs}
        return {job_id: info for job_id, info in infos.items() if info.status.is_final}

    def _batch(self, batch_id: str) -> Batch:
        try:
            return Batch.of(batch_id)
        except ValueError:
            raise TaskNotFound(
                f"{self.name} has no task {batch_id!r}: an id like 12, or 12-13~... for a batch, was expected",
                resource=self.name,
                task_id=batch_id,
            ) from None

    def _job_of(self, batch_id: str, job_id: str) -> int:
        for job in self._batch(batch_id).jobs:
            if str(job) == job_id:
                return job
        raise TaskNotFound(f"{self.name}: batch {batch_id} has no job {job_id}", resource=self.name, task_id=job_id)

    def _info(self, job: int) -> TaskInfo:
        return self._job(job).info

    def _unfinished(self, jobs: Collection[int]) -> TaskInfo | None:
        """The first of the jobs that has not ended; those behind it are not asked for, as they run in turn."""
        return next((info for info in map(self._info, jobs) if not info.status.is_final), None)

    def _job(self, job: int) -> _Job:
        """What Warden tells of a job; kept once it has ended."""
        with self._lock:
            kept = self._ended.get(job)
        if kept is not None:
            return kept
        told = self._warden.job(job)
        word = str(told["status"])
        status = self.status_of(word)
        reason = _REASONS.get(status)
        if status is TaskStatus.FAILED and (said := self._warden.inaccessible()):
            reason = f"{reason}. {said}"
        seen = _Job(TaskInfo(str(job), status, vendor_status=word, reason=reason), told.get("results"))
        if status.is_final and not (status is TaskStatus.COMPLETED and seen.results is None):
            with self._lock:
                self._started.discard(job)
                self._ended[job] = seen
                while len(self._ended) > KEPT:
                    self._ended.popitem(last=False)
        return seen

    def _output(self, batch: Batch, job: int) -> bytes:
        built = batch.built_for(job)
        counter = counter_of(self._job(job).results, f"{self.name}: the results of job {job}")
        atoms, duration = (None, None) if built is None else (built.atoms, built.duration)
        facts = {"raw": None, "serialised_results": None, "atom_order": atoms, "total_duration": duration}
        return json.dumps({"counter": counter, **facts}).encode()
