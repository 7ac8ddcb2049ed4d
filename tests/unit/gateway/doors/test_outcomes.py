# SPDX-License-Identifier: Apache-2.0
"""What came of the tasks of a job that never asked is in the books once its lease has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import felis_case
import iqm_case
import pasqal_cloud_case
import pytest
from doored import doored
from munge_daemon import Munged
from vendor_site import Case

from qrmi_core import JobContext, TaskStatus, polling
from qrmi_core.discovery import driver
from qrmi_core.gateway.job_comments import JobComments


class Nobody:
    """Has no line of a job to write: they are looked at while they wait."""

    def system_comment(self, cluster: str, job_id: int, submitted: int, text: str) -> None:
        raise AssertionError(text)


@pytest.mark.parametrize(
    ("case", "shots", "seconds"),
    [
        pytest.param(iqm_case.CASE, 5, True, id="iqm"),
        pytest.param(felis_case.CASE, felis_case.SHOTS, False, id="felis", marks=pytest.mark.slow),
        pytest.param(pasqal_cloud_case.CASE, 13, True, id="pasqal-cloud", marks=pytest.mark.slow),
    ],
)
def test_a_task_that_nobody_asked_about_is_in_the_books(
    case: Case, shots: int, seconds: bool, daemons: Munged, tmp_path: Path
) -> None:
    with case.start() as vendor:
        values = {**vendor.environment, "QRMI_MIN_POLL": "0"}
        resources: list[dict[str, Any]] = [
            {"name": "qpu", "type": case.type, "environment": values, "access": "gateway"}
        ]
        with doored(tmp_path, daemons.socket, resources) as gateway:
            job = gateway.granted("qpu")
            of_it = {name: value for name, value in job.environment.items() if name.startswith("qpu_QRMI_")}
            inner = {name.removeprefix("qpu_"): value for name, value in of_it.items()}
            task = driver(case.type).from_environment("qpu", inner, JobContext()).task_start(case.payload(3))
            directly = vendor.resource()
            assert polling.wait_until(lambda: directly.task_status(task) is TaskStatus.COMPLETED, timeout=30)
            gateway.release(job)
            assert polling.wait_until(lambda: gateway.keeper.live() == [], timeout=15)
            (told,) = gateway.do(gateway.gateway.doors.books.usage()).tasks
            assert (told["task"], told["outcome"], told["shots"]) == (task, "completed", shots)
            assert told["ended"] >= told["submitted"] - 1
            assert (told["usage_seconds"] is not None) is seconds
            comments = JobComments(gateway.gateway.journal, Nobody(), gateway.gateway.within)
            gateway.do(comments.look(accounting=True))
            assert comments.pending == 1
            (waiting,) = comments._writer._pending.values()
            assert f"shots={shots}" in waiting.comment.text
