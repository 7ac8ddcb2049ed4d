# SPDX-License-Identifier: Apache-2.0
"""Felis, the cloud of Alice & Bob, by its REST API.

A job is made in two steps: it is created, which may be repeated, because an empty job never runs; then its program is
uploaded, which makes it run. Where the answer to the upload is lost, the job itself tells whether the program arrived.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import itertools
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self, cast
from urllib.parse import quote

from qrmi_core import polling
from qrmi_core.drivers.felis_answers import (
    WORDS,
    announcement,
    counted_shots,
    created,
    info_of,
    last_event,
    log_of,
    output_text,
    told,
)
from qrmi_core.drivers.vendor import (
    DEVICE,
    VENDOR_VARIABLES,
    VendorResource,
    about_task,
    expect,
    expect_object,
    expect_objects,
    new_id,
)
from qrmi_core.environment import own_values
from qrmi_core.errors import (
    InputError,
    QRMIError,
    ResourceNotFound,
    ResourceUnavailable,
    ResultError,
    TaskNotReady,
    VendorError,
)
from qrmi_core.http import HttpClient
from qrmi_core.payloads import AliceBobFelis, Payload
from qrmi_core.resource import JobContext, ResourceStatus, ResourceStatusCode, Target
from qrmi_core.submission import submit_once
from qrmi_core.tasks import TaskInfo, TaskStatus
from qrmi_core.variables import Variable

__all__ = ["API_KEY", "BASE_ENDPOINT", "DEFAULT_ENDPOINT", "JOBS", "TARGETS", "AliceBobFelisDriver", "target_name"]

API_KEY = "QRMI_AB_FELIS_API_KEY"
BASE_ENDPOINT = "QRMI_AB_FELIS_BASE_ENDPOINT"
DEFAULT_ENDPOINT = "https://api-gcp.alice-bob.com"
JOBS = "/v1/jobs/"
TARGETS = "/v1/targets/"
PAGE = 100
OUTPUT_ATTEMPTS = 6
CONFLICT_LOOKS = 5
HURRY = 5.0
REMEMBERED = 10_000
TEXT = {"Accept": "text/plain, text/csv, application/json"}


class AliceBobFelisDriver(VendorResource):
    """A target of Felis: one of Alice & Bob's quantum processors, or one of the emulators beside them."""

    type = "alice-bob-felis"
    takes = (AliceBobFelis,)
    min_poll = 0.5
    words: ClassVar[Mapping[str, TaskStatus]] = WORDS
    variables: ClassVar[Sequence[Variable]] = (
        Variable(API_KEY, "the API key that Alice & Bob gave you: base64 of user:password", secret=True),
        Variable(BASE_ENDPOINT, f"the server ({DEFAULT_ENDPOINT})", endpoint=True),
        *VENDOR_VARIABLES,
    )

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        """Make the resource; variables without its name in front serve where it has none of its own.

        Raises:
            ResourceUnavailable: a value cannot be used; says which one and what was expected.
        """
        return super().from_environment(name, {**own_values((API_KEY, BASE_ENDPOINT)), **values}, context)

    def __init__(self, name: str, values: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, values, context)
        self.device = values.get(DEVICE) or target_name(name)
        key = values.get(API_KEY) or ""
        make = partial(
            HttpClient,
            values.get(BASE_ENDPOINT) or DEFAULT_ENDPOINT,
            resource=name,
            headers={"Authorization": f"Basic {key}"},
            secrets=(key, _password(name, key)),
            credentials=f"{API_KEY} of {name}",
            address=f"{BASE_ENDPOINT} of {name}",
            told=told,
        )
        self._http = make(self.http)
        # For what is good to have, and not worth waiting for.
        self._hurried = make(replace(self.http, deadline=HURRY, read_timeout=min(HURRY, self.http.read_timeout)))
        self._shots: OrderedDict[str, int | None] = OrderedDict()
        self._lock = threading.Lock()

    def metadata(self) -> dict[str, str]:
        """The target's name at Felis."""
        return {**super().metadata(), "felis_target": self.device}

    def acquire(self) -> str:
        """A token of our own: this vendor has no acquisitions."""
        return new_id()

    def release(self, acquisition_token: str) -> None:
        """Nothing is held at this vendor."""

    def status(self) -> ResourceStatus:
        """Online while the target's health is OK and it is not announced as unavailable."""
        path = f"{TARGETS}{quote(self.device, safe='')}"
        with self._about_target():
            health = self._http.get_json(f"{path}/health")
            announced = self._http.get_json(f"{path}/availabilities", query={"limit": PAGE, "offset": 0})
        enabled, message = announcement(announced)
        if health == "OK" and enabled:
            return ResourceStatus(ResourceStatusCode.ONLINE, healthy=True)
        reason = f"{self.device} is {'not available' if health == 'OK' else f'{health} by its vendor'}"
        return ResourceStatus(
            ResourceStatusCode.PAUSED if health == "OK" else ResourceStatusCode.OFFLINE,
            status_reason=f"{reason}: {message}" if message else reason,
            healthy=health == "OK",
        )

    def target(self) -> Target:
        """The target's entry in the vendor's list."""
        targets = self._targets()
        if self.device not in targets:
            raise self._unknown_target(targets)
        return Target(json.dumps(targets[self.device]).encode())

    def task_start(self, payload: Payload) -> str:
        self.refuse_other_kinds(payload)
        job = cast("AliceBobFelis", payload)
        try:
            parameters = json.loads(job.input_params)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.name}: input_params is not JSON: {error}", resource=self.name) from None
        if not isinstance(parameters, dict):
            raise InputError(f'{self.name}: input_params must be an object: {{"nbShots": 1000}}', resource=self.name)
        task_id = self._create(parameters)
        try:
            submit_once(
                lambda: self._upload(task_id, job.human_qir),
                lambda: self._look_up(task_id),
                resource=self.name,
                deadline=self.http.deadline,
                repeatable=True,
                advice=f"look at job {task_id}, or cancel it",
            )
        except QRMIError as error:
            error.task_id = task_id
            with contextlib.suppress(QRMIError):
                self._hurried.change("DELETE", _path(task_id))
            raise
        return task_id

    def task_stop(self, task_id: str) -> None:
        try:
            with about_task(self.name, task_id):
                self._http.change("DELETE", _path(task_id))
        except VendorError as error:
            if error.http_status not in {403, 409} or not self.task_info(task_id).status.is_final:
                raise

    def task_info(self, task_id: str) -> TaskInfo:
        document = self._job(task_id)
        info = info_of(document, task_id, self.status_of)
        if info.status is TaskStatus.COMPLETED:
            self._remember(task_id, info.shots)
            return replace(info, qpu_seconds=self._usage(task_id))
        return info

    def task_output(self, task_id: str) -> bytes:
        """The lines ``bits,count``; their counts add up to the shots that were asked for.

        Raises:
            TaskNotReady: the vendor does not have it yet.
            ResultError: it is something else, also when fetched again.
        """
        with self._lock:
            shots = self._shots.pop(task_id, None)
        if shots is None:
            shots = info_of(self._job(task_id), task_id, self.status_of).shots
        problem: QRMIError | None = None
        for gap in itertools.islice(_gaps(), OUTPUT_ATTEMPTS):
            polling.pause(gap)
            try:
                with about_task(self.name, task_id):
                    text = output_text(self._http.get(f"{_path(task_id)}/output", headers=TEXT))
                counted = counted_shots(text)
            except ResultError as error:
                problem = error
                continue
            except VendorError as error:
                if error.http_status != 409:
                    raise
                problem = TaskNotReady(
                    f"{self.name} does not have the output of task {task_id} yet: {error.reason or error}",
                    transient=True,
                )
                continue
            if shots is None or counted == shots:
                return text.encode()
            problem = ResultError(f"the output counts {counted} shots of {shots}: it was cut off", transient=True)
        assert problem is not None  # noqa: S101  every attempt returns or sets it
        problem.resource, problem.task_id = self.name, task_id
        raise problem

    def task_logs(self, task_id: str) -> str:
        """The job's events and errors, a line each."""
        return log_of(self._job(task_id))

    def task_ids(self) -> list[str]:
        """The ids of this account's jobs on this target, the newest first."""
        found: dict[str, str] = {}
        for page in itertools.count():
            # Whether pages are counted from 0 or from 1 is not documented: without a number it is the first one.
            jobs = self._http.get_json(JOBS, query={"limit": PAGE, **({"page": page} if page else {})})
            for job in expect_objects(jobs, resource=self.name, what="the list of jobs"):
                is_here = expect(job, "target", resource=self.name, what="a job") == self.device
                if is_here and last_event(job) != "CREATED":  # an empty job is no task, see _create
                    found[str(expect(job, "id", resource=self.name, what="a job"))] = created(job)
            if len(jobs) < PAGE:
                break
        return sorted(found, key=lambda task_id: found[task_id], reverse=True)

    def _create(self, parameters: Mapping[str, Any]) -> str:
        """Make an empty job; what lost answers leave behind stays empty, and never runs."""
        body = {
            "inputDataFormat": "HUMAN_QIR",
            "outputDataFormat": "HISTOGRAM",
            "target": self.device,
            "inputParams": parameters,
        }
        try:
            with self._about_target():
                answer = self._http.change("POST", JOBS, body=body, json_only=True).json()
        except VendorError as error:
            if error.http_status not in {400, 422}:
                raise
            raise InputError(
                f"{self.name} refuses the job: {error.reason or error}",
                resource=self.name,
                http_status=error.http_status,
                code=error.code,
                reason=error.reason,
            ) from error
        return str(expect(answer, "id", resource=self.name, what="the created job"))

    def _upload(self, task_id: str, program: bytes) -> str:
        boundary = new_id()
        data = (
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="input"; filename="input"\r\n'
                f"Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            + program
            + f"\r\n--{boundary}--\r\n".encode()
        )
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        try:
            self._http.submit(f"{_path(task_id)}/input", data=data, headers=headers, json_only=False)
        except VendorError as error:
            if error.http_status == 409:  # perhaps an earlier attempt arrived, and is dealt with by now
                for gap in itertools.islice(_gaps(), CONFLICT_LOOKS):
                    polling.pause(gap)
                    if self._look_up(task_id):
                        return task_id
            raise
        return task_id

    def _look_up(self, task_id: str) -> str | None:
        """The job's id if its program has arrived: then something has happened to it since it was created."""
        return None if last_event(self._job(task_id)) in {None, "CREATED"} else task_id

    def _job(self, task_id: str) -> dict[str, Any]:
        with about_task(self.name, task_id):
            document = self._http.get_json(_path(task_id))
        return expect_object(document, resource=self.name, what=f"the description of job {task_id}")

    def _usage(self, task_id: str) -> float | None:
        """The seconds on the quantum processor, None where the vendor does not say so at once."""
        try:
            spent = self._hurried.get_json(f"{_path(task_id)}/metrics").get("qpu_duration_ns")
        except (QRMIError, AttributeError):
            return None
        return spent / 1e9 if isinstance(spent, int | float) else None

    def _targets(self) -> dict[str, dict[str, Any]]:
        listed = self._http.get_json(TARGETS)
        entries = expect_objects(listed, resource=self.name, what="the list of targets")
        return {str(expect(entry, "name", resource=self.name, what="a target")): entry for entry in entries}

    @contextlib.contextmanager
    def _about_target(self) -> Iterator[None]:
        """Say so where a request fails because the vendor has no such target."""
        try:
            yield
        except VendorError as error:
            if error.http_status not in {400, 404, 422}:
                raise
            with contextlib.suppress(VendorError):
                targets = self._targets()
                if self.device not in targets:
                    raise self._unknown_target(targets) from error
            raise

    def _unknown_target(self, targets: Mapping[str, Any]) -> ResourceNotFound:
        return ResourceNotFound(
            f"{self.name}: the vendor has no target {self.device}, it has {', '.join(targets) or 'none'}: "
            f"set {DEVICE} of {self.name}, or name the QPU after its target (ab_emu_6q_some_cats is EMU:6Q:SOME_CATS)",
            resource=self.name,
        )

    def _remember(self, task_id: str, shots: int | None) -> None:
        with self._lock:
            self._shots[task_id] = shots
            while len(self._shots) > REMEMBERED:
                self._shots.popitem(last=False)


def target_name(resource: str) -> str:
    """The target that a resource is named after: ``ab_emu_40q_physical_cats`` is ``EMU:40Q:PHYSICAL_CATS``."""
    return resource.removeprefix("ab_").replace("_", ":", 2).upper()


def _path(task_id: str) -> str:
    return f"{JOBS}{quote(task_id, safe='')}"


def _password(name: str, key: str) -> str:
    """The secret part of an API key.

    Raises:
        ResourceUnavailable: it is no API key.
    """
    try:
        user, colon, password = base64.b64decode(key, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, colon, password = "", "", ""
    if not (user and colon and password):
        problem = "cannot be used" if key else "is not set"
        raise ResourceUnavailable(
            f"{API_KEY} of {name} {problem}: the key that Alice & Bob gave you was expected, "
            f"which is base64 of user:password",
            resource=name,
        )
    return password


def _gaps() -> Iterator[float]:
    """Seconds to wait before each attempt to fetch what should be there."""
    yield 0.0
    yield from (min(0.1 * 2**attempt, 2.0) for attempt in itertools.count())
