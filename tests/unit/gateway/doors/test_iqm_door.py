# SPDX-License-Identifier: Apache-2.0
"""The door of IQM Servers: our driver and IQM's own client in jobs, and jobs that try what is not theirs."""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from doored import Doored, Job, doored
from iqm_case import CASE, circuit, measure, numbered, prx, verify
from iqm_case import job as job_of
from munge_daemon import Munged
from vendor_environment import python_with
from vendor_site import Clock, Site

from qrmi_core import JobContext, QuantumResource, TaskStatus, polling
from qrmi_core.drivers.iqm import IQMServerDriver
from qrmi_core.errors import SubmissionUncertain, TaskNotFound, VendorError
from qrmi_core.leases import keeper

ROOTS = ("/r/garnet/api/v1", "/api/v1")
UNKNOWN = "00000000-0000-0000-0000-000000000007"
PROGRAMS = Path(__file__).parents[3] / "vendors" / "programs"
IQM_CLIENT = "iqm-client[qiskit]==36.0.0"
OF_JOBS = [
    ("GET", "/jobs/{id}"),
    ("GET", "/jobs/{id}?wait_until_terminal=true&timeout_seconds=1"),
    ("GET", "/jobs/{id}/payload"),
    ("GET", "/jobs/{id}/artifacts/measurements"),
    ("GET", "/jobs/{id}/artifacts/measurement_counts"),
    ("POST", "/jobs/{id}/cancel"),
    ("DELETE", "/jobs/{id}"),
]


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def vendor(clock: Clock) -> Iterator[Site]:
    with CASE.start(service_time=clock) as running:
        yield running


@pytest.fixture(autouse=True)
def undisturbed(vendor: Site, clock: Clock) -> Iterator[None]:
    yield
    clock.seconds = 0.0
    vendor.emulator.faults.next_faults.clear()


@pytest.fixture(scope="module")
def gateway(vendor: Site, daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doored]:
    with doored(tmp_path_factory.mktemp("gateway"), daemons.socket, resources(vendor)) as running:
        yield running


def resources(vendor: Site, **more: str) -> list[dict[str, Any]]:
    values = {**vendor.environment, "QRMI_MIN_POLL": "0", "QRMI_HTTP_DEADLINE": "10", **more}
    return [{"name": "garnet", "type": "iqm-server", "lanes": 100, "environment": values}]


def ours(job: Job) -> QuantumResource:
    """Our driver with what the job's environment says."""
    of_it = {name: value for name, value in job.environment.items() if name.startswith("garnet_QRMI_")}
    values = {name.removeprefix("garnet_"): value for name, value in of_it.items()}
    return IQMServerDriver.from_environment("garnet", values, JobContext())


def test_our_driver_in_a_job(gateway: Doored, vendor: Site, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    job = gateway.granted("garnet", uid=1001)
    assert vendor.environment["QRMI_IQM_ISA_TOKEN"] not in json.dumps(job.environment)
    resource = ours(job)
    assert resource.is_accessible()
    assert resource.target().json()["dynamic_quantum_architecture"]["qubits"][0] == "QB1"
    task = resource.submit(numbered(77))
    verify(task.result(timeout=60).value.encode(), 77)
    assert "completed" in task.logs()
    clock.seconds = 600.0
    slow = resource.submit(numbered(78))
    slow.cancel()
    assert slow.status() is TaskStatus.CANCELLED
    with pytest.raises(TaskNotFound, match=UNKNOWN):
        resource.task_info(UNKNOWN)
    told = {each["task"]: each for each in gateway.do(gateway.gateway.doors.books.usage(uid=1001)).tasks}
    done, cancelled = told[task.id], told[slow.id]
    assert (done["program"], done["shots"], done["outcome"]) == ("circuit", 5, "completed")
    assert done["usage_seconds"] > 0
    assert done["submitted"] <= done["ended"]
    assert cancelled["outcome"] == "cancelled"
    for secret in (vendor.environment["QRMI_IQM_ISA_TOKEN"], job.token):
        assert secret not in caplog.text


def test_a_submission_whose_answer_is_lost_is_not_sent_again(gateway: Doored, vendor: Site) -> None:
    resource = ours(gateway.granted("garnet"))
    for fault in ("reset_after", "cut_json", "truncated", "error_after"):
        runs = vendor.emulator.device.runs
        vendor.emulator.faults.next_faults.append(("POST /api/v1/jobs/", fault))
        with pytest.raises(SubmissionUncertain, match="nobody knows whether the task was taken"):
            resource.submit(numbered(1))
        assert vendor.emulator.device.runs == runs + 1, fault


def test_what_cannot_be_noted_is_cancelled_and_not_left_to_run(
    gateway: Doored, vendor: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.seconds = 600.0
    monkeypatch.setattr(keeper, "MOST_TASKS", 0)
    resource, before = ours(gateway.granted("garnet")), set(vendor.emulator.dialect._jobs)
    with pytest.raises(VendorError, match=r"the job was cancelled, since it could not be noted: lease .* has 0 tasks"):
        resource.submit(numbered(1))
    (left,) = set(vendor.emulator.dialect._jobs) - before
    status = vendor.resource().task_status(left)
    assert status is TaskStatus.CANCELLED


def test_the_vendors_own_errors_arrive(gateway: Doored, vendor: Site) -> None:
    job = gateway.granted("garnet")
    for fault, status in (("too_many", 429), ("unavailable", 503), ("error", 500)):
        vendor.emulator.faults.next_faults.append(("GET /api/v1/quantum-computers/{qc}", fault))
        assert job.ask("GET", "/r/garnet/api/v1/quantum-computers/iqm:crystal")[0] == status
    vendor.emulator.faults.next_faults.append(("GET /api/v1/quantum-computers/{qc}", "reset_before"))
    assert job.ask("GET", "/r/garnet/api/v1/quantum-computers/iqm:crystal")[0] == 200
    vendor.emulator.faults.next_faults.append(("POST /api/v1/jobs/", "too_many"))
    verify(ours(job).submit(numbered(3)).result(timeout=60).value.encode(), 3)
    with pytest.raises(VendorError, match="has no timeslots"):
        ours(job)._http.submit("/jobs/iqm:crystal/circuit", data=numbered(1).iqmjson, query={"use_timeslot": "true"})


def test_nobody_reaches_the_jobs_of_another(gateway: Doored, clock: Clock) -> None:
    clock.seconds = 600.0
    users = [gateway.granted("garnet", uid=uid) for uid in (1001, 1001, 1002, 1002)]
    tasks = [ours(each).submit(numbered(number)).id for number, each in enumerate(users)]
    for job, other in ((users[0], tasks[2]), (users[1], tasks[3]), (users[2], tasks[0]), (users[3], tasks[1])):
        for root in ROOTS:
            for method, path in OF_JOBS:
                for spelt in (other, other.upper(), other.replace("-", "")):
                    status, told = job.ask(method, root + path.format(id=spelt))
                    unknown = job.ask(method, root + path.format(id=UNKNOWN))
                    assert (status, told["error_code"]) == (404, "job_not_found"), (method, path)
                    assert told["message"].replace(spelt, "") == unknown[1]["message"].replace(UNKNOWN, "")
    clock.seconds = 0.0
    for job, own in zip(users, tasks, strict=True):
        assert job.ask("GET", f"/api/v1/jobs/{own}")[1]["status"] in {"waiting", "processing"}
        assert job.ask("GET", f"/r/garnet/api/v1/jobs/{own.upper()}")[0] == 200
        assert job.ask("DELETE", f"/api/v1/jobs/{own}")[0] == 204


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/quantum-computers/other", 403),
        ("GET", "/quantum-computers/other/health", 403),
        ("GET", "/quantum-computers/other/artifacts/about", 403),
        ("GET", "/calibration-sets/other/default", 403),
        ("POST", "/jobs/other/circuit", 403),
        ("POST", "/jobs/iqm:crystal/other", 400),
        ("POST", "/jobs/iqm:crystal/circuit?project=other", 400),
        ("GET", "/quantum-computers?all=true", 400),
        ("GET", "/quantum-computers/iqm:crystal/artifacts/other", 404),
        ("GET", "/calibration-sets/iqm:crystal/default/other", 404),
        ("GET", "/quantum-computers/iqm:crystal/timeslots", 404),
        ("GET", "/jobs", 404),
        ("GET", "/tokens", 404),
        ("GET", "/jobs/..%2fabout", 400),
        ("GET", "/jobs/../about", 405),
    ],
)
def test_what_is_not_of_the_lease_is_refused(
    gateway: Doored, vendor: Site, method: str, path: str, expected: int
) -> None:
    job = gateway.granted("garnet")
    before = vendor.emulator.counters.total(without=("/api/v1/quantum-computers",))
    status, told = job.ask(method, f"/r/garnet/api/v1{path}", b"{}" if method == "POST" else None)
    assert status == expected, told
    assert vendor.emulator.counters.total(without=("/api/v1/quantum-computers",)) == before
    if expected == 403:
        assert told["message"] == "this job has the quantum computer iqm:crystal, and no other"


def test_bodies_that_can_be_read_in_two_ways(gateway: Doored, vendor: Site) -> None:
    job = gateway.granted("garnet")
    runs = vendor.emulator.device.runs
    for body in (b"[]", b"{", b'{"shots": 1, "shots": 2}', b"\xff", b'{"shots": 1} {}', b""):
        status, told = job.ask("POST", "/r/garnet/api/v1/jobs/iqm:crystal/circuit", body)
        assert (status, told["error_code"]) == (400, "invalid_input"), body
    assert vendor.emulator.device.runs == runs
    packed = gzip.compress(job_of(circuit(prx(1), measure(1))))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    status, told = job.ask("POST", "/r/garnet/api/v1/jobs/iqm:crystal/circuit", packed, headers=headers)
    assert (status, told["type"]) == (201, "circuit")


def test_nothing_is_answered_without_a_good_token_or_after_the_job(gateway: Doored) -> None:
    job = gateway.granted("garnet")
    task = ours(job).submit(numbered(4)).id
    routes = [*OF_JOBS, ("GET", "/quantum-computers"), ("GET", "/about"), ("POST", "/jobs/iqm:crystal/circuit")]
    for root in ROOTS:
        for method, path in routes:
            assert job.ask(method, root + path.format(id=task), token="wrong")[0] == 401
    gateway.release(job)
    for root in ROOTS:
        for method, path in routes:
            status, told = job.ask(method, root + path.format(id=task))
            assert (status, told["error_code"]) == (401, "unauthorized")


def test_who_is_held_is_answered_when_the_gateway_ends(
    vendor: Site, daemons: Munged, tmp_path: Path, clock: Clock
) -> None:
    clock.seconds = 600.0
    with ThreadPoolExecutor(1) as threads:
        with doored(tmp_path, daemons.socket, resources(vendor)) as ending:
            job = ending.granted("garnet")
            path = f"/api/v1/jobs/{ours(job).submit(numbered(1)).id}?wait_until_terminal=true&timeout_seconds=30"
            seen = vendor.emulator.counters.requests["GET /api/v1/jobs/{id}"]
            held = threads.submit(job.asked, "GET", path)
            counted = vendor.emulator.counters.requests
            assert polling.wait_until(lambda: counted["GET /api/v1/jobs/{id}"] > seen, timeout=20)
        status, headers, told = held.result(1)
    assert (status, headers["iqm-long-poll-timed-out"], told["status"]) == (200, "true", "processing")


def test_results_are_there_for_a_later_job_and_another_gateway(
    vendor: Site, daemons: Munged, tmp_path: Path, clock: Clock
) -> None:
    with doored(tmp_path, daemons.socket, resources(vendor)) as first:
        job = first.granted("garnet", uid=1001, account="physics")
        done = ours(job).submit(numbered(9))
        done.result(timeout=60)
        clock.seconds = 600.0
        left = ours(job).submit(numbered(10))
        first.release(job)
    first.gateway.journal.close()
    with doored(tmp_path, daemons.socket, resources(vendor)) as second:
        later = second.granted("garnet", uid=1001, account="physics")
        verify(ours(later).task(done.id).result(timeout=60).value.encode(), 9)
        assert ours(later).task_info(left.id).status is TaskStatus.CANCELLED
        for other in (second.granted("garnet", uid=1001, account="art"), second.granted("garnet", uid=1002)):
            assert other.ask("GET", f"/api/v1/jobs/{done.id}")[0] == 404


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_iqms_own_client_in_a_job(gateway: Doored, clock: Clock) -> None:
    python = python_with(IQM_CLIENT)
    job = gateway.granted("garnet")

    def run(program: str, asked: Any) -> Any:
        done = subprocess.run(
            [python, "-P", "-W", "ignore", PROGRAMS / program],
            input=json.dumps(asked), env={"PATH": os.defpath, **job.environment},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    flipped = random.SystemRandom().randrange(1, 20)
    told = run("iqm_client_jobs.py", {"circuits": [[prx(flipped), measure(flipped)]], "shots": 7})
    assert told["status"] == "completed"
    assert told["measurements"] == [{"m": [[1]] * 7}]
    assert told["payload_shots"] == 7
    assert told["timeslot"][0] == "ForbiddenError"
    assert told["unknown"][0] == "NotFoundError"
    assert told["deleted"][1][0] == "NotFoundError"
    clock.seconds = 600.0
    assert run("iqm_client_cancels.py", None)["after"] == "cancelled"
