# SPDX-License-Identifier: Apache-2.0
"""Pasqal QPUs at the site, behind Warden: users are known by munge, jobs run within a session.

Warden runs single jobs of one built sequence each. A batch is made here: one Warden job for each of its jobs, and an id
that leads back to all of them from any process (see :mod:`qrmi_core.drivers.warden_batch`).
"""

from __future__ import annotations

import contextlib
import json
import threading
import warnings
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast
from urllib.parse import quote

from qrmi_core import discovery, munge, polling
from qrmi_core.drivers.vendor import VENDOR_VARIABLES, VendorResource, about_task, expect
from qrmi_core.drivers.warden_batch import Batch, Built
from qrmi_core.errors import (
    InputError,
    JobEnvironmentError,
    LimitExceeded,
    QRMIError,
    QRMIWarning,
    ResourceUnavailable,
    ResultError,
    SubmissionUncertain,
    TaskNotFound,
    UnsupportedFunction,
    UnsupportedPayload,
    VendorError,
)
from qrmi_core.http import HttpClient, Response, Told
from qrmi_core.payloads import Payload, PulserBatch, PulserJob
from qrmi_core.resource import BatchResource, JobContext, ResourceStatus, ResourceStatusCode, Target
from qrmi_core.submission import submit_once
from qrmi_core.tasks import TaskInfo, TaskStatus
from qrmi_core.variables import Variable

__all__ = ["PasqalLocal"]

URL = "QRMI_WARDEN_URL"
OLD_URL = "QRMI_URL"
SOCKET = "QRMI_WARDEN_MUNGE_SOCKET"
KEPT = 1024
NO_SUCH_ROUTE = frozenset({404, 405})
TOO_LATE = frozenset({400, 403, 409, 422})

_REASONS = {
    TaskStatus.FAILED: "Warden gives no reason for a failed job",
    TaskStatus.CANCELLED: "on request, or by Warden because it took too long",
}
_UNCERTAIN = (
    "Warden lists your jobs (task_ids() of this resource) and does not tell what each of them runs; submit it again "
    "only if no job is listed that you cannot account for"
)


class PasqalLocal(VendorResource, BatchResource):
    """A Pasqal QPU behind Warden."""

    type = "pasqal-local"
    takes = (PulserBatch,)
    open_batches = False
    min_poll = 1.0
    variables: ClassVar[Sequence[Variable]] = (
        Variable(URL, "Warden's address, such as http://warden:4207"),
        Variable(OLD_URL, f"the old name of {URL}"),
        Variable(SOCKET, "the socket of munged, where it is not the one that libmunge was built with"),
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
        address = self._address()
        self._anonymous = HttpClient(address, self.http, resource=name, told=_told)
        self._client = HttpClient(
            address,
            self.http,
            resource=name,
            told=_told,
            fresh_headers=self._munge,
            credentials=f"munge on this host, and that the session of this job (QRMI_JOB_ACQUISITION_TOKEN) is "
            f"its own and not given back; only root opens and closes sessions of {name}",
        )
        self._session = context.acquisition_token
        self._lock = threading.Lock()
        self._started: set[int] = set()
        self._ended: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._most_runs: tuple[int | None] | None = None

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

    def _munge(self) -> Mapping[str, str]:
        try:
            return {"X-Munge-Cred": munge.encode(socket=self.values.get(SOCKET) or None)}
        except munge.MungeUnavailable as error:
            raise ResourceUnavailable(
                f"{self.name}: Warden knows its users by munge, and {error}; the socket is set with {SOCKET} of "
                f"{self.name}",
                resource=self.name,
                transient=error.transient,
            ) from error

    def status(self) -> ResourceStatus:
        """Whether Warden says that the QPU is accessible, with its message where it is not."""
        told = self._anonymous.get_json("/accessible")
        accessible = expect(told, "is_accessible", resource=self.name, what="/accessible") is True
        message = str(told.get("message") or "")
        if accessible:
            return ResourceStatus(ResourceStatusCode.ONLINE, healthy=True)
        reason = f"Warden says that the QPU is not accessible: {message or 'it gives no reason'}"
        return ResourceStatus(ResourceStatusCode.OFFLINE, status_reason=reason, healthy=False)

    def target(self) -> Target:
        """The device as Pulser writes it."""
        with self._saying_if_inaccessible():
            told = self._client.get_json("/qpu/specs")
        specs = expect(told, "specs", resource=self.name, what="/qpu/specs")
        try:
            self._most_runs = (json.loads(specs).get("max_runs"),)
        except (TypeError, ValueError, AttributeError) as error:
            raise ResultError(f"{self.name}: the specs of /qpu/specs are no device ({error})") from error
        return Target(specs.encode())

    def acquire(self) -> str:
        """Open a session for the job's user; only root may."""
        uid, job = self.context.uid, self.context.job_id
        if uid is None or job is None:
            raise JobEnvironmentError(
                f"{self.name}: Warden opens a session for one user's Slurm job, and QRMI_JOB_UID or QRMI_JOB_ID is not "
                f"set: the Slurm plugin sets both",
                resource=self.name,
            )
        body = {"user_id": str(uid), "slurm_job_id": job}
        with self._saying_if_inaccessible():
            # A session whose answer was lost keeps nobody out, so asking for another does no harm.
            answer = self._client.change("POST", "/sessions", body=body, json_only=True).json()
        token = str(expect(answer, "id", resource=self.name, what="a new session"))
        self._session = self._session or token
        return token

    def release(self, acquisition_token: str) -> None:
        """Close the session, and cancel what this object started in it where Warden can cancel."""
        for job in sorted(self._started):
            with contextlib.suppress(TaskNotFound, UnsupportedFunction):
                self._cancel(job)
        try:
            self._client.change("DELETE", f"/sessions/{quote(acquisition_token, safe='')}")
        except VendorError as error:
            if error.http_status != 404:
                raise
        if self._session == acquisition_token:
            self._session = self.context.acquisition_token

    def task_start(self, payload: Payload) -> str:
        """Send every job of a batch; the batch's id is made of their ids."""
        self.refuse_other_kinds(payload)
        batch = cast("PulserBatch", payload)
        self._refuse(batch)
        if self._session is None:
            raise ResourceUnavailable(
                f"{self.name}: Warden takes jobs in a session only, and QRMI_JOB_ACQUISITION_TOKEN is not set: run the "
                f"program in a job that asks for this QPU (--qpu={self.name})",
                resource=self.name,
            )
        built = [self._built(batch.sequence, job) for job in batch.jobs]
        known = tuple(facts for _, facts in built if facts is not None)
        sent: list[int] = []
        for job, (sequence, _) in zip(batch.jobs, built, strict=True):
            try:
                sent.append(self._send(sequence, cast("int", job.runs), self._session))
            except QRMIError as error:
                if sent:
                    part = Batch(tuple(sent), known[: len(sent)] or None).id
                    error.args = (f"{error}. The jobs before it in the batch were taken and run: {part}",)
                    error.task_id = part
                raise
        return Batch(tuple(sent), known or None).id

    def _refuse(self, batch: PulserBatch) -> None:
        what = (
            "open batches: give all jobs at once" if batch.open
            else f"the device type {batch.device_type}: it has the QPU itself only (QPUBackend)" if batch.device_type
            else "an emulation configuration: it gives bitstrings, and no other observables" if batch.configuration
            else "batches without jobs" if not batch.jobs
            else None
        )  # fmt: skip
        if what:
            raise UnsupportedPayload(f"{self.name}: Warden does not take {what}", resource=self.name)
        if self._most_runs is None:
            self.target()
        (most,) = self._most_runs or (None,)
        for number, job in enumerate(batch.jobs, 1):
            if job.runs is None or job.runs < 1:
                raise InputError(f"job {number}: a QPU needs the number of shots, give it `runs` of 1 or more")
            if most is not None and job.runs > most:
                raise LimitExceeded(
                    f"job {number}: {job.runs} runs were asked for and {self.name} takes {most} at most",
                    resource=self.name,
                )

    def _built(self, sequence: bytes, job: PulserJob) -> tuple[bytes, Built | None]:
        try:
            build = discovery.converter("pulser-sequence", extra="pulser")
        except ResourceUnavailable as error:
            if job.variables is None:
                return sequence, None
            raise ResourceUnavailable(
                f"{self.name}: Warden takes sequences without variables, and this one cannot be built here: {error}",
                resource=self.name,
            ) from error
        ready, atoms, duration = build(sequence, job.variables)
        return ready, Built(atoms, duration)

    def _send(self, sequence: bytes, runs: int, session: str) -> int:
        def send() -> int:
            answer = self._client.submit(
                "/jobs", body={"sequence": sequence.decode(), "shots": runs}, headers={"X-Warden-Session": session}
            )
            return int(expect(answer.json(), "id", resource=self.name, what="a new job"))

        with self._saying_if_inaccessible():
            job = submit_once(send, None, resource=self.name, deadline=self.http.deadline, advice=_UNCERTAIN)
        with self._lock:
            self._started.add(job)
        return job

    def task_stop(self, task_id: str) -> None:
        for job in self._batch(task_id).jobs:
            self._cancel(job)

    def _cancel(self, job: int) -> None:
        try:
            self._client.change("POST", f"/jobs/{job}/cancel")
        except VendorError as error:
            if error.http_status not in NO_SUCH_ROUTE | TOO_LATE:
                raise
            status = self._info(job).status
            if status.is_final:
                return
            if error.http_status in NO_SUCH_ROUTE:
                raise UnsupportedFunction(
                    f"{self.name}: this Warden cannot cancel: job {job} is {status.value} and will run",
                    resource=self.name,
                    task_id=str(job),
                ) from error
            raise

    def task_info(self, task_id: str) -> TaskInfo:
        infos = self.batch_jobs(task_id)
        status = _status_of_batch([info.status for info in infos])
        alike = next((info for info in infos if info.status is status), TaskInfo(task_id, status))
        return replace(alike, id=task_id)

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
            told = self._client.get_json(f"/jobs/{job}/logs")
        except VendorError as error:
            if error.http_status not in NO_SUCH_ROUTE:
                raise
            self._info(job)
            raise UnsupportedFunction(f"{self.name}: this Warden keeps no logs of jobs", resource=self.name) from error
        return str(expect(told, "logs", resource=self.name, what=f"the log of job {job}"))

    def task_ids(self) -> list[str]:
        """The user's jobs, the newest first; each by itself, since Warden knows no batches."""
        jobs = [expect(job, "id", resource=self.name, what="a job of /jobs") for job in self._client.get_json("/jobs")]
        return [str(job) for job in sorted(jobs, reverse=True)]

    def batch_jobs(self, batch_id: str) -> tuple[TaskInfo, ...]:
        return tuple(self._info(job) for job in self._batch(batch_id).jobs)

    def batch_is_open(self, batch_id: str) -> bool:
        return False

    def batch_add(self, batch_id: str, jobs: Sequence[PulserJob]) -> tuple[str, ...]:
        raise InputError(f"{self.name}: Warden has no open batches: submit a new one", resource=self.name)

    def batch_close(self, batch_id: str) -> None:
        self._batch(batch_id)

    def batch_cancel_jobs(self, batch_id: str, job_ids: Collection[str]) -> None:
        for job_id in job_ids:
            self._cancel(self._job_of(batch_id, job_id))

    def batch_job_output(self, batch_id: str, job_id: str) -> bytes:
        """The JSON object ``{"counter", "raw", "serialised_results", "atom_order", "total_duration"}``.

        Warden gives the counter alone; the last two are what the batch's id tells of the sequence, null if nothing.
        """
        return self._output(self._batch(batch_id), self._job_of(batch_id, job_id))

    def batch_wait(
        self, batch_id: str, job_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        jobs = {job_id: self._job_of(batch_id, job_id) for job_id in job_ids}
        return polling.poll(
            lambda job_id: self._info(jobs[job_id]), jobs, timeout=timeout, first=first, min_poll=self.min_poll
        )

    def _batch(self, batch_id: str) -> Batch:
        try:
            return Batch.of(batch_id)
        except ValueError:
            raise TaskNotFound(
                f"{self.name} has no task {batch_id!r}: an id such as 12, or 12-13~... for a batch, was expected",
                resource=self.name,
                task_id=batch_id,
            ) from None

    def _job_of(self, batch_id: str, job_id: str) -> int:
        for job in self._batch(batch_id).jobs:
            if str(job) == job_id:
                return job
        raise TaskNotFound(f"{self.name}: batch {batch_id} has no job {job_id}", resource=self.name, task_id=job_id)

    def _info(self, job: int) -> TaskInfo:
        word = str(self._job(job)["status"])
        status = self.status_of(word)
        reason = _REASONS.get(status)
        if status is TaskStatus.FAILED and (said := self._inaccessible()):
            reason = f"{reason}. {said}"
        return TaskInfo(str(job), status, vendor_status=word, reason=reason)

    def _job(self, job: int) -> dict[str, Any]:
        """What Warden tells of a job; kept once it has ended."""
        with self._lock:
            kept = self._ended.get(job)
        if kept is not None:
            return kept
        with about_task(self.name, str(job)):
            told = self._client.get_json(f"/jobs/{job}")
        word = expect(told, "status", resource=self.name, what=f"job {job}")
        if self.status_of(str(word)).is_final:
            with self._lock:
                self._started.discard(job)
                self._ended[job] = told
                while len(self._ended) > KEPT:
                    self._ended.popitem(last=False)
        return cast("dict[str, Any]", told)

    def _output(self, batch: Batch, job: int) -> bytes:
        built = batch.built_for(job)
        return json.dumps(
            {
                "counter": _counter(self._job(job).get("results"), f"{self.name}: the results of job {job}"),
                "raw": None,
                "serialised_results": None,
                "atom_order": built and built.atoms,
                "total_duration": built and built.duration,
            }
        ).encode()

    @contextlib.contextmanager
    def _saying_if_inaccessible(self) -> Iterator[None]:
        """Add to errors what Warden says of a QPU that is not accessible: it refuses nothing for that reason."""
        try:
            yield
        except (SubmissionUncertain, VendorError) as error:
            if said := self._inaccessible():
                error.args = (f"{error}. {said}",)
            raise

    def _inaccessible(self) -> str | None:
        with contextlib.suppress(QRMIError):
            return self.status().status_reason
        return None


def _counter(results: Any, what: str) -> dict[str, int]:
    if results is None:
        raise ResultError(f"{what} are not there, though it is done: ask again later", transient=True)
    try:
        counter = (json.loads(results) if isinstance(results, str) else results)["counter"]
        return {str(bits): int(count) for bits, count in counter.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        start = str(results)[:120]
        raise ResultError(
            f"{what} are not the JSON object with a counter that Warden promises, but {start!r}: its QPU's side writes "
            f"them so, tell its administrators"
        ) from error


def _status_of_batch(statuses: Sequence[TaskStatus]) -> TaskStatus:
    if all(status is TaskStatus.QUEUED for status in statuses):
        return TaskStatus.QUEUED
    if not all(status.is_final for status in statuses):
        return TaskStatus.RUNNING
    return next(each for each in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED) if each in statuses)


def _told(response: Response) -> Told:
    detail = response.json()["detail"]
    return Told(detail if isinstance(detail, str) else "; ".join(str(each["msg"]) for each in detail))
