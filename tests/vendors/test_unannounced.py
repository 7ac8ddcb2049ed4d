# SPDX-License-Identifier: Apache-2.0
"""A job with the vendor's own address dies before it could announce its task: its lease's mark finds the task."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator

import ibm_compute_case
import pasqal_cloud_case
import pytest
from vendor_site import Case, Clock, Site

from qrmi_core import JobContext, QuantumResource, TaskStatus
from qrmi_core.config import Configuration
from qrmi_core.discovery import driver
from qrmi_core.environment import read_job
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.environments import Environments
from qrmi_core.leases import AcquisitionState, Holder, JobKey
from qrmi_core.leases.journal import MemoryJournal
from qrmi_core.leases.keeper import LeaseKeeper
from qrmi_core.polling import wait_until

CASES = [ibm_compute_case.CASE, pasqal_cloud_case.CASE]
LONG = 600.0


@pytest.fixture(scope="module", params=CASES, ids=[case.type for case in CASES])
def vendor(request: pytest.FixtureRequest) -> Iterator[tuple[Case, Site]]:
    clock = Clock()
    clock.seconds = LONG
    with request.param.start(service_time=clock, options=DialectOptions(list_delay=0.5)) as site:
        yield request.param, site


class Vendor:
    """A site with one QPU that jobs reach directly."""

    def __init__(self, case: Case, site: Site, **more: str) -> None:
        values = {**site.environment, **more}
        name = "qpu"
        entry = {"name": name, "type": case.type, "access": "direct", "environment": values}
        self.case, self.site = case, site
        self.environments = Environments(Configuration.checked({"resources": [entry]}), "qrmi_config.json")
        self.keeper = LeaseKeeper(MemoryJournal(), self.environments, {name: 1})

    def job(self, number: int) -> tuple[str, QuantumResource]:
        """The lease of a job, and the driver that its program has."""
        holder = Holder(JobKey("c", number, 1, 0), os.getuid(), nodes=("n1",), ends=time.time() + LONG)
        lease = self.keeper.grant(holder, {"qpu": 1}, wait=5)
        variables = self.environments.of_lease(lease)
        job = read_job({**variables.environment, **variables.defaults})
        assert job is not None
        (told,) = job.resources
        return lease.id, driver(told.type).from_environment(told.name, told.values, job.context(told))

    def settle(self) -> None:
        for record in self.keeper.due():
            self.keeper.release(record.id, why="")


@pytest.mark.parametrize(
    "late", [pytest.param(False, id="listed", marks=pytest.mark.slow), pytest.param(True, id="late")]
)
def test_a_task_that_nobody_announced_is_cancelled_with_its_lease(vendor: tuple[Case, Site], late: bool) -> None:
    case, site = vendor
    more = {"QRMI_IBM_QCS_SESSION_MODE": "none"} if case.type.startswith("ibm") else {}
    here = Vendor(case, site, **more)
    lease, program = here.job(1)
    other = driver(case.type).from_environment("qpu", {**site.environment, **more}, JobContext(lease="another"))
    kept = other.task_start(case.payload(1))
    task = program.task_start(case.payload(1))
    if not late:
        assert wait_until(lambda: program.unfinished_of_lease(lease) == [task], timeout=10)
    record = here.keeper.release(lease, why="the job died")
    assert record is not None
    assert [each.state for each in record.acquisitions] == [AcquisitionState.SETTLING]
    here.job(2)  # its lane is free
    if not late:
        assert program.task_status(task) is TaskStatus.CANCELLED

    def settled() -> bool:
        here.settle()
        return len(here.keeper.live()) == 1

    assert wait_until(settled, timeout=15)
    assert program.task_status(task) is TaskStatus.CANCELLED
    assert program.unfinished_of_lease(lease) == []
    assert not other.task_status(kept).is_final
    other.task_stop(kept)


def test_a_job_with_as_many_tags_as_ibm_takes_has_no_mark() -> None:
    clock = Clock()
    clock.seconds = LONG
    with ibm_compute_case.CASE.start(service_time=clock) as site:
        program = site.resource(context=JobContext(lease="full", timeout_seconds=600))
        payload = ibm_compute_case.sampler_payload(1)
        marked = program.task_start(dataclasses.replace(payload, tags=tuple("abcdef")))
        program.task_start(dataclasses.replace(payload, tags=tuple("abcdefg")))
        assert program.unfinished_of_lease("full") == [marked]
        program.release("")
