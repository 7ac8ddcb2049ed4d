# SPDX-License-Identifier: Apache-2.0
"""The gateway dies at each step of a grant and a release, or has no disk: nothing is lost, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import why_not
from crash_site import CrashSite, Tell, crash_site, kill, own_process

from qrmi_core import polling
from qrmi_core.admin_client import AdminClient
from qrmi_core.client_settings import ClientSettings
from qrmi_core.errors import AuthenticationFailed, LeaseRefused
from qrmi_core.leases import failpoints

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a site of several users is started and killed")

LEASES = Path(failpoints.__file__).parent
STEPS = sorted(set(re.findall(r'step\("([^"]+)"\)', "".join(file.read_text() for file in LEASES.glob("*.py")))))
PLACES = [f"{step}:{place}" for step in STEPS for place in ("before", "after")]
ALWAYS = ("grant.acquire:after", "release.vendor:before")
LOST = ("grant.acquire:after", "grant.outcome:before")
"""Where the vendor's answer never reached the journal: its session ends by its own time limit."""


@pytest.fixture
def site(crashing: CrashSite) -> Iterator[CrashSite]:
    """The site, with its gateway at work before and after."""
    crashing.forget()
    yield crashing
    if not crashing.gateway_lives():
        crashing.start_gateway()
    crashing.cancel_all()
    assert polling.wait_until(lambda: not crashing.held(), timeout=30)


def restart(site: CrashSite, failpoint: str | None = None) -> None:
    site.kill_gateway()
    site.start_gateway(failpoint)


@pytest.mark.parametrize(
    "place", [place if place in ALWAYS else pytest.param(place, marks=pytest.mark.slow) for place in PLACES]
)
def test_it_dies_at_a_step_and_is_started_again(site: CrashSite, record_property: Tell, place: str) -> None:
    restart(site, place)
    job = site.hold("--time=1")
    if place.startswith("release"):
        site.running_task(job)
        site.cluster.run(["scancel", str(job)], timeout=20)
    assert polling.wait_until(lambda: not site.gateway_lives(), timeout=60), "the step was never reached"
    site.start_gateway()
    if place.startswith("grant"):
        # The prolog asks until it has an answer: one lease for it, whatever the dead gateway had begun.
        lease = site.lease_of(job)
        assert [each["id"] for each in site.held()] == [lease["id"]]
        site.running_task(job)
        assert sum(site.sessions().values()) == (2 if place in LOST else 1)
        site.cluster.run(["scancel", str(job)], timeout=20)
    site.given_back(job, record_property, f"gateway kill -9 at {place}", lost=place in LOST)
    if place in LOST:
        lost = site.leases()[-1]
        (acquisition,) = lost["resources"]
        assert acquisition["state"] == "uncertain"
        assert acquisition["until"] <= lost["granted"] + 60 + 60 + 5
        site.end_lost_sessions()


@pytest.mark.parametrize("back", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_it_is_killed_while_a_job_runs(site: CrashSite, record_property: Tell, back: str) -> None:
    """Back before the job's end, or after it: what its nodes have told nobody, slurmctld tells."""
    pids = site.cluster.places.work / f"runs-{back}"
    job = site.hold(before=f"echo $$ > {pids}")
    site.running_task(job)
    lease = site.lease_of(job)
    site.kill_gateway()
    if back == "before":
        site.start_gateway()
        assert [each["id"] for each in site.held()] == [lease["id"]]
        assert not any(status.is_final for status in list(site.tasks().values())[-1:])
        kill(own_process(pids))
    else:
        kill(own_process(pids))
        assert site.is_in(job, "FAILED")
        site.start_gateway()
    site.given_back(job, record_property, f"gateway kill -9 while a job runs, back {back} its end")


def test_sixteen_prologs_at_once_get_one_lease(site: CrashSite, record_property: Tell) -> None:
    """The prologs of two nodes, and the roots of both asking fourteen times besides."""
    before = len(site.sessions())
    job_ids: list[int] = []
    submitted = threading.Event()

    def ask(number: int) -> str:
        node = site.cluster.nodes[number % 2]
        socket = str(site.cluster.places.socket(node.name))
        client = AdminClient(ClientSettings(url=f"unix:{site.running.site.socket}", munge_socket=socket))
        assert submitted.wait(30)
        found: list[str] = []

        def granted() -> bool:
            with contextlib.suppress(LeaseRefused, AuthenticationFailed):  # it does not run on this node yet
                found.append(client.grant(job_ids[0], node.name, wait=10)["lease"])
            return bool(found)

        try:
            assert polling.wait_until(granted, timeout=40)
        finally:
            client.close()
        return found[0]

    with ThreadPoolExecutor(14) as pool:
        asking = [pool.submit(ask, number) for number in range(14)]
        job_ids.append(site.hold("-N2"))
        submitted.set()
        leases = {each.result(timeout=60) for each in asking}
    job = job_ids[0]
    site.running_task(job)
    assert leases == {site.lease_of(job)["id"]}
    assert len(site.sessions()) == before + 1
    site.cluster.run(["scancel", str(job)], timeout=20)
    site.given_back(job, record_property, "16 prologs at once, two nodes, scancel")


def test_a_damaged_journal_is_told_and_a_gateway_without_one_goes_on(site: CrashSite, record_property: Tell) -> None:
    """The guide's way back without any copy: what runs is given back by Slurm alone, new jobs get their leases."""
    site.kill_gateway()
    state, log = site.running.site.state_dir, site.cluster.places.log / "gateway.log"
    owner = (state / "journal.sqlite").stat()
    for name in ("journal.sqlite-wal", "journal.sqlite-shm"):
        (state / name).unlink(missing_ok=True)
    (state / "journal.sqlite").write_bytes(b"\xff" * 8192)
    size = log.stat().st_size
    gateway = site.running.site.gateway
    gateway.start(site.cluster.places.run, site.cluster.places.log)
    assert gateway.gone(site.cluster.places.run, timeout=30)
    said = log.read_text()[size:]
    assert "journal.sqlite is damaged (file is not a database): stop the gateway, move journal.sqlite" in said
    assert "Traceback" not in said
    for file in state.glob("journal.sqlite*"):
        file.unlink()
    site.start_gateway()
    assert (state / "journal.sqlite").stat().st_uid == owner.st_uid
    job = site.hold()
    site.running_task(job)
    site.cluster.run(["scancel", str(job)], timeout=20)
    site.given_back(job, record_property, "a job after the journal was lost")


@pytest.fixture
def small_disk() -> Iterator[CrashSite]:
    """A site whose gateway keeps its state on a disk of one megabyte."""
    if reason := why_not():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:

        def prepare(directory: Path) -> None:
            state = directory / "gateway"
            state.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(state)]
            done = subprocess.run(mount, capture_output=True, text=True, timeout=20, check=False)
            if done.returncode:
                pytest.skip(f"this root may not mount a small disk: {done.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "--lazy", str(state)], check=False, timeout=20)

        yield stack.enter_context(crash_site(prepare, gateway={"grant_wait": 3}, nodes={"holdoff": 2}))


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_the_disk_is_full(small_disk: CrashSite, record_property: Tell) -> None:
    site = small_disk
    state = site.running.site.state_dir

    def fill() -> Path:
        filler = state / "filler"
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        assert shutil.disk_usage(state).free == 0
        return filler

    filler = fill()
    waits = site.hold()
    fails = site.hold("--no-requeue")
    assert polling.wait_until(lambda: site.state(waits).get("Restarts") == "1", timeout=40), site.state(waits)
    assert sum(site.sessions().values()) == 0, "nothing was acquired that the journal does not know"
    assert site.is_in(fails, "FAILED"), site.state(fails)
    assert "the journal" in site.said(fails)
    assert "disk" in site.said(fails)
    filler.unlink()
    site.lease_of(waits)
    site.running_task(waits)
    filler = fill()
    site.cluster.run(["scancel", str(waits)], timeout=20)
    assert site.is_in(waits, "CANCELLED")
    assert site.gateway_lives()
    filler.unlink()
    site.given_back(waits, record_property, "disk full at the grant and at the release: from room on it")
