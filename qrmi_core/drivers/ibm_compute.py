# SPDX-License-Identifier: Apache-2.0
"""The driver of IBM's cloud, ``ibm-quantum-compute-service``, and its old name ``qiskit-runtime-service``.

Jobs run in a session, which :meth:`~IBMQuantumComputeService.acquire` opens, or the first task where nobody has
acquired. A submission whose answer was lost is looked up by a tag that only its job has.
"""

from __future__ import annotations

import contextlib
import secrets
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import quote

from qrmi_core.drivers.iam import iam_token
from qrmi_core.drivers.ibm_errors import ibm_told, text_of
from qrmi_core.drivers.ibm_jobs import JOB_WORDS, check_program, job_body, job_info
from qrmi_core.drivers.ibm_sessions import Sessions
from qrmi_core.drivers.vendor import (
    DEVICE,
    MIN_POLL,
    VENDOR_VARIABLES,
    VendorResource,
    about_task,
    expect,
    expect_object,
    expect_objects,
    lease_tag,
    new_id,
)
from qrmi_core.errors import QRMIError, QRMIWarning, ResourceNotFound, ResourceUnavailable, ResultError, VendorError
from qrmi_core.http import HttpClient
from qrmi_core.http_settings import number
from qrmi_core.payloads import Payload, QiskitPrimitive
from qrmi_core.resource import JobContext, ResourceStatus, ResourceStatusCode, Target
from qrmi_core.submission import LIST_LAG, Undecided, submit_once
from qrmi_core.tasks import TaskInfo, TaskStatus
from qrmi_core.variables import Variable

__all__ = ["IBMQuantumComputeService", "QiskitRuntimeService"]

API_VERSION = "2025-01-01"
MODES = ("dedicated", "batch", "none")
LONGEST_SESSION = 28800
AFTER_THE_JOB = 60
SESSION_POLL = 0.1
PAGE = 200
UNLISTED = 10
"""Tasks that are asked for one by one where the list of jobs lacks them."""

MOST_TAGS = 8
LONGEST_REASON = 2000
HURRY = 5.0

BRIEF = {"exclude_params": "true"}
ANY_FORM = {"Accept": "*/*"}
JSON_FORM = {"Content-Type": "application/json"}

Answer = TypeVar("Answer")


def _variables(prefix: str) -> tuple[Variable, ...]:
    return (
        Variable(
            f"{prefix}_ENDPOINT", "URL of the API with its version, https://.../api/v1", required=True, endpoint=True
        ),
        Variable(
            f"{prefix}_IAM_ENDPOINT",
            "URL of the identity service, https://iam.cloud.ibm.com",
            required=True,
            endpoint=True,
        ),
        Variable(f"{prefix}_IAM_APIKEY", "the API key", required=True, secret=True),
        Variable(f"{prefix}_SERVICE_CRN", "the CRN of the instance, crn:v1:...", required=True),
        Variable(f"{prefix}_SESSION_MODE", f"one of {', '.join(MODES)} ({MODES[0]})"),
        Variable(f"{prefix}_SESSION_MAX_TTL", f"seconds that a session may last at most ({LONGEST_SESSION})"),
        Variable(f"{prefix}_SESSION_ID", "a session to use; by default that of the job's acquisition"),
        Variable(f"{prefix}_TIMEOUT_SECONDS", "seconds of device time that a task may use; by default the job's limit"),
        *VENDOR_VARIABLES,
    )


class IBMQuantumComputeService(VendorResource):
    """A QPU in IBM's cloud."""

    type = "ibm-quantum-compute-service"
    prefix: ClassVar[str] = "QRMI_IBM_QCS"
    variables = _variables(prefix)
    takes = (QiskitPrimitive,)
    words = JOB_WORDS
    min_poll = 0.5

    def __init__(self, name: str, values: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, values, context)
        own = number(name, values, f"{self.prefix}_TIMEOUT_SECONDS", 0)
        self.limit = own or context.timeout_seconds or None
        make = partial(
            HttpClient,
            values[f"{self.prefix}_ENDPOINT"],
            resource=name,
            headers={"Service-CRN": values[f"{self.prefix}_SERVICE_CRN"], "IBM-API-Version": API_VERSION},
            token=iam_token(name, values, self.http, prefix=self.prefix),
            secrets=[values[f"{self.prefix}_IAM_APIKEY"]],
            credentials=f"{self.prefix}_IAM_APIKEY and {self.prefix}_SERVICE_CRN of {name}",
            address=f"{self.prefix}_ENDPOINT of {name}",
            told=ibm_told,
        )
        self._api = make(settings=self.http)
        hurry = min(HURRY, self.http.read_timeout)
        self._hurried = make(settings=replace(self.http, deadline=hurry, read_timeout=hurry))
        self._sessions = self._make_sessions()
        if self._sessions and not values.get(MIN_POLL):
            self.min_poll = SESSION_POLL

    def _make_sessions(self) -> Sessions | None:
        """The sessions that tasks run in, None where each task is to queue by itself."""
        variable = f"{self.prefix}_SESSION_MODE"
        mode = (self.values.get(variable) or MODES[0]).lower()
        if mode not in MODES:
            raise ResourceUnavailable(
                f"{variable} of {self.name} is {mode!r}: one of {', '.join(MODES)} was expected", resource=self.name
            )
        limit = self.context.timeout_seconds
        longest = number(self.name, self.values, f"{self.prefix}_SESSION_MAX_TTL", LONGEST_SESSION)
        if mode == "none":
            return None
        return Sessions(
            self._api,
            self.name,
            {
                "max_ttl": longest if limit is None else min(limit + AFTER_THE_JOB, longest),
                "mode": mode,
                "backend": self.device,
                "backend_name": self.device,
            },
            self.values.get(f"{self.prefix}_SESSION_ID") or self.context.acquisition_token or None,
            advice=f"Where the account's plan has no sessions, set {variable} of {self.name} to none",
            leased=self.context.lease is not None,
        )

    def status(self) -> ResourceStatus:
        answer = self._about_device("status", self._api.get_json)
        document = expect_object(answer, resource=self.name, what="the device's status")
        word = str(document.get("status") or "").lower()
        online = bool(document.get("state", True)) and word not in {"offline", "paused"}
        stopped = ResourceStatusCode.PAUSED if word == "paused" else ResourceStatusCode.OFFLINE
        return ResourceStatus(
            ResourceStatusCode.ONLINE if online else stopped,
            status_reason=document.get("message") or (None if online else word or None),
            healthy=online,
            pending_job_count=document.get("length_queue"),
        )

    def target(self) -> Target:
        with ThreadPoolExecutor(1) as beside:
            properties = beside.submit(self._about_device, "properties", self._api.get_document)
            configuration = self._about_device("configuration", self._api.get_document)
        return Target(b'{"configuration": %b, "properties": %b}' % (configuration, _or_null(properties.result())))

    def metadata(self) -> dict[str, str]:
        session = self._sessions.known if self._sessions else None
        return {**super().metadata(), **({"session_id": session} if session else {})}

    def acquire(self) -> str:
        """Keep the session that is known if it takes jobs, else open one; without sessions there is nothing to do."""
        return self._sessions.checked() if self._sessions else new_id()

    def release(self, acquisition_token: str) -> None:
        """End the session, and those that were opened here in its place, and cancel what they still hold."""
        if self._sessions:
            self._sessions.end(acquisition_token)

    def task_start(self, payload: Payload) -> str:
        self.refuse_other_kinds(payload)
        primitive = cast("QiskitPrimitive", payload)
        check_program(primitive, self.name)
        if self._sessions is None:
            return self._submitted(primitive, None)
        session = self._sessions.current()
        try:
            return self._submitted(primitive, session)
        except VendorError as error:
            # Refused, so not taken: perhaps the session has ended.
            if error.http_status not in {400, 404, 409} or self._sessions.takes_jobs(session):
                raise
        return self._submitted(primitive, self._sessions.replaced(session))

    def _submitted(self, primitive: QiskitPrimitive, session: str | None) -> str:
        tag = f"qrmi-{secrets.token_hex(8)}"
        tags = [*primitive.tags, tag]
        if self.context.lease is not None and len(tags) < MOST_TAGS:
            tags.append(lease_tag(self.context.lease))
        limits = [limit for limit in (primitive.max_execution_time, self.limit) if limit]
        body = job_body(
            primitive,
            backend=self.device,
            tags=tags,
            session_id=session,
            cost=min(limits, default=None),
        )

        def send() -> str:
            answer = self._api.submit("/jobs", data=body, headers=JSON_FORM)
            try:
                return str(expect(answer.json(), "id", resource=self.name, what="a new job"))
            except ResultError as error:
                raise Undecided(error) from error

        return submit_once(
            send,
            lambda: self._look_up(tag),
            resource=self.name,
            deadline=self.http.deadline,
            lag=LIST_LAG,
            advice=f"look for a job with the tag {tag} in IBM's list of jobs before sending it again",
        )

    def _look_up(self, tag: str) -> str | None:
        """The id of the job that has a tag, which only one job can have."""
        jobs = self._jobs({"tags": tag, "limit": 1})
        return jobs[0] if jobs else None

    def _jobs(self, query: Mapping[str, Any]) -> list[str]:
        return [str(expect(job, "id", resource=self.name, what="a job")) for job in self._listed(query)]

    def _listed(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        document = self._api.get_json("/jobs", query={**query, **BRIEF})
        listed = expect(document, "jobs", resource=self.name, what="the list of jobs")
        return expect_objects(listed, resource=self.name, what="the list of jobs")

    def task_stop(self, task_id: str) -> None:
        with about_task(self.name, task_id):
            try:
                self._api.change("POST", _path(task_id, "/cancel"))
            except VendorError as error:
                if error.http_status != 409:
                    raise

    def task_info(self, task_id: str) -> TaskInfo:
        with about_task(self.name, task_id):
            answer = self._api.get_json(_path(task_id), query=BRIEF)
            document = expect_object(answer, resource=self.name, what=f"job {task_id}")
            info = job_info(document, task_id, self.status_of)
            if info.status is TaskStatus.FAILED and not info.reason:
                info = replace(info, reason=self._failure(task_id))
        return info

    def tasks_seen(self, task_ids: Collection[str]) -> Iterator[TaskInfo]:
        """By the list of jobs, the newest first; those that are not among so many are asked for one by one, some."""
        wanted = set(task_ids)
        for page in range(len(wanted) // PAGE + 2):
            listed = self._listed({"backend": self.device, "limit": PAGE, "offset": page * PAGE})
            for job in listed:
                task_id = str(job.get("id"))
                if task_id in wanted:
                    wanted.remove(task_id)
                    info = job_info(job, task_id, self.status_of)
                    yield self.task_info(task_id) if info.status is TaskStatus.FAILED else info
            if not wanted or len(listed) < PAGE:
                break
        for task_id in list(wanted)[:UNLISTED]:
            yield self.task_info(task_id)

    def _failure(self, task_id: str) -> str | None:
        """The text in place of a failed job's result, from its traceback on; None where it does not come soon."""
        with contextlib.suppress(QRMIError):
            text = self._hurried.get(_path(task_id, "/results"), headers=ANY_FORM).text.strip()
            return text_of(text[max(0, text.rfind("Traceback")) :][-LONGEST_REASON:])
        return None

    def task_output(self, task_id: str) -> bytes:
        with about_task(self.name, task_id):
            return self._api.get_document(_path(task_id, "/results"), headers=ANY_FORM)

    def task_logs(self, task_id: str) -> str:
        try:
            return self._api.get(_path(task_id, "/logs"), headers=ANY_FORM).text
        except VendorError as error:
            if error.http_status != 404:
                raise
        return ""

    def task_ids(self) -> list[str]:
        return self._all_jobs({"backend": self.device})

    def unfinished_of_lease(self, lease: str) -> list[str] | None:
        return self._all_jobs({"backend": self.device, "tags": lease_tag(lease), "pending": "true"})

    def _all_jobs(self, query: Mapping[str, Any]) -> list[str]:
        """The ids of the jobs of all pages of a list."""
        found: list[str] = []
        while page := self._jobs({**query, "limit": PAGE, "offset": len(found)}):
            found += page
            if len(page) < PAGE:
                break
        return list(dict.fromkeys(found))

    def _about_device(self, part: str, read: Callable[[str], Answer]) -> Answer:
        try:
            return read(f"/backends/{quote(self.device, safe='')}/{part}")
        except VendorError as error:
            if error.http_status != 404:
                raise
            raise ResourceNotFound(
                f"{error}. Check {DEVICE} of {self.name}, and that {self.prefix}_SERVICE_CRN has this device",
                resource=self.name,
                http_status=404,
                code=error.code,
                reason=error.reason,
            ) from error


class QiskitRuntimeService(IBMQuantumComputeService):
    """The same under the name that it had; it reads the old variables only."""

    type = "qiskit-runtime-service"
    prefix = "QRMI_IBM_QRS"
    variables = _variables(prefix)

    def __init__(self, name: str, values: Mapping[str, str], context: JobContext) -> None:
        warnings.warn(
            f"{name}: the type {self.type} is now called {IBMQuantumComputeService.type}, and its variables begin with "
            f"{IBMQuantumComputeService.prefix} instead of {self.prefix}: change the configuration",
            QRMIWarning,
            stacklevel=3,
        )
        super().__init__(name, values, context)


def _path(task_id: str, part: str = "") -> str:
    return f"/jobs/{quote(task_id, safe='')}{part}"


def _or_null(document: bytes) -> bytes:
    """Devices without properties have an empty document."""
    return b"null" if document.strip() in {b"", b"{}"} else document
