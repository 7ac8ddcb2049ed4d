# SPDX-License-Identifier: Apache-2.0
"""The gateway on a real cluster: leases for jobs that run, for whom they are, and until they are over."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from cluster import by_root, make_users, why_not
from qpu_site import QpuSite, start_site

from qrmi_core import polling
from qrmi_core.admin_client import AdminClient
from qrmi_core.client_settings import ClientSettings
from qrmi_core.errors import AuthenticationFailed, LeaseRefused

RESOURCES = [
    {"name": "aer_fez", "type": "aer-simulator", "environment": {}, "lanes": 2},
    {"name": "aer_kyiv", "type": "aer-simulator", "environment": {}},
    {"name": "closed", "type": "aer-simulator", "environment": {}, "users": ["nobody"]},
]


@pytest.fixture(scope="module")
def site() -> Iterator[QpuSite]:
    if reason := why_not():
        pytest.skip(reason)
    if not by_root():
        pytest.skip("nodes fetch leases as root")
    make_users()
    with start_site(RESOURCES, pools=[{"name": "either", "members": ["aer_fez", "aer_kyiv"]}]) as running:
        yield running


def client(site: QpuSite, host: str) -> AdminClient:
    """Asks with the munged of a host of the cluster."""
    places = site.cluster.places
    return AdminClient(ClientSettings(url=f"unix:{site.site.socket}", munge_socket=str(places.socket(host))))


def leases(site: QpuSite) -> dict[str, Any]:
    return {each["job"]: each for each in client(site, "head").leases(everybody=True)}


def started(site: QpuSite, *options: str, script: str = "sleep 60") -> int:
    jobs = site.jobs()
    number = jobs.submit("--time=2", *options, script=script)
    assert polling.wait_until(lambda: str(number) in leases(site), timeout=30), site.log()
    return number


def gone(site: QpuSite, job: int) -> bool:
    return polling.wait_until(lambda: str(job) not in leases(site), timeout=15)


def test_a_job_has_its_lease_until_it_is_over(site: QpuSite) -> None:
    jobs = site.jobs()
    number = started(site, "-N2", "--qpu=aer_fez:2", script="srun sh -c 'env | grep QRMI_; sleep 2'")
    lease = leases(site)[str(number)]
    assert (lease["uid"], lease["nodes"], lease["state"]) == (jobs.uid, ["n1", "n2"], "granted")
    assert [(each["name"], each["lanes"], each["state"]) for each in lease["resources"]] == [("aer_fez", 2, "acquired")]
    told = {each["name"]: each for each in client(site, "head").resources()}
    assert (told["aer_fez"]["free"], told["aer_fez"]["leases"], told["aer_kyiv"]["free"]) == (0, 1, 1)
    assert jobs.ended(number)["JobState"] == "COMPLETED"
    assert gone(site, number)
    said = jobs.output(number)
    assert f"QRMI_LEASE_ID={lease['id']}" in said
    assert said.count("QRMI_JOB_QPU_RESOURCES=aer_fez\n") == 2


def test_a_pool_becomes_one_of_its_members(site: QpuSite) -> None:
    number = started(site, "--qpu=either", script="env | grep QRMI_JOB_QPU; sleep 1")
    (resource,) = leases(site)[str(number)]["resources"]
    assert resource["name"] in {"aer_fez", "aer_kyiv"}
    site.jobs().ended(number)
    assert f"QRMI_JOB_QPU_RESOURCES={resource['name']}\n" in site.jobs().output(number)
    assert gone(site, number)


def test_who_may_not_have_it_is_told(site: QpuSite) -> None:
    jobs = site.jobs()
    number = jobs.submit("--time=1", "--qpu=closed")
    assert jobs.ended(number)["JobState"] == "FAILED"
    assert "may not use closed: ask the site's administrators" in jobs.output(number)


def test_a_node_speaks_for_its_own_jobs_only(site: QpuSite) -> None:
    number = started(site, "-w", "n1", "--qpu=aer_fez")
    lease = leases(site)[str(number)]
    own, other = client(site, "n1"), client(site, "n2")
    try:
        assert own.grant(number, "n1", wait=1)["lease"] == lease["id"]
        for asking, node in ((other, "n1"), (other, "n2"), (own, "n2"), (client(site, "head"), "n1")):
            with pytest.raises(AuthenticationFailed, match="this user and host may not do that"):
                asking.grant(number, node, wait=1)
        with pytest.raises(AuthenticationFailed):
            other.node_done(lease["id"], "n2")
        other.job_node_done(number, "n2", 2e9)
        with pytest.raises(AuthenticationFailed):
            other.job_ends(number)
        assert leases(site)[str(number)]["state"] == "granted"
        with pytest.raises(LeaseRefused, match="slurmctld knows no job 4000000"):
            own.grant(4_000_000, "n1", wait=1)
        own.node_done(lease["id"], "n1")
        assert gone(site, number)
        with pytest.raises(LeaseRefused, match="was given back already"):
            own.grant(number, "n1", wait=1)
    finally:
        site.jobs().run("scancel", str(number))


def test_sixteen_prologs_at_once_get_one_lease(site: QpuSite) -> None:
    number = started(site, "-w", "n1", "--qpu=aer_kyiv")
    told: list[str] = []

    def ask() -> None:
        with suppress(LeaseRefused):
            told.append(client(site, "n1").grant(number, "n1", wait=5)["lease"])

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == [leases(site)[str(number)]["id"]] * 16
    site.jobs().run("scancel", str(number))
    assert gone(site, number)


@pytest.mark.parametrize("how", ["scancel", "requeue", "killed gateway"])
def test_whatever_ends_a_job_the_lease_ends_with_it(site: QpuSite, how: str) -> None:
    number = started(site, "--qpu=aer_fez")
    lease = leases(site)[str(number)]["id"]
    if how == "requeue":
        site.cluster.run(["scontrol", "requeuehold", str(number)], timeout=10)
    else:
        if how == "killed gateway":
            pid = site.site.gateway.pid(site.cluster.places.run)
            assert pid is not None
            site.cluster.run(["kill", "-9", str(pid)])
            assert polling.wait_until(lambda: not site.site.listens(), timeout=10)
            site.site.start_gateway()
            assert leases(site)[str(number)]["id"] == lease
        site.jobs().run("scancel", str(number))
    assert gone(site, number)
    site.jobs().run("scancel", str(number))


def test_an_operator_releases_and_a_user_only_their_own(site: QpuSite) -> None:
    number = started(site, "--qpu=aer_fez")
    lease = leases(site)[str(number)]["id"]
    own = client(site, "head")
    assert own.leases() == []
    assert own.release(number) == {"version": 1, "released": [lease], "pending": []}
    assert str(number) not in leases(site)
    assert own.release(number) == {"version": 1, "released": [], "pending": []}
    site.jobs().run("scancel", str(number))


def test_the_gateway_is_well(site: QpuSite) -> None:
    assert client(site, "head").health() == {"version": 1, "status": "ok", "journal": "ok", "slurmctld": "ok"}
    assert json.dumps(client(site, "head").resources())
