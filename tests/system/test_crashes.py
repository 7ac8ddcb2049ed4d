# SPDX-License-Identifier: Apache-2.0
"""Jobs and daemons of Slurm that die: the QPU comes back, its tasks end, and the nodes stay well.

One row for each kind of death in what was measured of Slurm; those of one class, or slow ones, only in `make test-all`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_site import CrashSite, Tell, is_saved, kill, own_process

from qrmi_core import polling

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="daemons of several users are started and killed")


@pytest.fixture
def site(crashing: CrashSite) -> Iterator[CrashSite]:
    """The site, with all its daemons at work before and after."""
    crashing.forget()
    yield crashing
    crashing.cluster.start_daemons()
    if not crashing.gateway_lives():
        crashing.start_gateway()
    crashing.cancel_all()
    assert polling.wait_until(lambda: not crashing.leases(), timeout=30)


def begun(site: CrashSite, *options: str, before: str = "") -> int:
    """A job whose task runs."""
    job = site.hold(*options, before=before)
    site.running_task(job)
    return job


def cancel(site: CrashSite, job: int) -> None:
    site.cluster.run(["scancel", str(job)], timeout=20)


def again(site: CrashSite, job: int) -> None:
    """The second run of a job."""
    assert site.is_in(job, "COMPLETED"), site.state(job)
    assert site.said(job).endswith("second\n")


ONCE = '[ -z "$SLURM_RESTART_COUNT" ] || { echo second; exit 0; }'


def test_scancel_of_a_running_job(site: CrashSite, record_property: Tell) -> None:
    job = begun(site)
    cancel(site, job)
    site.given_back(job, record_property, "scancel running")
    assert "saved" not in site.said(job)


@pytest.mark.slow
def test_scancel_of_a_pending_job(site: CrashSite, record_property: Tell) -> None:
    first = begun(site)
    waits = site.hold()
    assert site.is_in(waits, "PENDING")
    cancel(site, waits)
    assert site.is_in(waits, "CANCELLED")
    assert [lease["job_id"] for lease in site.leases()] == [first]
    cancel(site, first)
    site.given_back(first, record_property, "scancel pending, and the job that it waited for")
    assert site.said(waits) == ""


@pytest.mark.slow
def test_scancel_of_a_job_that_ignores_it(site: CrashSite, record_property: Tell) -> None:
    pids = site.cluster.places.work / "deaf"
    before = f"trap '' TERM; echo $$ > {pids}"
    job = begun(site, before=before)
    cancel(site, job)
    site.given_back(job, record_property, "scancel, SIGTERM ignored")


@pytest.mark.slow
def test_a_script_that_kills_itself(site: CrashSite, record_property: Tell) -> None:
    pids = site.cluster.places.work / "self"
    job = begun(site, before=f"echo $$ > {pids}")
    kill(own_process(pids))
    site.given_back(job, record_property, "script kill -9 itself")
    assert site.state(job)["JobState"] == "FAILED"


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_the_time_limit(site: CrashSite, record_property: Tell) -> None:
    # The vendor is told of no limit: it would end the task, and the program with it, a moment before Slurm does.
    job = begun(site, "--time=1", before="export ibm_fez_QRMI_JOB_TIMEOUT_SECONDS=600")
    site.given_back(job, record_property, "time limit", timeout=150)
    assert site.state(job)["JobState"] == "TIMEOUT"


@pytest.mark.slow
def test_requeue(site: CrashSite, record_property: Tell) -> None:
    job = begun(site, before=ONCE)
    site.cluster.run(["scontrol", "requeue", str(job)], timeout=20)
    site.given_back(job, record_property, "scontrol requeue", over=restarted, other_jobs=True)
    site.clock.seconds = 600.0
    again(site, job)
    site.given_back(job, record_property, "the second run of a requeued job")


def restarted(told: object) -> bool:
    return isinstance(told, dict) and told.get("Restarts") == "1"


@pytest.mark.timeout(400)
@pytest.mark.slow  # slurmctld pings nodes after a minute and more
@pytest.mark.parametrize("how", ["scancel", "ping"])
def test_the_jobs_slurmstepd_is_killed(site: CrashSite, record_property: Tell, how: str) -> None:
    """The user's program lives on as an orphan; its session does not."""
    work = site.cluster.places.work
    pids, program = work / f"stepd-{how}", work / f"orphan-{how}"
    job = begun(site, before=f"{ONCE}\necho $PPID > {pids}; echo $$ > {program}")
    try:
        kill(own_process(pids))
        if how == "scancel":
            cancel(site, job)
            site.given_back(job, record_property, "kill -9 slurmstepd, then scancel")
        else:
            row = "kill -9 slurmstepd, seen by a node's ping"
            site.given_back(job, record_property, row, over=restarted, timeout=240, other_jobs=True)
            again(site, job)
    finally:
        kill(own_process(program))


def test_slurmd_is_killed_and_the_job_ends_meanwhile(site: CrashSite, record_property: Tell) -> None:
    pids = site.cluster.places.work / "without-slurmd"
    job = begun(site, "-w", "n1", before=f"echo $$ > {pids}")
    site.kill_daemon("slurmd-n1")
    kill(own_process(pids))
    assert site.is_in(job, "COMPLETING", "FAILED")
    site.start_daemon("slurmd-n1")
    site.given_back(job, record_property, "kill -9 slurmd, job ends meanwhile")


@pytest.mark.slow
def test_slurmd_is_killed_and_back_at_once(site: CrashSite, record_property: Tell) -> None:
    go = site.cluster.places.work / "go-on"
    job = begun(site, "-w", "n1")
    (task,) = [key for key, status in site.tasks().items() if not status.is_final]
    site.kill_daemon("slurmd-n1")
    site.start_daemon("slurmd-n1")
    site.cluster.wait_until_up()
    assert site.lease_of(job)["state"] == "granted"
    assert not site.tasks()[task].is_final, "the job lives on, and its task with it"
    go.touch()
    cancel(site, job)
    site.given_back(job, record_property, "kill -9 slurmd, back at once, then scancel")


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_slurmd_is_dead_for_good(site: CrashSite, record_property: Tell) -> None:
    job = begun(site, "-w", "n1", "--no-requeue")
    site.kill_daemon("slurmd-n1")
    row = "slurmd dead for good (SlurmdTimeout)"
    site.given_back(job, record_property, row, timeout=120, other_jobs=True)
    assert site.state(job)["JobState"] == "NODE_FAIL"
    assert all(status.is_final for status in site.tasks().values())
    other = site.hold("-w", "n2")
    site.lease_of(other)
    cancel(site, other)
    site.start_daemon("slurmd-n1")
    site.cluster.wait_until_up()
    site.given_back(other, record_property, "the next job, on the other node")


def test_slurmctld_is_killed_and_the_job_ends_meanwhile(site: CrashSite, record_property: Tell) -> None:
    pids = site.cluster.places.work / "without-slurmctld"
    job = begun(site, before=f"echo $$ > {pids}")
    since = time.time()
    site.cluster.run(["scontrol", "update", f"JobId={job}", "Comment=written down from here on"], timeout=20)
    assert is_saved(site.cluster, since)
    site.kill_daemon("slurmctld")
    kill(own_process(pids))
    site.start_daemon("slurmctld")
    site.given_back(job, record_property, "kill -9 slurmctld, job ends meanwhile")
    assert site.state(job)["JobState"] == "FAILED"


@pytest.mark.timeout(240)
def test_a_lost_job_whose_id_is_given_again(site: CrashSite, record_property: Tell) -> None:
    """slurmctld forgets a job that it has not written down, and gives the next one the same id."""
    saved, before = site.cluster.places.controller, site.cluster.places.directory / "controller-before"
    subprocess.run(["cp", "-a", saved, before], check=True, timeout=20)
    pids, stepd = (site.cluster.places.work / name for name in ("lost", "lost-stepd"))
    job = begun(site, "-w", "n1", before=f"echo $$ > {pids}; echo $PPID > {stepd}")
    lease = site.lease_of(job)
    site.kill_daemon("slurmctld")
    # What it may have written of the job meanwhile was not yet on the disk.
    shutil.rmtree(saved)
    subprocess.run(["cp", "-a", before, saved], check=True, timeout=20)
    site.start_daemon("slurmctld")
    row = "kill -9 slurmctld, job lost"
    site.given_back(job, record_property, row, over=lambda told: not told, other_jobs=True)
    lost = [Path(f"/proc/{own_process(file)}") for file in (pids, stepd)]
    assert polling.wait_until(lambda: not any(process.exists() for process in lost), timeout=60)
    site.forget()
    # Slurm holds a job whose id is that of one which the same node still ends.
    following = site.hold("-w", "n2")
    assert following == job
    assert site.lease_of(following)["id"] != lease["id"]
    site.running_task(following)
    assert sum(site.sessions().values()) == 1
    cancel(site, following)
    row = "the job that got the id of a lost one"
    site.given_back(following, record_property, row, stale=(str(job),))
    # The next prolog of that id on that node would remove it.
    (site.cluster.nodes[0].state / str(job)).unlink()


def test_wardens_lane_is_held_until_the_task_has_ended(site: CrashSite, record_property: Tell) -> None:
    """This Warden cannot cancel: the session is closed, the lane is not free, and the next job waits for it."""
    job = site.hold(qpu="orion")
    site.running_task(job)
    (token,) = [key for key, is_open in site.sessions().items() if is_open]
    cancel(site, job)
    assert polling.wait_until(lambda: not site.sessions()[token], timeout=20)
    assert polling.wait_until(
        lambda: [each["state"] for lease in site.leases() for each in lease["resources"]] == ["draining"], timeout=10
    )
    assert site.state(job)["JobState"] == "CANCELLED"
    (resource,) = site.leases()[0]["resources"]
    assert "orion cannot cancel: 1 of its tasks run until they end" in resource["reason"]
    device = site.warden.emulator.device
    device._ends.clear()
    site.given_back(job, record_property, "Warden without cancel: from the end of the last task")


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_vendor_that_is_down_at_acquire(site: CrashSite, record_property: Tell) -> None:
    from qrmi_core.gateway.faults import FaultRates

    site.clock.seconds = 0.0
    faults = site.ibm.emulator.faults
    faults.rates = FaultRates(reset_before=1.0)
    try:
        job = site.hold()
        fixed = site.hold("--no-requeue")
        assert polling.wait_until(lambda: site.state(job).get("Restarts") == "1", timeout=60), site.state(job)
        if site.is_in(fixed, "FAILED", timeout=0.1):
            assert "ibm_fez" in site.said(fixed)
    finally:
        faults.rates = FaultRates()
        site.clock.seconds = 600.0
    cancel(site, fixed)
    site.clock.seconds = 0.0
    assert site.is_in(job, "COMPLETED", timeout=120), (site.state(job), site.running.log()[-3000:])
    site.clock.seconds = 600.0
    assert "saved" in site.said(job)
    site.given_back(job, record_property, "vendor down at acquire, then back: end of the job that waited")


def test_a_vendor_that_is_down_at_release(site: CrashSite, record_property: Tell) -> None:
    from qrmi_core.gateway.faults import FaultRates

    job = begun(site)
    faults = site.ibm.emulator.faults
    faults.rates = FaultRates(reset_before=1.0)
    try:
        cancel(site, job)

        def pending() -> bool:
            return [each["state"] for lease in site.leases() for each in lease["resources"]] == ["release pending"]

        assert polling.wait_until(pending, timeout=60), site.leases()
        assert "ibm_fez" in str(site.leases()[0]["resources"][0]["reason"])
        assert sum(site.sessions().values()) == 1, "it holds the session still"
    finally:
        faults.rates = FaultRates()
    site.given_back(job, record_property, "vendor down at release: from its return")
