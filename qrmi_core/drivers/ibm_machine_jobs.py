# SPDX-License-Identifier: Apache-2.0
"""The records of jobs that one of IBM's machines on a site's own premises keeps: read, cancelled, removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from qrmi_core.drivers.ibm_errors import text_of
from qrmi_core.drivers.vendor import about_task, expect, expect_objects, seconds_since_epoch
from qrmi_core.errors import TaskNotFound, VendorError
from qrmi_core.http import HttpClient
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["JOB_WORDS", "MachineJobs", "machine_job_info"]

JOB_WORDS: Mapping[str, TaskStatus] = {
    "Queued": TaskStatus.QUEUED,
    "Running": TaskStatus.RUNNING,
    "Completed": TaskStatus.COMPLETED,
    "Failed": TaskStatus.FAILED,
    "Cancelled": TaskStatus.CANCELLED,
}

TOO_LONG_CODE = "1305"


class MachineJobs:
    """The jobs of an account on one device; ``resource`` is the name that errors give it."""

    def __init__(self, api: HttpClient, device: str, resource: str) -> None:
        self._api = api
        self._device = device
        self._resource = resource

    def infos(self) -> dict[str, TaskInfo]:
        """What is told of each job that has a record, the oldest first, in one request."""
        what = "the list of jobs"
        listed = expect(self._api.get_json("/v1/jobs"), "jobs", resource=self._resource, what=what)
        documents = expect_objects(listed, resource=self._resource, what=what)
        here = [document for document in documents if document.get("backend") == self._device]
        return {info.id: info for info in (machine_job_info(each, self._resource) for each in here)}

    def running(self) -> int:
        """How many jobs run."""
        return sum(info.status is TaskStatus.RUNNING for info in self.infos().values())

    def info(self, task_id: str) -> TaskInfo:
        """What is told of a job.

        Raises:
            TaskNotFound: it has no record.
        """
        with about_task(self._resource, task_id):
            return machine_job_info(self._api.get_json(_path(task_id)), self._resource)

    def has(self, task_id: str) -> bool:
        """Whether a job has a record: ids are ours, so nothing else can be meant."""
        try:
            expect(self._api.get_json(_path(task_id)), "id", resource=self._resource, what="a job")
        except VendorError as error:
            if error.http_status == 404:
                return False
            raise
        return True

    def cancel(self, task_id: str) -> bool:
        """Cancel a job; one that has ended stays as it is, and one that is not there is False."""
        try:
            with about_task(self._resource, task_id):
                self._api.change("POST", _path(task_id, "/cancel"))
        except TaskNotFound:
            return False
        except VendorError as error:
            if error.http_status != 409:
                raise
        return True

    def remove(self, task_id: str) -> bool:
        """Remove the record of a job that has ended, for it may occupy a lane; False while the job still runs."""
        try:
            self._api.change("DELETE", _path(task_id))
        except VendorError as error:
            if error.http_status not in {404, 409}:
                raise
            return error.http_status == 404
        return True


def machine_job_info(document: Any, resource: str) -> TaskInfo:
    """What a job's document says; words that nobody knows end nothing.

    Raises:
        ResultError: it lacks what every job has.
    """
    word = str(expect(document, "status", resource=resource, what="a job"))
    usage = document.get("usage")
    nanoseconds = usage.get("quantum_nanoseconds") if isinstance(usage, dict) else None
    code = text_of(document.get("reason_code"))
    ran_too_long = word == "Cancelled" and code == TOO_LONG_CODE
    return TaskInfo(
        id=str(expect(document, "id", resource=resource, what="a job")),
        status=TaskStatus.FAILED if ran_too_long else JOB_WORDS.get(word, TaskStatus.RUNNING),
        vendor_status=word,
        reason=text_of(document.get("reason_message")),
        code=code,
        solution=text_of(document.get("reason_solution")),
        program=text_of(document.get("program_id")),
        created=seconds_since_epoch(document.get("created_time")),
        ended=seconds_since_epoch(document.get("end_time")),
        qpu_seconds=nanoseconds / 1e9 if isinstance(nanoseconds, int | float) else None,
    )


def _path(task_id: str, part: str = "") -> str:
    return f"/v1/jobs/{quote(task_id, safe='')}{part}"
