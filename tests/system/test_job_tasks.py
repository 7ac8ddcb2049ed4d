# SPDX-License-Identifier: Apache-2.0
"""What a job's program does at the vendor: its tasks end with it, and whose credentials it uses."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from cluster import by_root, variables_of
from full_site import LONG, FullJobs, FullSite

from qrmi_core import polling
from qrmi_core.tasks import TaskStatus


@pytest.fixture
def jobs(site: FullSite) -> FullJobs:
    return site.jobs()


def submitted(site: FullSite, jobs: FullJobs, qpu: str) -> tuple[int, str]:
    """A job whose program waits for a task of ten minutes; the task as the vendor's device calls it."""
    site.clock.seconds = LONG
    before = site.tasks(qpu).keys()
    job = jobs.submit(f"--qpu={qpu}", script=f"exec {site.program()}")
    assert polling.wait_until(lambda: len(site.tasks(qpu).keys() - before) == 1, timeout=40), jobs.output(job)
    (task,) = site.tasks(qpu).keys() - before
    return job, task


def told(site: FullSite, jobs: FullJobs, job: int) -> bool:
    """Wait until the gateway was told of a job's task, and nothing is noted that it is still to be told."""
    noted = jobs.work / f"home-{jobs.user}" / "qrmi" / "announcements"
    return polling.wait_until(
        lambda: (
            any(task["job_id"] == job for task in site.running.told_tasks())
            and not [file for file in noted.glob("*/*") if file.is_file()]
        ),
        timeout=40,
    )


def cancelled(site: FullSite, jobs: FullJobs, qpu: str, job: int, task: str) -> None:
    jobs.run("scancel", str(job))
    assert polling.wait_until(lambda: site.tasks(qpu)[task] is TaskStatus.CANCELLED, timeout=20), site.tasks(qpu)
    assert jobs.ended(job)["JobState"] == "CANCELLED"


@pytest.mark.parametrize("qpu", ["ibm_fez", "ibm_kobe", "FRESNEL"])
def test_a_task_of_a_cancelled_job_is_cancelled_at_the_vendor(site: FullSite, jobs: FullJobs, qpu: str) -> None:
    job, task = submitted(site, jobs, qpu)
    assert told(site, jobs, job)
    cancelled(site, jobs, qpu, job, task)


def test_a_task_that_was_submitted_while_the_gateway_was_away_is_told_later(site: FullSite, jobs: FullJobs) -> None:
    site.clock.seconds = LONG
    before, go = site.tasks("FRESNEL").keys(), jobs.work / "go-away"
    script = f"touch {go}.runs; until [ -e {go} ]; do sleep 0.1; done; exec {site.program()}"
    job = jobs.submit("--qpu=FRESNEL", script=script)
    assert polling.wait_until(Path(f"{go}.runs").exists, timeout=20)
    service, run = site.running.site.gateway, site.cluster.places.run
    service.signal(run, signal.SIGKILL)
    assert service.gone(run)
    try:
        go.touch()
        assert polling.wait_until(lambda: len(site.tasks("FRESNEL").keys() - before) == 1, timeout=40)
        noted = jobs.work / f"home-{jobs.user}" / "qrmi" / "announcements"
        assert polling.wait_until(lambda: any(file.is_file() for file in noted.glob("*/*")), timeout=20)
    finally:
        site.running.site.start_gateway()
    assert told(site, jobs, job)
    (task,) = site.tasks("FRESNEL").keys() - before
    cancelled(site, jobs, "FRESNEL", job, task)


def test_wardens_sessions_are_roots_and_its_jobs_the_users(site: FullSite, jobs: FullJobs) -> None:
    """The gateway has no rights: it borrows root's credential from the helper. The program uses its own."""
    warden: Any = site.vendors["orion"].emulator.dialect
    sessions, sent = set(warden._sessions), set(warden._jobs)
    helped = site.running.log("helper").count('"munge_root"} "done"') if by_root() else 0
    (said,) = jobs.completed(jobs.submit("--qpu=orion", script=f"id -u; {site.program()}; env"))
    uid = said.splitlines()[0]
    assert {warden._sessions[key].uid for key in warden._sessions.keys() - sessions} == {uid}
    assert {warden._jobs[key].uid for key in warden._jobs.keys() - sent} == {uid}
    assert variables_of(said)["orion_QRMI_WARDEN_MUNGE_SOCKET"] == str(site.cluster.places.socket("head"))
    site.nothing_is_left()
    if by_root():
        assert "qrmi" in site.running.cluster.run(["ps", "-o", "user=", "-p", str(gateway_pid(site))]).stdout
        assert site.running.log("helper").count('"munge_root"} "done"') == helped + 2


def gateway_pid(site: FullSite) -> int:
    pid = site.running.site.gateway.pid(site.cluster.places.run)
    assert pid is not None
    return pid


def test_the_users_own_key_reaches_the_vendor_and_the_users_own_endpoint_does_not(
    site: FullSite, jobs: FullJobs
) -> None:
    key, endpoint = "ibm_fez_QRMI_IBM_QCS_IAM_APIKEY", "ibm_fez_QRMI_IBM_QCS_ENDPOINT"
    proxy = "ibm_fez_QRMI_HTTP_PROXY"
    elsewhere = {endpoint: "http://127.0.0.1:9/api/v1", proxy: "http://127.0.0.1:9"}
    runs = site.runs("ibm_fez")
    (said,) = jobs.completed(jobs.submit("--qpu=ibm_fez", script=f"env; {site.program()}", **elsewhere))
    assert site.runs("ibm_fez") == runs + 1
    found = variables_of(said)
    assert found[endpoint] == site.vendors["ibm_fez"].environment["QRMI_IBM_QCS_ENDPOINT"]
    assert found[key] == site.vendors["ibm_fez"].environment["QRMI_IBM_QCS_IAM_APIKEY"]
    assert proxy not in found
    # The vendor knows no such key, and says so of the user's, in the script and in its steps.
    script = f"{site.program()}; srun env"
    job = jobs.submit("--qpu=ibm_fez", script=script, **{key: "a key of the user's own"})
    (said,) = jobs.completed(job)
    assert "ran " not in said
    assert "AuthenticationFailed" in said, said
    assert variables_of(said)[key] == "a key of the user's own"
    assert site.runs("ibm_fez") == runs + 1
