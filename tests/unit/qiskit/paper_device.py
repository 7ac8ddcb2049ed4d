# SPDX-License-Identifier: Apache-2.0
"""A resource without a device: tests say what it has been told to answer. It is no simulator, and lists no tasks."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Self

from qrmi_core import (
    JobContext,
    Payload,
    QiskitPrimitive,
    QuantumResource,
    ResourceStatus,
    ResourceStatusCode,
    Target,
    TaskInfo,
    TaskNotFound,
    TaskStatus,
)


class PaperDevice(QuantumResource):
    type = "ibm-quantum-compute-service"
    takes = (QiskitPrimitive,)

    def __init__(self, name: str, target: Mapping[str, Any]) -> None:
        super().__init__(name, JobContext())
        self.target_json = json.dumps(target)
        self.told = ResourceStatus(ResourceStatusCode.ONLINE, pending_job_count=3)
        self.payloads: dict[str, Payload] = {}
        self.infos: dict[str, TaskInfo] = {}
        self.outputs: dict[str, list[bytes]] = {}
        self.calls: list[str] = []
        self.changed = threading.Condition()

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        raise NotImplementedError

    def ends(self, task_id: str, status: TaskStatus, *outputs: bytes, **details: Any) -> None:
        """The task has ended; each fetch of its result takes the next of the outputs, the last again and again."""
        with self.changed:
            self.outputs[task_id] = list(outputs)
            self.infos[task_id] = replace(self.infos[task_id], status=status, **details)
            self.changed.notify_all()

    def status(self) -> ResourceStatus:
        self.calls.append("status")
        return self.told

    def target(self) -> Target:
        self.calls.append("target")
        return Target(self.target_json.encode())

    def acquire(self) -> str:
        return "token"

    def release(self, acquisition_token: str) -> None:
        pass

    def task_start(self, payload: Payload) -> str:
        self.calls.append("task_start")
        task_id = str(uuid.uuid4())
        self.payloads[task_id] = payload
        self.infos[task_id] = TaskInfo(
            task_id, TaskStatus.QUEUED, program=payload.program_id, created=1.8e9, position=2
        )
        return task_id

    def task_stop(self, task_id: str) -> None:
        if not self.task_info(task_id).status.is_final:
            self.ends(task_id, TaskStatus.CANCELLED)

    def task_info(self, task_id: str) -> TaskInfo:
        self.calls.append("task_info")
        if task_id not in self.infos:
            raise TaskNotFound(f"{self.name} has no task {task_id!r}", resource=self.name, task_id=task_id)
        return self.infos[task_id]

    def task_output(self, task_id: str) -> bytes:
        self.calls.append("task_output")
        outputs = self.outputs[task_id]
        return outputs.pop(0) if len(outputs) > 1 else outputs[0]

    def task_wait(
        self, task_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        def ended() -> dict[str, TaskInfo]:
            return {task_id: self.infos[task_id] for task_id in task_ids if self.infos[task_id].status.is_final}

        deadline = time.monotonic() + (20 if timeout is None else timeout)
        with self.changed:
            self.changed.wait_for(
                lambda: len(ended()) == len(task_ids) or (first and ended()), max(0, deadline - time.monotonic())
            )
            return ended()
