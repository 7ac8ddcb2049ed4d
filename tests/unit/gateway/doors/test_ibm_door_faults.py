# SPDX-License-Identifier: Apache-2.0
"""Trouble of IBM's, and of the gateway's own: the job's client sees success, or what IBM itself would say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doored import Doored, Job, doored
from ibm_site import ROOT, cloud, entry, job_body, shows
from munge_daemon import Munged
from vendor_site import Site

from qrmi_core import polling
from qrmi_core.admin_client import AdminClient
from qrmi_core.environment import read_job
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.faults import Faults
from qrmi_core.payloads import QiskitPrimitive
from qrmi_core.resource import QuantumResource
from qrmi_core.service import make_resource
from qrmi_core.tasks import TaskStatus

QRMI = Path(sys.executable).with_name("qrmi")
PATIENCE = 60.0
TASKS = 50
SERVICE_SECONDS = 5.0
LONG = 600.0

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with cloud(faults=Faults(retry_after="7"), options=DialectOptions(token_seconds=4.0, list_delay=1.0)) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(site: Site, daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doored]:
    resource = entry("Fez", site, QRMI_HTTP_READ_TIMEOUT="8")
    with doored(tmp_path_factory.mktemp("gateway"), daemons.socket, [resource]) as running:
        yield running


@pytest.fixture(scope="module")
def job(gateway: Doored) -> Job:
    return gateway.granted("Fez")


@contextmanager
def next_faults(site: Site, *faults: tuple[str, str]) -> Iterator[None]:
    """These are made, and all of them."""
    site.emulator.faults.next_faults.extend(faults)
    yield
    assert site.emulator.faults.next_faults == []


def until_final(job: Job, task: str) -> str:
    words: list[str] = []

    def is_final() -> bool:
        words.append(job.ask("GET", f"{ROOT}/jobs/{task}?exclude_params=true")[1]["state"]["status"])
        return words[-1] not in {"Queued", "Running"}

    assert polling.wait_until(is_final, timeout=PATIENCE)
    return words[-1]


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [("too_many", 429, "too many requests"), ("error", 500, "internal error"), ("unavailable", 503, "not now")],
)
@pytest.mark.parametrize(
    ("method", "path", "route", "body"),
    [
        ("POST", "/jobs", "POST /api/v1/jobs", job_body()),
        ("POST", "/sessions", "POST /api/v1/sessions", {"mode": "batch", "backend": "Fez"}),
        ("GET", "/backends/Fez/configuration", "configuration", None),
        ("GET", "/backends/Fez/status", "status", None),
    ],
)
def test_the_vendors_own_word_is_passed_on(
    job: Job, site: Site, method: str, path: str, route: str, body: Any, fault: str, status: int, word: str
) -> None:
    before = site.emulator.device.runs
    with next_faults(site, (route, fault)):
        got, headers, told = job.asked(method, f"{ROOT}{path}", body)
    assert (got, told) == (status, {"message": word})
    assert headers.get("retry-after") == ("7" if fault == "too_many" else None)
    assert site.emulator.device.runs == before


@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "truncated", "error_after", "late"])
def test_a_job_whose_answer_was_lost_runs_once(job: Job, site: Site, fault: str) -> None:
    before = site.emulator.device.runs
    with next_faults(site, ("POST /api/v1/jobs", fault)):
        status, told = job.ask("POST", f"{ROOT}/jobs", job_body(3))
    if fault == "late":  # the vendor said so, and went on with it after the last look
        assert (status, told) == (504, {"message": "no answer from behind"})
        return
    assert status == 200, told
    assert until_final(job, told["id"]) == "Completed"
    assert site.emulator.device.runs == before + 1
    assert told["id"] in [each["id"] for each in job.ask("GET", f"{ROOT}/jobs")[1]["jobs"]]


def test_a_silent_vendor_is_not_sent_the_job_again(job: Job, site: Site) -> None:
    before = site.emulator.device.runs
    with next_faults(site, ("POST /api/v1/jobs", "hang")):
        status, told = job.ask("POST", f"{ROOT}/jobs", job_body())
    assert (status, "nobody knows whether the job was taken" in told["errors"][0]["message"]) == (523, True)
    assert site.emulator.device.runs == before


@pytest.mark.parametrize("fault", ["reset_before", "reset_after"])
@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/backends", "GET /api/v1/backends"),
        ("/backends/Fez/status", "status"),
        ("/jobs/{task}", "GET /api/v1/jobs/{id}"),
        ("/jobs/{task}/results", "results"),
    ],
)
def test_what_only_reads_is_asked_again(job: Job, site: Site, path: str, route: str, fault: str) -> None:
    _, told = job.ask("POST", f"{ROOT}/jobs", job_body())
    assert until_final(job, told["id"]) == "Completed"
    with next_faults(site, (route, fault), (route, fault)):
        assert job.ask("GET", f"{ROOT}{path.format(task=told['id'])}")[0] == 200


def test_a_look_that_fails_hides_no_job(job: Job, site: Site) -> None:
    _, told = job.ask("POST", f"{ROOT}/jobs", job_body())
    with next_faults(site, ("GET /api/v1/jobs/{id}", "error")):
        assert job.ask("GET", f"{ROOT}/jobs/{told['id']}?exclude_params=true")[0] == 200
    until_final(job, told["id"])
    with next_faults(site, ("GET /api/v1/jobs/{id}", "too_many"), ("GET /api/v1/jobs/{id}", "too_many")):
        _, told = job.ask("POST", f"{ROOT}/jobs", job_body())
        assert job.ask("GET", f"{ROOT}/jobs/{told['id']}?exclude_params=true")[0] == 429


def test_a_token_of_the_sites_that_has_expired_is_renewed(job: Job, site: Site) -> None:
    tokens = site.emulator.counters.requests

    def renewed() -> bool:
        assert job.ask("GET", f"{ROOT}/backends/Fez/status")[0] == 200
        return tokens["POST /identity/token"] > before

    before = tokens["POST /identity/token"]
    assert polling.wait_until(renewed, timeout=PATIENCE)


def test_a_credential_that_the_vendor_refuses_is_the_sites_affair(site: Site, daemons: Munged, tmp_path: Path) -> None:
    resource = entry("Fez", site, QRMI_IBM_QCS_IAM_APIKEY="planted-and-wrong")
    with doored(tmp_path, daemons.socket, [resource]) as gateway:
        status, told = gateway.granted("Fez").ask("GET", f"{ROOT}/backends/Fez/status")
    text = "the vendor of Fez does not take this site's credential: tell its administrators"
    assert (status, told["errors"][0]["message"]) == (502, text)


def test_a_vendor_that_is_away_is_said_to_be(daemons: Munged, tmp_path: Path) -> None:
    with cloud() as gone:
        away = entry("Fez", gone, QRMI_HTTP_DEADLINE="0.5")
    with doored(tmp_path, daemons.socket, [away]) as gateway:
        status, told = gateway.granted("Fez").ask("GET", f"{ROOT}/backends/Fez/status")
        assert (status, "Fez" in told["errors"][0]["message"]) == (503, True)


@contextmanager
def served(case: Doored) -> Iterator[subprocess.Popen[str]]:
    """The gateway as a service, until it is killed."""
    with (case.directory / "log").open("a") as log:
        service = subprocess.Popen([QRMI, "gateway", "serve", "--config", case.file], stderr=log, text=True)
        try:
            assert polling.wait_until(lambda: listens(case), timeout=PATIENCE)
            yield service
        finally:
            service.kill()
            service.wait()


def listens(case: Doored) -> bool:
    try:
        AdminClient(case.client(unix=True)).leases()
    except QRMIError:
        return False
    return True


def driver(job: Job) -> QuantumResource:
    """The job's own driver, which finds no lease to announce its tasks to but the door."""
    told = read_job(job.environment)
    assert told is not None
    (each,) = told.resources
    context = replace(told.context(each), lease=None)
    return make_resource(each.name, each.type, each.values, context=context)


@contextmanager
def restarted(
    daemons: Munged, directory: Path, *, seconds: float = SERVICE_SECONDS
) -> Iterator[tuple[Doored, Job, Site]]:
    """A gateway to be served and killed, with a lease; the vendor's server, where each job takes a while."""
    with cloud(service_time=lambda: seconds) as site, pytest.MonkeyPatch.context() as patch:
        case = Doored(directory, daemons.socket, [entry("Fez", site)])
        patch.setenv("PATH", case.path)
        with case.running():
            job = case.granted("Fez")
        case.gateway.journal.close()
        yield case, job, site
    assert "Traceback" not in (directory / "log").read_text()


def test_a_job_that_nobody_knows_of_is_cancelled_with_its_lease(daemons: Munged, tmp_path: Path) -> None:
    with cloud(service_time=lambda: LONG) as site, doored(tmp_path, daemons.socket, [entry("Fez", site)]) as gateway:
        other, job, vendor = gateway.granted("Fez"), gateway.granted("Fez"), site.resource()
        assert other.ask("POST", f"{ROOT}/jobs", job_body())[0] == 200
        (stays,) = vendor.task_ids()
        with next_faults(site, ("POST /api/v1/jobs", "reset_after"), ("GET /api/v1/jobs", "error")):
            assert job.ask("POST", f"{ROOT}/jobs", job_body())[0] == 523
        (lost,) = set(vendor.task_ids()) - {stays}
        gateway.release(job)
        assert polling.wait_until(lambda: vendor.task_status(lost) is TaskStatus.CANCELLED, timeout=PATIENCE)
        assert not vendor.task_status(stays).is_final


def test_what_was_sent_when_the_gateway_was_killed_is_cancelled_with_its_lease(daemons: Munged, tmp_path: Path) -> None:
    with restarted(daemons, tmp_path, seconds=LONG) as (case, job, site), ThreadPoolExecutor(1) as threads:
        vendor = site.resource()
        with served(case) as service, next_faults(site, ("POST /api/v1/jobs", "hang_after")):
            asking = threads.submit(job.ask, "POST", f"{ROOT}/jobs", job_body())
            assert polling.wait_until(lambda: site.emulator.device.runs, timeout=PATIENCE)
            service.kill()
            assert isinstance(asking.exception(PATIENCE), ConnectionError)
        (lost,) = vendor.task_ids()
        with served(case):
            admin = AdminClient(case.client(unix=True))
            (lease,) = admin.leases(everybody=True)
            assert admin.usage(everybody=True) == []
            admin.release(lease["job_id"])
            assert polling.wait_until(lambda: vendor.task_status(lost) is TaskStatus.CANCELLED, timeout=PATIENCE)


PAYLOADS = [QiskitPrimitive("sampler", json.dumps(job_body(number)["params"]).encode()) for number in range(TASKS)]


@pytest.mark.slow
def test_results_arrive_although_the_gateway_was_killed(daemons: Munged, tmp_path: Path) -> None:
    with restarted(daemons, tmp_path) as (case, job, site), ThreadPoolExecutor(TASKS) as threads:
        resource = driver(job)
        with served(case) as service:
            tasks = list(threads.map(resource.submit, PAYLOADS))
            waiting = [threads.submit(task.result, timeout=PATIENCE) for task in tasks]
            service.send_signal(signal.SIGKILL)
            service.wait()
        with served(case):
            for number, result in enumerate(waiting):
                shows(result.result().data, number)
        assert site.emulator.device.runs == TASKS


@pytest.mark.slow
def test_none_runs_twice_that_was_being_submitted_when_the_gateway_was_killed(daemons: Munged, tmp_path: Path) -> None:
    with restarted(daemons, tmp_path) as (case, job, site), ThreadPoolExecutor(8) as threads:
        resource = driver(job)
        with served(case) as service:
            tasks = [threads.submit(resource.submit, payload) for payload in PAYLOADS]
            assert polling.wait_until(lambda: site.emulator.device.runs > 10, timeout=PATIENCE)
            service.send_signal(signal.SIGKILL)
            service.wait()
        with served(case):
            for number, task in enumerate(tasks):
                shows(task.result().result(timeout=PATIENCE).data, number)
        assert site.emulator.device.runs == TASKS
