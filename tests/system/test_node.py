# SPDX-License-Identifier: Apache-2.0
"""The scripts of a node under real Slurm: jobs that are refused for now wait in the queue, and only those."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import USERS, Jobs, all_idle, by_root, next_job, show

from qrmi_core import polling
from qrmi_core.slurm.cluster import Cluster

UNIT = Path(__file__).parents[1] / "unit" / "slurm"
sys.path[:0] = [str(UNIT), str(UNIT.parents[1] / "vendors")]

from node_case import Answer, Gateway, Seen, granted, refused  # noqa: E402

DELAY = 5


class SomeGateway(Gateway):
    """Grants what is asked, but each refusal in ``refusals`` first, once for each node that asks."""

    def __init__(self, munge_socket: str, uid: int, port: int) -> None:
        super().__init__(munge_socket, address=port)
        self.uid = uid
        self.refusals: dict[tuple[int, str], Answer] = {}
        self.vendor: dict[str, dict[str, str]] = {}
        self.hold = threading.Event()
        self.hold.set()

    def answer(self, seen: Seen) -> Answer:
        if seen.path != "/v1/leases":
            return 200, {}
        self.hold.wait(20)
        asked = seen.body["job_id"], seen.body["node"]
        for_all = granted(self.uid, {"vendor": self.vendor}, QRMI_GRANTED_TO=str(asked[0]))
        return self.refusals.pop(asked, None) or for_all

    def refuse(self, job: int, *nodes: str) -> None:
        for_now = refused("the vendor is away", transient=True, requeue={"id": str(job), "delay": DELAY})
        self.refusals |= {(job, node): for_now for node in nodes or ("n1", "n2")}

    def told(self, path: str) -> list[dict[str, object]]:
        return [seen.body for seen in self.seen if seen.path == path]


@pytest.fixture(scope="module")
def port() -> int:
    """Where the nodes look for a gateway."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(make_cluster: Callable[..., Cluster], port: int) -> Cluster:
    return make_cluster(node_settings={"gateway": f"http://127.0.0.1:{port}", "patience": 8, "holdoff": DELAY})


@pytest.fixture
def jobs(cluster: Cluster) -> Jobs:
    return Jobs(cluster, USERS[0] if by_root() else None)


@pytest.fixture
def gateway(cluster: Cluster, jobs: Jobs, port: int) -> Iterator[SomeGateway]:
    running = SomeGateway(str(cluster.places.socket("head")), jobs.uid, port)
    with running.serving():
        yield running
    running.hold.set()


def test_a_job_has_what_was_granted_and_gives_it_back(cluster: Cluster, jobs: Jobs, gateway: SomeGateway) -> None:
    job = jobs.submit("--qpu=aer_fez", script="echo granted to $QRMI_GRANTED_TO")
    assert jobs.ended(job)["JobState"] == "COMPLETED"
    assert jobs.output(job) == f"granted to {job}\n"
    assert polling.wait_until(lambda: len(gateway.seen) == 3, timeout=20), gateway.seen
    assert gateway.told("/v1/leases")[0]["node"] == "n1"
    assert gateway.told("/v1/leases/" + "0123456789abcdef" * 2 + "/node-done") == [{"node": "n1"}]
    assert gateway.told(f"/v1/jobs/{job}/ending") == [{}]
    assert [list(node.state.iterdir()) for node in cluster.nodes] == [[], []]


def test_a_job_without_a_qpu_asks_nothing(jobs: Jobs, gateway: SomeGateway) -> None:
    assert jobs.ended(jobs.submit())["JobState"] == "COMPLETED"
    assert gateway.seen == []


def test_a_batch_job_that_is_refused_for_now_runs_later(cluster: Cluster, jobs: Jobs, gateway: SomeGateway) -> None:
    gateway.refuse(next_job(cluster))
    job = jobs.submit("--qpu=aer_fez", "-N2", script="echo granted to $QRMI_GRANTED_TO")
    ended = jobs.ended(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1")
    assert jobs.output(job) == f"granted to {job}\n"
    assert all_idle(cluster)


def test_of_an_array_only_the_refused_task_moves(cluster: Cluster, jobs: Jobs, gateway: SomeGateway) -> None:
    # The last task to start has the raw id of the whole array.
    first = next_job(cluster)
    gateway.refuse(first)
    job = jobs.submit("--qpu=aer_fez", "--array=0-2", script="echo granted to $QRMI_GRANTED_TO")
    assert job == first
    ended = [jobs.ended(f"{job}_{task}") for task in range(3)]
    assert [each["JobState"] for each in ended] == ["COMPLETED"] * 3
    assert {each["JobId"]: each["Restarts"] for each in ended} == {
        each["JobId"]: "1" if each["JobId"] == str(first) else "0" for each in ended
    }
    assert all_idle(cluster)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_task_of_a_refused_array_gets_its_prolog_again(
    cluster: Cluster, jobs: Jobs, gateway: SomeGateway
) -> None:
    # They start again in one second, when Slurm 22.05 would skip the prolog of those whose slurmd remembers them.
    first = next_job(cluster)
    for job in range(first, first + 4):
        gateway.refuse(job)
    assert jobs.submit("--qpu=aer_fez", "--array=0-2", "-w", "n1", script="echo granted to $QRMI_GRANTED_TO") == first
    ended = [jobs.ended(f"{first}_{task}") for task in range(3)]
    assert [(each["JobState"], each["Restarts"]) for each in ended] == [("COMPLETED", "1")] * 3
    assert all_idle(cluster)


def test_a_job_that_was_cancelled_meanwhile_stays_so(cluster: Cluster, jobs: Jobs, gateway: SomeGateway) -> None:
    gateway.hold.clear()
    gateway.refuse(next_job(cluster))
    job = jobs.submit("--qpu=aer_fez")
    assert polling.wait_until(lambda: bool(gateway.told("/v1/leases")), timeout=20)
    jobs.run("scancel", str(job))
    assert polling.wait_until(lambda: show(cluster, job)["JobState"] != "RUNNING", timeout=20)
    gateway.hold.set()
    assert all_idle(cluster)
    assert (show(cluster, job)["JobState"], show(cluster, job)["Restarts"]) == ("CANCELLED", "0")


@pytest.mark.parametrize("how", ["srun", "no-requeue"])
def test_who_cannot_be_put_back_is_told_why(cluster: Cluster, jobs: Jobs, gateway: SomeGateway, how: str) -> None:
    job = next_job(cluster)
    gateway.refuse(job)
    if how == "srun":
        done = jobs.srun("--qpu=aer_fez", "true")
        assert done.returncode == 1
        said = done.stderr
    else:
        jobs.submit("--qpu=aer_fez", "--no-requeue")
        assert jobs.ended(job)["JobState"] == "FAILED"
        said = jobs.output(job)
    assert "the vendor is away" in said
    assert all_idle(cluster)


def test_without_a_gateway_jobs_wait_in_the_queue(cluster: Cluster, jobs: Jobs, port: int) -> None:
    job = jobs.submit("--qpu=aer_fez", script="echo granted to $QRMI_GRANTED_TO")
    assert polling.wait_until(lambda: show(cluster, job)["Restarts"] == "1", timeout=40)
    running = SomeGateway(str(cluster.places.socket("head")), jobs.uid, port)
    with running.serving():
        assert jobs.ended(job)["JobState"] == "COMPLETED"
    assert jobs.output(job) == f"granted to {job}\n"
    assert all_idle(cluster)


def test_the_option_qpu_env_goes_by_the_prolog_to_steps_that_do_not_see_it(jobs: Jobs, gateway: SomeGateway) -> None:
    gateway.vendor = {"set": {"QISKIT_IBM_TOKEN": "t0ken"}, "extend": {"NO_PROXY": "head.example"}}
    script = "echo $QRMI_GRANTED_TO $QISKIT_IBM_TOKEN; /usr/bin/srun --export=ALL /usr/bin/env"
    wanted = {("--export=NONE",): True, ("--qpu-env=off",): False, ("--qpu-env=off", "--export=NONE"): False}
    waiting = {jobs.submit("--qpu=aer_fez", *options, script=script): options for options in wanted}
    for job, options in waiting.items():
        assert jobs.ended(job)["JobState"] == "COMPLETED", jobs.output(job)
        words, *lines = jobs.output(job).splitlines()
        assert words.split() == [str(job), *(["t0ken"] if wanted[options] else [])], options
        assert ("QISKIT_IBM_TOKEN=t0ken" in lines) is wanted[options], options
        assert any("head.example" in line for line in lines) is wanted[options], options
