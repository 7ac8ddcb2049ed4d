# SPDX-License-Identifier: Apache-2.0
"""A gateway is killed while jobs submit tasks to IQM's and Alice & Bob's servers, and another takes its place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import felis_case
import iqm_case
import pytest
from doored import doored
from mortal_gateway import mortal_gateway
from munge_daemon import Munged
from vendor_site import Case

from qrmi_core import JobContext, SubmissionUncertain, Task, polling
from qrmi_core.discovery import driver

COUNT = 40
BEFORE = 10
"""How many tasks the vendor has when the gateway is killed, at least; others are on their way."""


@pytest.mark.slow
@pytest.mark.parametrize("case", [iqm_case.CASE, felis_case.CASE], ids=["iqm", "felis"])
def test_results_arrive_none_runs_twice_and_what_nobody_knows_is_told(
    case: Case, daemons: Munged, tmp_path: Path
) -> None:
    with case.start(lanes=COUNT) as vendor, ThreadPoolExecutor(8) as threads:
        values = {**vendor.environment, "QRMI_MIN_POLL": "0"}
        resources: list[dict[str, Any]] = [{"name": "qpu", "type": case.type, "environment": values}]
        with mortal_gateway(tmp_path, daemons, resources, "qpu") as (job, _):
            of_it = {name: value for name, value in job.environment.items() if name.startswith("qpu_QRMI_")}
            program = driver(case.type).from_environment(
                "qpu", {name.removeprefix("qpu_"): value for name, value in of_it.items()}, JobContext()
            )

            def submitted(number: int) -> Task | str:
                try:
                    return program.submit(case.payload(number))
                except SubmissionUncertain as error:
                    return str(error)

            submitting = [threads.submit(submitted, number) for number in range(COUNT)]
            assert polling.wait_until(lambda: vendor.emulator.device.runs >= BEFORE, timeout=60)
        listen = {"admin": str(tmp_path / "admin.sock"), "jobs": job.url.removeprefix("http://")}
        with doored(tmp_path, daemons.socket, resources, listen=listen) as gateway:
            tasks = {number: each.result(100) for number, each in enumerate(submitting)}
            known = {number: task for number, task in tasks.items() if isinstance(task, Task)}
            unknown = [text for text in tasks.values() if isinstance(text, str)]
            for number, task in known.items():
                case.verify(task.result(timeout=100).value.encode(), number)
            assert len(known) >= BEFORE
            assert len(unknown) <= 8  # one for each thread
            assert all("nobody knows whether the task was taken" in text for text in unknown)
            assert len(known) <= vendor.emulator.device.runs <= len(known) + len(unknown)
            assert case.type == "iqm-server" or not unknown
            noted = [each["task"] for each in gateway.do(gateway.gateway.doors.books.usage()).tasks]
            assert {task.id for task in known.values()} <= set(noted)
            assert len(noted) == len(set(noted))
            gateway.release(replace(job, url=gateway.url))
