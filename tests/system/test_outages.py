# SPDX-License-Identifier: Apache-2.0
"""A QPU out of service: its jobs wait in Slurm and run afterwards, those that run go on. Real Slurm and helper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Jobs, granted, release, show, write_state

from qrmi_core import polling
from qrmi_core.gateway.helper_client import HelperClient, HelperRefused
from qrmi_core.gateway.outages import Outages
from qrmi_core.slurm.cluster import Cluster

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root and Slurm's own user make reservations")

SERVE = """
import pathlib, sys
from qrmi_core.gateway import root_helper
root_helper.serve(root_helper.load(pathlib.Path(sys.argv[1])))
"""
LANES = {"ibm_fez": 1, "IQM_star": 2, "aer_fez": 3}


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def helper(bare: Cluster, state_dir: Path) -> Iterator[HelperClient]:
    """A root helper whose gateway is the user who runs the tests."""
    resources = [{"name": name, "type": "a", "environment": {}, "lanes": lanes} for name, lanes in LANES.items()]
    config, gateway, socket = (state_dir / name for name in ("qrmi_config.json", "gateway.json", "helper.sock"))
    config.write_text(json.dumps({"resources": [*resources, {"name": "gone", "type": "a", "environment": {}}]}))
    settings = {"qrmi_config": str(config), "state_dir": str(state_dir), "helper_socket": str(socket)}
    settings["slurm_conf"] = str(bare.slurm_conf)
    gateway.write_text(json.dumps(settings | {"listen": {"admin": str(state_dir / "admin.sock")}}))
    with subprocess.Popen([sys.executable, "-c", SERVE, str(gateway)]) as process:
        assert polling.wait_until(lambda: process.poll() is not None or socket.exists(), timeout=20)
        assert process.poll() is None
        yield HelperClient(socket)
        process.terminate()


@pytest.fixture
def outages(helper: HelperClient, state_dir: Path, bare: Cluster) -> Iterator[Outages]:
    yield Outages(state_dir, helper, lambda name: None, gap=0.1)
    (state_dir / "outages.json").unlink(missing_ok=True)
    for name in LANES:
        helper.lift_reservation(name, "the test is over")
    bare.run(["scancel", "--state=PENDING"], timeout=10)


def reservations(cluster: Cluster) -> list[str]:
    said = cluster.run(["scontrol", "-o", "show", "reservation"], timeout=10).stdout
    return [
        line.split()[0].removeprefix("ReservationName=") for line in said.splitlines() if "ReservationName=" in line
    ]


def waits_for_licences(jobs: Jobs, job: int) -> bool:
    def look() -> bool:
        seen = show(jobs.cluster, job)
        return (seen["JobState"], seen["Reason"]) in {("PENDING", "Licenses"), ("PENDING", "Reservation")}

    return polling.wait_until(look, timeout=20)


def submit(jobs: Jobs, qpu: str, script: str = "true") -> int:
    """A job for which the prolog, which this cluster has not, has left a state file."""
    job = jobs.submit("--hold", f"--qpu={qpu}", script=script)
    write_state(jobs.cluster, job, granted(jobs.uid))
    release(jobs.cluster, job)
    return job


def test_jobs_wait_during_maintenance_and_running_ones_go_on(jobs: Jobs, outages: Outages) -> None:
    go = jobs.work / "go"
    runs = submit(jobs, "IQM_star", f"until [ -e {go} ]; do sleep 0.1; done")
    assert polling.wait_until(lambda: show(jobs.cluster, runs)["JobState"] == "RUNNING", timeout=20)

    outages.maintenance("IQM_star", "new laser", "alice")
    assert reservations(jobs.cluster) == ["qrmi_IQM_star"]
    waits = [submit(jobs, "iqm_star") for _ in range(2)]
    others = [submit(jobs, "aer_fez"), jobs.submit()]
    assert waits_for_licences(jobs, waits[0])
    assert {jobs.ended(job)["JobState"] for job in others} == {"COMPLETED"}
    assert show(jobs.cluster, waits[1])["JobState"] == "PENDING"
    assert show(jobs.cluster, runs)["JobState"] == "RUNNING"

    go.touch()
    assert jobs.ended(runs)["JobState"] == "COMPLETED"
    assert {show(jobs.cluster, job)["JobState"] for job in waits} == {"PENDING"}
    outages.maintenance("IQM_star", None, "alice")
    assert reservations(jobs.cluster) == []
    ended = [jobs.ended(job) for job in waits]
    assert {(job["JobState"], job["Restarts"]) for job in ended} == {("COMPLETED", "0")}


def test_a_pool_starts_as_many_jobs_as_its_members_in_service_have_lanes(
    jobs: Jobs, outages: Outages, helper: HelperClient, state_dir: Path
) -> None:
    """``aer_fez`` is the pool of the two others here: three lanes, of which one is left."""
    pools = {"aer_fez": ("IQM_star", "ibm_fez")}
    pooled = Outages(state_dir, helper, lambda name: None, pools=lambda: pools, lanes=lambda: LANES, gap=0.1)
    pooled.maintenance("IQM_star", "new laser", "alice")
    shown = jobs.cluster.run(["scontrol", "-o", "show", "reservation", "qrmi_aer_fez"], timeout=10).stdout
    assert "Licenses=qpu_aer_fez:2 " in shown
    go = jobs.work / "go-on"
    first, second = (submit(jobs, "aer_fez", f"until [ -e {go} ]; do sleep 0.1; done") for _ in range(2))
    assert polling.wait_until(lambda: show(jobs.cluster, first)["JobState"] == "RUNNING", timeout=20)
    assert waits_for_licences(jobs, second)
    pooled.maintenance("ibm_fez", "cold", "alice")
    shown = jobs.cluster.run(["scontrol", "-o", "show", "reservation", "qrmi_aer_fez"], timeout=10).stdout
    assert "Licenses=qpu_aer_fez:3 " in shown
    for name in ("IQM_star", "ibm_fez"):
        pooled.maintenance(name, None, "alice")
    assert reservations(jobs.cluster) == []
    assert polling.wait_until(lambda: show(jobs.cluster, second)["JobState"] == "RUNNING", timeout=30)
    go.touch()
    assert {jobs.ended(job)["JobState"] for job in (first, second)} == {"COMPLETED"}


def test_an_outage_keeps_jobs_waiting_until_its_vendor_is_back(jobs: Jobs, outages: Outages) -> None:
    outages.refused("ibm_fez", "503 Service Unavailable")
    assert reservations(jobs.cluster) == []
    outages.refused("ibm_fez", "503 Service Unavailable")
    assert reservations(jobs.cluster) == ["qrmi_ibm_fez"]
    job = submit(jobs, "ibm_fez")
    assert waits_for_licences(jobs, job)
    assert polling.wait_until(lambda: outages.probe() or outages.reason("ibm_fez") is None, timeout=10)
    assert reservations(jobs.cluster) == []
    assert jobs.ended(job)["JobState"] == "COMPLETED"


def test_a_user_cannot_go_round_it_through_the_reservation(jobs: Jobs, outages: Outages) -> None:
    outages.maintenance("ibm_fez", "calibration", "alice")
    refused = jobs.srun("--reservation=qrmi_ibm_fez", "--qpu=ibm_fez", "true", timeout=20)
    assert refused.returncode != 0
    assert "Access denied to requested reservation" in refused.stderr


def test_made_and_lifted_twice_is_no_error(bare: Cluster, helper: HelperClient, outages: Outages) -> None:
    for _ in range(2):
        helper.make_reservation("aer_fez", "cold head")
        assert reservations(bare) == ["qrmi_aer_fez"]
    for _ in range(2):
        helper.lift_reservation("aer_fez", "back")
        assert reservations(bare) == []


def test_other_reservations_are_left_alone(bare: Cluster, helper: HelperClient, outages: Outages) -> None:
    when = ["users=root", "starttime=now", "duration=60", "flags=LICENSE_ONLY", "nodecnt=0"]
    bare.run(["scontrol", "create", "reservation=qrmi_aer_fez", "licenses=qpu_ibm_fez:1", *when])
    try:
        with pytest.raises(HelperRefused, match="reservation qrmi_aer_fez without the licence qpu_aer_fez: delete it"):
            helper.make_reservation("aer_fez", "cold head")
        with pytest.raises(HelperRefused, match="the configuration has none of that name"):
            helper.lift_reservation("calib", "back")
    finally:
        bare.run(["scontrol", "delete", "reservation=qrmi_aer_fez"])


def test_a_licence_that_slurm_does_not_know_is_named(helper: HelperClient, outages: Outages) -> None:
    with pytest.raises(HelperRefused, match=r"scontrol could not make qrmi_gone: .*[Ll]icense") as refused:
        helper.make_reservation("gone", "cold head")
    assert refused.value.transient


@pytest.mark.slow  # scontrol waits long for a controller that is away
def test_slurmctld_away_and_back(bare: Cluster, outages: Outages) -> None:
    controller = bare.daemons["slurmctld"]
    controller.stop()
    try:
        with pytest.raises(HelperRefused, match="scontrol") as refused:
            outages.maintenance("aer_fez", "new laser", "alice")
        assert refused.value.transient
        assert outages.reason("aer_fez") is None
    finally:
        bare.start_daemons("slurmctld")
        bare.wait_until_up()
    outages.maintenance("aer_fez", "new laser", "alice")
    assert reservations(bare) == ["qrmi_aer_fez"]
