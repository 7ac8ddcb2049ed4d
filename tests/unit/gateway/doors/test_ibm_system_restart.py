# SPDX-License-Identifier: Apache-2.0
"""A gateway is killed while jobs submit tasks to a machine on premises, and another takes its place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doored import doored
from ibm_compute_case import sampler_payload, shows
from ibm_system_case import start
from mortal_gateway import mortal_gateway
from munge_daemon import Munged

from qrmi_core import JobContext, polling
from qrmi_core.drivers.ibm_compute import IBMQuantumComputeService

COUNT = 30
BEFORE = 10
"""How many tasks the machine has when the gateway is killed, at least; others are on their way."""


@pytest.mark.slow
def test_all_results_arrive_and_no_task_runs_twice(daemons: Munged, tmp_path: Path) -> None:
    with start(lanes=COUNT) as machine:
        resources: list[dict[str, Any]] = [
            {
                "name": "onsite",
                "type": "ibm-quantum-system",
                "environment": {**machine.environment, "QRMI_MIN_POLL": "0"},
            }
        ]
        with mortal_gateway(tmp_path, daemons, resources, "onsite") as (job, _):
            of_it = {name: value for name, value in job.environment.items() if name.startswith("onsite_QRMI_")}
            values = {name.removeprefix("onsite_"): value for name, value in of_it.items()}
            driver = IBMQuantumComputeService.from_environment("onsite", values, JobContext())
            threads = ThreadPoolExecutor(8)
            submitting = [threads.submit(driver.submit, sampler_payload(number)) for number in range(COUNT)]
            assert polling.wait_until(lambda: machine.emulator.device.runs >= BEFORE, timeout=60)
        address = job.url.removeprefix("http://")
        listen = {"admin": str(tmp_path / "admin.sock"), "jobs": address}
        with threads, doored(tmp_path, daemons.socket, resources, listen=listen) as case:
            for number, task in enumerate(submitting):
                shows(task.result(100).result(timeout=100).value.encode(), number)
            assert machine.emulator.device.runs == COUNT
            listed = job.ask("GET", "/experimental/api/v1/jobs")[1]
            assert listed["count"] == COUNT
            case.release(replace(job, url=case.url))
