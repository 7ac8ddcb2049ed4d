# SPDX-License-Identifier: Apache-2.0
"""Queues of jobs for QPUs on real Slurm: nothing that goes wrong at a vendor or the gateway may empty them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import web
from cluster import by_root, make_users, show, why_not
from qpu_site import QpuSite, SiteJobs, start_site  # isort: split

from ibm_compute_case import CASE, sampler_payload
from vendor_site import Clock

from qrmi_core import polling
from qrmi_core.gateway.faults import FaultRates, Faults, Handler, route_of
from qrmi_core.resource import ResourceStatus, ResourceStatusCode
from qrmi_core.slurm.controller import Controller, SlurmJob

pytestmark = pytest.mark.skipif(bool(why_not()), reason=str(why_not()))

IBM = "ibm-quantum-compute-service"
LANES = {"ibm_a": 4, "ibm_b": 1, "ibm_p": 1, "ibm_q": 1}
POOL = {"name": "ibm_pair", "members": ["ibm_p", "ibm_q"]}
SHORT = {"grant_wait": 3, "hold_off": 3, "kill_grace": 3, "poll_slurm": 1}
SINGLE, TASKS = 30, 20
DOWN = FaultRates(unavailable=1.0)


class SessionCount(Faults):
    """Counts at the vendor's server how many sessions there are at a time, whoever may think what."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = self.open = self.most = 0
        self._open: set[str] = set()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await super().middleware(request, handler)
        if response.status >= 400 or "/sessions" not in (route := route_of(request)):
            return response
        if route.startswith("POST ") and isinstance(response, web.Response):
            self.opened += 1
            self._open.add(json.loads(response.text or "")["id"])
        elif route.startswith(("PATCH ", "DELETE ")):
            self._open.discard(request.match_info["id"])
        self.open = len(self._open)
        self.most = max(self.most, self.open)
        return response


@contextlib.contextmanager
def site_of(lanes: Mapping[str, int], *, clocks: Mapping[str, Clock] | None = None, **more: Any) -> Iterator[QpuSite]:
    make_users()
    with contextlib.ExitStack() as stack:
        vendors = {
            name: stack.enter_context(CASE.start(faults=SessionCount(), service_time=(clocks or {}).get(name, Clock())))
            for name in lanes
        }
        resources = [
            {"name": name, "type": IBM, "lanes": lanes[name], "environment": dict(vendor.environment)}
            for name, vendor in vendors.items()
        ]
        gateway, nodes = {**SHORT, **more.pop("gateway", {})}, {"patience": 12, "holdoff": 3}
        site = stack.enter_context(start_site(resources, vendors, gateway=gateway, nodes=nodes, **more))
        yield site


@pytest.fixture(scope="module")
def clock() -> Clock:
    """How long tasks at ibm_p take."""
    return Clock()


@pytest.fixture(scope="module")
def site(clock: Clock) -> Iterator[QpuSite]:
    with site_of(LANES, pools=[POOL], clocks={"ibm_p": clock}) as running:
        yield running


def sessions(site: QpuSite, name: str) -> SessionCount:
    count = site.vendors[name].emulator.faults
    assert isinstance(count, SessionCount)
    return count


def reserved(site: QpuSite) -> dict[str, str]:
    """The reservations by their names, each with its licences."""
    said = site.cluster.run(["scontrol", "-o", "show", "reservation"], timeout=10, check=False).stdout
    lines = [line for line in said.splitlines() if line.startswith("ReservationName=")]
    found = (dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines)
    return {each["ReservationName"]: each["Licenses"] for each in found}


def told(site: QpuSite, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(site.qrmi("qpus", "--json"))
    return next(each for each in found if each["name"] == name)


class Queue:
    """Jobs in the queue of one QPU, single ones and an array."""

    def __init__(self, jobs: SiteJobs, qpu: str, single: int, tasks: int, script: str = "echo ran") -> None:
        self.cluster = jobs.cluster
        self.work = jobs.work
        self.single = [jobs.submit(f"--qpu={qpu}", script=script) for _ in range(single)]
        self.array = jobs.submit(f"--qpu={qpu}", f"--array=1-{tasks}", script=script) if tasks else 0
        self.size = single + tasks

    def all(self) -> list[SlurmJob]:
        known = Controller(self.cluster.slurm_conf).jobs().values()
        return [job for job in known if job.id in self.single or (job.array or "").startswith(f"{self.array}_")]

    def states(self) -> Counter[str]:
        return Counter(job.state for job in self.all())

    def all_ran(self, timeout: float) -> bool:
        return polling.wait_until(lambda: self.states() == {"COMPLETED": self.size}, timeout=timeout)

    def outputs(self) -> Counter[str]:
        names = [str(job) for job in self.single]
        names += [job.array.replace("_", ".") for job in self.all() if job.array]
        return Counter((self.work / f"{name}.out").read_text() for name in names)

    def moved(self) -> list[SlurmJob]:
        return [job for job in self.all() if job.restarts]


def runs_of(site: QpuSite, *, state: str) -> Counter[int]:
    """How many leases the journal has in a state, by job."""
    journal = site.site.state_dir / "journal.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=10)) as connection:
        return Counter(job for (job,) in connection.execute("SELECT job_id FROM leases WHERE state = ?", (state,)))


def passed(since: float, seconds: float) -> bool:
    """An outage lasts so long."""
    return polling.wait_until(lambda: time.monotonic() - since >= seconds, timeout=seconds + 5)


def nothing_is_left(site: QpuSite, name: str) -> None:
    assert site.no_leases()
    count = sessions(site, name)
    assert count.open == 0
    assert count.most <= LANES[name]
    assert set(site.cluster.run(["sinfo", "-h", "-o", "%T"]).stdout.split()) <= {"idle", "completing", "mixed"}


def vendor_down(site: QpuSite, seconds: float) -> None:
    """50 jobs, an array of 20 among them, while a vendor is down."""
    jobs, faults = site.jobs(), sessions(site, "ibm_a")
    faults.rates, began = DOWN, time.monotonic()
    try:
        refused = jobs.srun("--qpu=ibm_a", "true")
        assert refused.returncode != 0
        assert "ibm_a could not be acquired" in refused.stderr
        queue = Queue(jobs, "ibm_a", SINGLE, TASKS)
        assert polling.wait_until(lambda: "qrmi_ibm_a" in reserved(site), timeout=20)
        shown = told(site, "ibm_a")
        assert shown["state"] == "offline"
        assert "503" in shown["reason"]
        waits = jobs.sbatch("--qpu=ibm_a", script="echo ran")
        assert "ibm_a is out of service" in waits.stderr
        assert "503" in waits.stderr
        assert passed(began, seconds)
        assert set(queue.states()) <= {"PENDING", "COMPLETING"}
        moved = {job.id for job in queue.moved()}
    finally:
        faults.rates = FaultRates()
    assert queue.all_ran(timeout=120), queue.states()
    assert queue.outputs() == {"ran\n": queue.size}
    assert {job.id for job in queue.moved()} == moved
    assert 0 < len(moved) <= 2 * LANES["ibm_a"]
    assert moved <= set(runs_of(site, state="refused"))
    assert jobs.ended(int(waits.stdout))["Restarts"] == "0"
    assert "qrmi_ibm_a" not in reserved(site)
    nothing_is_left(site, "ibm_a")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not by_root(), reason="only root starts the helper that makes reservations")
def test_a_queue_outlives_its_vendors_outage(site: QpuSite) -> None:
    vendor_down(site, 15.0)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not by_root(), reason="only root starts the helper that makes reservations")
def test_a_queue_outlives_a_long_outage(site: QpuSite) -> None:
    vendor_down(site, 60.0)


def gateway_down(site: QpuSite, seconds: float) -> None:
    """The same with the gateway killed, and started again after a while."""
    jobs, gateway = site.jobs(), site.site.gateway
    pid = gateway.pid(site.cluster.places.run)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert polling.wait_until(lambda: gateway.pid(site.cluster.places.run) is None, timeout=10)
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(1) as beside:
            interactive = beside.submit(functools.partial(jobs.srun, "--qpu=ibm_a", "true", timeout=60))
            queue = Queue(jobs, "ibm_a", SINGLE, TASKS)
            refused = interactive.result(60)
        assert refused.returncode != 0
        assert "does not answer" in refused.stderr
        assert passed(began, seconds)
        assert set(queue.states()) <= {"PENDING", "RUNNING", "COMPLETING"}
    finally:
        site.site.start_gateway()
    assert queue.all_ran(timeout=150), queue.states()
    assert queue.outputs() == {"ran\n": queue.size}
    # Each run of a job held its lane until its prolog gave up, so no more could be refused than that.
    assert len(queue.moved()) <= LANES["ibm_a"] * (1 + seconds / 3)
    assert len(queue.moved()) < queue.size or seconds > 30
    nothing_is_left(site, "ibm_a")


@pytest.mark.timeout(300)
def test_a_queue_outlives_the_gateway(site: QpuSite) -> None:
    gateway_down(site, 15.0)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_queue_outlives_the_gateway_for_long(site: QpuSite) -> None:
    gateway_down(site, 60.0)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not by_root(), reason="only root starts the helper that makes reservations")
def test_jobs_wait_while_a_vendor_says_offline(site: QpuSite) -> None:
    jobs, device = site.jobs(), site.vendors["ibm_b"].emulator.device
    device.announced = ResourceStatus(ResourceStatusCode.OFFLINE, status_reason="the cryostat warms up", healthy=False)
    try:
        assert polling.wait_until(lambda: "qrmi_ibm_b" in reserved(site), timeout=40)
        assert [told(site, "ibm_b")[key] for key in ("state", "reason")] == ["offline", "the cryostat warms up"]
        submitted = jobs.sbatch("--qpu=IBM_B", script="echo ran")
        assert "ibm_b is out of service: the cryostat warms up. The job waits until it is back" in submitted.stderr
        job = int(submitted.stdout)
        assert polling.wait_until(lambda: show(site.cluster, job)["Reason"] in {"Licenses", "Reservation"}, timeout=20)
    finally:
        device.announced = None
    ended = jobs.ended(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "0")
    assert "qrmi_ibm_b" not in reserved(site)
    following = jobs.sbatch("--qpu=ibm_b")
    assert "out of service" not in following.stderr
    jobs.ended(int(following.stdout))
    nothing_is_left(site, "ibm_b")


@pytest.mark.skipif(not by_root(), reason="only root starts the helper that makes reservations")
def test_maintenance_by_hand(site: QpuSite) -> None:
    jobs = site.jobs()
    site.qrmi("maintenance", "ibm_b", "--on", "new laser, 100 % sure")
    try:
        assert [told(site, "ibm_b")[key] for key in ("state", "reason")] == ["maintenance", "new laser, 100 % sure"]
        submitted = jobs.sbatch("--qpu=ibm_b", script="echo ran")
        assert "ibm_b is out of service: new laser, 100 % sure. The job waits" in submitted.stderr
        other = jobs.srun("--qpu=ibm_q", "true")
        assert other.returncode == 0, other.stderr
        assert show(site.cluster, submitted.stdout.strip())["JobState"] == "PENDING"
        reason = site.cluster.places.etc / "qrmi_reason_ibm_b"
        assert reason.stat().st_mode & 0o777 == 0o644
    finally:
        site.qrmi("maintenance", "ibm_b", "--off")
    assert jobs.ended(int(submitted.stdout))["JobState"] == "COMPLETED"
    assert not reason.exists()
    assert told(site, "ibm_b")["state"] == "online"


WHICH = 'echo "$QRMI_JOB_QPU_RESOURCES"'


def test_a_pool_gives_the_member_with_the_shortest_queue(site: QpuSite, clock: Clock) -> None:
    jobs = site.jobs()
    clock.seconds = 300.0
    task = site.vendors["ibm_p"].resource(None, None, QRMI_IBM_QCS_SESSION_MODE="none").submit(sampler_payload(1))
    try:
        assert polling.wait_until(lambda: told(site, "ibm_p")["queue"] == 1, timeout=20)  # it is asked now and then
        got = jobs.srun("--qpu=ibm_pair", "sh", "-c", WHICH)
        assert got.stdout.strip() == "ibm_q", got.stderr
    finally:
        clock.seconds = 0.0
        task.cancel()
    assert site.no_leases()


def test_a_pool_has_no_more_holders_than_lanes(site: QpuSite) -> None:
    jobs = site.jobs()
    queue = Queue(jobs, "ibm_pair", 2, 4, script=WHICH)
    both = jobs.srun("--qpu=ibm_pair:2", "true")
    assert both.returncode != 0  # each member has one lane
    assert queue.all_ran(timeout=60), queue.states()
    assert set(queue.outputs()) == {"ibm_p\n", "ibm_q\n"}
    for name in POOL["members"]:
        nothing_is_left(site, name)


@pytest.mark.slow
@pytest.mark.skipif(not by_root(), reason="only root starts the helper that makes reservations")
def test_a_pool_does_without_members_that_are_out_of_service(site: QpuSite) -> None:
    jobs = site.jobs()
    site.qrmi("maintenance", "ibm_p", "--on", "new laser")
    try:
        got = [jobs.srun("--qpu=ibm_pair", "sh", "-c", WHICH).stdout.strip() for _ in range(2)]
        assert got == ["ibm_q", "ibm_q"]
        assert polling.wait_until(lambda: reserved(site).get("qrmi_ibm_pair") == "qpu_ibm_pair:1", timeout=20)
        site.qrmi("maintenance", "ibm_q", "--on", "new mirror")
        assert polling.wait_until(lambda: reserved(site).get("qrmi_ibm_pair") == "qpu_ibm_pair:2", timeout=20)
        submitted = jobs.sbatch("--qpu=ibm_pair", script=WHICH)
        assert "ibm_pair is out of service: ibm_p: new laser; ibm_q: new mirror" in submitted.stderr
        site.qrmi("maintenance", "ibm_q", "--off")
        assert jobs.ended(int(submitted.stdout))["JobState"] == "COMPLETED"
    finally:
        for name in POOL["members"]:
            site.qrmi("maintenance", name, "--off")
    assert reserved(site) == {}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_500_jobs_get_each_lease_once_and_none_is_lost() -> None:
    lanes = {f"ibm_{letter}": 2 for letter in "abcd"}
    with site_of(lanes, gateway={"grant_wait": 20, "log_level": "info"}) as site:
        jobs = site.jobs()
        queues = [Queue(jobs, name, 25, 100) for name in lanes]
        for queue in queues:
            assert queue.all_ran(timeout=600), queue.states()
            assert queue.outputs() == {"ran\n": 125}
            assert queue.moved() == []
        assert site.no_leases()
        released = runs_of(site, state="released")
        assert len(released) == 500
        assert set(released.values()) == {1}
        assert not any(runs_of(site, state=state) for state in ("granting", "granted", "releasing", "refused"))
        for name in lanes:
            count = sessions(site, name)
            assert (count.opened, count.open) == (125, 0)
            assert count.most <= 2
