# SPDX-License-Identifier: Apache-2.0
"""What stands behind a dialect: a resource whose synchronous methods run in threads, and what is known of its tasks."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from qrmi_core import polling
from qrmi_core.payloads import Payload, PulserJob
from qrmi_core.resource import BatchResource, QuantumResource, ResourceStatus, Target
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["Device"]

THREADS = 32

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Device:
    """A resource as a dialect's handlers see it.

    With a ``service_time`` a task that has ended earlier is told as running until so many seconds after its submission
    are over. ``runs`` counts what was handed to the resource to be run: tasks, or the jobs of Pulser batches.
    ``announced`` is what a vendor's staff say of the device, in place of what the resource says.
    """

    def __init__(
        self, resource: QuantumResource, *, lanes: int | None = None, service_time: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.resource = resource
        self.lanes = lanes
        self.runs = 0
        self.announced: ResourceStatus | None = None
        self._service_time = service_time
        self._ends: dict[str, float] = {}
        self._cancelled: set[str] = set()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="device")
        self._target: asyncio.Task[Target] | None = None

    @property
    def task_ids(self) -> list[str]:
        """The tasks that came through here and were not cancelled."""
        return list(self._ends)

    async def submit(self, payload: Payload) -> str:
        """Hand a payload to the resource and return its task's id.

        Raises:
            QRMIError: the resource does not take it.
        """
        task_id = await self._in_thread(self.resource.task_start, payload)
        self.runs += len(payload.jobs) if hasattr(payload, "jobs") else 1
        self._ends[task_id] = time.monotonic() + self._service_time()
        return task_id

    async def info(self, task_id: str) -> TaskInfo:
        """What is known of a task."""
        return self._delayed(task_id, await self._in_thread(self.resource.task_info, task_id))

    async def wait(self, task_id: str, timeout: float) -> TaskInfo:
        """What is known of a task once it has ended, or after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        await self._in_thread(functools.partial(self.resource.task_wait, [task_id], timeout=timeout))
        await polling.pause_async(min(self._ends.get(task_id, 0.0), deadline) - time.monotonic())
        return await self.info(task_id)

    async def output(self, task_id: str) -> bytes:
        """The result of a completed task."""
        return await self._in_thread(self.resource.task_output, task_id)

    async def logs(self, task_id: str) -> str:
        """A task's log."""
        return await self._in_thread(self.resource.task_logs, task_id)

    async def cancel(self, task_id: str) -> None:
        """Cancel a task; one that is told as ended is left as it is."""
        if self._ends.pop(task_id, 0.0) > time.monotonic():
            self._cancelled.add(task_id)
        await self._in_thread(self.resource.task_stop, task_id)

    async def target(self) -> Target:
        """The resource's target, fetched once."""
        if self._target is None or (self._target.done() and self._target.exception()):
            self._target = asyncio.ensure_future(self._in_thread(self.resource.target))
        return await asyncio.shield(self._target)

    async def status(self) -> ResourceStatus:
        """Whether the resource takes tasks."""
        if self.announced is not None:
            return self.announced
        return await self._in_thread(self.resource.status)

    async def batch_is_open(self, batch_id: str) -> bool:
        """True while jobs can be added to a batch."""
        return await self._in_thread(self._batches.batch_is_open, batch_id)

    async def batch_jobs(self, batch_id: str) -> tuple[TaskInfo, ...]:
        """The jobs of a Pulser batch in the order of their creation."""
        infos = await self._in_thread(self._batches.batch_jobs, batch_id)
        return tuple(self._delayed(batch_id, info) for info in infos)

    async def batch_add(self, batch_id: str, jobs: Sequence[PulserJob]) -> tuple[str, ...]:
        """Add jobs to an open batch and return their ids."""
        added = await self._in_thread(self._batches.batch_add, batch_id, jobs)
        self.runs += len(jobs)
        self._ends[batch_id] = time.monotonic() + self._service_time()
        return added

    async def batch_close(self, batch_id: str) -> None:
        """Close an open batch."""
        await self._in_thread(self._batches.batch_close, batch_id)

    async def batch_cancel_jobs(self, batch_id: str, job_ids: Collection[str]) -> None:
        """Cancel some jobs of a batch."""
        await self._in_thread(self._batches.batch_cancel_jobs, batch_id, job_ids)

    async def batch_wait(self, batch_id: str, job_ids: Collection[str], timeout: float) -> None:
        """Wait until jobs of a batch have ended, or ``timeout`` seconds."""
        await self._in_thread(functools.partial(self._batches.batch_wait, batch_id, job_ids, timeout=timeout))

    async def batch_job_output(self, batch_id: str, job_id: str) -> bytes:
        """The result of a job of a batch."""
        return await self._in_thread(self._batches.batch_job_output, batch_id, job_id)

    async def unfinished(self, task_ids: Collection[str]) -> int:
        """How many of the tasks have not ended."""
        infos = await asyncio.gather(*(self.info(task_id) for task_id in task_ids))
        return sum(not info.status.is_final for info in infos)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def _batches(self) -> BatchResource:
        if not isinstance(self.resource, BatchResource):
            raise TypeError(f"{self.resource.name} runs no batches")
        return self.resource

    def _delayed(self, task_id: str, info: TaskInfo) -> TaskInfo:
        if task_id in self._cancelled and info.status is TaskStatus.COMPLETED:
            return replace(info, status=TaskStatus.CANCELLED)
        if info.status.is_final and self._ends.get(task_id, 0.0) > time.monotonic():
            return replace(info, status=TaskStatus.RUNNING, ended=None)
        return info

    async def _in_thread(
        self, call: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Answer:
        work: Any = functools.partial(call, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
