# SPDX-License-Identifier: Apache-2.0
"""What tests of the engines' machinery ask for and look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qrmi_core import PulserBatch, PulserJob, QiskitPrimitive, Task, TaskStatus
from qrmi_core.engines.client import HostClient
from qrmi_core.polling import wait_until

HERE = Path(__file__).parent


def asked(**instruction: Any) -> QiskitPrimitive:
    return QiskitPrimitive("sampler", json.dumps(instruction).encode())


def running(task: Task) -> int:
    """The process id of the task's worker, once it runs."""
    assert wait_until(lambda: task.status() is TaskStatus.RUNNING, timeout=20)
    children = Path(f"/proc/{host_pid(task.resource)}/task/{host_pid(task.resource)}/children").read_text().split()
    return int(children[-1])


def client(resource: Any) -> HostClient:
    found: HostClient = resource._client()
    return found


def host_pid(resource: Any) -> int:
    return int(client(resource).address.lock.read_text().split()[0])


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def batch(*jobs: dict[str, Any], is_open: bool = False, **template: Any) -> PulserBatch:
    listed = tuple(PulserJob(runs=5, variables=json.dumps(job).encode()) for job in jobs)
    return PulserBatch(json.dumps(template).encode(), listed, open=is_open)
