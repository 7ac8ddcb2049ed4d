# SPDX-License-Identifier: Apache-2.0
"""IQM: quantum computers behind an IQM Server (API v1), on-premises or in IQM's cloud."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, cast
from urllib.parse import quote

from qrmi_core import polling
from qrmi_core.drivers.vendor import (
    DEVICE,
    VENDOR_VARIABLES,
    VendorResource,
    about_task,
    expect,
    expect_object,
    expect_objects,
    new_id,
    seconds_since_epoch,
)
from qrmi_core.errors import (
    AuthenticationFailed,
    InputError,
    QRMIError,
    ResourceNotFound,
    ResultError,
    UnsupportedPayload,
    VendorError,
)
from qrmi_core.http import HttpClient, Response, Told
from qrmi_core.locks import ForkSafeLock
from qrmi_core.payloads import IQMServer, Payload
from qrmi_core.resource import JobContext, ResourceStatus, ResourceStatusCode, Target
from qrmi_core.submission import Undecided, submit_once
from qrmi_core.tasks import TaskInfo, TaskStatus
from qrmi_core.variables import Variable

__all__ = ["CALIBRATION_SET", "ENDPOINT", "TIMED_OUT", "TOKEN", "IQMServerDriver", "possible_aliases"]

ENDPOINT = "QRMI_IQM_ISA_ENDPOINT"
TOKEN = "QRMI_IQM_ISA_TOKEN"  # noqa: S105  the variable's name
CALIBRATION_SET = "QRMI_IQM_CALIBRATION_SET"

LONGEST_TAG = 50
LONGEST_WAIT = 30
PAUSE_IN_TROUBLE = 1.0
"""Seconds for which an IQM Server holds a request at most."""
TIMED_OUT = "IQM-Long-Poll-Timed-Out"

SOLUTIONS = {
    "calibration_set_not_found": f"Check {CALIBRATION_SET}, or leave it out for the default one",
    "no_booked_timeslots": "Book a timeslot on the server's web page, or submit without use_timeslot",
    "not_enough_credits": "Ask whoever manages the account for credits",
    "qc_not_found": f"Set {DEVICE} to the alias or the id of a quantum computer that the server's web page lists",
    "quota_exceeded": "Wait until jobs of this account have ended, or ask its manager for a larger quota",
    "request_payload_too_large": "Send fewer circuits at once",
    "timeslot_required": "Book a timeslot on the server's web page and submit with use_timeslot",
}
"""What to do about an error, by the server's word for it."""


class IQMServerDriver(VendorResource):
    """A quantum computer of an IQM Server, by its alias or id."""

    type = "iqm-server"
    takes = (IQMServer,)
    min_poll = 0.5
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable(ENDPOINT, "the server's URL", required=True, endpoint=True),
        Variable(TOKEN, "the API token", required=True, secret=True),
        Variable(CALIBRATION_SET, "the id of the calibration set that targets are of (default)"),
        *VENDOR_VARIABLES,
    )
    words: ClassVar[Mapping[str, TaskStatus]] = {
        "waiting": TaskStatus.QUEUED,
        "processing": TaskStatus.RUNNING,
        "completed": TaskStatus.COMPLETED,
        "failed": TaskStatus.FAILED,
        "cancelled": TaskStatus.CANCELLED,
    }

    def __init__(self, name: str, values: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, values, context)
        self._http = HttpClient(
            values[ENDPOINT].rstrip("/").removesuffix("/api/v1") + "/api/v1",
            self.http,
            resource=name,
            headers={"Authorization": f"Bearer {values[TOKEN]}"},
            secrets=(values[TOKEN],),
            credentials=f"{TOKEN} of {name}",
            address=f"{ENDPOINT} of {name}",
            told=_told,
        )
        self._calibration_set = values.get(CALIBRATION_SET) or "default"
        self._resolving = ForkSafeLock()
        names = possible_aliases(name, values)
        self._alias = names[0] if len(names) == 1 else None

    @property
    def alias(self) -> str:
        """The vendor's alias or id of the quantum computer.

        An alias may hold colons, a resource's name may not: without QRMI_DEVICE the last underscore of the name stands
        for a colon, unless the server has the name as it is and not with the colon.
        """
        with self._resolving:
            if self._alias is None:
                there, names = self._aliases(), possible_aliases(self.name, self.values)
                fitting = [alias for alias in names if alias in there]
                if not fitting:
                    raise ResourceNotFound(
                        f"{self.name}: the server has no quantum computer {' and no '.join(names)}, it has "
                        f"{', '.join(there) or 'none'}: set {DEVICE} of {self.name}",
                        resource=self.name,
                    )
                self._alias = fitting[0]
            return self._alias

    def _aliases(self) -> list[str]:
        listed = expect(
            self._http.get_json("/quantum-computers"), "quantum_computers", resource=self.name, what="the list"
        )
        return [str(one.get("alias")) for one in expect_objects(listed, resource=self.name, what="the list")]

    @property
    def _computer(self) -> str:
        return quote(self.alias, safe=":")

    def metadata(self) -> dict[str, str]:
        told = {"backend_name": self._alias or self.device}
        if self.context.acquisition_token:
            told["acquisition_token"] = self.context.acquisition_token
        return told

    def is_accessible(self) -> bool:
        """True when the quantum computer is online and not said to be unhealthy."""
        status = self.status()
        return status.status is ResourceStatusCode.ONLINE and status.healthy is not False

    def status(self) -> ResourceStatus:
        told = self._told_of_computer()
        older = told.get("status")
        health = expect_object(
            told.get("health") or (older.get("health") if isinstance(older, dict) else None) or {},
            resource=self.name,
            what="the health of the quantum computer",
        )
        word = told.get("operational") or told.get("operational_status") or "online"
        code = {"online": ResourceStatusCode.ONLINE, "maintenance": ResourceStatusCode.PAUSED}.get(
            word, ResourceStatusCode.OFFLINE
        )
        healthy = health.get("healthy")
        reasons = [] if code is ResourceStatusCode.ONLINE else [f"IQM says: {word}"]
        if healthy is not None:
            reasons.append(f"{'healthy' if healthy else 'not healthy'} at {health.get('updated_at') or 'unknown time'}")
        return ResourceStatus(
            code,
            status_reason=", ".join(reasons) or None,
            healthy=healthy,
            pending_job_count=told.get("queue_length"),
        )

    def _told_of_computer(self) -> dict[str, Any]:
        path = f"/quantum-computers/{self._computer}"
        try:
            told = self._http.get_json(path)
        except VendorError as error:
            if error.http_status != 404 or error.code == "qc_not_found":
                raise
            told = {"health": self._http.get_json(f"{path}/health")}
        return expect_object(told, resource=self.name, what="what the server tells of the quantum computer")

    def target(self) -> Target:
        """One JSON object of four documents: the quality metrics and the static architecture are null where missing."""
        computer = self._computer
        calibrated = f"/calibration-sets/{computer}/{quote(self._calibration_set, safe='')}"
        paths = {
            "calibration_set": calibrated,
            "dynamic_quantum_architecture": f"{calibrated}/dynamic-quantum-architecture",
            "quality_metrics": f"{calibrated}/metrics",
            "static_quantum_architecture": f"/quantum-computers/{computer}/artifacts/static-quantum-architectures",
        }
        missing_as_null = {"quality_metrics", "static_quantum_architecture"}
        with ThreadPoolExecutor(len(paths)) as threads:
            asked = {
                key: threads.submit(self._document, path, or_null=key in missing_as_null) for key, path in paths.items()
            }
            members = [b'"%b": %b' % (key.encode(), document.result()) for key, document in asked.items()]
        return Target(b"{%b}" % b", ".join(members))

    def _document(self, path: str, *, or_null: bool) -> bytes:
        try:
            return self._http.get_document(path)
        except VendorError as error:
            if or_null and error.http_status == 404 and error.code != "qc_not_found":
                return b"null"
            raise

    def acquire(self) -> str:
        """Nothing is acquired: an IQM Server has queues and timeslots, no sessions."""
        return new_id()

    def release(self, acquisition_token: str) -> None:
        """There is nothing to give back."""

    def task_start(self, payload: Payload) -> str:
        """Submit a job; one without a tag gets one, by which it can be found on the server's web page.

        Raises:
            SubmissionUncertain: nobody knows whether it was taken; IQM has no way to look that up.
        """
        self.refuse_other_kinds(payload)
        job = cast("IQMServer", payload)
        self._check(job)
        tag = job.tag or f"qrmi-{new_id()}"
        query = {"tag": tag} | ({"use_timeslot": "true"} if job.use_timeslot else {})
        path = f"/jobs/{self._computer}/{job.job_type}"

        def send() -> str:
            headers = {"Content-Type": "application/json"}
            answer = self._http.submit(path, data=job.iqmjson, query=query, headers=headers).json()
            try:
                return str(expect(answer, "id", resource=self.name, what="the answer to a submission"))
            except ResultError as error:
                raise Undecided(error) from error

        with self._refusals():
            return submit_once(
                send,
                None,
                resource=self.name,
                deadline=self.http.deadline,
                advice=f"look for a job with the tag {tag} on the server's web page before you submit it again",
            )

    def _check(self, job: IQMServer) -> None:
        if job.job_type == "run":
            raise UnsupportedPayload(
                f"{self.name}: jobs of the type run are protobuf, and this payload is JSON: send circuits, "
                f"or use IQM's own client for pulses",
                resource=self.name,
            )
        if job.job_type not in {"circuit", "sweep"}:
            raise UnsupportedPayload(
                f"{self.name}: IQM has the job types circuit, run and sweep, not {job.job_type!r}", resource=self.name
            )
        if job.tag and len(job.tag) > LONGEST_TAG:
            raise InputError(
                f"{self.name}: the tag has {len(job.tag)} characters, IQM takes {LONGEST_TAG}", resource=self.name
            )

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Tell a 403 that is about credits, quotas or timeslots apart from one about the credentials."""
        try:
            yield
        except AuthenticationFailed as error:
            if error.code not in SOLUTIONS:
                raise
            raise VendorError(
                f"{self.name} takes no job now, code {error.code}: {error.reason}. {error.solution}",
                resource=self.name,
                http_status=error.http_status,
                code=error.code,
                reason=error.reason,
                solution=error.solution,
            ) from error

    def task_stop(self, task_id: str) -> None:
        with about_task(self.name, task_id):
            try:
                self._http.change("POST", f"{_job(task_id)}/cancel")
            except AuthenticationFailed as error:
                if error.code != "illegal_job_status":
                    raise

    def task_info(self, task_id: str) -> TaskInfo:
        return self._info(self._looked_at(task_id).json())

    def task_wait(
        self, task_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        """Wait; for a single task in requests that the server holds until it has ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        ids = list(dict.fromkeys(task_ids))
        trouble = polling.Trouble()
        while len(ids) == 1:
            left = LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            # The server is to answer before the client's time-out.
            seconds = int(min(LONGEST_WAIT, left, self.http.read_timeout / 2))
            if seconds < 1:
                break
            try:
                response = self._looked_at(ids[0], wait=seconds)
            except QRMIError as error:
                trouble.bear(error)
                if deadline is not None and time.monotonic() + PAUSE_IN_TROUBLE >= deadline:
                    return {}
                polling.pause(PAUSE_IN_TROUBLE)
                continue
            trouble.over()
            info = self._info(response.json())
            if info.status.is_final:
                return {ids[0]: info}
            if TIMED_OUT not in response.headers:
                break
        left_at_last = None if deadline is None else max(0.0, deadline - time.monotonic())
        return super().task_wait(ids, timeout=left_at_last, first=first)

    def task_output(self, task_id: str) -> bytes:
        """``{"measurement_counts", "measurements"}``; of a sweep its results as IQM sends them, which is protobuf.

        Raises:
            ResultError: the job has no such artifacts.
        """
        names = ("measurement_counts", "measurements")
        artifacts = {name: self._artifact(task_id, name) for name in names}
        if artifacts["measurements"] is None:
            return self._other_output(task_id)
        return b"{%b}" % b", ".join(b'"%b": %b' % (name.encode(), artifacts[name] or b"null") for name in names)

    def _artifact(self, task_id: str, name: str) -> bytes | None:
        """An artifact of a job; None when the job has none of that name."""
        with about_task(self.name, task_id):
            try:
                return self._http.get_document(f"{_job(task_id)}/artifacts/{name}")
            except VendorError as error:
                if error.code == "job_artifact_not_found":
                    return None
                raise

    def _other_output(self, task_id: str) -> bytes:
        there = [str(one.get("type")) for one in self._parts(self._job(task_id), "artifacts")]
        if "sweep_results" in there:
            with about_task(self.name, task_id):
                return self._http.get(f"{_job(task_id)}/artifacts/sweep_results").body
        raise ResultError(
            f"job {task_id} of {self.name} has no measurements, its artifacts are: {', '.join(there) or 'none'}",
            resource=self.name,
            task_id=task_id,
        )

    def task_logs(self, task_id: str) -> str:
        """The job's timeline, messages and errors."""
        job = self._job(task_id)
        lines = {
            "Timeline": [
                f"{one.get('timestamp')} [{one.get('source')}] {one.get('status')}"
                for one in self._parts(job, "timeline")
            ],
            "Messages": [f"[{one.get('source')}] {one.get('message')}" for one in self._parts(job, "messages")],
            "Errors": [f"[{one.get('source')}] {_of_error(one)}" for one in self._parts(job, "errors")],
        }
        return "".join(
            f"{title}:\n" + "".join(f"  {line}\n" for line in listed) for title, listed in lines.items() if listed
        )

    def _looked_at(self, task_id: str, *, wait: int = 0) -> Response:
        query = {"wait_until_terminal": "true", "timeout_seconds": wait} if wait else None
        with about_task(self.name, task_id):
            # A body that was cut off is fetched again within the deadline, and raises where it is read after that.
            return self._http.change("GET", _job(task_id), query=query, json_only=True)

    def _job(self, task_id: str) -> dict[str, Any]:
        return expect_object(self._looked_at(task_id).json(), resource=self.name, what=f"job {task_id}")

    def _parts(self, job: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        return expect_objects(job.get(name) or [], resource=self.name, what=f"the {name} of a job")

    def _info(self, job: Any) -> TaskInfo:
        word = str(expect(job, "status", resource=self.name, what="a job"))
        status = self.status_of(word)
        told = self._parts(job, "errors") or self._parts(job, "messages") if status is TaskStatus.FAILED else []
        timeline = self._parts(job, "timeline")
        moments = {one.get("status"): seconds_since_epoch(one.get("timestamp")) for one in timeline}
        runtime = job.get("runtime_ms")
        return TaskInfo(
            str(expect(job, "id", resource=self.name, what="a job")),
            status,
            vendor_status=word,
            reason="; ".join(str(one.get("message")) for one in told) or None,
            code=next((one["error_code"] for one in told if one.get("error_code")), None),
            program=job.get("type"),
            position=job.get("queue_position"),
            created=moments.get("created"),
            started=moments.get("execution_started") or moments.get("received"),
            ended=seconds_since_epoch(timeline[-1].get("timestamp")) if timeline and status.is_final else None,
            qpu_seconds=None if runtime is None else runtime / 1000,
        )


def possible_aliases(name: str, values: Mapping[str, str]) -> tuple[str, ...]:
    """The alias or id in a resource's values; without one those that its name may stand for, the likelier first."""
    if device := values.get(DEVICE):
        return (device,)
    head, _, tail = name.rpartition("_")
    return (f"{head}:{tail}", name) if head else (name,)


def _job(task_id: str) -> str:
    return f"/jobs/{quote(task_id, safe='')}"


def _of_error(error: Mapping[str, Any]) -> str:
    code = error.get("error_code")
    return f"{code}: {error.get('message')}" if code else str(error.get("message"))


def _told(response: Response) -> Told:
    body = response.json()
    code = body.get("error_code")
    return Told(body.get("message"), code, SOLUTIONS.get(code))
