# SPDX-License-Identifier: Apache-2.0
"""What slurmctld knows, asked on a real cluster: of jobs whose users chose names that look like answers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster import Jobs, granted, release, write_state

from qrmi_core import polling
from qrmi_core.errors import InputError
from qrmi_core.slurm.cluster import Cluster
from qrmi_core.slurm.controller import Controller, ControllerUnreachable, SlurmJob, parse_licences
from qrmi_core.slurm.hostlists import expand_hostlist

FORGED = "x Licenses=qpu_ibm_fez:1\n99|0|RUNNING UserId=root(0) <00>"


@pytest.fixture
def controller(bare: Cluster) -> Controller:
    return Controller(bare.slurm_conf)


def seen(controller: Controller, job: int, *states: str) -> SlurmJob:
    def is_there() -> bool:
        told = controller.job(job)
        return told is not None and told.state in states

    assert polling.wait_until(is_there, timeout=30), controller.job(job)
    told = controller.job(job)
    assert told is not None
    return told


def test_a_job_that_runs_is_known_whole(bare: Cluster, jobs: Jobs, controller: Controller) -> None:
    before = int(time.time())
    number = jobs.submit("-H", "-N2", "--time=5", "--qpu=IQM_star:2,aer_fez", script="sleep 60")
    write_state(bare, number, granted(jobs.uid))
    release(bare, number)
    job = seen(controller, number, "RUNNING")
    assert (job.id, job.uid, job.array, job.restarts, job.batch, job.requeue) == (number, jobs.uid, None, 0, True, True)
    assert job.licenses == {"qpu_iqm_star": 2, "qpu_aer_fez": 1}
    assert (job.nodes, job.limit_seconds, job.het_leader) == (("n1", "n2"), 300, None)
    assert job.started is not None
    assert before - 2 <= job.submitted <= job.started
    assert job.ends == job.started + 300
    assert not job.is_over
    assert controller.licenses()["qpu_iqm_star"] == (2, 2)
    jobs.run("scancel", str(number))
    assert seen(controller, number, "CANCELLED").is_over
    assert controller.jobs()[number].is_over


def test_no_text_of_a_users_passes_for_an_answer(bare: Cluster, jobs: Jobs, controller: Controller) -> None:
    texts = (f"--job-name={FORGED}", f"--comment={FORGED}", f"--account={FORGED}", f"--wckey={FORGED}")
    number = jobs.submit("-H", *texts)
    try:
        job = seen(controller, number, "PENDING")
        assert (job.licenses, job.uid, job.restarts) == ({}, jobs.uid, 0)
        assert job.account == FORGED.lower()
        assert controller.job(99) is None
        assert 99 not in controller.jobs()
    finally:
        jobs.run("scancel", str(number))


def test_each_task_of_an_array_is_a_job(jobs: Jobs, controller: Controller) -> None:
    number = jobs.submit("--array=1-3", "--time=1", script="sleep 30")

    def running() -> dict[str | None, SlurmJob]:
        return {job.array: job for job in controller.jobs().values() if job.state == "RUNNING"}

    names = {f"{number}_{task}" for task in (1, 2, 3)}
    try:
        assert polling.wait_until(lambda: names <= running().keys(), timeout=30)
        for name in names:
            job = running()[name]
            found = controller.job(job.id)
            assert found is not None
            assert found.array == name
        assert len({running()[name].id for name in names}) == 3
    finally:
        jobs.run("scancel", str(number))


def test_a_requeued_job_is_another_run(bare: Cluster, jobs: Jobs, controller: Controller) -> None:
    number = jobs.submit("--time=1", script="sleep 30")
    seen(controller, number, "RUNNING")
    bare.run(["scontrol", "requeue", str(number)], timeout=10)
    try:
        assert polling.wait_until(lambda: (job := controller.job(number)) is not None and job.restarts == 1, timeout=30)
    finally:
        jobs.run("scancel", str(number))


def test_nodes_and_configuration(controller: Controller) -> None:
    assert controller.node_addresses() == {"n1": "127.0.0.2", "n2": "127.0.0.3"}
    assert controller.config()["ClusterName"]
    assert controller.config()["SlurmUser"].endswith(")")


def test_an_unknown_job_is_none_and_a_dead_controller_an_error(controller: Controller, tmp_path: Path) -> None:
    assert controller.job(4_000_000) is None
    conf = tmp_path / "slurm.conf"
    with pytest.raises(ControllerUnreachable, match=r"there is no file .*slurm.conf: check slurm_conf"):
        Controller(conf).jobs()
    conf.write_text("ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=9\nAuthType=auth/munge\n")
    with pytest.raises(ControllerUnreachable, match=r"slurmctld (cannot be asked|did not answer)") as error:
        Controller(conf, timeout=2).jobs()
    assert error.value.transient


@pytest.mark.parametrize("text", ["n1", "n[1-3,5]", "a[1-2],b3,c[08-11]", "r[1-2]n[1-2]", "n[9-11]", "n[001-003],m"])
def test_lists_of_hosts_mean_what_slurm_says(bare: Cluster, text: str) -> None:
    said = bare.run(["scontrol", "show", "hostnames", text], timeout=10)
    assert expand_hostlist(text) == tuple(said.stdout.split())


def test_lists_of_hosts_with_ends_and_those_that_are_none() -> None:
    assert expand_hostlist("n[08-10]-ib,x") == ("n08-ib", "n09-ib", "n10-ib", "x")
    assert expand_hostlist("") == ()
    for text in ("n[1-", "n]1[", "n[[1]]", "n[a-b]", "n[3-1]", "n[1-999999999]", "n[]"):
        with pytest.raises(InputError, match="is no list of hosts"):
            expand_hostlist(text)


def test_licences_are_counted_as_slurm_counts_them() -> None:
    assert parse_licences("qpu_a:1,qpu_b*2;qpu_c,qpu_a:2,qpu_z:0,(null)") == {"qpu_a": 3, "qpu_b": 2, "qpu_c": 1}
    assert parse_licences("qpu_a@server:1,qpu_a:x") == {"qpu_a@server": 1}
