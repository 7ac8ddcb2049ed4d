# SPDX-License-Identifier: Apache-2.0
"""What a machine on premises tells of its tasks and of itself, in the form of IBM's cloud."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qrmi_core.gateway.dialects.dialect import iso
from qrmi_core.leases import LeaseTask
from qrmi_core.resource import ResourceStatus, ResourceStatusCode
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["backend_entry", "backend_status", "job_metrics", "lost", "unsent", "was_sent"]

LOST = "the machine does not know it any more: it was cancelled when its job ended, or removed by others"


def job_metrics(task: LeaseTask) -> dict[str, Any]:
    """A job's times and usage."""
    seconds = task.usage or 0.0
    moments = {"created": task.submitted, "running": task.started, "finished": task.ended}
    return {
        "timestamps": {name: None if moment is None else iso(moment) for name, moment in moments.items()},
        "bss": {"seconds": seconds},
        "usage": {
            "quantum_seconds": seconds,
            "seconds": seconds,
            "qpu_charge_time_seconds": seconds,
            "status": "pending" if task.ended is None else "final",
        },
        "position_in_queue": None,
        "estimated_start_time": None,
        "estimated_completion_time": None,
    }


def backend_status(status: ResourceStatus) -> dict[str, Any]:
    """A device's status."""
    online = status.status is ResourceStatusCode.ONLINE
    return {
        "state": online,
        "status": "active" if online else status.status.value,
        "message": status.status_reason or "",
        "length_queue": 0,
        "backend_version": "1.0.0",
    }


def backend_entry(status: ResourceStatus, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A device's entry in the list; its name is for who lists it."""
    return {
        "status": {"name": status.status.value, "reason": status.status_reason or "available"},
        "is_simulator": False,
        "qubits": configuration.get("n_qubits"),
        "queue_length": 0,
        "processor_type": configuration.get("processor_type") or {},
    }


def unsent(document: Mapping[str, Any]) -> str:
    """What the books keep of a job that is about to be sent; see :class:`~.ibm_documents.Kept` for what comes after."""
    return json.dumps({"tag": None, "document": document, "sent": False})


def was_sent(task: LeaseTask) -> bool:
    """Whether the machine is known to have taken a task."""
    return bool(json.loads(task.detail).get("sent", True)) if task.detail else True


def lost(task: LeaseTask) -> TaskInfo | None:
    """What is to be said of a task that the machine does not know; None of one that was never taken."""
    return TaskInfo(task.task_id, TaskStatus.CANCELLED, reason=LOST) if was_sent(task) else None
