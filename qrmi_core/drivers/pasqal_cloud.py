# SPDX-License-Identifier: Apache-2.0
"""Pasqal's cloud: QPUs of neutral atoms, and the emulators beside them, by the REST API of ``apis.pasqal.cloud``.

A task is a batch. It carries a tag of our own, so that it can be found where the answer to its submission was lost.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, cast
from urllib.parse import quote

from qrmi_core import polling
from qrmi_core.converters import converter
from qrmi_core.drivers.pasqal_auth import REGIONS
from qrmi_core.drivers.pasqal_batches import (
    ENDS,
    WORDS,
    batch_body,
    batch_info,
    is_emulator,
    job_bodies,
    job_info,
    matching,
    packed,
)
from qrmi_core.drivers.pasqal_cloud_api import BASE_URL, REFUSALS, REGION, PasqalCloudAPI
from qrmi_core.drivers.pasqal_config import ACCOUNT_VARIABLES
from qrmi_core.drivers.pasqal_known import KnownBatches
from qrmi_core.drivers.vendor import (
    VENDOR_VARIABLES,
    VendorResource,
    about_task,
    expect,
    expect_object,
    lease_tag,
    new_id,
)
from qrmi_core.errors import (
    InputError,
    ResultError,
    SubmissionUncertain,
    TaskNotFound,
    VendorError,
)
from qrmi_core.http import Response
from qrmi_core.payloads import Payload, PulserBatch, PulserJob
from qrmi_core.resource import BatchResource, JobContext, ResourceStatus, ResourceStatusCode, Target
from qrmi_core.submission import LIST_LAG, Undecided, submit_once
from qrmi_core.tasks import TaskInfo, TaskStatus
from qrmi_core.variables import Variable

__all__ = ["BASE_URL", "PasqalCloud"]

EMULATORS = "QRMI_PASQAL_CLOUD_EMULATORS"
PAGE = 100


class PasqalCloud(VendorResource, BatchResource):
    """A device type of Pasqal's cloud; batches may name another one, such as an emulator, for themselves."""

    type = "pasqal-cloud"
    takes = (PulserBatch,)
    min_poll = 0.5
    words: ClassVar[Mapping[str, TaskStatus]] = WORDS
    variables: ClassVar[Sequence[Variable]] = (
        *ACCOUNT_VARIABLES,
        Variable(REGION, f"the installation: {', '.join(REGIONS)} (fr)", endpoint=True),
        Variable(BASE_URL, "the URL in front of /core-fast, where it is not the region's own", endpoint=True),
        Variable(EMULATORS, "the emulators that jobs may name through the gateway, with commas; or `none` (all)"),
        *VENDOR_VARIABLES,
    )

    def __init__(self, name: str, values: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, values, context)
        if self.device == name:
            self.device = name.upper()
        self._cloud = PasqalCloudAPI(name, values, self.http)
        self._known = KnownBatches()

    def acquire(self) -> str:
        """A token of our own: this vendor has no acquisitions."""
        return new_id()

    def release(self, acquisition_token: str) -> None:
        """Nothing is held at this vendor."""

    def status(self) -> ResourceStatus:
        """Online while the vendor calls the device active; one that is down for a while still queues batches."""
        device = self._cloud.device(self.device)
        availability, state = device.get("availability"), device.get("status")
        online = availability == "ACTIVE"
        told = ", ".join(str(word) for word in (availability, state) if word)
        return ResourceStatus(
            ResourceStatusCode.ONLINE if online else ResourceStatusCode.OFFLINE,
            status_reason=None if online and state in {None, "UP"} else f"{self.device} is {told or 'not active'}",
            healthy=None if state is None else state == "UP",
        )

    def target(self) -> Target:
        """The list ``[{"device_type", "specs"}]``: this device, or for an emulator all the devices it can stand for."""
        if is_emulator(self.device):
            specs = self._cloud.data(self._cloud.public.get_json("/v1/devices/public-specs"))
        else:
            found = self._cloud.about_device(
                lambda: self._cloud.client.get_json(f"/v1/devices/specs/{self.device}"), self.device
            )
            specs = [self._cloud.data(found)]
        return Target(json.dumps(specs).encode())

    def task_start(self, payload: Payload) -> str:
        self.refuse_other_kinds(payload)
        batch = cast("PulserBatch", payload)
        device_type, tag = batch.device_type or self.device, new_id()
        tags = [tag, *([lease_tag(self.context.lease)] if self.context.lease is not None else [])]
        body = batch_body(batch, device_type, self._cloud.project, tags, self.name)
        batch_id: str = self._cloud.about_device(
            lambda: submit_once(
                lambda: self._created(body),
                lambda: self._look_up(tag),
                resource=self.name,
                deadline=self.http.deadline,
                lag=LIST_LAG,
                advice=f"look for a batch with the tag {tag} in Pasqal's portal",
            ),
            device_type,
        )
        known = self._known.of(batch_id)
        known.closed, known.sequence = not batch.open, batch.sequence
        known.learn(len(batch.jobs))
        return batch_id

    def unfinished_of_lease(self, lease: str) -> list[str] | None:
        batches: list[dict[str, Any]] = []
        while True:
            query = {"tag": lease_tag(lease), "offset": len(batches), "limit": PAGE}
            page = self._cloud.objects(self._cloud.client.get_json("/v1/batches", query=query), "the list of batches")
            batches += page
            if len(page) < PAGE:
                break
        left = [batch for batch in batches if batch.get("status") not in ENDS]
        return [str(expect(batch, "id", resource=self.name, what="a batch")) for batch in left]

    def task_stop(self, task_id: str) -> None:
        with about_task(self.name, task_id):
            try:
                self._cloud.client.change("PATCH", f"/v2/batches/{_segment(task_id)}/cancel")
            except VendorError as error:
                if error.http_status not in REFUSALS or not self.task_info(task_id).status.is_final:
                    raise

    def task_info(self, task_id: str) -> TaskInfo:
        known = self._known.of(task_id)
        jobs, word = self._listed(task_id), None
        if all(info.status.is_final for info in jobs) and not known.ended:
            word = self._status_word(task_id)
            if word in ENDS:
                known.closed = True
                jobs = jobs if known.shows_all(jobs) else self._all_listed(task_id)
        info = batch_info(task_id, jobs, closed=known.closed, word=word, whole=known.shows_all(jobs))
        if info.status.is_final and known.shows_all(jobs):
            known.ended = jobs
        return info

    def task_output(self, task_id: str) -> bytes:
        """The result of its job; of several jobs ``{"jobs": [{"id", "status", "reason", "result"}, ...]}``."""
        jobs = self.batch_jobs(task_id)
        self._known.of(task_id).need_all(jobs, task_id, self.name)
        if len(jobs) == 1:
            return json.dumps(self._output(task_id, jobs[0].id)).encode()
        told = []
        for info in jobs:
            done = info.status is TaskStatus.COMPLETED
            result = self._output(task_id, info.id) if done else None
            told.append({"id": info.id, "status": info.status.value, "reason": info.reason, "result": result})
        return json.dumps({"jobs": told}).encode()

    def batch_jobs(self, batch_id: str) -> tuple[TaskInfo, ...]:
        if self._known.of(batch_id).sent is None:
            self._status_word(batch_id)
        return self._all_listed(batch_id)

    def batch_job_ids(self, batch_id: str) -> list[str]:
        known = self._known.of(batch_id)
        if known.closed and known.sent and len(known.variables) >= known.sent:
            return list(known.variables)
        return super().batch_job_ids(batch_id)

    def _all_listed(self, batch_id: str) -> tuple[TaskInfo, ...]:
        """The jobs of a batch; as many of them as it shows where it does not show all in time."""
        known, jobs = self._known.of(batch_id), self._listed(batch_id)

        def look_again() -> bool:
            nonlocal jobs
            jobs = self._listed(batch_id)
            return known.shows_all(jobs)

        if known.sent and not known.shows_all(jobs):
            polling.wait_until(look_again, timeout=LIST_LAG)
        return jobs

    def _listed(self, batch_id: str) -> tuple[TaskInfo, ...]:
        """The jobs that a batch shows; new ones come late."""
        known = self._known.of(batch_id)
        if known.ended:
            return known.ended
        jobs = tuple(job_info(job, self.name) for job in self._jobs(batch_id))
        if known.closed and known.sent and known.shows_all(jobs) and all(info.status.is_final for info in jobs):
            known.ended = jobs
        return jobs

    def batch_is_open(self, batch_id: str) -> bool:
        known = self._known.of(batch_id)
        if not known.closed:
            with about_task(self.name, batch_id):
                batch = self._cloud.object(self._cloud.client.get_json(f"/v2/batches/{_segment(batch_id)}"), "a batch")
            known.learn(batch.get("jobs_count"))
            known.closed = not expect(batch, "open", resource=self.name, what="a batch")
        return not known.closed

    def batch_add(self, batch_id: str, jobs: Sequence[PulserJob]) -> tuple[str, ...]:
        """Add jobs to an open batch and return their ids.

        Jobs carry no mark of their own: where an answer is lost, those that the batch has since are looked at. So only
        one process at a time should add jobs to a batch.
        """
        bodies = job_bodies(jobs, None, self.name)
        if not bodies:
            return ()
        known = self._known.of(batch_id)
        with known.adding:
            before = self._before(batch_id)
            ids = submit_once(
                lambda: self._added(batch_id, bodies, before),
                lambda: self._look_up_jobs(batch_id, bodies, before),
                resource=self.name,
                deadline=self.http.deadline,
                lag=LIST_LAG,
                advice=f"look at the jobs of batch {batch_id}",
            )
            known.learn(len(before) + len(ids))
        return ids

    def _before(self, batch_id: str) -> frozenset[str]:
        """The ids of all jobs that a batch has; none may be taken for a new one because it is shown late."""
        jobs, known = self.batch_jobs(batch_id), self._known.of(batch_id)
        if known.sent is None:
            polling.pause(LIST_LAG)
            jobs = self._listed(batch_id)
        known.need_all(jobs, batch_id, self.name)
        return frozenset(info.id for info in jobs)

    def batch_close(self, batch_id: str) -> None:
        known = self._known.of(batch_id)
        with about_task(self.name, batch_id):
            try:
                answer = self._cloud.client.change(
                    "PATCH", f"/v2/batches/{_segment(batch_id)}/complete", json_only=True
                )
                known.learn(self._cloud.object(answer.json(), "a batch").get("jobs_count"))
            except VendorError as error:
                if error.http_status not in REFUSALS or self.batch_is_open(batch_id):
                    raise
        known.closed = True

    def batch_cancel_jobs(self, batch_id: str, job_ids: Collection[str]) -> None:
        if not job_ids:
            return
        with about_task(self.name, batch_id):
            try:
                self._cloud.client.change(
                    "PATCH", f"/v2/batches/{_segment(batch_id)}/cancel/jobs", query={"id": list(job_ids)}
                )
            except VendorError as error:
                states = {info.id: info.status for info in self.batch_jobs(batch_id)}
                if error.http_status not in REFUSALS or not all(
                    states[job_id].is_final for job_id in job_ids if job_id in states
                ):
                    raise

    def batch_job_output(self, batch_id: str, job_id: str) -> bytes:
        """The result of a job; with ``atom_order`` and ``total_duration`` where the vendor gives only counts."""
        result = self._output(batch_id, job_id)
        if result["serialised_results"] is None and result["counter"] is not None:
            result.update(self._about_sequence(batch_id, job_id))
        return json.dumps(result).encode()

    def _output(self, batch_id: str, job_id: str) -> dict[str, Any]:
        """A job's result; those of the batch's other jobs come with it and are kept until they are asked for."""
        known = self._known.of(batch_id)
        with known.fetching:
            if job_id not in known.results:
                with about_task(self.name, batch_id):
                    answer = self._cloud.client.get_json(f"/v1/batches/{_segment(batch_id)}/full_results")
                found = self._cloud.object(answer, "the map of a batch's results")
                known.results = {job: found[job] for job in found if job not in known.handed_out or job == job_id}
            result = known.results.pop(job_id, None)
            known.handed_out.add(job_id)
        if result is None:
            raise ResultError(
                f"{self.name}: batch {batch_id} has no result of job {job_id}: look at the job's status first",
                resource=self.name,
                task_id=job_id,
            )
        told = expect_object(result, resource=self.name, what=f"the result of job {job_id}")
        return {"counter": None, "raw": None, "serialised_results": None, **told}

    def _about_sequence(self, batch_id: str, job_id: str) -> dict[str, Any]:
        """The order of the atoms in the bitstrings of a job, and the duration of its sequence."""
        known = self._known.of(batch_id)
        with about_task(self.name, batch_id):
            if known.sequence is None:
                batch = self._cloud.data(self._cloud.client.get_json(f"/v2/batches/{_segment(batch_id)}"))
                known.sequence = str(expect(batch, "sequence_builder", resource=self.name, what="a batch")).encode()
            if job_id not in known.variables:
                self.batch_jobs(batch_id)
        build = converter("pulser-sequence", extra="pulser")
        variables = known.variables.get(job_id)
        _, atoms, duration = build(known.sequence, json.dumps(variables).encode() if variables else None)
        return {"atom_order": atoms, "total_duration": duration}

    def batch_wait(
        self, batch_id: str, job_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        rounds: dict[str, TaskInfo] = {}

        def look(job_id: str) -> TaskInfo:
            """One request for all jobs in each round: whoever is asked for again begins the next one."""
            if job_id not in rounds:
                rounds.clear()
                rounds.update({info.id: info for info in self._listed(batch_id)})
            if job_id not in rounds:
                rounds.update({info.id: info for info in self.batch_jobs(batch_id)})
            if job_id not in rounds:
                raise TaskNotFound(f"batch {batch_id} on {self.name} has no job {job_id}", task_id=job_id)
            return rounds.pop(job_id)

        return polling.poll(look, job_ids, timeout=timeout, first=first, min_poll=self.min_poll)

    def _look_up(self, tag: str) -> str | None:
        """The batch that was made with this tag."""
        answer = self._cloud.client.get_json("/v1/batches", query={"tag": tag, "offset": 0, "limit": PAGE})
        found = self._cloud.objects(answer, "the list of batches")
        return str(expect(found[0], "id", resource=self.name, what="a batch")) if found else None

    def _look_up_jobs(
        self, batch_id: str, bodies: Sequence[Mapping[str, Any]], before: Collection[str]
    ) -> tuple[str, ...] | None:
        """The jobs that were sent, among those that a batch has since; None where it has no other jobs than before.

        Raises:
            ResultError: it has others, and not all of those that were sent.
        """
        new = [job for job in self._jobs(batch_id) if job["id"] not in before]
        ids = matching(bodies, new)
        if ids is None and new:
            polling.pause(LIST_LAG)
            ids = matching(bodies, [job for job in self._jobs(batch_id) if job["id"] not in before])
            if ids is None:
                raise ResultError(f"batch {batch_id} has {len(new)} new jobs, and others than those that were sent")
        return None if ids is None else tuple(ids)

    def _created(self, body: Mapping[str, Any]) -> str:
        return self._id_in(self._submitted("/v1/batches", body))

    def _added(self, batch_id: str, bodies: Sequence[Mapping[str, Any]], before: Collection[str]) -> tuple[str, ...]:
        found: tuple[str, ...] | None = None

        def look() -> bool:
            nonlocal found
            found = self._look_up_jobs(batch_id, bodies, before)
            return found is not None

        try:
            self._submitted(f"/v2/batches/{_segment(batch_id)}/jobs", bodies)
        except VendorError as error:
            if error.http_status in REFUSALS and not self.batch_is_open(batch_id):
                raise InputError(
                    f"batch {batch_id} on {self.name} is closed: open a new one", resource=self.name, task_id=batch_id
                ) from error
            raise
        polling.wait_until(look, timeout=LIST_LAG)
        if found is None:
            raise SubmissionUncertain(
                f"{self.name}: {len(bodies)} jobs were added to batch {batch_id} and it does not show them: look at it "
                f"again later, and do not add them again",
                resource=self.name,
                task_id=batch_id,
            )
        return found

    def _submitted(self, path: str, body: Any) -> Response:
        data, headers = packed(body)
        return self._cloud.client.submit(path, data=data, headers=headers)

    def _id_in(self, answer: Response) -> str:
        """The id of what was made; an answer without one leaves open whether it was."""
        try:
            return str(expect(self._cloud.data(answer.json()), "id", resource=self.name, what="the answer to a batch"))
        except ResultError as error:
            raise Undecided(error) from error

    def _jobs(self, batch_id: str) -> list[dict[str, Any]]:
        """The jobs of a batch in the order of their creation, all pages of them."""
        query = {"batch_id": batch_id, "order_by": "creation_order", "order_by_direction": "ASC", "limit": PAGE}
        jobs: list[dict[str, Any]] = []
        with about_task(self.name, batch_id):
            while True:
                page = self._cloud.client.get_json("/v2/jobs", query={**query, "offset": len(jobs)})
                found = self._cloud.objects(page, "the list of jobs")
                jobs += found
                pagination = expect_object(page.get("pagination") or {}, resource=self.name, what="a pagination")
                if not found or len(jobs) >= pagination.get("total", 0):
                    break
            if not jobs:
                self._status_word(batch_id)
        self._known.of(batch_id).variables = {str(job.get("id")): job.get("variables") for job in jobs}
        return jobs

    def _status_word(self, batch_id: str) -> str:
        with about_task(self.name, batch_id):
            told = self._cloud.object(
                self._cloud.client.get_json(f"/v1/batches/{_segment(batch_id)}/status"), "the status of a batch"
            )
        if counts := told.get("jobs_count_per_status"):
            numbers = expect_object(counts, resource=self.name, what="the counts of a batch's jobs").values()
            self._known.of(batch_id).learn(sum(number for number in numbers if isinstance(number, int)))
        return str(expect(told, "status", resource=self.name, what="the status of a batch"))


def _segment(text: str) -> str:
    """An id as one segment of a path: it may be anybody's word."""
    return quote(text, safe="")
