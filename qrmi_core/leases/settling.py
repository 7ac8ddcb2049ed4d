# SPDX-License-Identifier: Apache-2.0
"""What is still to be learnt of a lease that ends: tasks that nobody announced, and what came of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace

from qrmi_core.errors import QRMIError, TaskNotFound, VendorUnreachable
from qrmi_core.leases.journal import MOST_TASKS, Journal, LeaseTask
from qrmi_core.resource import QuantumResource
from qrmi_core.tasks import TaskInfo

__all__ = ["Outcome", "note_outcomes", "note_unannounced", "with_outcome"]

TASK = "task"

Outcome = Callable[[LeaseTask, TaskInfo | None], LeaseTask | None]
"""A task with what came of it, of which its vendor tells this, or knows nothing; None where nothing is to be noted."""


def note_unannounced(journal: Journal, lease_id: str, resource: QuantumResource) -> bool:
    """Note the unfinished tasks of a lease that its vendor lists; False where this vendor cannot tell which those are.

    Raises:
        QRMIError: the vendor does not answer, or the journal cannot be written.
    """
    listed = resource.unfinished_of_lease(lease_id)
    now = time.time()
    tasks = [LeaseTask(resource.name, task_id, submitted=now) for task_id in listed or ()]
    for noted in [journal.add_task(lease_id, task, most=MOST_TASKS) for task in tasks]:
        noted.result()
    return listed is not None


def note_outcomes(
    journal: Journal, tasks: Iterable[LeaseTask], resource: QuantumResource, outcome: Outcome, *, seconds: float
) -> bool:
    """Note how tasks ended, as far as their vendor tells within so many seconds; whether that is all of them.

    Raises:
        JournalUnavailable: the journal cannot be written.
    """
    end, all_known = time.monotonic() + seconds, True
    noted: list[Future[None]] = []
    for task in tasks:
        if task.kind != TASK:
            continue
        if time.monotonic() > end:
            all_known = False
            break
        info: TaskInfo | None = None
        try:
            info = resource.task_info(task.task_id)
        except TaskNotFound:
            pass
        except QRMIError as error:
            all_known = False
            if isinstance(error, VendorUnreachable):
                break
            continue
        if info is not None and not info.status.is_final:
            all_known = False
        elif (known := outcome(task, info)) is not None:
            noted.append(journal.update_task(known, once=True))
    for each in noted:
        each.result()
    return all_known


def with_outcome(task: LeaseTask, info: TaskInfo | None) -> LeaseTask | None:
    """A task with how it ended; what was known of it before and the vendor does not tell stays.

    None where the vendor does not know it any more: it stays without an outcome.
    """
    if info is None:
        return None
    return replace(
        task,
        program=info.program or task.program,
        started=task.started if info.started is None else info.started,
        ended=info.ended or time.time(),
        shots=task.shots if info.shots is None else info.shots,
        usage=task.usage if info.qpu_seconds is None else info.qpu_seconds,
        outcome=info.status.value,
    )
