# SPDX-License-Identifier: Apache-2.0
"""The driver of IBM's machines on premises, against a server that computes and a storage that checks signatures."""

from __future__ import annotations

import dataclasses
import json
import logging
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from ibm_system_case import CASE, SystemSite, start
from qiskit_agreement import check_estimator, check_sampler
from s3_proxy import s3_site
from vendor_site import result_in_new_process

from qrmi_core import (
    AuthenticationFailed,
    JobContext,
    PulserBatch,
    PulserJob,
    QiskitPrimitive,
    QRMIError,
    QRMIService,
    QRMIWarning,
    ResourceNotFound,
    ResourceStatusCode,
    ResourceUnavailable,
    ResultError,
    SubmissionUncertain,
    Task,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskStatus,
    UnsupportedPayload,
    VendorError,
    VendorUnreachable,
    polling,
)
from qrmi_core.drivers import ibm_system, job_objects
from qrmi_core.drivers.background import Background
from qrmi_core.drivers.ended_tasks import EndedTasks
from qrmi_core.drivers.ibm_system import IBMQuantumSystem
from qrmi_core.drivers.s3 import Bucket
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.faults import FaultRates
from qrmi_core.http_settings import HttpSettings
from qrmi_core.tasks import TaskInfo

DAY = 24 * 3600


@pytest.fixture(scope="module")
def everything() -> Iterator[SystemSite]:
    with start() as running:
        yield running


@pytest.fixture
def site(everything: SystemSite) -> Iterator[SystemSite]:
    """The server as it is at first; some tests change it."""
    yield everything
    tidied()
    dialect = everything.emulator.dialect
    dialect.reserved, dialect.paused, dialect.counts_ended_jobs = False, None, False
    for faults in (everything.emulator.faults, everything.s3.faults):
        faults.next_faults, faults.rates, faults.retry_after = [], FaultRates(), "0.05"


def qpu(site: SystemSite, context: JobContext = CASE.context, **variables: str) -> IBMQuantumSystem:
    return site.resource(context=context, QRMI_MIN_POLL="0", **variables)


def ended_at_the_server(site: SystemSite, task: Task) -> None:
    """Wait without asking the server, so that its counters stay as they are."""
    jobs = site.emulator.dialect.jobs
    assert polling.wait_until(lambda: jobs[task.id].status != "Running", timeout=60)


def tidied() -> None:
    """Wait until the driver has removed what it was to remove."""
    assert ibm_system._later.finish(30)


def objects_of(site: SystemSite, task: Task) -> set[str]:
    return {key.partition("_")[0] for key in site.s3.stored() if task.id in key}


def inputs(site: SystemSite) -> set[str]:
    return {key for key in site.s3.stored() if key.startswith("input_")}


def requests(site: SystemSite) -> int:
    return site.emulator.counters.total(without=("token", "backends"))


def own_transfers(site: SystemSite, task: Task) -> list[tuple[str, str]]:
    """What our side asked of the storage: its signatures are in a header, those of the device in the URL."""
    return [
        (method, path.rpartition("/")[2].partition("_")[0])
        for method, path, query in site.s3.seen
        if task.id in path and not query
    ]


def test_what_a_task_costs(site: SystemSite) -> None:
    resource = qpu(site)
    resource.target()
    before = requests(site)
    task = resource.submit(CASE.payload(5))
    ended_at_the_server(site, task)
    CASE.verify(task.result(timeout=60).data, 5)
    tidied()
    assert requests(site) - before == 3  # submit, look, delete
    assert own_transfers(site, task) == [
        ("PUT", "input"),
        ("GET", "results"),
        ("GET", "logs"),
        ("DELETE", "input"),
        ("DELETE", "results"),
        ("DELETE", "logs"),
    ]


def test_nothing_is_left_and_all_is_remembered(site: SystemSite) -> None:
    resource = qpu(site)
    task = resource.submit(CASE.payload(9))
    first = task.result(timeout=60)
    tidied()
    assert objects_of(site, task) == set()
    assert task.id not in site.emulator.dialect.jobs
    before = requests(site), len(site.s3.seen)
    again = resource.task(task.id)
    assert task.result() == again.result() == resource.task_result(task.id) == first
    assert again.info().status is TaskStatus.COMPLETED
    assert again.info().qpu_seconds > 0
    assert again.info().created <= again.info().ended
    assert isinstance(again.logs(), str)
    again.cancel()
    assert (requests(site), len(site.s3.seen)) == before


def test_another_process_is_told_where_the_result_went(site: SystemSite) -> None:
    task = qpu(site).submit(CASE.payload(1))
    task.result(timeout=60)
    tidied()
    with pytest.raises(TaskNotFound, match=f"{task.id}.* removed once its result was read, unless QRMI_IBM_QS_KEEP"):
        qpu(site).task(task.id)


def test_everything_is_kept_where_it_is_asked_for(site: SystemSite) -> None:
    task = qpu(site, QRMI_IBM_QS_KEEP="yes").submit(CASE.payload(2))
    result = task.result(timeout=60)
    tidied()
    assert objects_of(site, task) == {"input", "results", "logs"}
    assert qpu(site, QRMI_IBM_QS_KEEP="yes").task(task.id).result() == result
    assert objects_of(site, task) == {"input", "results", "logs"}


def test_a_new_process_takes_a_task_over(site: SystemSite) -> None:
    task = qpu(site).submit(CASE.payload(77))
    CASE.verify(result_in_new_process(IBMQuantumSystem, site.environment, task.id), 77)
    assert objects_of(site, task) == set()  # removed before the interpreter ended
    with pytest.raises(TaskNotFound):
        qpu(site).task(task.id)


@pytest.mark.parametrize("fault", ["truncated", "cut_json", "error", "reset_after"])
def test_a_result_that_arrives_damaged_is_fetched_again(site: SystemSite, fault: str) -> None:
    resource = qpu(site)
    task = resource.submit(CASE.payload(3))
    task.wait(60)
    site.s3.faults.next_faults = [("GET", fault), ("GET", fault)]
    CASE.verify(task.result().data, 3)
    tidied()
    assert not site.s3.faults.next_faults
    assert objects_of(site, task) == set()


def test_a_result_that_cannot_be_read_is_not_removed(site: SystemSite) -> None:
    resource = qpu(site)
    task = resource.submit(CASE.payload(4))
    task.wait(60)
    site.s3.faults.next_faults = [("GET", "cut_json")] * job_objects.READS
    with pytest.raises(ResultError, match=f"results_{task.id}.json in its bucket, is not JSON.*Nothing was removed"):
        task.result()
    tidied()
    assert objects_of(site, task) == {"input", "results", "logs"}
    CASE.verify(task.result().data, 4)


def test_threads_that_read_the_same_result(site: SystemSite) -> None:
    resource = qpu(site)
    task = resource.submit(CASE.payload(6))
    task.wait(60)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(resource.task_result(task.id).data)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(set(found)) == 1
    tidied()
    assert objects_of(site, task) == set()


class CountsBodies(IBMQuantumSystem):
    """Remembers the URLs that it made."""

    made: list[Mapping[str, Any]]

    def _job(self, task_id: str, payload: QiskitPrimitive) -> dict[str, Any]:
        self.made = [*getattr(self, "made", []), super()._job(task_id, payload)]
        return dict(self.made[-1])


def test_a_reserved_device_is_waited_for_and_urls_are_made_anew(site: SystemSite) -> None:
    dialect = site.emulator.dialect
    dialect.reserved = True
    resource = site.resource(CountsBodies, CASE.context)
    sent = site.emulator.counters.requests["POST /v1/jobs"]

    def free() -> None:
        assert polling.wait_until(lambda: site.emulator.counters.requests["POST /v1/jobs"] >= sent + 4, timeout=30)
        dialect.reserved = False

    freeing = threading.Thread(target=free)
    freeing.start()
    task = resource.submit(CASE.payload(8))
    freeing.join(30)
    CASE.verify(task.result(timeout=60).data, 8)
    assert len(resource.made) == site.emulator.counters.requests["POST /v1/jobs"] - sent >= 4
    assert resource.made[-1]["id"] == task.id


def test_a_busy_device_is_not_waited_for_for_ever(site: SystemSite) -> None:
    site.emulator.dialect.reserved = True
    before = inputs(site)
    with pytest.raises(
        VendorError, match=r"is reserved by others, also after waiting 0.3 s .*QRMI_IBM_QS_BUSY_DEADLINE of qpu"
    ) as raised:
        qpu(site, QRMI_IBM_QS_BUSY_DEADLINE="0.3").submit(CASE.payload(0))
    assert (raised.value.http_status, raised.value.code, raised.value.transient) == (423, "1233", True)
    tidied()
    assert inputs(site) <= before


def test_a_retry_after_beyond_the_deadline_is_an_error_at_once(site: SystemSite) -> None:
    site.emulator.faults.retry_after = "3600"
    site.emulator.faults.next_faults = [("POST /v1/jobs", "too_many")]
    sent = site.emulator.counters.requests["POST /v1/jobs"]
    with pytest.raises(VendorError, match="has no free lane, also after waiting 300 s"):
        qpu(site).submit(CASE.payload(0))
    assert site.emulator.counters.requests["POST /v1/jobs"] == sent + 1


def test_who_gives_up_waiting_leaves_nothing(site: SystemSite) -> None:
    class Interrupted(IBMQuantumSystem):
        def _free_lanes(self) -> None:
            raise KeyboardInterrupt

    site.emulator.dialect.reserved = True
    before = inputs(site)
    with pytest.raises(KeyboardInterrupt):
        site.resource(Interrupted, CASE.context).submit(CASE.payload(0))
    tidied()
    assert inputs(site) <= before


@pytest.mark.parametrize("counts_ended_jobs", [False, True])
def test_more_tasks_than_lanes(counts_ended_jobs: bool) -> None:
    with start(lanes=2) as site:
        site.emulator.dialect.counts_ended_jobs = counts_ended_jobs
        resource = qpu(site)
        tasks = [resource.submit(CASE.payload(number)) for number in range(6)]
        for number, task in enumerate(tasks):
            CASE.verify(task.result(timeout=60).data, number)
        tidied()
        assert site.emulator.device.runs == 6
        assert not site.emulator.dialect.jobs
        assert not site.s3.stored()


def test_a_result_whose_record_gave_its_lane_away_is_found_by_others() -> None:
    with start(lanes=1) as site:
        site.emulator.dialect.counts_ended_jobs = True
        resource = qpu(site)
        first, second = resource.submit(CASE.payload(1)), resource.submit(CASE.payload(2))
        assert first.id not in site.emulator.dialect.jobs
        CASE.verify(qpu(site).task(first.id).result(timeout=60).data, 1)
        CASE.verify(second.result(timeout=60).data, 2)
        tidied()


@pytest.mark.parametrize(
    ("limit", "life"), [(100, 100 + DAY), (5 * DAY, 6 * DAY), (7 * DAY, 7 * DAY), (30 * DAY, 7 * DAY)]
)
def test_urls_live_as_long_as_the_job_may(site: SystemSite, limit: int, life: int) -> None:
    resource = qpu(site, JobContext(timeout_seconds=limit), QRMI_IBM_QS_KEEP="yes")
    task = resource.submit(CASE.payload(0))
    sent = site.emulator.dialect.jobs[task.id].sent
    assert sent["timeout_secs"] == limit
    lives = {parse_qs(urlsplit(place["presigned_url"]).query)["X-Amz-Expires"][0] for place in sent["storage"].values()}
    assert lives == {str(life)}


def test_whose_limit_counts(site: SystemSite) -> None:
    def limit(context: JobContext, payload: QiskitPrimitive, **variables: str) -> int:
        task = qpu(site, context, **variables).submit(payload)
        return int(site.emulator.dialect.jobs[task.id].sent["timeout_secs"])

    payload = CASE.payload(0)
    assert limit(JobContext(), payload) == 3600
    assert limit(JobContext(timeout_seconds=50), payload) == 50
    assert limit(JobContext(timeout_seconds=50), payload, QRMI_IBM_QS_TIMEOUT_SECONDS="60") == 60
    assert limit(JobContext(timeout_seconds=50), dataclasses.replace(payload, max_execution_time=40)) == 40


def test_the_device_may_know_the_storage_by_another_name(site: SystemSite) -> None:
    other = site.s3.url.replace("127.0.0.1", "localhost")
    task = qpu(site, QRMI_IBM_QS_S3_ENDPOINT_FOR_QSAPI=other).submit(CASE.payload(11))
    storage = site.emulator.dialect.jobs[task.id].sent["storage"]
    assert {urlsplit(place["presigned_url"]).hostname for place in storage.values()} == {"localhost"}
    CASE.verify(task.result(timeout=60).data, 11)


def test_a_result_that_comes_after_its_urls_have_expired_fails_the_task() -> None:
    class Hasty(IBMQuantumSystem):
        def _job(self, task_id: str, payload: QiskitPrimitive) -> dict[str, Any]:
            job = super()._job(task_id, payload)
            for kind in ("results", "logs"):
                url = Bucket(self.name, self.values, self.http).url_for_device("PUT", f"{kind}_{task_id}.json", 1)
                job["storage"][kind]["presigned_url"] = url
            return job

    with start(service_time=lambda: 2.5) as site:
        task = site.resource(Hasty, CASE.context).submit(CASE.payload(0))
        with pytest.raises(TaskFailed, match=r"code 1517\): PUT http.*/results_.*: 403 Forbidden. Check the storage"):
            task.result(timeout=60)


@pytest.mark.parametrize("fault", ["reset_after", "error_after", "reset_before", "error"])
def test_a_submission_that_was_answered_ambiguously_happens_once(site: SystemSite, fault: str) -> None:
    runs = site.emulator.device.runs
    site.emulator.faults.next_faults = [("POST /v1/jobs", fault)]
    CASE.verify(qpu(site).submit(CASE.payload(12)).result(timeout=60).data, 12)
    assert site.emulator.device.runs == runs + 1


def test_a_duplicate_has_arrived(site: SystemSite) -> None:
    class LooksTooEarly(IBMQuantumSystem):
        looks = 0

        def _look_up(self, task_id: str) -> str | None:
            self.looks += 1
            return super()._look_up(task_id) if self.looks > 1 else None

    runs = site.emulator.device.runs
    site.emulator.faults.next_faults = [("POST /v1/jobs", "reset_after")]
    resource = site.resource(LooksTooEarly, CASE.context)
    CASE.verify(resource.submit(CASE.payload(13)).result(timeout=60).data, 13)
    assert (resource.looks, site.emulator.device.runs) == (2, runs + 1)


def test_a_submission_that_nobody_can_look_up_is_uncertain(site: SystemSite) -> None:
    def cannot(task_id: str) -> str | None:
        raise VendorUnreachable("no answer")

    resource = qpu(site)
    resource._look_up = cannot
    site.emulator.faults.next_faults = [("POST /v1/jobs", "reset_after")]
    with pytest.raises(
        SubmissionUncertain, match=r"nobody knows whether the task was taken.*ask for task .* later"
    ) as raised:
        resource.submit(CASE.payload(21))
    CASE.verify(qpu(site).task(raised.value.task_id).result(timeout=60).data, 21)


def test_a_duplicate_that_cannot_be_looked_at_is_uncertain(site: SystemSite) -> None:
    class Flaky(IBMQuantumSystem):
        looks = 0

        def _look_up(self, task_id: str) -> str | None:
            self.looks += 1
            if self.looks == 1:
                return None
            raise VendorUnreachable("no answer")

    site.emulator.faults.next_faults = [("POST /v1/jobs", "reset_after")]
    with pytest.raises(SubmissionUncertain) as raised:
        site.resource(Flaky, CASE.context).submit(CASE.payload(22))
    CASE.verify(qpu(site).task(raised.value.task_id).result(timeout=60).data, 22)


@pytest.fixture(scope="module")
def slow() -> Iterator[SystemSite]:
    """A server whose tasks take a minute."""
    with start(service_time=lambda: 60.0) as running:
        yield running


def test_cancel(slow: SystemSite) -> None:
    resource = qpu(slow)
    task = resource.submit(CASE.payload(0))
    assert task.status() is TaskStatus.RUNNING
    task.cancel()
    task.cancel()
    with pytest.raises(TaskCancelled, match=task.id):
        task.result(timeout=30)
    qpu(slow).task(task.id).cancel()
    assert qpu(slow).task_status(task.id) is TaskStatus.CANCELLED


@pytest.mark.parametrize("fault", ["reset_after", "error_after"])
def test_a_cancel_whose_answer_was_lost(slow: SystemSite, fault: str) -> None:
    task = qpu(slow).submit(CASE.payload(0))
    slow.emulator.faults.next_faults = [("/cancel", fault)]
    task.cancel()
    assert task.status() is TaskStatus.CANCELLED


def test_cancel_meets_a_task_that_has_just_ended_or_gone(site: SystemSite) -> None:
    task = qpu(site).submit(CASE.payload(14))
    ended_at_the_server(site, task)
    qpu(site).task_stop(task.id)
    CASE.verify(task.result(timeout=60).data, 14)
    tidied()
    task.cancel()
    with pytest.raises(TaskNotFound, match="qpu knows no task 00000000-"):
        qpu(site).task_stop("00000000-0000-4000-8000-000000000000")


def test_a_failed_task_says_why(site: SystemSite) -> None:
    parameters = {"pubs": [["OPENQASM 3.0; no program", None, 10]], "version": 2, "support_qiskit": True}
    resource = qpu(site)
    task = resource.submit(QiskitPrimitive("sampler", json.dumps(parameters).encode()))
    with pytest.raises(TaskFailed, match=r"failed \(code 1517\): .*pub") as raised:
        task.result(timeout=60)
    assert (raised.value.code, raised.value.task_id) == ("1517", task.id)
    assert raised.value.reason
    assert qpu(site).task(task.id).info().reason == raised.value.reason


def test_a_task_that_runs_too_long_has_failed(slow: SystemSite) -> None:
    task = qpu(slow, JobContext(timeout_seconds=1)).submit(CASE.payload(0))
    with pytest.raises(TaskFailed, match=r"code 1305\): Ran longer than 1 s. Ask for more time"):
        task.result(timeout=60)


def test_a_word_that_nobody_knows_ends_nothing(slow: SystemSite) -> None:
    resource = qpu(slow)
    task = resource.submit(CASE.payload(0))
    slow.emulator.dialect.jobs[task.id].status = "Calibrating"
    assert (task.info().status, task.info().vendor_status) == (TaskStatus.RUNNING, "Calibrating")
    slow.emulator.dialect.jobs[task.id].status = "Running"


def test_release_ends_what_the_acquisition_left(site: SystemSite, slow: SystemSite) -> None:
    token = qpu(slow).acquire()
    of_job = JobContext(acquisition_token=token, timeout_seconds=600)
    running, stopped = (qpu(slow, of_job).submit(CASE.payload(number)) for number in range(2))
    stopped.cancel()
    others = qpu(slow).submit(CASE.payload(2))
    for _ in range(2):
        qpu(slow).release(token)
    tidied()
    assert running.id not in slow.emulator.dialect.jobs
    assert stopped.id not in slow.emulator.dialect.jobs
    assert objects_of(slow, running) == objects_of(slow, stopped) == set()
    assert others.status() is TaskStatus.RUNNING

    unread = qpu(site, of_job).submit(CASE.payload(33))
    ended_at_the_server(site, unread)
    qpu(site).release(token)
    CASE.verify(qpu(site).task(unread.id).result(timeout=60).data, 33)


def test_tasks_of_an_acquisition_of_ones_own(slow: SystemSite) -> None:
    resource = qpu(slow)
    token = resource.acquire()
    task = resource.submit(CASE.payload(0))
    resource.release(token)
    assert task.id not in slow.emulator.dialect.jobs
    after = resource.submit(CASE.payload(0))
    assert after.id[:13] != task.id[:13]


def test_a_device_that_is_down_is_not_acquired(site: SystemSite) -> None:
    site.emulator.dialect.paused = "the fridge is warm"
    with pytest.raises(ResourceUnavailable, match="qpu is paused: the fridge is warm") as raised:
        qpu(site).acquire()
    assert raised.value.transient


def test_status(slow: SystemSite) -> None:
    resource = qpu(slow)
    free = resource.status()
    assert (free.status, free.busy, free.healthy) == (ResourceStatusCode.ONLINE, False, True)
    assert free.capacity.max_slots == 10
    task = resource.submit(CASE.payload(0))
    assert resource.status().capacity.available_slots == free.capacity.available_slots - 1
    task.cancel()


def test_status_of_a_device_that_is_reserved_or_paused(site: SystemSite) -> None:
    resource = qpu(site)
    site.emulator.dialect.reserved = True
    assert (resource.status().busy, resource.status().status_reason) == (True, "it is reserved")
    assert resource.is_accessible()
    site.emulator.dialect.paused = "maintenance"
    paused = resource.status()
    assert (paused.status, paused.status_reason) == (ResourceStatusCode.PAUSED, "maintenance")
    assert not resource.is_accessible()


def test_status_of_a_server_that_tells_no_lanes() -> None:
    with start(options=DialectOptions(without=frozenset({"lanes"}))) as site:
        status = qpu(site).status()
    assert (status.status, status.capacity, status.busy) == (ResourceStatusCode.ONLINE, None, False)


def test_target(site: SystemSite) -> None:
    with start(engine="aer_fez") as fez:
        target = qpu(fez).target().json()
    assert target == QRMIService().resource("aer_fez").target().json()
    assert target["properties"]["backend_name"]
    assert qpu(site).target().json()["properties"] is None  # a simulator without noise has none


def test_an_error_of_the_target_is_not_hidden(site: SystemSite) -> None:
    site.emulator.faults.rates = FaultRates(error=1.0)
    with pytest.raises(VendorError, match="answered 500"):
        qpu(site, QRMI_HTTP_DEADLINE="0.3").target()


def test_the_tasks_of_a_device(site: SystemSite) -> None:
    resource = qpu(site)
    tasks = [resource.submit(CASE.payload(number)) for number in range(2)]
    assert resource.task_ids()[:2] == [tasks[1].id, tasks[0].id]


NO_SUCH_PLACE = "http://127.0.0.1:9"

WRONG = {
    "IAM key": ("QRMI_IBM_QS_IAM_APIKEY", "wrong", AuthenticationFailed, "check QRMI_IBM_QS_IAM_APIKEY of qpu"),
    "CRN": (
        "QRMI_IBM_QS_SERVICE_CRN",
        "crn:wrong",
        AuthenticationFailed,
        "1201.*check .*QRMI_IBM_QS_SERVICE_CRN of qpu",
    ),
    "server": (
        "QRMI_IBM_QS_ENDPOINT",
        NO_SUCH_PLACE,
        VendorUnreachable,
        "cannot be reached.*Check QRMI_IBM_QS_ENDPOINT of qpu",
    ),
    "S3 access key": (
        "QRMI_IBM_QS_AWS_ACCESS_KEY_ID",
        "WRONG",
        AuthenticationFailed,
        "InvalidAccessKeyId.*check QRMI_IBM_QS_AWS_ACCESS_KEY_ID and QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY of qpu",
    ),
    "S3 secret key": (
        "QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY",
        "wrong too",
        AuthenticationFailed,
        "SignatureDoesNotMatch.*check QRMI_IBM_QS_AWS_ACCESS_KEY_ID and QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY of qpu",
    ),
    "bucket": (
        "QRMI_IBM_QS_S3_BUCKET",
        "no-such-bucket",
        ResourceUnavailable,
        "there is no bucket no-such-bucket: create it, or check QRMI_IBM_QS_S3_BUCKET of qpu",
    ),
    "region": ("QRMI_IBM_QS_S3_REGION", "mars-1", ResourceUnavailable, "mars-1.*Check QRMI_IBM_QS_S3_REGION of qpu"),
    "S3 endpoint": (
        "QRMI_IBM_QS_S3_ENDPOINT",
        NO_SUCH_PLACE,
        VendorUnreachable,
        r"cannot be reached.*\(QRMI_IBM_QS_S3_ENDPOINT of qpu\)",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(site: SystemSite, what: str) -> None:
    variable, value, kind, text = WRONG[what]
    with pytest.raises(kind, match=text) as raised:
        qpu(site, **{variable: value}, QRMI_HTTP_DEADLINE="0.5").submit(CASE.payload(0))
    told = f"{raised.value} {raised.value.__cause__}"
    for secret in ("QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY", "QRMI_IBM_QS_IAM_APIKEY"):
        assert {**site.environment, variable: value}[secret] not in told.replace("knows no", "")
    assert "Signature=" not in told


def test_no_secret_is_logged(site: SystemSite, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    task = qpu(site).submit(CASE.payload(0))
    sent = site.emulator.dialect.jobs[task.id].sent["storage"]
    task.result(timeout=60)
    tidied()
    ours = "\n".join(record.getMessage() for record in caplog.records)
    assert task.id in ours
    secrets = [site.environment["QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY"], site.environment["QRMI_IBM_QS_IAM_APIKEY"]]
    secrets += [parse_qs(urlsplit(place["presigned_url"]).query)["X-Amz-Signature"][0] for place in sent.values()]
    assert not [secret for secret in secrets if secret in ours]


def test_a_device_of_another_name(site: SystemSite) -> None:
    with pytest.raises(ResourceNotFound, match="Check QRMI_DEVICE of qpu; there are: aer_ideal") as raised:
        qpu(site, QRMI_DEVICE="ibm_nowhere").status()
    assert raised.value.code == "1216"
    with pytest.raises(VendorError, match="Backend not found: ibm_nowhere"):
        qpu(site, QRMI_DEVICE="ibm_nowhere").submit(CASE.payload(0))


def test_a_resource_without_storage(site: SystemSite) -> None:
    resource = qpu(site, QRMI_IBM_QS_S3_BUCKET="", QRMI_IBM_QS_S3_REGION="")
    assert resource.is_accessible()
    with pytest.raises(ResourceUnavailable, match="set QRMI_IBM_QS_S3_BUCKET, QRMI_IBM_QS_S3_REGION of qpu"):
        resource.submit(CASE.payload(0))
    with pytest.raises(TaskNotFound):
        resource.task("00000000-0000-4000-8000-000000000000")


def test_without_boto_it_says_what_to_install(site: SystemSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    with pytest.raises(ResourceUnavailable, match=r"pip install 'qrmi-providers\[ibm-system\]'"):
        qpu(site).submit(CASE.payload(0))


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (PulserBatch(b"{}", (PulserJob(1),)), "takes QiskitPrimitive, not PulserBatch: choose another QPU"),
        (QiskitPrimitive("noise-learner", b"{}"), "runs the programs sampler, estimator, not 'noise-learner'"),
    ],
)
def test_payloads_of_others(site: SystemSite, payload: Any, text: str) -> None:
    before = inputs(site)
    with pytest.raises(UnsupportedPayload, match=text):
        qpu(site).submit(payload)
    assert inputs(site) <= before


def test_what_has_no_effect_is_said(site: SystemSite) -> None:
    with pytest.warns(QRMIWarning, match="knows neither tags nor private tasks"):
        qpu(site).submit(dataclasses.replace(CASE.payload(0), tags=("mine",)))


def test_a_token_that_is_refused_is_fetched_anew(site: SystemSite) -> None:
    resource = qpu(site)
    resource.status()
    tokens = site.emulator.counters.requests["POST /identity/token"]
    site.emulator.dialect._iam._signing = b"another key, so that no token from before is good"
    CASE.verify(resource.submit(CASE.payload(15)).result(timeout=60).data, 15)
    assert site.emulator.counters.requests["POST /identity/token"] == tokens + 1


def test_a_choice_that_is_none(site: SystemSite) -> None:
    with pytest.raises(ResourceUnavailable, match="QRMI_IBM_QS_KEEP of qpu is 'maybe': yes or no was expected"):
        qpu(site, QRMI_IBM_QS_KEEP="maybe")


def test_a_silent_server_costs_its_time_out(site: SystemSite) -> None:
    resource = qpu(site, QRMI_HTTP_READ_TIMEOUT="0.5", QRMI_HTTP_DEADLINE="1")
    site.s3.faults.next_faults = [("PUT", "hang")]
    with pytest.raises(VendorUnreachable, match=r"was silent for 0.5 s.*QRMI_IBM_QS_S3_ENDPOINT of qpu"):
        resource.submit(CASE.payload(0))


def test_a_storage_with_a_certificate_of_the_site(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with s3_site(tls=context) as s3:
        bucket = Bucket("qpu", s3.environment(), HttpSettings(deadline=0.5))
        with pytest.raises(VendorUnreachable, match=r"name the authority's file in QRMI_HTTP_CA_FILE of qpu"):
            bucket.put("key", b"data")
        bucket = Bucket("qpu", s3.environment(), HttpSettings(ca=str(tmp_path / "ca.pem")))
        bucket.put("key", b"data")
        assert bucket.get("key") == b"data"
        assert bucket.get("another key") is None
        bucket._http.close()  # a TLS server waits for its client's goodbye


def test_a_proxy_on_the_way_to_the_storage(site: SystemSite) -> None:
    bucket = Bucket("qpu", site.environment, HttpSettings(proxy="http://127.0.0.1:9", deadline=0.5))
    with pytest.raises(VendorUnreachable, match=r"the proxy for http.* cannot be used"):
        bucket.put("key", b"data")


def test_sampler(site: SystemSite) -> None:
    check_sampler(qpu(site))


def test_estimator(site: SystemSite) -> None:
    check_estimator(qpu(site))


def test_what_is_remembered_is_bounded() -> None:
    ended = EndedTasks(most_tasks=2, most_bytes=10)
    for number in range(3):
        ended.remember(TaskInfo(str(number), TaskStatus.COMPLETED))
        ended.keep("results", str(number), b"four")
    assert [ended.info(str(number)) is not None for number in range(3)] == [False, True, True]
    assert [ended.text("results", str(number)) for number in range(3)] == [None, b"four", b"four"]
    ended.keep("results", "large", b"x" * 100)
    assert ended.text("results", "large") == b"x" * 100
    assert ended.text("results", "2") is None


def test_an_error_in_the_background_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    later, done = Background(), threading.Event()

    def fail(error: Exception) -> None:
        raise error

    for error in (QRMIError("no"), ValueError("no")):
        for _ in range(4):
            later.do(lambda error=error: fail(error))
    later.do(done.set)
    assert later.finish(10)
    assert done.is_set()
    assert "work in the background failed" in caplog.text
