# SPDX-License-Identifier: Apache-2.0
"""What came of the tasks of a job that never asked is in the books once its lease has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import felis_case
import ibm_compute_case
import ibm_system_case
import iqm_case
import pasqal_cloud_case
import pytest
from doored import Doored, Job, doored
from ibm_site import ROOT
from munge_daemon import Munged
from vendor_site import Case, Clock, Site

from qrmi_core import JobContext, QuantumResource, TaskStatus, polling
from qrmi_core.discovery import driver
from qrmi_core.gateway.doors.doors import door_type
from qrmi_core.gateway.job_comments import JobComments


class Nobody:
    """Has no line of a job to write: they are looked at while they wait."""

    def system_comment(self, cluster: str, job_id: int, submitted: int, text: str) -> None:
        raise AssertionError(text)


def behind(vendor: Site, case: Case) -> list[dict[str, Any]]:
    """The vendor's device as the site's only QPU."""
    values = {**vendor.environment, "QRMI_MIN_POLL": "0"}
    return [{"name": "qpu", "type": case.type, "environment": values, "access": "gateway"}]


def jobs_own(job: Job, case: Case) -> QuantumResource:
    """The QPU as a program of the job has it."""
    door = door_type(case.type)
    assert door is not None
    of_it = {name: value for name, value in job.environment.items() if name.startswith("qpu_QRMI_")}
    inner = {name.removeprefix("qpu_"): value for name, value in of_it.items()}
    return driver(door.shows).from_environment("qpu", inner, JobContext())


def ended(gateway: Doored, job: Job) -> dict[str, Any]:
    """What the books tell of the job's only task once its lease has ended."""
    gateway.release(job)
    assert polling.wait_until(lambda: gateway.keeper.live() == [], timeout=30)
    (told,) = gateway.do(gateway.gateway.doors.books.usage()).tasks
    assert told["ended"] >= told["submitted"] - 1
    return told


def waiting_comment(gateway: Doored) -> str:
    """The line of a job that waits to be written."""
    comments = JobComments(gateway.gateway.journal, Nobody(), gateway.gateway.within)
    gateway.do(comments.look(accounting=True))
    assert comments.pending == 1
    (waiting,) = comments._writer._pending.values()
    return waiting.comment.text


@pytest.mark.parametrize(
    ("case", "shots", "seconds"),
    [
        pytest.param(iqm_case.CASE, 5, True, id="iqm"),
        pytest.param(felis_case.CASE, felis_case.SHOTS, False, id="felis", marks=pytest.mark.slow),
        pytest.param(pasqal_cloud_case.CASE, 13, True, id="pasqal-cloud", marks=pytest.mark.slow),
        pytest.param(ibm_compute_case.CASE, None, True, id="ibm-compute"),
        pytest.param(ibm_system_case.CASE, None, True, id="ibm-system", marks=pytest.mark.slow),
    ],
)
def test_a_task_that_nobody_asked_about_is_in_the_books(
    case: Case, shots: int | None, seconds: bool, daemons: Munged, tmp_path: Path
) -> None:
    with case.start() as vendor, doored(tmp_path, daemons.socket, behind(vendor, case)) as gateway:
        job = gateway.granted("qpu")
        task = jobs_own(job, case).task_start(case.payload(3))
        directly = vendor.resource()
        assert polling.wait_until(lambda: directly.task_status(task) is TaskStatus.COMPLETED, timeout=30)
        told = ended(gateway, job)
        assert (told["task"], told["outcome"], told["shots"]) == (task, "completed", shots)
        assert (told["usage_seconds"] is not None) is seconds
        comment = waiting_comment(gateway)
        assert (f"shots={shots}" in comment) is (shots is not None)
        assert ("qpu.s=" in comment) is seconds


@pytest.mark.parametrize(
    ("case", "outcome", "word"),
    [
        pytest.param(ibm_compute_case.CASE, "completed", "Completed", id="compute-completed"),
        pytest.param(ibm_compute_case.CASE, "cancelled", "Cancelled", id="compute-cancelled"),
        pytest.param(ibm_system_case.CASE, "completed", "Completed", id="system-completed", marks=pytest.mark.slow),
        pytest.param(ibm_system_case.CASE, "cancelled", "Cancelled", id="system-cancelled"),
    ],
)
def test_ibms_list_of_jobs_tells_the_next_job_what_came_of_a_task(
    case: Case, outcome: str, word: str, daemons: Munged, tmp_path: Path
) -> None:
    took = Clock()
    took.seconds = 600.0 if outcome == "cancelled" else 0.0
    with (
        case.start(service_time=took) as vendor,
        doored(tmp_path, daemons.socket, behind(vendor, case)) as gateway,
    ):
        job = gateway.granted("qpu")
        task = jobs_own(job, case).task_start(case.payload(3))
        directly = vendor.resource()
        expected = TaskStatus.RUNNING if took.seconds else TaskStatus.COMPLETED
        assert polling.wait_until(lambda: directly.task_status(task) is expected, timeout=30)
        told = ended(gateway, job)
        assert (told["task"], told["outcome"]) == (task, outcome)
        assert (told["usage_seconds"] or 0.0) > 0.0 or outcome == "cancelled"
        status, listed = gateway.granted("qpu").ask("GET", f"{ROOT}/jobs?pending=false")
        assert (status, listed["count"]) == (200, 1)
        (document,) = listed["jobs"]
        assert (document["id"], document["status"], document["state"]["status"]) == (task, word, word)
        assert document["usage"]["seconds"] == (told["usage_seconds"] or 0.0)
        door: Any = gateway.gateway.doors.door(case.type)
        watch = door._machine("qpu").watch if case is ibm_system_case.CASE else door._watch("qpu")
        gateway.do(watch.refresh())
        assert gateway.do(gateway.gateway.doors.books.usage()).tasks == [told]
