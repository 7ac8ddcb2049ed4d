# SPDX-License-Identifier: Apache-2.0
"""The driver of IBM's machines on a site's own premises, ``ibm-quantum-system``.

A job's input goes to an S3 bucket, and the machine puts its result and log there, by presigned URLs. The machine has no
queue: while its lanes are taken, or others have reserved it, it refuses jobs, and this side waits. Once a result was
read, the job's record and its objects are removed, for records of ended jobs may occupy lanes.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, ClassVar, cast

from qrmi_core import polling
from qrmi_core.drivers.background import Background
from qrmi_core.drivers.ended_tasks import EndedTasks
from qrmi_core.drivers.iam import iam_token
from qrmi_core.drivers.ibm_errors import ibm_told
from qrmi_core.drivers.ibm_jobs import check_program
from qrmi_core.drivers.ibm_machine import MachineDevice
from qrmi_core.drivers.ibm_machine_jobs import JOB_WORDS, MachineJobs
from qrmi_core.drivers.job_objects import LOGS, RESULTS, JobObjects
from qrmi_core.drivers.s3 import S3_VARIABLES, Bucket, missing_s3_variables
from qrmi_core.drivers.vendor import (
    VENDOR_VARIABLES,
    VendorResource,
    new_id,
)
from qrmi_core.errors import (
    QRMIError,
    QRMIWarning,
    ResourceUnavailable,
    SubmissionUncertain,
    TaskNotFound,
    VendorError,
)
from qrmi_core.exchanges import Body
from qrmi_core.http import HttpClient
from qrmi_core.http_settings import number
from qrmi_core.payloads import Payload, QiskitPrimitive
from qrmi_core.resource import JobContext, ResourceStatus, Target
from qrmi_core.submission import Undecided, submit_once
from qrmi_core.tasks import TaskInfo, TaskStatus
from qrmi_core.variables import Variable

__all__ = ["BUSY_POLL", "PROGRAMS", "IBMQuantumSystem", "new_task_id"]

PREFIX = "QRMI_IBM_QS"
ENDPOINT = f"{PREFIX}_ENDPOINT"
KEY = f"{PREFIX}_IAM_APIKEY"
CRN = f"{PREFIX}_SERVICE_CRN"
TIMEOUT = f"{PREFIX}_TIMEOUT_SECONDS"
BUSY_DEADLINE = f"{PREFIX}_BUSY_DEADLINE"
KEEP = f"{PREFIX}_KEEP"
YES_OR_NO = {"": False, "no": False, "yes": True}

PROGRAMS = ("sampler", "estimator")
DEFAULT_TIMEOUT = 3600
DEFAULT_BUSY_DEADLINE = 300.0
BUSY_POLL = 0.1
CANCELLING = 5.0
AT_ONCE = 4
MARK = len("xxxxxxxx-xxxx")

_later = Background()


class IBMQuantumSystem(VendorResource):
    """A QPU that stands at the site."""

    type = "ibm-quantum-system"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable(ENDPOINT, "URL of the API, without /v1", required=True, endpoint=True),
        Variable(f"{PREFIX}_IAM_ENDPOINT", "URL of the identity service", required=True, endpoint=True),
        Variable(KEY, "the API key", required=True, secret=True),
        Variable(CRN, "the CRN of the instance, crn:v1:...", required=True),
        *S3_VARIABLES,
        Variable(TIMEOUT, f"seconds that a task may run; by default the job's limit, or {DEFAULT_TIMEOUT}"),
        Variable(BUSY_DEADLINE, f"seconds to wait while the device refuses tasks ({DEFAULT_BUSY_DEADLINE:g})"),
        Variable(KEEP, "yes: job records and objects in S3 stay after the result was read (no)"),
        *VENDOR_VARIABLES,
    )
    takes = (QiskitPrimitive,)
    words = JOB_WORDS
    min_poll = 0.1

    def __init__(self, name: str, values: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, values, context)
        self.timeout = number(name, values, TIMEOUT, context.timeout_seconds or DEFAULT_TIMEOUT)
        self.busy_deadline = number(name, values, BUSY_DEADLINE, DEFAULT_BUSY_DEADLINE, at_least=0.0)
        if values.get(KEEP, "") not in YES_OR_NO:
            raise ResourceUnavailable(f"{KEEP} of {name} is {values[KEEP]!r}: yes or no was expected", resource=name)
        self.keep = YES_OR_NO[values.get(KEEP, "")]
        self._acquisition = context.acquisition_token
        self._unread: dict[str, None] = {}
        self._ended = EndedTasks()
        self._api = HttpClient(
            values[ENDPOINT],
            self.http,
            resource=name,
            headers={"Service-CRN": values[CRN]},
            token=iam_token(name, values, self.http, prefix=PREFIX),
            secrets=[values[KEY]],
            credentials=f"{KEY} and {CRN} of {name}",
            address=f"{ENDPOINT} of {name}",
            told=ibm_told,
            also_retried=[423],
        )
        self._device = MachineDevice(self._api, self.device, name)
        self._jobs = MachineJobs(self._api, self.device, name)

    @cached_property
    def _objects(self) -> JobObjects:
        return JobObjects(self.name, Bucket(self.name, self.values, self.http))

    def verify_access(self) -> None:
        """Ask the machine with its key, and the storage whether the bucket can be read."""
        super().verify_access()
        Bucket(self.name, self.values, self.http).has("qrmi-check")

    def status(self) -> ResourceStatus:
        return self._device.status(self._jobs.running)

    def target(self) -> Target:
        return self._device.target()

    def acquire(self) -> str:
        """Only a token of our own, which marks the tasks of this acquisition: the device knows no sessions.

        Raises:
            ResourceUnavailable: the device takes no tasks now.
        """
        self._device.must_be_online()
        token = new_id()
        if self.context.acquisition_token is None:
            self._acquisition = token
        return token

    def release(self, acquisition_token: str) -> None:
        """Cancel what still runs of the acquisition, and remove all of it but results that nobody has read.

        All is cancelled before anything is removed, whatever fails meanwhile; then the first problem is raised. Objects
        in S3 are removed in the background.
        """
        mark = _mark(acquisition_token)
        if self._acquisition == acquisition_token:
            self._acquisition = self.context.acquisition_token
        left = {task: info.status for task, info in self.task_infos().items() if task.startswith(mark)}
        problems: dict[str, QRMIError] = {}
        _of_each(self._cancel, [task for task, status in left.items() if not status.is_final], problems)
        if not self.keep:
            ended = [task for task, status in left.items() if status is not TaskStatus.COMPLETED]
            self._remove([task for task in ended if task not in problems], problems)
        for problem in problems.values():
            raise problem

    def _remove(self, task_ids: list[str], problems: dict[str, QRMIError]) -> None:
        """Remove tasks that end now: their records as soon as they have, their objects in the background."""
        left = list(task_ids)

        def gone() -> bool:
            for task_id in left:
                problems.pop(task_id, None)
            done = _of_each(self.free_lane, left, problems)
            left[:] = [task_id for task_id in left if task_id not in done]
            return not left

        polling.wait_until(gone, timeout=CANCELLING)
        for task_id in task_ids:
            _later.do(partial(self._remove_objects, task_id))

    def _remove_objects(self, task_id: str) -> None:
        self._objects.delete(task_id)

    def task_start(self, payload: Payload) -> str:
        self.refuse_other_kinds(payload)
        primitive = cast("QiskitPrimitive", payload)
        check_program(primitive, self.name, PROGRAMS)
        if primitive.tags or primitive.private:
            text = f"{self.name} knows neither tags nor private tasks: what was set of them has no effect"
            warnings.warn(text, QRMIWarning, stacklevel=3)
        task_id = new_task_id(self._acquisition)
        try:
            self.store_input(task_id, primitive.parameters)
            self.submit_stored(task_id, primitive)
        except SubmissionUncertain:
            raise
        except (QRMIError, KeyboardInterrupt):
            _later.do(partial(self._remove_objects, task_id))
            raise
        self._unread[task_id] = None
        return task_id

    def store_input(self, task_id: str, parameters: Body) -> None:
        """Store a task's input, before it is submitted."""
        self._objects.put_input(task_id, parameters)

    def submit_stored(self, task_id: str, payload: QiskitPrimitive) -> None:
        """Submit a task whose input is stored; of the payload only what stands beside its parameters counts.

        Raises:
            SubmissionUncertain: nobody knows whether it was taken.
            QRMIError: it was not taken; where the device is busy, it was asked for ``busy_deadline`` seconds.
        """
        try:
            submit_once(
                lambda: self._send(task_id, payload),
                lambda: self._look_up(task_id),
                resource=self.name,
                deadline=self.http.deadline,
                repeatable=True,
                advice=f"ask for task {task_id} later, and send it again if it is not there",
            )
        except SubmissionUncertain as error:
            error.task_id = task_id
            raise

    def _send(self, task_id: str, payload: QiskitPrimitive) -> str:
        """Send a job, again and again while the device is busy; its URLs are made anew each time."""
        give_up = time.monotonic() + self.busy_deadline
        for now, then in itertools.pairwise(polling.look_times(BUSY_POLL)):
            try:
                self._api.submit("/v1/jobs", body=self._job(task_id, payload), json_only=False, patient=False)
            except VendorError as error:
                if error.http_status == 409 and self._has_arrived(task_id):
                    return task_id
                if error.http_status not in {423, 429}:
                    raise
                pause = max(error.retry_after or 0.0, then - now)
                if time.monotonic() + pause > give_up:
                    raise self._busy(error) from error
            else:
                return task_id
            self._free_lanes()
            polling.pause(pause)
        raise AssertionError("look_times never ends")

    def _job(self, task_id: str, payload: QiskitPrimitive) -> dict[str, Any]:
        timeout = payload.max_execution_time or self.timeout
        return {
            "id": task_id,
            "backend": self.device,
            "program_id": payload.program_id,
            "log_level": (payload.log_level or "info").lower(),
            "timeout_secs": timeout,
            "storage": self._objects.storage(task_id, timeout),
        }

    def _busy(self, error: VendorError) -> VendorError:
        what = "is reserved by others" if error.http_status == 423 else "has no free lane"
        return VendorError(
            f"{self.name} {what}, also after waiting {self.busy_deadline:g} s ({error}): try again later, "
            f"or allow more time with {BUSY_DEADLINE} of {self.name}",
            transient=True,
            resource=self.name,
            http_status=error.http_status,
            code=error.code,
            reason=error.reason,
        )

    def _look_up(self, task_id: str) -> str | None:
        """The id, if the vendor has that job: ids are ours, so nothing else can be meant."""
        return task_id if self._jobs.has(task_id) else None

    def _has_arrived(self, task_id: str) -> bool:
        """Whether a duplicate is one because the job was taken before.

        Raises:
            Undecided: that cannot be told now.
        """
        try:
            return self._look_up(task_id) is not None
        except QRMIError as error:
            raise Undecided(error) from error

    def _free_lanes(self) -> None:
        """Remove the records of ended tasks of this process, for they may occupy lanes; unread results stay."""
        if self.keep:
            return
        for task_id in list(self._unread):
            with contextlib.suppress(QRMIError):
                status = self.task_info(task_id).status
                if status is TaskStatus.COMPLETED:
                    self.free_lane(task_id)
                    self._unread.pop(task_id, None)
                elif status.is_final:
                    self._clean_up(task_id)

    def task_stop(self, task_id: str) -> None:
        if self._ended.info(task_id):
            return
        if not self._cancel(task_id):
            self.task_info(task_id)

    def _cancel(self, task_id: str) -> bool:
        return self._jobs.cancel(task_id)

    def task_info(self, task_id: str) -> TaskInfo:
        """What is known of a task; of one whose traces are removed, what this process remembers."""
        if known := self._ended.info(task_id):
            return known
        try:
            info = self._jobs.info(task_id)
        except TaskNotFound as error:
            if known := self._ended.info(task_id):
                return known
            if missing_s3_variables(self.values) or not self._objects.has_result(task_id):
                raise TaskNotFound(
                    f"{error}. A task is removed once its result was read, unless {KEEP} of {self.name} is yes",
                    resource=self.name,
                    task_id=task_id,
                    http_status=404,
                    code=error.code,
                    reason=error.reason,
                ) from error
            info = TaskInfo(task_id, TaskStatus.COMPLETED)
        if info.status.is_final:
            self._ended.remember(info)
        return info

    def task_output(self, task_id: str) -> bytes:
        """The result; the task's traces at the vendor are then removed, while this process remembers it."""
        if (known := self._ended.text(RESULTS, task_id)) is not None:
            return known
        data = self._objects.result(task_id, lambda: self._ended.text(RESULTS, task_id))
        if not self.keep:
            self._ended.keep(RESULTS, task_id, data)
            _later.do(lambda: self._clean_up(task_id))
        return data

    def task_logs(self, task_id: str) -> str:
        known = partial(self._ended.text, LOGS, task_id)
        for look in (known, partial(self._objects.log, task_id), known):  # it may be removed between two looks
            if (text := look()) is not None:
                return text.decode(errors="replace")
        self.task_info(task_id)
        return ""

    def task_ids(self) -> list[str]:
        """The jobs of this account on this device that still have a record."""
        return list(reversed(self.task_infos()))

    def task_infos(self) -> dict[str, TaskInfo]:
        """What the device tells of each task of this account that still has a record, in one request."""
        return self._jobs.infos()

    def task_input(self, task_id: str) -> bytes | None:
        """The input of a task, None where it was removed."""
        return self._objects.input(task_id)

    def task_remove(self, task_id: str) -> None:
        """Remove the record and the objects of a task that has ended."""
        self.free_lane(task_id)
        self._remove_objects(task_id)

    def _clean_up(self, task_id: str) -> None:
        """Remove what is left of a task whose result was read; how it ended and its log are remembered first."""
        self.task_info(task_id)
        self.free_lane(task_id)
        self._unread.pop(task_id, None)
        log = self._objects.log(task_id)
        if log is not None or self._ended.text(LOGS, task_id) is None:
            self._ended.keep(LOGS, task_id, log or b"")
        self._objects.delete(task_id)

    def free_lane(self, task_id: str) -> bool:
        """Remove the record of a task that has ended, for it may occupy a lane; False while the task still runs."""
        return self._jobs.remove(task_id)


def _of_each(work: Callable[[str], bool], task_ids: list[str], problems: dict[str, QRMIError]) -> set[str]:
    """The tasks for which the work was done; what hinders it for one is put down and hinders no other."""

    def attempt(task_id: str) -> bool:
        try:
            return work(task_id)
        except QRMIError as error:
            problems[task_id] = error
            return False

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {task_id for task_id, done in zip(task_ids, pool.map(attempt, task_ids), strict=True) if done}


def new_task_id(acquisition_token: str | None) -> str:
    """An id for a task, by which it is found again with the others of its acquisition."""
    task_id = new_id()
    return task_id if acquisition_token is None else _mark(acquisition_token) + task_id[MARK:]


def _mark(acquisition_token: str) -> str:
    """How the ids of an acquisition's tasks begin, so that they are found again whoever releases it."""
    digest = hashlib.sha256(acquisition_token.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}"
