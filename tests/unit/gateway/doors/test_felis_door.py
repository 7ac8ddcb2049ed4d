# SPDX-License-Identifier: Apache-2.0
"""The door of Felis: our driver and Alice & Bob's provider in jobs, and jobs that try what is not theirs."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doored import Doored, Job, doored
from felis_case import CASE, SHOTS, payload, verify
from munge_daemon import Munged
from vendor_environment import python_with
from vendor_site import Clock, Site

from qrmi_core import JobContext, TaskStatus
from qrmi_core.drivers.felis import AliceBobFelisDriver
from qrmi_core.errors import InputError, QRMIError, TaskNotFound

ROOT = "/r/cats"
TARGET = "EMU:30Q:IDEAL"
UNKNOWN = "00000000-0000-0000-0000-000000000007"
PROVIDER = "qiskit-alice-bob-provider==3.0.0"
PROGRAM = Path(__file__).parents[3] / "vendors" / "programs" / "alice_bob_provider.py"
FORM = b'--b\r\nContent-Disposition: form-data; name="input"; filename="input"\r\n\r\nprogram\r\n--b--\r\n'
OF_JOBS = [
    ("GET", "/v1/jobs/{id}"),
    ("GET", "/v1/jobs/{id}/input"),
    ("GET", "/v1/jobs/{id}/output"),
    ("GET", "/v1/jobs/{id}/memory"),
    ("GET", "/v1/jobs/{id}/transpiled"),
    ("GET", "/v1/jobs/{id}/metrics"),
    ("POST", "/v1/jobs/{id}/input"),
    ("DELETE", "/v1/jobs/{id}"),
]
ORDER = {
    "inputDataFormat": "HUMAN_QIR",
    "outputDataFormat": "HISTOGRAM",
    "target": TARGET,
    "inputParams": {"nbShots": 10},
}


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


def resources(vendor: Site) -> list[dict[str, Any]]:
    values = {**vendor.environment, "QRMI_MIN_POLL": "0", "QRMI_HTTP_DEADLINE": "10"}
    return [{"name": "cats", "type": "alice-bob-felis", "lanes": 100, "environment": values}]


def values_of(job: Job) -> dict[str, str]:
    """What the job's environment says of the resource."""
    return {
        name.removeprefix("cats_"): value for name, value in job.environment.items() if name.startswith("cats_QRMI_")
    }


def ours(job: Job) -> AliceBobFelisDriver:
    return AliceBobFelisDriver.from_environment("cats", values_of(job), JobContext())


def ask(job: Job, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Any:
    """Status and body of a request with an API key, by default that of the job."""
    sent = {"Authorization": f"Basic {key or values_of(job)['QRMI_AB_FELIS_API_KEY']}", **headers}
    if method == "POST" and path.endswith("/input"):
        body, sent["Content-Type"] = FORM, "multipart/form-data; boundary=b"
    return job.ask(method, ROOT + path, body, headers=sent)


def test_our_driver_in_a_job(gateway: Doored, vendor: Site, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    job = gateway.granted("cats", uid=1001)
    assert vendor.environment["QRMI_AB_FELIS_API_KEY"] not in json.dumps(job.environment)
    resource = ours(job)
    assert resource.is_accessible()
    assert resource.target().json()["name"] == TARGET
    task = resource.submit(payload(77))
    verify(task.result(timeout=60).value.encode(), 77)
    assert "SUCCEEDED" in task.logs()
    clock.seconds = 600.0
    slow = resource.submit(payload(78))
    slow.cancel()
    assert slow.status() is TaskStatus.CANCELLED
    assert resource.task_ids() == [slow.id, task.id]
    with pytest.raises(TaskNotFound, match=UNKNOWN):
        resource.task_info(UNKNOWN)
    with pytest.raises(InputError, match="nbShot"):
        resource._create({"nbShot": 1})
    told = {each["task"]: each for each in gateway.do(gateway.gateway.doors.books.usage(uid=1001)).tasks}
    done, cancelled = told[task.id], told[slow.id]
    assert (done["program"], done["shots"], done["outcome"]) == ("qir", SHOTS, "completed")
    assert done["submitted"] <= done["ended"]
    assert cancelled["outcome"] == "cancelled"
    for secret in (vendor.environment["QRMI_AB_FELIS_API_KEY"], job.token):
        assert secret not in caplog.text


@pytest.mark.parametrize("fault", ["reset_after", "error_after", "too_many", "unavailable", "truncated", "cut_json"])
def test_a_program_arrives_once_whatever_happens(gateway: Doored, vendor: Site, fault: str) -> None:
    resource, runs = ours(gateway.granted("cats")), vendor.emulator.device.runs
    vendor.emulator.faults.next_faults += [("POST /v1/jobs/{id}/input", fault), ("POST /v1/jobs/", fault)]
    verify(resource.submit(payload(5)).result(timeout=60).value.encode(), 5)
    assert vendor.emulator.device.runs == runs + 1


def test_the_vendors_own_errors_arrive(gateway: Doored, vendor: Site) -> None:
    job = gateway.granted("cats")
    for fault, expected in (("too_many", 429), ("unavailable", 503), ("error", 500), ("reset_before", 200)):
        vendor.emulator.faults.next_faults.append(("GET /v1/targets/{target}/health", fault))
        assert ask(job, "GET", f"/v1/targets/{TARGET}/health")[0] == expected
    assert ask(job, "POST", "/v1/jobs/", {**ORDER, "inputDataFormat": "ELSE"})[0] == 422


def test_nobody_reaches_the_jobs_of_another(gateway: Doored, clock: Clock) -> None:
    clock.seconds = 600.0
    users = [gateway.granted("cats", uid=uid) for uid in (1003, 1003, 1004, 1004)]
    tasks = [ours(each).submit(payload(number)).id for number, each in enumerate(users)]
    for job, other in ((users[0], tasks[2]), (users[1], tasks[3]), (users[2], tasks[0]), (users[3], tasks[1])):
        for method, path in OF_JOBS:
            status, told = ask(job, method, path.format(id=other))
            unknown = ask(job, method, path.format(id=UNKNOWN))
            assert (status, json.dumps(told).replace(other, UNKNOWN)) == (404, json.dumps(unknown[1])), (method, path)
        assert other not in json.dumps(ask(job, "GET", "/v1/jobs/"))
    for job, own in zip(users, tasks, strict=True):
        listed = ask(job, "GET", "/v1/jobs/?page=1&limit=10")[1]
        assert {each["id"] for each in listed} == set(tasks[:2] if own in tasks[:2] else tasks[2:])
        assert len(ask(job, "GET", "/v1/jobs/?limit=1")[1]) == 1
        assert ask(job, "GET", "/v1/jobs/?page=3&limit=1")[1] == []
        assert ask(job, "DELETE", f"/v1/jobs/{own}")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/v1/targets/QPU:1Q:BOSON_4A/health", None, 403),
        ("GET", "/v1/targets/QPU:1Q:BOSON_4A/availabilities", None, 403),
        ("POST", "/v1/jobs/", {**ORDER, "target": "QPU:1Q:BOSON_4A"}, 403),
        ("POST", "/v1/jobs/", {**ORDER, "target": [TARGET]}, 403),
        ("POST", "/v1/jobs/", {"inputParams": {"target": TARGET}}, 403),
        ("POST", "/v1/jobs/", {**ORDER, "project": "other"}, 422),
        ("POST", "/v1/jobs/", b'{"target": "EMU:30Q:IDEAL", "target": "QPU:1Q:BOSON_4A"}', 400),
        ("POST", "/v1/jobs/", b"[]", 400),
        ("POST", "/v1/jobs/", b"\xff", 400),
        ("GET", "/v1/jobs/?user=other", None, 400),
        ("GET", "/v1/jobs/?page=0", None, 422),
        ("GET", "/v1/jobs/..%2Ftargets", None, 400),
        ("GET", "/v1/users/", None, 404),
        ("PUT", "/v1/jobs/", {}, 405),
    ],
)
def test_what_is_not_of_the_lease_is_refused(
    gateway: Doored, vendor: Site, method: str, path: str, body: Any, expected: int
) -> None:
    job, before = gateway.granted("cats"), vendor.emulator.counters.total()
    status, told = ask(job, method, path, body)
    assert status == expected, told
    assert vendor.emulator.counters.total() == before
    if expected == 403:
        assert told["error"]["message"] == f"this job has the target {TARGET}, and no other"


def test_the_forms_of_a_key(gateway: Doored) -> None:
    job = gateway.granted("cats")
    for authorization, expected in (
        (f"Basic {base64.b64encode(f'anybody:{job.token}'.encode()).decode()}", 200),
        (f"Basic {job.token}", 200),
        (f"Api-Key {job.token}", 200),
        (f"Bearer {job.token}", 401),
        ("Basic", 401),
        ("Basic bm9ib2R5OndpdGhvdXQ=", 401),
    ):
        status, told = job.ask("GET", f"{ROOT}/v1/targets/", headers={"Authorization": authorization})
        assert status == expected, told
    assert [each["name"] for each in ask(job, "GET", "/v1/targets/")[1]] == [TARGET]


def test_after_the_job_nothing_is_answered_and_a_later_one_reads_its_results(gateway: Doored, clock: Clock) -> None:
    job = gateway.granted("cats", uid=1005, account="physics")
    task = ours(job).submit(payload(9))
    task.result(timeout=60)
    clock.seconds = 600.0
    left = ours(job).submit(payload(10))
    gateway.release(job)
    for method, path in [*OF_JOBS, ("GET", "/v1/jobs/"), ("POST", "/v1/jobs/"), ("GET", "/v1/targets/")]:
        status, told = ask(job, method, path.format(id=task.id))
        assert (status, told["error"]["code"]) == (401, 401)
    later = ours(gateway.granted("cats", uid=1005, account="physics"))
    verify(later.task(task.id).result(timeout=60).value.encode(), 9)
    assert later.task_info(left.id).status is TaskStatus.CANCELLED
    assert set(later.task_ids()) == {task.id, left.id}
    for other in (gateway.granted("cats", uid=1005, account="art"), gateway.granted("cats", uid=1006)):
        with pytest.raises(QRMIError, match=f"knows no task {task.id}"):
            ours(other).task_info(task.id)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_vendors_own_provider_in_a_job(gateway: Doored, clock: Clock) -> None:
    python, job = python_with(PROVIDER), gateway.granted("cats")
    values = values_of(job)
    circuit = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; x q[0]; cx q[0],q[2]; measure q -> c;'

    def run(do: str, **more: Any) -> Any:
        asked = {
            "do": do, "key": values["QRMI_AB_FELIS_API_KEY"], "url": values["QRMI_AB_FELIS_BASE_ENDPOINT"],
            "target": TARGET, "circuit": circuit, "shots": 100, **more,
        }  # fmt: skip
        done = subprocess.run(
            [python, PROGRAM], input=json.dumps(asked), env={"PATH": os.defpath, **job.environment},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    told = run("sample")
    assert (told["backends"], told["refused"]) == ([TARGET], 401)
    assert told["sampled"]["counts"] == {"101": 100}
    assert told["axes"] == {"1111": 20}
    clock.seconds = 600.0
    told = run("cancel")["cancelled"]
    assert (told["after"], told["again"]) == ("CANCELLED", 409)
