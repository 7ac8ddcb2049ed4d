# SPDX-License-Identifier: Apache-2.0
"""The jobs of a host process: queued, running in a forked worker each, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from qrmi_core.engines import worker
from qrmi_core.engines.limits import lanes_of
from qrmi_core.engines.spool import SpooledTask
from qrmi_core.engines.work import Work
from qrmi_core.tasks import TaskStatus

__all__ = ["Job", "Jobs"]


@dataclass(eq=False)
class Job:
    """One job; ``pid`` and ``outcome`` are there while its worker runs."""

    task: SpooledTask
    number: int
    lanes: int
    pid: int | None = None
    outcome: int | None = None
    started: float | None = None
    cancelled: str | None = None
    when_gone: list[Callable[[], None]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.task.job_id(self.number)


class Jobs:
    """Queue and workers; ``ended`` is called with each job that has ended, after its state is in the spool."""

    def __init__(self, host: str, ended: Callable[[Job], None], close_in_worker: Callable[[], None]) -> None:
        self._host = host
        self._ended = ended
        self._unwritten: list[tuple[Job, TaskStatus, dict[str, Any]]] = []
        self._close_in_worker = close_in_worker
        self._queued: dict[str, Job] = {}
        self._running: dict[int, Job] = {}
        self._run: Callable[[Work], bytes] | None = None
        self._broken: str | None = None

    def __bool__(self) -> bool:
        return bool(self._queued or self._running)

    @property
    def has_unwritten_states(self) -> bool:
        """True while a state could not be written, for want of space perhaps; :meth:`write_again` tries again."""
        return bool(self._unwritten)

    def write_again(self) -> None:
        """Write the states that could not be written before."""
        unwritten, self._unwritten = self._unwritten, []
        for job, status, details in unwritten:
            if self._set_state(job, status, **details) and status.is_final:
                self._ended(job)

    def _set_state(self, job: Job, status: TaskStatus, **details: Any) -> bool:
        """Write a job's state; False where it could not be written, which must not harm the other jobs."""
        try:
            job.task.set_state(job.number, status, host=self._host, **details)
        except FileNotFoundError:
            return True  # the task was removed: nobody is left to be told
        except OSError as error:
            print(f"the state of {job.id} cannot be written: {error}", file=sys.stderr)  # noqa: T201  the host's log
            self._unwritten.append((job, status, details))
            return False
        return True

    def _end(self, job: Job, status: TaskStatus, **details: Any) -> None:
        if self._set_state(job, status, **details):
            self._ended(job)

    def count(self, resource: str) -> tuple[int, int]:
        """How many jobs of a resource are queued and how many run."""
        queued = sum(job.task.resource == resource for job in self._queued.values())
        return queued, sum(job.task.resource == resource for job in self._running.values())

    def unfinished(self, resource: str | None = None) -> list[Job]:
        """All queued and running jobs, of one resource or of all."""
        jobs = (*self._queued.values(), *self._running.values())
        return [job for job in jobs if resource is None or job.task.resource == resource]

    def ready(self, run: Callable[[Work], bytes] | None, broken: str | None) -> None:
        """The worker module is imported, or cannot be."""
        self._run, self._broken = run, broken
        self.start_more()

    def add(self, task: SpooledTask) -> None:
        """Queue the jobs of a task that are not yet known."""
        known = {job.id for job in self.unfinished()}
        lanes = lanes_of(task.header()["settings"])
        for number in task.job_numbers():
            info = task.job_info(number)
            job = Job(task, number, lanes)
            if info.status.is_final or job.id in known:
                continue
            if info.status is TaskStatus.RUNNING:
                self._end(job, TaskStatus.FAILED, reason="the engine ended before the task did", ended=time.time())
            else:
                self._queued[job.id] = job
                self._set_state(job, TaskStatus.QUEUED)
        self.start_more()

    def start_more(self) -> None:
        """Start queued jobs as far as lanes are free."""
        if self._broken:
            for job in list(self._queued.values()):
                del self._queued[job.id]
                self._end(job, TaskStatus.FAILED, reason=self._broken, ended=time.time())
        if self._run is None:
            return
        for job in list(self._queued.values()):
            if self.count(job.task.resource)[1] < job.lanes:
                del self._queued[job.id]
                self._start(job, self._run)

    def _start(self, job: Job, run: Callable[[Work], bytes]) -> None:
        job.started = time.time()
        pipe: tuple[int, ...] = ()
        try:
            outcome, told = pipe = os.pipe()
            pid = os.fork()
        except OSError as error:
            for end in pipe:
                os.close(end)
            reason = f"no worker could be started: {error.strerror}"
            self._end(job, TaskStatus.FAILED, reason=reason, ended=time.time())
            return
        if pid == 0:
            os.close(outcome)
            self._close_in_worker()
            worker.begin(run, job.task, job.number, told)
        os.close(told)
        job.pid, job.outcome = pid, outcome
        self._running[pid] = job
        self._set_state(job, TaskStatus.RUNNING, started=job.started)

    def cancel(self, jobs: Iterable[Job], reason: str, when_gone: Callable[[], None]) -> None:
        """Cancel jobs; ``when_gone`` is called once, when the last worker of them is gone."""
        running = []
        for job in jobs:
            if job.pid is None:
                self._queued.pop(job.id, None)
                self._end(job, TaskStatus.CANCELLED, reason=reason, ended=time.time())
            else:
                job.cancelled = reason
                running.append(job)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(job.pid, signal.SIGKILL)
        remaining = len(running)
        if not remaining:
            when_gone()

        def one_gone() -> None:
            nonlocal remaining
            remaining -= 1
            if not remaining:
                when_gone()

        for job in running:
            job.when_gone.append(one_gone)

    def reap(self) -> None:
        """Take note of workers that have ended."""
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._gone(self._running.pop(pid), os.waitstatus_to_exitcode(status))
        self.start_more()

    def reap_all(self) -> None:
        """Wait for all workers, which were cancelled before."""
        for pid in list(self._running):
            _, status = os.waitpid(pid, 0)
            self._gone(self._running.pop(pid), os.waitstatus_to_exitcode(status))

    def _gone(self, job: Job, code: int) -> None:
        assert job.outcome is not None  # noqa: S101  set when the worker was started
        told = _read(job.outcome)
        now = time.time()
        times = {"started": job.started, "ended": now}
        if job.cancelled is not None:
            self._end(job, TaskStatus.CANCELLED, reason=job.cancelled, **times)
        elif code == 0 and told.get("ok"):
            self._end(job, TaskStatus.COMPLETED, qpu_seconds=now - (job.started or now), **times)
        else:
            reason = told.get("reason") or _reason_of_exit(code)
            self._end(
                job,
                TaskStatus.FAILED,
                reason=reason,
                code=told.get("code"),
                solution=told.get("solution"),
                **times,
            )
        for call in job.when_gone:
            call()


def _read(outcome: int) -> dict[str, Any]:
    os.set_blocking(outcome, False)
    data = b""
    try:
        while part := os.read(outcome, 65536):
            data += part
    except BlockingIOError:
        pass
    finally:
        os.close(outcome)
    try:
        told: dict[str, Any] = json.loads(data)
    except ValueError:
        return {}
    return told


def _reason_of_exit(code: int) -> str:
    if code < 0:
        known = set(signal.Signals)
        name = signal.Signals(-code).name if -code in known else f"signal {-code}"
        if -code in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            hint = ", perhaps for want of memory: see the machine's kernel log" if -code == signal.SIGKILL else ""
            return f"the worker was killed by {name} from outside{hint}"
        return f"the worker crashed ({name}): see the logs of the task"
    return f"the worker ended with exit code {code} and without a result: see the logs of the task"
