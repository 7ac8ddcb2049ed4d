# SPDX-License-Identifier: Apache-2.0
"""The spool: tasks and results of engines as files, so that another process can take a task up by its id.

    <root>/tasks/<resource>/<task id>/
        task.json           what was submitted, written once by the client
        parameters ...      one file for each field of the payload that is bytes
        jobs/0001.json      one job, written once by the client; only batches have more than one
        jobs/0001.state     where it is, written by the engine's host
        jobs/0001.result    its result, written by the worker
        closed              there once no more jobs come
        log                 what the workers wrote

Every file appears whole, by a rename. A job without a state is queued, and no host has taken it on yet.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from qrmi_core.errors import InputError, ResourceUnavailable, TaskNotFound
from qrmi_core.payloads import AliceBobFelis, IQMServer, Payload, PulserBatch, PulserJob, QiskitPrimitive
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["Spool", "SpooledTask"]

VERSION = 1
KEPT_SECONDS = 30 * 24 * 3600.0
_TASK_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_KINDS: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (QiskitPrimitive, PulserBatch, IQMServer, AliceBobFelis)
}


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class SpooledTask:
    """One task in the spool; reading it needs no host."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def resource(self) -> str:
        return self.path.parent.name

    @property
    def log(self) -> Path:
        return self.path / "log"

    def header(self) -> dict[str, Any]:
        """What the client wrote: ``version, type, kind, fields, settings, created, node, host``."""
        loaded: dict[str, Any] = json.loads((self.path / "task.json").read_bytes())
        return loaded

    def payload(self) -> Payload:
        """The payload as submitted; a batch without its jobs."""
        header = self.header()
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in header["fields"].items()}
        for name in header["files"]:
            values[name] = (self.path / name).read_bytes()
        if header["kind"] == PulserBatch.__name__:
            values["jobs"] = ()
        payload: Payload = _KINDS[header["kind"]](**values)
        return payload

    def is_open(self) -> bool:
        return not (self.path / "closed").exists()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among those that add jobs to the task or close it."""
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def close(self) -> None:
        (self.path / "closed").touch()

    def job_numbers(self) -> list[int]:
        return sorted(int(file.stem) for file in (self.path / "jobs").glob("[0-9]*.json"))

    def job_ids(self) -> list[str]:
        return [self.job_id(number) for number in self.job_numbers()]

    def job_id(self, number: int) -> str:
        return f"{self.id}.{number}"

    def number(self, job_id: str) -> int:
        """The number of a job of this task.

        Raises:
            TaskNotFound: it has no such job.
        """
        task_id, _, number = job_id.partition(".")
        if task_id == self.id and _NUMBER.fullmatch(number) and self._job(int(number), "json").exists():
            return int(number)
        raise TaskNotFound(
            f"batch {self.id} on {self.resource} has no job {job_id}", resource=self.resource, task_id=job_id
        )

    def _job(self, number: int, suffix: str) -> Path:
        return self.path / "jobs" / f"{number:04}.{suffix}"

    def add_jobs(self, jobs: Sequence[PulserJob | None]) -> list[int]:
        """Write jobs behind those that are there; None stands for the only job of a payload without jobs."""
        numbers = []
        for job in jobs:
            variables = job.variables.decode() if job and job.variables is not None else None
            data = json.dumps({"runs": job.runs if job else None, "variables": variables}).encode()
            numbers.append(self._add_job(data))
        return numbers

    def _add_job(self, data: bytes) -> int:
        number = (self.job_numbers() or [0])[-1] + 1
        while True:
            draft = self._job(number, f"{os.urandom(4).hex()}.draft")
            draft.write_bytes(data)
            try:
                self._job(number, "json").hardlink_to(draft)
            except FileExistsError:
                number += 1
            else:
                return number
            finally:
                draft.unlink()

    def job(self, number: int) -> PulserJob:
        loaded = json.loads(self._job(number, "json").read_bytes())
        variables = loaded["variables"]
        return PulserJob(loaded["runs"], None if variables is None else variables.encode())

    def set_state(self, number: int, status: TaskStatus, **details: Any) -> None:
        """Write where a job is; ``details`` are fields of :class:`TaskInfo`, and ``host``: the host that has it."""
        told = {key: value for key, value in details.items() if value is not None}
        write_whole(self._job(number, "state"), json.dumps({"status": status.value, **told}).encode())

    def job_info(self, number: int) -> TaskInfo:
        state = self._state(number)
        state.pop("host", None)
        return TaskInfo(id=self.job_id(number), **{**state, "status": TaskStatus(state["status"])})

    def host_of(self, number: int) -> str | None:
        """The host process that has taken a job on, None while none has."""
        host: str | None = self._state(number).get("host")
        return host

    def _state(self, number: int) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._job(number, "state").read_bytes())
        except FileNotFoundError:
            return {"status": TaskStatus.QUEUED.value}
        return state

    def job_infos(self) -> list[TaskInfo]:
        return [self.job_info(number) for number in self.job_numbers()]

    def set_result(self, number: int, data: bytes) -> None:
        write_whole(self._job(number, "result"), data)

    def result(self, number: int) -> bytes:
        return self._job(number, "result").read_bytes()

    def info(self) -> TaskInfo:
        """The task as a whole; see :class:`qrmi_core.resource.BatchResource` for what that means for a batch."""
        header = self.header()
        is_open = self.is_open()
        infos = self.job_infos()
        fields_of_header = {"created": header["created"], "program": header["fields"].get("program_id")}
        if len(infos) == 1 and not is_open:
            return replace(infos[0], id=self.id, **fields_of_header)
        started = [info.started for info in infos if info.started is not None]
        ended = [info.ended for info in infos if info.ended is not None]
        status = _status_of_batch([info.status for info in infos], is_open=is_open)
        failed = next((info for info in infos if info.status is TaskStatus.FAILED), None)
        return TaskInfo(
            self.id,
            status,
            reason=failed.reason if failed and status is TaskStatus.FAILED else None,
            started=min(started, default=None),
            ended=max(ended, default=None) if status.is_final else None,
            qpu_seconds=sum(info.qpu_seconds or 0.0 for info in infos),
            shots=sum(info.shots or 0 for info in infos) or None,
            **fields_of_header,
        )


def _status_of_batch(statuses: Sequence[TaskStatus], *, is_open: bool) -> TaskStatus:
    unfinished = [status for status in statuses if not status.is_final]
    if is_open or unfinished:
        untouched = all(status is TaskStatus.QUEUED for status in statuses)
        return TaskStatus.QUEUED if untouched else TaskStatus.RUNNING
    for status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED):
        if status in statuses:
            return status
    return TaskStatus.COMPLETED


class Spool:
    """The spool directory of one user, readable by that user alone."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def hosts(self) -> Path:
        """Where the sockets, locks and logs of the engines' host processes lie."""
        return self.root / "hosts"

    def prepare(self) -> None:
        """Create the directories.

        Raises:
            ResourceUnavailable: they cannot be created or written.
        """
        try:
            for directory in (self.root, self.hosts, self.root / "tasks"):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.root.stat().st_uid != os.geteuid():
                raise PermissionError(f"{self.root} belongs to somebody else")
            if not os.access(self.hosts, os.W_OK):
                raise PermissionError(f"{self.hosts} cannot be written")
        except OSError as error:
            raise ResourceUnavailable(
                f"tasks cannot be kept in {self.root}: {error.strerror or error}; "
                f"set XDG_STATE_HOME to a directory that you can write"
            ) from error

    def create(
        self, resource: str, resource_type: str, payload: Payload, settings: Mapping[str, str], host: str, node: str
    ) -> SpooledTask:
        """Write a payload as a new task; it runs once a host is told of it."""
        self.prepare()
        task = SpooledTask(self.root / "tasks" / resource / os.urandom(16).hex())
        draft = task.path.with_name(f".{task.id}")
        (draft / "jobs").mkdir(mode=0o700, parents=True)
        values = {field.name: getattr(payload, field.name) for field in fields(payload)}
        jobs: Sequence[PulserJob | None] = values.pop("jobs", (None,))
        files = {name: value for name, value in values.items() if isinstance(value, bytes)}
        header = {
            "version": VERSION,
            "type": resource_type,
            "kind": type(payload).__name__,
            "fields": {name: value for name, value in values.items() if name not in files},
            "files": sorted(files),
            "settings": dict(settings),
            "created": time.time(),
            "node": node,
            "host": host,
        }
        for name, value in files.items():
            (draft / name).write_bytes(value)
        (draft / "task.json").write_bytes(json.dumps(header).encode())
        drafted = SpooledTask(draft)
        drafted.add_jobs(jobs)
        if not (isinstance(payload, PulserBatch) and payload.open):
            drafted.close()
        draft.rename(task.path)
        return task

    def task(self, resource: str, task_id: str) -> SpooledTask:
        """A task that is in the spool.

        Raises:
            TaskNotFound: it is not.
        """
        task = SpooledTask(self.root / "tasks" / resource / task_id)
        if _TASK_ID.fullmatch(task_id) and task.path.is_dir():
            return task
        raise TaskNotFound(
            f"{resource} has no task {task_id!r} in {self.root}: look at the id, and at XDG_STATE_HOME if the task was "
            f"submitted elsewhere",
            resource=resource,
            task_id=task_id,
        )

    def tasks(self, resource: str) -> list[SpooledTask]:
        """The tasks of a resource, the newest first."""
        found = []
        for path in self._task_paths(self.root / "tasks" / resource):
            with contextlib.suppress(FileNotFoundError):
                found.append(((path / "task.json").stat().st_mtime_ns, path))
        return [SpooledTask(path) for _, path in sorted(found, reverse=True)]

    def remove_old(self, now: float) -> None:
        """Remove tasks that ended more than 30 days ago."""
        import shutil  # only a host that ends removes anything

        for resource in self._directories(self.root / "tasks"):
            for path in self._task_paths(resource):
                task = SpooledTask(path)
                with contextlib.suppress(OSError, ValueError, KeyError, InputError):
                    if now - path.stat().st_mtime > KEPT_SECONDS and task.info().status.is_final:
                        shutil.rmtree(path)

    @staticmethod
    def _directories(path: Path) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            yield from (entry for entry in path.iterdir() if entry.is_dir())

    def _task_paths(self, path: Path) -> Iterator[Path]:
        return (entry for entry in self._directories(path) if _TASK_ID.fullmatch(entry.name))
