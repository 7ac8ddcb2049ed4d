# SPDX-License-Identifier: Apache-2.0
"""The door of IBM's machines on premises: our driver and IBM's client in jobs, and jobs that try what is not theirs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doored import Doored, Job, doored
from ibm_compute_case import sampler_payload, shows
from ibm_system_case import SystemSite, start
from munge_daemon import Munged
from vendor_site import Clock

from qrmi_core import JobContext, QiskitPrimitive, TaskInfo, TaskStatus, polling
from qrmi_core.drivers.ibm_compute import IBMQuantumComputeService
from qrmi_core.drivers.vendor import new_id
from qrmi_core.errors import QRMIError, TaskNotFound
from qrmi_core.gateway.dialects.ibm_system import QuantumSystem
from qrmi_core.gateway.doors.ibm_documents import job_document
from qrmi_core.gateway.doors.ibm_system_documents import unsent
from qrmi_core.leases import LeaseTask

ROOTS = ("/r/onsite/api/v1", "/r/onsite/experimental/api/v1", "/experimental/api/v1")
UNKNOWN = "00000000-0000-4000-8000-000000000007"
PROGRAM = Path(__file__).parent / "programs" / "ibm_on_premises.py"
SECRETS = ("QRMI_IBM_QS_IAM_APIKEY", "QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY")
OF_JOBS = [
    ("GET", "/jobs/{id}", None),
    ("GET", "/jobs/{id}?exclude_params=true", None),
    ("GET", "/jobs/{id}/results", None),
    ("GET", "/jobs/{id}/logs", None),
    ("GET", "/jobs/{id}/metrics", None),
    ("POST", "/jobs/{id}/cancel", None),
    ("PUT", "/jobs/{id}/tags", {"tags": ["x"]}),
    ("DELETE", "/jobs/{id}", None),
]
OF_SESSIONS = [
    ("GET", "/sessions/{id}", None),
    ("PATCH", "/sessions/{id}", {"accepting_jobs": False}),
    ("DELETE", "/sessions/{id}/close", None),
]


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def machine(clock: Clock) -> Iterator[SystemSite]:
    with start(service_time=clock, lanes=2) as running:
        yield running


@pytest.fixture(autouse=True)
def undisturbed(machine: SystemSite, clock: Clock) -> Iterator[None]:
    yield
    clock.seconds = 0.0
    machine.emulator.faults.next_faults.clear()
    dialect(machine).counts_ended_jobs = dialect(machine).reserved = False
    dialect(machine).jobs.clear()


@pytest.fixture(scope="module")
def gateway(machine: SystemSite, daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doored]:
    with doored(tmp_path_factory.mktemp("gateway"), daemons.socket, resources(machine)) as running:
        yield running


@pytest.fixture
def granted(gateway: Doored) -> Iterator[Callable[..., Job]]:
    """Makes jobs that are over at the test's end."""
    jobs: list[Job] = []

    def grant(**of_whom: Any) -> Job:
        jobs.append(gateway.granted("onsite", **of_whom))
        return jobs[-1]

    yield grant
    for job in jobs:
        gateway.release(job)


def dialect(machine: SystemSite) -> QuantumSystem:
    found = machine.emulator.dialect
    assert isinstance(found, QuantumSystem)
    return found


def resources(machine: SystemSite, **more: str) -> list[dict[str, Any]]:
    values = {**machine.environment, "QRMI_MIN_POLL": "0", "QRMI_HTTP_DEADLINE": "10", **more}
    return [{"name": "onsite", "type": "ibm-quantum-system", "lanes": 100, "environment": values}]


def ours(job: Job) -> IBMQuantumComputeService:
    """The driver that a job gets, with what its environment says."""
    of_it = {name: value for name, value in job.environment.items() if name.startswith("onsite_QRMI_")}
    values = {name.removeprefix("onsite_"): value for name, value in of_it.items()}
    return IBMQuantumComputeService.from_environment("onsite", values, JobContext())


def order(number: int = 1, **fields: Any) -> dict[str, Any]:
    """What creates a job."""
    payload = sampler_payload(number)
    return {"program_id": "sampler", "backend": "aer_ideal", "params": json.loads(payload.parameters), **fields}


def ended(job: Job, task: str) -> dict[str, Any]:
    """A job's document once it has ended."""
    told: dict[str, Any] = {}

    def has_ended() -> bool:
        nonlocal told
        told = job.ask("GET", f"/experimental/api/v1/jobs/{task}?exclude_params=true")[1]
        return told["state"]["status"] not in {"Queued", "Running"}

    assert polling.wait_until(has_ended, timeout=60)
    return told


def test_our_driver_in_a_job(
    gateway: Doored,
    machine: SystemSite,
    clock: Clock,
    granted: Callable[..., Job],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    job = granted(uid=1001)
    told = json.dumps(job.environment)
    secrets = [machine.environment[name] for name in SECRETS]
    assert not [secret for secret in secrets if secret in told]
    resource = ours(job)
    assert resource.is_accessible()
    assert resource.target().json()["configuration"]["simulator"] is False
    task = resource.submit(sampler_payload(77))
    for _ in range(2):
        shows(task.result(timeout=60).value.encode(), 77)
    shows(ours(job).task(task.id).result(timeout=60).value.encode(), 77)
    assert polling.wait_until(lambda: task.id not in dialect(machine).jobs, timeout=20), "its record takes a lane"
    clock.seconds = 600.0
    slow = resource.submit(replace(sampler_payload(78), tags=("mine",)))
    slow.cancel()
    assert slow.status() is TaskStatus.CANCELLED
    assert resource.task_ids() == [slow.id, task.id]
    with pytest.raises(TaskNotFound, match=UNKNOWN):
        resource.task_info(UNKNOWN)
    told = {each["task"]: each for each in gateway.do(gateway.gateway.doors.books.usage(uid=1001)).tasks}
    done, cancelled = told[task.id], told[slow.id]
    assert (done["program"], done["outcome"], cancelled["outcome"]) == ("sampler", "completed", "cancelled")
    assert done["usage_seconds"] > 0
    assert not [secret for secret in (*secrets, job.token) if secret in caplog.text]


def test_what_a_job_is_told_of_its_tasks(machine: SystemSite, granted: Callable[..., Job]) -> None:
    job = granted()
    status, made = job.ask("POST", "/r/onsite/api/v1/jobs", order(5, tags=["a", "b"], cost=60, log_level="WARNING"))
    assert (status, made["backend"], made["private"]) == (200, "aer_ideal", False)
    task = made["id"]
    assert dialect(machine).jobs[task].sent["timeout_secs"] == 60
    told = ended(job, task)
    assert (told["status"], told["tags"], told["cost"], told["backend"]) == ("Completed", ["a", "b"], 60, "aer_ideal")
    assert told["usage"]["seconds"] > 0
    whole = job.ask("GET", f"/r/onsite/api/v1/jobs/{task}")[1]
    assert whole == told | {"params": order(5)["params"]}
    assert job.ask("PUT", f"/r/onsite/api/v1/jobs/{task}/tags", {"tags": ["c"]})[0] == 204
    for query, found in (
        ("tags=c", True), ("tags=a", False), ("pending=true", False), ("program=sampler", True), ("limit=0", None),
        ("backend=onsite", True), ("created_after=2020-01-01T00:00:00Z", True), ("other=1", None),
    ):  # fmt: skip
        status, listed = job.ask("GET", f"/experimental/api/v1/jobs?{query}")
        assert status == (400 if found is None else 200), query
        assert found is None or [each["id"] for each in listed["jobs"]] == [task] * found, query
    assert "finished" in job.ask("GET", f"/r/onsite/api/v1/jobs/{task}/metrics")[1]["timestamps"]
    assert job.ask("POST", f"/r/onsite/api/v1/jobs/{task}/cancel")[0] == 409
    assert machine.s3.url not in json.dumps(whole)
    assert job.ask("DELETE", f"/r/onsite/api/v1/jobs/{task}")[0] == 204
    assert job.ask("GET", f"/r/onsite/api/v1/jobs/{task}")[0] == 404
    assert not {key for key in machine.s3.stored() if task in key}
    private = job.ask("POST", "/r/onsite/api/v1/jobs", order(6, private=True))[1]["id"]
    ended(job, private)
    assert "params" not in job.ask("GET", f"/r/onsite/api/v1/jobs/{private}")[1]


def test_a_task_that_fails_or_takes_too_long_says_so(clock: Clock, granted: Callable[..., Job]) -> None:
    job = granted()
    garbage = job.ask("POST", "/r/onsite/api/v1/jobs", order() | {"params": {"pubs": [["nonsense"]]}})[1]["id"]
    told = ended(job, garbage)
    assert (told["status"], told["state"]["reason_code"]) == ("Failed", 1517)
    assert job.ask("GET", f"/r/onsite/api/v1/jobs/{garbage}/results")[1].decode() == told["state"]["reason"]
    clock.seconds = 600.0
    late = ended(job, job.ask("POST", "/r/onsite/api/v1/jobs", order(cost=1))[1]["id"])
    assert (late["status"], late["state"]["status"]) == ("Cancelled - Ran too long", "Cancelled")
    assert late["state"]["reason_code"] == 1305


def test_signed_urls_of_the_storage_are_not_told() -> None:
    reason = "GET https://s3.example.org/b/input_1.json?X-Amz-Signature=ab12&X-Amz-Date=1 answered 403: forbidden"
    told = job_document({}, TaskInfo("1", TaskStatus.FAILED, reason=reason))
    assert told["state"]["reason"] == "GET https://s3.example.org/b/input_1.json answered 403: forbidden"


@pytest.mark.parametrize("program", ["executor", "noise-learner"])
def test_programs_that_the_machine_does_not_have(
    machine: SystemSite, granted: Callable[..., Job], program: str
) -> None:
    stored = machine.s3.stored()
    status, told = granted().ask("POST", "/r/onsite/api/v1/jobs", order() | {"program_id": program, "params": {}})
    assert status == 400
    assert (
        f"runs sampler and estimator programs (SamplerV2, EstimatorV2), and no {program}"
        in told["errors"][0]["message"]
    )
    assert machine.s3.stored() == stored


def test_sessions_group_jobs(clock: Clock, granted: Callable[..., Job]) -> None:
    job, at = granted(), "/experimental/api/v1"
    for mode in ("dedicated", "batch"):
        clock.seconds = 0.0
        status, session = job.ask("POST", f"{at}/sessions", {"mode": mode, "backend": "onsite", "max_ttl": 300})
        assert (status, session["mode"], session["state"]) == (200, mode, "open")
        assert 0 < session["max_ttl"] <= 300
        first = job.ask("POST", f"{at}/jobs", order(3, session_id=session["id"]))[1]
        assert first["session_id"] == session["id"]
        ended(job, first["id"])
        listed = job.ask("GET", f"{at}/jobs?session_id={session['id']}")[1]["jobs"]
        assert [each["id"] for each in listed] == [first["id"]]
        clock.seconds = 600.0
        second = job.ask("POST", f"{at}/jobs", order(4, session_id=session["id"]))[1]
        assert job.ask("PATCH", f"{at}/sessions/{session['id']}", {"accepting_jobs": False})[0] == 204
        told = job.ask("GET", f"{at}/sessions/{session['id']}")[1]
        assert (told["state"], told["accepting_jobs"]) == ("active", False)
        status, refused = job.ask("POST", f"{at}/jobs", order(session_id=session["id"]))
        assert (status, refused["errors"][0]["code"]) == (409, "1352")
        assert job.ask("DELETE", f"{at}/sessions/{session['id']}/close")[0] == 204
        assert ended(job, second["id"])["status"] == "Cancelled"
        assert job.ask("GET", f"{at}/sessions/{session['id']}")[1]["state"] == "closed"


def test_nobody_reaches_what_another_has(clock: Clock, granted: Callable[..., Job]) -> None:
    users = [granted(uid=1002), granted(uid=1003)]
    tasks = [job.ask("POST", f"{ROOTS[0]}/jobs", order())[1]["id"] for job in users]
    wanted = {"mode": "batch", "backend": "onsite"}
    sessions = [job.ask("POST", f"{ROOTS[0]}/sessions", wanted)[1]["id"] for job in users]

    def answers(job: Job, method: str, path: str, body: Any, wanted: str) -> Any:
        status, told = job.ask(method, path.format(id=wanted), body)
        return status, json.dumps(told["errors"]).replace(wanted, "ID")

    for job, task, session in zip(users, reversed(tasks), reversed(sessions), strict=True):
        for root in ROOTS:
            for routes, id_ in ((OF_JOBS, task), (OF_SESSIONS, session), (OF_SESSIONS, task), (OF_JOBS, session)):
                for method, path, body in routes:
                    told = answers(job, method, root + path, body, id_)
                    assert told == answers(job, method, root + path, body, UNKNOWN)
                    assert told[0] == 404, (method, path)
            told = [job.ask("POST", f"{root}/jobs", order(session_id=each)) for each in (session, UNKNOWN)]
            assert [each[0] for each in told] == [404, 404]
            for query in ("", f"?session_id={session}", "?limit=200"):
                assert task not in json.dumps(job.ask("GET", f"{root}/jobs{query}")[1])
    for job, task in zip(users, tasks, strict=True):
        assert ended(job, task)["status"] == "Completed"


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/jobs", order() | {"backend": "ibm_other"}, 403),
        ("POST", "/jobs", order() | {"backend": ["aer_ideal"]}, 403),
        ("POST", "/jobs", {"params": {"backend": "aer_ideal"}, "program_id": "sampler"}, 403),
        ("POST", "/jobs", b'{"backend": "aer_ideal", "program_id": "sampler", "params": {}, "backend": "other"}', 400),
        ("POST", "/jobs", order() | {"params": [1]}, 400),
        ("POST", "/jobs", order() | {"program_id": "other"}, 403),
        ("POST", "/jobs", order(cost=0), 400),
        ("POST", "/jobs", order(cost=True), 400),
        ("POST", "/jobs", order(private="no"), 400),
        ("POST", "/jobs", order(log_level=1), 400),
        ("POST", "/jobs", order(hub="x"), 400),
        ("POST", "/jobs", b"[]", 400),
        ("POST", "/jobs", b"\xff\xfe", 400),
        ("POST", "/sessions", {"mode": "batch", "backend": "ibm_other"}, 403),
        ("POST", "/sessions", {"mode": "batch", "backend": "onsite", "instance": "crn:v1:other"}, 403),
        ("GET", "/backends/ibm_other/status", None, 403),
        ("GET", "/jobs?backend=ibm_other", None, 403),
        ("GET", "/users", None, 404),
        ("PUT", "/jobs", {}, 405),
    ],
)
def test_what_is_not_of_the_lease_is_refused(
    machine: SystemSite, granted: Callable[..., Job], method: str, path: str, body: Any, expected: int
) -> None:
    job, runs, stored = granted(), machine.emulator.device.runs, machine.s3.stored()
    status, told = job.ask(method, f"{ROOTS[0]}{path}", body)
    assert status == expected, told
    assert (machine.emulator.device.runs, machine.s3.stored()) == (runs, stored)
    for header in ("crn:v1:other", machine.environment["QRMI_IBM_QS_SERVICE_CRN"]):
        assert job.ask("GET", f"{ROOTS[0]}/jobs", headers={"Service-CRN": header})[0] == 403


@pytest.mark.parametrize(
    "fault", ["reset_after", "error_after", "truncated", "too_many", "unavailable", "reset_before"]
)
def test_a_task_runs_once_whatever_happens(machine: SystemSite, granted: Callable[..., Job], fault: str) -> None:
    runs = machine.emulator.device.runs
    machine.emulator.faults.next_faults += [("POST /v1/jobs", fault), ("GET /v1/jobs", fault)]
    shows(ours(granted()).submit(sampler_payload(9)).result(timeout=60).value.encode(), 9)
    assert machine.emulator.device.runs == runs + 1


def test_more_jobs_than_lanes_wait_for_one(machine: SystemSite, granted: Callable[..., Job]) -> None:
    """Records of ended jobs take lanes at this machine: they are removed while others wait."""
    dialect(machine).counts_ended_jobs = True
    resource, runs = ours(granted()), machine.emulator.device.runs
    with ThreadPoolExecutor(6) as threads:
        tasks = list(threads.map(lambda number: resource.submit(sampler_payload(number)), range(6)))
    for number, task in enumerate(tasks):
        shows(task.result(timeout=60).value.encode(), number)
    assert machine.emulator.device.runs == runs + 6


def test_lanes_that_an_earlier_gateway_left_behind_are_freed(
    machine: SystemSite, daemons: Munged, tmp_path: Path
) -> None:
    """Nobody asked for the end of those tasks; a record that is not of this gateway stays."""
    dialect(machine).counts_ended_jobs = True
    with doored(tmp_path, daemons.socket, resources(machine)) as first:
        job = first.granted("onsite", uid=1008)
        task = job.ask("POST", f"{ROOTS[0]}/jobs", order(14))[1]["id"]
        others = new_id()
        other = machine.resource(context=JobContext())
        other.store_input(others, b"{}")
        other.submit_stored(others, sampler_payload(15))
        assert polling.wait_until(
            lambda: {each.status for each in dialect(machine).jobs.values()} == {"Completed", "Failed"}, timeout=30
        )
        first.release(job)
    first.gateway.journal.close()
    with doored(tmp_path, daemons.socket, resources(machine)) as second:
        job = second.granted("onsite", uid=1008)
        assert set(dialect(machine).jobs) == {task, others}
        shows(ours(job).submit(sampler_payload(16)).result(timeout=60).value.encode(), 16)
        assert task not in dialect(machine).jobs
        assert others in dialect(machine).jobs
        shows(ours(job).task(task).result(timeout=60).value.encode(), 14)
        second.release(job)


def test_a_machine_that_stays_busy_says_so(machine: SystemSite, daemons: Munged, tmp_path: Path, clock: Clock) -> None:
    with doored(tmp_path, daemons.socket, resources(machine, QRMI_IBM_QS_BUSY_DEADLINE="0.3")) as running:
        job, stored = running.granted("onsite"), machine.s3.stored()
        dialect(machine).reserved = True
        status, told = job.ask("POST", f"{ROOTS[0]}/jobs", order())
        assert (status, told["errors"][0]["message"]) == (
            429, "onsite is reserved by others, also after waiting 0.3 s: try again later",
        )  # fmt: skip
        assert job.ask("GET", f"{ROOTS[0]}/jobs")[1]["count"] == 0
        assert machine.s3.stored() == stored
        running.release(job)


def test_a_task_that_waits_for_a_lane_ends_with_its_job(
    machine: SystemSite, gateway: Doored, clock: Clock, granted: Callable[..., Job]
) -> None:
    dialect(machine).reserved = True
    job, runs, stored = granted(), machine.emulator.device.runs, machine.s3.stored()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(job.ask, "POST", f"{ROOTS[0]}/jobs", order())
        assert polling.wait_until(lambda: machine.s3.stored() != stored, timeout=20)
        gateway.release(job)
        assert waiting.result(30)[0] == 429
    assert machine.emulator.device.runs == runs
    assert machine.s3.stored() == stored


def test_a_task_that_arrives_after_its_jobs_end_is_cancelled(
    machine: SystemSite, gateway: Doored, clock: Clock, granted: Callable[..., Job]
) -> None:
    clock.seconds = 600.0
    job, stored = granted(), machine.s3.stored()
    machine.s3.faults.next_faults.append(("PUT", "slow"))
    machine.emulator.faults.next_faults += [("POST /v1/jobs", "late")]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(job.ask, "POST", f"{ROOTS[0]}/jobs", order())
        assert polling.wait_until(lambda: machine.s3.stored() != stored, timeout=20)
        gateway.release(job)
        waiting.result(30)
    assert polling.wait_until(lambda: not dialect(machine).jobs, timeout=30)


def test_after_the_job_nothing_is_answered_and_a_later_one_reads_its_results(
    machine: SystemSite, daemons: Munged, tmp_path: Path, clock: Clock
) -> None:
    """The second gateway is another process in all but name: it knows what the journal, the machine and S3 know."""
    with doored(tmp_path, daemons.socket, resources(machine)) as first:
        job, going_on = (first.granted("onsite", uid=uid, account="physics") for uid in (1004, 1005))
        done = ours(job).submit(replace(sampler_payload(11), tags=("kept",)))
        done.result(timeout=60)
        clock.seconds, runs = 2.0, machine.emulator.device.runs
        running = ours(going_on).submit(sampler_payload(12))
        assert polling.wait_until(lambda: machine.emulator.device.runs > runs, timeout=20)
        session = going_on.ask("POST", f"{ROOTS[0]}/sessions", {"mode": "batch", "backend": "onsite"})[1]["id"]
        clock.seconds = 600.0
        left = ours(job).submit(sampler_payload(13))
        web_token = job.ask(
            "POST", "/r/onsite/identity/token",
            f"grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey={job.token}".encode(),
            headers={"Authorization": "", "Content-Type": "application/x-www-form-urlencoded"},
        )[1]["access_token"]  # fmt: skip
        assert job.ask("GET", f"{ROOTS[0]}/jobs", token=web_token)[0] == 200
        first.release(job)
        for method, path, body in [*OF_JOBS, ("GET", "/jobs", None), ("GET", "/backends", None)]:
            for root in ROOTS:
                for token in (job.token, web_token):
                    assert job.ask(method, root + path.format(id=done.id), body, token=token)[0] == 401
        assert left.id not in dialect(machine).jobs
    first.gateway.journal.close()
    with doored(tmp_path, daemons.socket, resources(machine)) as second:
        later = second.granted("onsite", uid=1004, account="physics")
        shows(ours(later).task(done.id).result(timeout=60).value.encode(), 11)
        assert ours(later).task_info(left.id).status is TaskStatus.CANCELLED
        listed = later.ask("GET", f"{ROOTS[0]}/jobs?tags=kept")[1]["jobs"]
        assert [each["id"] for each in listed] == [done.id]
        for other in (second.granted("onsite", uid=1004, account="art"), second.granted("onsite", uid=1006)):
            with pytest.raises(QRMIError, match=f"knows no task {done.id}"):
                ours(other).task_info(done.id)
        same = replace(going_on, url=second.url)
        assert same.ask("GET", f"{ROOTS[0]}/sessions/{session}")[1]["state"] == "open"
        told = ended(same, running.id)
        assert told["status"] == "Completed"
        shows(same.ask("GET", f"{ROOTS[0]}/jobs/{running.id}/results")[1], 12)


def test_what_was_never_sent_is_not_there(gateway: Doored, machine: SystemSite, granted: Callable[..., Job]) -> None:
    """A gateway that ends while it sends a task has noted it before: only the machine knows whether it arrived."""
    job, books = granted(), gateway.gateway.doors.books
    record = gateway.keeper.get(job.lease)
    assert record is not None
    arrived = job.ask("POST", f"{ROOTS[0]}/jobs", order(21, tags=["arrived"]))[1]["id"]
    for task, tag in ((UNKNOWN, "lost"), (arrived, "arrived")):
        first = {
            "id": task,
            "status": "Queued",
            "state": {"status": "Queued"},
            "tags": [tag],
            "program": {"id": "sampler"},
        }
        noted = LeaseTask("onsite", task, program="sampler", detail=unsent(first), submitted=time.time())
        gateway.do(books.add(record, noted))
    assert job.ask("GET", f"{ROOTS[0]}/jobs?tags=lost")[1]["count"] == 0
    assert job.ask("GET", f"{ROOTS[0]}/jobs/{UNKNOWN}")[0] == 404
    assert [each["id"] for each in job.ask("GET", f"{ROOTS[0]}/jobs?tags=arrived")[1]["jobs"]] == [arrived]
    assert ended(job, arrived)["status"] == "Completed"


def test_ibms_own_client_in_a_job(tmp_path: Path, granted: Callable[..., Job]) -> None:
    done = granted(uid=1007).run(PROGRAM, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["backends"] == ["aer_ideal"]
    for way in ("sampler", "again", "session", "batch"):
        assert told[way] == {"11": 50}, way
    assert told["estimator"] == pytest.approx(1.0)
    assert told["listed"] == 4
    for program in ("executor", "noise-learner"):
        assert f"runs sampler and estimator programs (SamplerV2, EstimatorV2), and no {program}" in told[program]


def test_a_payload_of_any_size_is_not_decoded(machine: SystemSite, granted: Callable[..., Job]) -> None:
    payload = sampler_payload(3)
    spaced = payload.parameters.replace(b'"options"', b" " * 200_000 + b'"options"')
    shows(ours(granted()).submit(QiskitPrimitive("sampler", spaced)).result(timeout=60).value.encode(), 3)
