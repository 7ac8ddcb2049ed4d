# SPDX-License-Identifier: Apache-2.0
"""EngineResource: the base of embedded QPUs, whose device is a simulator in a worker process."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import socket
import sys
import threading
import time
import zlib
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, TypeVar

from qrmi_core import polling
from qrmi_core.engines.client import HostClient, HostGone
from qrmi_core.engines.limits import ENGINE_VARIABLES, check_settings, lanes_of, limits_of, seed_of
from qrmi_core.engines.spool import Spool, SpooledTask
from qrmi_core.engines.work import Limits
from qrmi_core.environment import spool_directory
from qrmi_core.errors import InputError, ResourceUnavailable
from qrmi_core.payloads import Payload, PulserJob
from qrmi_core.resource import BatchResource, JobContext, ResourceCapacity, ResourceStatus, ResourceStatusCode
from qrmi_core.tasks import TaskInfo, TaskStatus
from qrmi_core.variables import Variable

__all__ = ["EngineResource"]

_Seen = TypeVar("_Seen")

OUTSIDE_A_LEASE = "user-"
_TOKEN = re.compile(r"[0-9a-f]{32}")
GOING_SECONDS = 10.0


class EngineResource(BatchResource):
    """A simulator as a resource; a subclass says which and what it takes.

    Tasks run in a host process of this user on this machine, which a lease holds; outside a lease the first
    task starts one, and it ends after a minute without work. Results stay in the spool for 30 days.
    """

    worker: ClassVar[str]
    """The module whose ``run(work: Work) -> bytes`` runs a job; see :class:`qrmi_core.engines.work.Work`."""

    requires: ClassVar[Sequence[str]]
    """The import names of the packages that the worker needs."""

    extra: ClassVar[str]
    """The extra of this distribution that brings them."""

    variables: ClassVar[Sequence[Variable]] = ENGINE_VARIABLES

    def __init__(self, name: str, settings: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, context)
        try:
            check_settings(settings)
        except ResourceUnavailable as error:
            raise ResourceUnavailable(f"{name}: {error}", resource=name) from None
        self.settings = dict(settings)
        self._spool = Spool(spool_directory())
        self._holds: dict[str, socket.socket] = {}
        self._holds_lock = threading.Lock()

    @classmethod
    @abstractmethod
    def embedded(cls) -> Mapping[str, Mapping[str, str]]:
        """The resources that exist without any configuration: name -> environment block."""

    @classmethod
    def lacking(cls) -> Mapping[str, str]:
        """How names begin that :meth:`embedded` would have with more packages -> which, and how to install them."""
        return {}

    def imitates(self) -> tuple[str, ...]:
        """The vendors' names of the devices that it stands for, to which it answers in a job too."""
        return ()

    @abstractmethod
    def check(self, payload: Payload) -> None:
        """Refuse, before submission, a payload of the right kind that cannot run; decodes nothing but outer JSON.

        Raises:
            UnsupportedPayload: no such program or device type.
            LimitExceeded: too large.
        """

    @property
    def limits(self) -> Limits:
        """The largest work that this engine takes on."""
        return limits_of(self.settings)

    @property
    def seed(self) -> int | None:
        """What makes results reproducible, None for fresh ones each time."""
        return seed_of(self.settings)

    def missing_packages(self) -> list[str]:
        """The packages that the engine needs and that are not installed."""
        return [package for package in self.requires if importlib.util.find_spec(package) is None]

    def _require_packages(self) -> None:
        if missing := self.missing_packages():
            raise ResourceUnavailable(
                f"{self.name} needs {', '.join(missing)}: pip install 'qrmi-providers[{self.extra}]'",
                resource=self.name,
            )

    def status(self) -> ResourceStatus:
        """Online when its packages are there; the queue is that of this user and lease."""
        try:
            self._require_packages()
        except ResourceUnavailable as error:
            return ResourceStatus(ResourceStatusCode.OFFLINE, status_reason=str(error), healthy=False)
        lanes = lanes_of(self.settings)
        try:
            counts = self._client().ask_running(op="status", resource=self.name)
        except HostGone:
            counts = {"queued": 0, "running": 0}
        free = max(0, lanes - counts["running"])
        return ResourceStatus(
            ResourceStatusCode.ONLINE,
            healthy=True,
            busy=free == 0,
            capacity=ResourceCapacity(lanes, free),
            pending_job_count=counts["queued"],
        )

    def verify_access(self) -> None:
        """Try whether the engine's packages are there; it has no credentials."""
        self._require_packages()

    def acquire(self) -> str:
        """Start the engine and hold it until release, or until this process ends."""
        self._require_packages()
        token = os.urandom(16).hex()
        hold = self._client(token).hold()
        with self._holds_lock:
            self._holds[token] = hold
        return token

    def release(self, acquisition_token: str) -> None:
        if not _TOKEN.fullmatch(acquisition_token):
            return
        client = self._client(acquisition_token)
        client.end()
        client.address.remove_files()
        with self._holds_lock:
            hold = self._holds.pop(acquisition_token, None)
        if hold is not None:
            hold.close()

    def task_start(self, payload: Payload) -> str:
        self._require_packages()
        self.refuse_other_kinds(payload)
        self.check(payload)
        client = self._client()
        task = self._spool.create(
            self.name, self.type, payload, self.settings, client.address.key, socket.gethostname()
        )
        self._submit(task)
        return task.id

    def task_stop(self, task_id: str) -> None:
        task = self._task(task_id)
        with task.locked():
            task.close()
        self._cancel(task, None)

    def task_info(self, task_id: str) -> TaskInfo:
        return self._looked_at(self._task(task_id), SpooledTask.info)

    def task_output(self, task_id: str) -> bytes:
        """The result; of a batch of several jobs ``{"jobs": [{"id", "status", "reason", "result"}, ...]}``."""
        task = self._task(task_id)
        numbers = task.job_numbers()
        if len(numbers) == 1:
            return task.result(numbers[0])
        jobs = []
        for number in numbers:
            info = task.job_info(number)
            result = json.loads(task.result(number)) if info.status is TaskStatus.COMPLETED else None
            jobs.append({"id": info.id, "status": info.status.value, "reason": info.reason, "result": result})
        return json.dumps({"jobs": jobs}).encode()

    def task_logs(self, task_id: str) -> str:
        try:
            return self._task(task_id).log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def task_ids(self) -> list[str]:
        return [task.id for task in self._spool.tasks(self.name)]

    def task_wait(
        self, task_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        return self._wait({task_id: self._task(task_id) for task_id in task_ids}, self.task_info, timeout, first)

    def batch_jobs(self, batch_id: str) -> tuple[TaskInfo, ...]:
        return tuple(self._looked_at(self._task(batch_id), SpooledTask.job_infos))

    def batch_is_open(self, batch_id: str) -> bool:
        return self._task(batch_id).is_open()

    def batch_add(self, batch_id: str, jobs: Sequence[PulserJob]) -> tuple[str, ...]:
        task = self._task(batch_id)
        self._refuse_elsewhere(task)
        with task.locked():
            if not task.is_open():
                raise InputError(
                    f"batch {batch_id} on {self.name} is closed: open a new one", resource=self.name, task_id=batch_id
                )
            numbers = task.add_jobs(jobs)
        self._submit(task)
        return tuple(task.job_id(number) for number in numbers)

    def batch_close(self, batch_id: str) -> None:
        task = self._task(batch_id)
        self._refuse_elsewhere(task)
        with task.locked():
            task.close()
        with contextlib.suppress(HostGone):
            self._client_of(task).ask_running(op="closed", resource=self.name, task=task.id)

    def batch_cancel_jobs(self, batch_id: str, job_ids: Collection[str]) -> None:
        task = self._task(batch_id)
        for job_id in job_ids:
            task.number(job_id)
        self._cancel(task, list(job_ids))

    def batch_job_output(self, batch_id: str, job_id: str) -> bytes:
        task = self._task(batch_id)
        return task.result(task.number(job_id))

    def batch_wait(
        self, batch_id: str, job_ids: Collection[str], *, timeout: float | None = None, first: bool = False
    ) -> dict[str, TaskInfo]:
        task = self._task(batch_id)

        def look(job_id: str) -> TaskInfo:
            number = task.number(job_id)
            return self._looked_at(task, lambda task: task.job_info(number))

        return self._wait(dict.fromkeys(job_ids, task), look, timeout, first)

    def _task(self, task_id: str) -> SpooledTask:
        return self._spool.task(self.name, task_id)

    def _client(self, key: str | None = None) -> HostClient:
        if key is None:
            key = self.context.acquisition_token
        if key is None:
            # Two environments of one user may hold different versions of the simulator.
            key = f"{OUTSIDE_A_LEASE}{zlib.crc32(sys.prefix.encode()):08x}"
        may_start = key.startswith(OUTSIDE_A_LEASE)
        return HostClient(self._spool, self.type, key, self.worker, may_start=may_start)

    def _client_of(self, task: SpooledTask) -> HostClient:
        return self._client(task.header()["host"])

    def _submit(self, task: SpooledTask) -> None:
        """Tell the host of new jobs; those that it does not take on are failed, so that they never run later."""
        try:
            self._client_of(task).ask(op="submit", resource=self.name, task=task.id)
        except ResourceUnavailable as error:
            for number in task.job_numbers():
                if task.host_of(number) is None and not task.job_info(number).status.is_final:
                    task.set_state(number, TaskStatus.FAILED, reason=f"it never ran: {error}", ended=time.time())
            raise ResourceUnavailable(f"{self.name}: {error}", resource=self.name, task_id=task.id) from error

    def _cancel(self, task: SpooledTask, job_ids: list[str] | None) -> None:
        infos = self._looked_at(task, SpooledTask.job_infos)
        if all(info.status.is_final for info in infos if job_ids is None or info.id in job_ids):
            return
        self._refuse_elsewhere(task)
        try:
            self._client_of(task).ask_running(op="cancel", resource=self.name, task=task.id, jobs=job_ids)
        except HostGone:
            self._settle(task)
            for number in task.job_numbers():
                info = task.job_info(number)
                if not info.status.is_final and (job_ids is None or info.id in job_ids):
                    task.set_state(number, TaskStatus.CANCELLED, reason="cancelled by its user", ended=time.time())

    def _is_here(self, task: SpooledTask) -> bool:
        return bool(task.header()["node"] == socket.gethostname())

    def _refuse_elsewhere(self, task: SpooledTask) -> None:
        if not self._is_here(task):
            raise ResourceUnavailable(
                f"task {task.id} runs on {task.header()['node']} and can be changed only there",
                resource=self.name,
                task_id=task.id,
            )

    def _looked_at(self, task: SpooledTask, look: Callable[[SpooledTask], _Seen]) -> _Seen:
        """What is seen of a task; jobs that a host left behind that has ended are settled first."""
        if not task.info().status.is_final and self._is_here(task):
            self._settle(task)
        return look(task)

    def _settle(self, task: SpooledTask) -> None:
        """Write the end of jobs whose host has ended without doing so; those that none has taken on still wait."""
        taken = {number: task.host_of(number) for number in task.job_numbers()}
        now = self._client_of(task).host_now()
        for number, host in taken.items():
            if host is not None and host != now and not task.job_info(number).status.is_final:
                reason = "the engine's process ended before the task did: submit it again"
                task.set_state(number, TaskStatus.FAILED, host=host, reason=reason, ended=time.time())

    def _wait(
        self,
        tasks: Mapping[str, SpooledTask],
        look: Callable[[str], TaskInfo],
        timeout: float | None,
        first: bool,
    ) -> dict[str, TaskInfo]:
        deadline = None if timeout is None else time.monotonic() + timeout
        ended: dict[str, TaskInfo] = {}
        while True:
            for wanted in tasks.keys() - ended.keys():
                info = look(wanted)
                if info.status.is_final:
                    ended[wanted] = info
            missing = [wanted for wanted in tasks if wanted not in ended]
            if not missing or (first and ended) or (deadline is not None and time.monotonic() >= deadline):
                return ended
            hosts = {(header["node"], header["host"]) for header in (tasks[wanted].header() for wanted in missing)}
            if len(hosts) > 1 or not self._is_here(tasks[missing[0]]):
                # No single host can tell; the spool can be looked at from every node that shares it.
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                return ended | polling.poll(look, missing, timeout=left, first=first)
            client = self._client_of(tasks[missing[0]])
            try:
                client.wait(self.name, missing, deadline=deadline, first=first)
            except HostGone:
                polling.wait_until(client.host_has_ended, timeout=GOING_SECONDS)
                for task in {task.id: task for task in map(tasks.__getitem__, missing)}.values():
                    self._take_on_again(task)

    def _take_on_again(self, task: SpooledTask) -> None:
        """Submit jobs that no host has taken on, whose client must have ended before it could say so."""
        if any(task.host_of(n) is None and not task.job_info(n).status.is_final for n in task.job_numbers()):
            with contextlib.suppress(ResourceUnavailable):
                self._submit(task)
