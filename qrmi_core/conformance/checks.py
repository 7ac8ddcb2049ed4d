# SPDX-License-Identifier: Apache-2.0
"""What every driver must do, tried on the device itself."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qrmi_core.conformance.programs import foreign_payload
from qrmi_core.conformance.trial import ATTEMPTS, Failure, Inconclusive, Trial
from qrmi_core.errors import (
    InputError,
    QRMIError,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    UnsupportedFunction,
    UnsupportedPayload,
    WaitTimeout,
)
from qrmi_core.resource import ResourceStatus
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["CHECKS", "Check"]

THREADS = 4
GRACE = 1.0
SHORT = 0.01

_connecting = threading.local()


@dataclass(frozen=True)
class Check:
    """One thing that is tried; ``needs`` are checks without which it tells nothing, ``tasks`` how many it may run."""

    name: str
    look: Callable[[Trial], None]
    needs: tuple[str, ...] = ()
    tasks: int = 0

    @property
    def demand(self) -> str:
        """What is demanded."""
        return (self.look.__doc__ or "").strip()


CHECKS: list[Check] = []


def check(name: str, *, needs: tuple[str, ...] = (), tasks: int = 0) -> Callable[[Any], Any]:
    def add(look: Callable[[Trial], None]) -> Callable[[Trial], None]:
        CHECKS.append(Check(name, look, needs, tasks))
        return look

    return add


def expect(holds: object, text: str) -> None:
    if not holds:
        raise Failure(text)


def raises(kind: type[BaseException], call: Callable[[], object], trial: Trial) -> BaseException:
    """The error of the right type that a call raises."""
    try:
        got = call()
    except kind as error:
        trial.heard(error)
        return error
    except Exception as error:
        trial.heard(error)
        raise Failure(f"{kind.__name__} was expected, {type(error).__name__} came: {error}") from error
    raise Failure(f"{kind.__name__} was expected, and no error came but {got!r}")


@functools.cache
def _watch_connections() -> None:
    """An audit hook stays for the life of the process, so there is one."""
    sys.addaudithook(_audit)


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and getattr(_connecting, "watched", False):
        _connecting.seen = True


@check("constructor")
def constructor(trial: Trial) -> None:
    """Making the resource talks to nobody."""
    _watch_connections()
    _connecting.watched, _connecting.seen = True, False
    try:
        resource = trial.resource()
    finally:
        _connecting.watched = False
    trial.said.append(repr(resource))
    expect(not _connecting.seen, "making the resource opened a connection: do that when it is first needed")
    expect(resource.resource_id() == trial.name, f"it calls itself {resource.resource_id()!r}, not {trial.name!r}")
    expect(resource.resource_type() == trial.kind.type, f"its type is {resource.resource_type()!r}")
    expect(resource.takes, "it takes no kind of payload")


@check("status")
def status(trial: Trial) -> None:
    """The status says whether the resource takes tasks."""
    told = trial.subject().status()
    expect(isinstance(told, ResourceStatus), f"status() gave {told!r}, a ResourceStatus was expected")
    told.to_dict()


@check("target")
def target(trial: Trial) -> None:
    """The target is JSON, and the same kind of document each time."""
    resource = trial.subject()
    first, second = resource.target().json(), resource.target().json()
    expect(first, "the target is empty")
    expect(type(first) is type(second), "the target is a different kind of document when asked again")


@check("metadata")
def metadata(trial: Trial) -> None:
    """The metadata are text by text."""
    told = trial.subject().metadata()
    texts = isinstance(told, dict) and all(isinstance(part, str) for pair in told.items() for part in pair)
    expect(texts, f"metadata() gave {told!r}, a dict of texts was expected")
    trial.said += list(told.values())


@check("foreign-payload")
def foreign(trial: Trial) -> None:
    """A payload of another kind is refused before anything is sent."""
    resource = trial.subject()
    raises(UnsupportedPayload, lambda: resource.submit(foreign_payload(resource)), trial)


@check("unknown-task")
def unknown_task(trial: Trial) -> None:
    """A task that does not exist is TaskNotFound."""
    resource = trial.subject()
    for missing in ("00000000-0000-4000-8000-000000000000", "0"):
        raises(TaskNotFound, lambda missing=missing: resource.task_info(missing), trial)  # type: ignore[misc]


@check("acquisition")
def acquisition(trial: Trial) -> None:
    """The resource can be acquired, and giving it back twice is no error."""
    resource = trial.subject()
    token = resource.acquire()
    expect(isinstance(token, str) and token, f"acquire() gave {token!r}, a token was expected")
    resource.release(token)
    resource.release(token)


@check("waiting", needs=("target",), tasks=1)
def waiting(trial: Trial) -> None:
    """A task that is waited for ends, and is completed."""
    resource = trial.subject()
    task = trial.run(resource)
    expect(isinstance(task.id, str) and task.id, f"the task's id is {task.id!r}, a text was expected")
    try:
        info = task.wait(trial.patience)
    except WaitTimeout:
        raise Failure(f"the task has not ended after {trial.patience:g} s") from None
    expect(isinstance(info, TaskInfo), f"wait() gave {info!r}")
    expect(info.status is TaskStatus.COMPLETED, f"the task ended as {info.status.value}: {info.reason}")


@check("result", needs=("waiting",), tasks=2)
def result(trial: Trial) -> None:
    """A completed task has the result of its own program, and gives it again."""
    resource = trial.subject()
    for outcome in ("1", "0"):
        task = trial.run(resource, outcome)
        data = task.result(trial.patience).data
        counted = trial.programs.counts(data)
        expect(trial.mostly(data, outcome), f"mostly {outcome} was expected, {dict(counted)} came")
        expect(sum(counted.values()) == trial.shots, f"{sum(counted.values())} of {trial.shots} shots came")
        expect(task.result(trial.patience).data == data, "the result is another one when asked for again")


@check("info", needs=("waiting",))
def info(trial: Trial) -> None:
    """What is known of a task fits together: times, usage and shots."""
    told = trial.finished().info()
    moments = [moment for moment in (told.created, told.started, told.ended) if moment is not None]
    expect(moments == sorted(moments), f"created, started and ended are in another order: {moments}")
    expect(told.qpu_seconds is None or told.qpu_seconds >= 0, f"qpu_seconds is {told.qpu_seconds}")
    expect(told.shots in (None, trial.shots), f"shots is {told.shots}, {trial.shots} were asked for")


@check("wait-for-several", needs=("waiting",), tasks=3)
def wait_for_several(trial: Trial) -> None:
    """One call waits for several tasks, or for the first of them."""
    resource = trial.subject()
    ids = [trial.run(resource).id for _ in range(3)]
    some = resource.task_wait(ids, timeout=trial.patience, first=True)
    expect(some and set(some) <= set(ids), f"waiting for the first of {ids} gave {sorted(some)}")
    expect(all(each.status.is_final for each in some.values()), "a task was given back that has not ended")
    every = resource.task_wait(ids, timeout=trial.patience)
    expect(set(every) == set(ids), f"waiting for {ids} gave {sorted(every)}")


@check("wait-time-out", needs=("waiting",), tasks=ATTEMPTS)
def wait_time_out(trial: Trial) -> None:
    """Waiting ends with the caller's time-out, and the task goes on."""
    resource = trial.subject()
    with trial.unfinished(resource) as task:
        before = time.monotonic()
        resource.task_info(task.id)
        asked = time.monotonic()
        try:
            task.wait(SHORT)
        except WaitTimeout as error:
            trial.heard(error)
            ended = False
        else:
            ended = True
        took = time.monotonic() - asked
    # A driver may look once more before it gives up, and a look at a far server may take long.
    allowed = GRACE + 3 * (asked - before)
    expect(took <= allowed, f"waiting for {SHORT:g} s took {took:.2f} s")
    if ended:
        raise Inconclusive(f"the task ended {took:.2f} s after it was looked at")


@check("result-of-unfinished", needs=("waiting",), tasks=ATTEMPTS)
def result_of_unfinished(trial: Trial) -> None:
    """A result that is asked for too early is TaskNotReady: the status is read before the result."""
    resource = trial.subject()
    for _ in range(ATTEMPTS):
        with trial.unfinished(resource) as task:
            try:
                resource.task_result(task.id)
            except TaskNotReady as error:
                trial.heard(error)
                return
            except Exception as error:
                trial.heard(error)
                raise Failure(f"TaskNotReady was expected, {type(error).__name__} came: {error}") from error
            if not resource.task_info(task.id).status.is_final:
                raise Failure("a result came from a task that had not ended")
    raise Inconclusive("each task ended while its result was asked for")


@check("cancel", needs=("result-of-unfinished",), tasks=2 * ATTEMPTS)
def cancel(trial: Trial) -> None:
    """A task that is cancelled while it waits or runs ends as cancelled, and its result is TaskCancelled."""
    resource = trial.subject()
    for _ in range(ATTEMPTS):
        with trial.unfinished(resource) as task:
            resource.task_stop(task.id)
            ended = task.wait(trial.patience)
            if ended.status is TaskStatus.CANCELLED:
                raises(TaskCancelled, lambda task=task: resource.task_result(task.id), trial)  # type: ignore[misc]
                return
    raise Failure(f"tasks that were cancelled before they had ended still ended as {ended.status.value}")


@check("cancel-of-ended", needs=("waiting",))
def cancel_of_ended(trial: Trial) -> None:
    """Cancelling a task that has ended changes nothing and is no error."""
    task = trial.finished()
    resource = trial.subject()
    resource.task_stop(task.id)
    resource.task_stop(task.id)


@check("reason", needs=("result-of-unfinished",), tasks=1)
def reason(trial: Trial) -> None:
    """A program that cannot be run is refused, or fails, with a reason in the error's text."""
    resource = trial.subject()
    try:
        task = resource.submit(trial.programs.broken())
    except InputError as error:
        trial.heard(error)
        return
    except QRMIError as error:
        trial.heard(error)
        expect(error.reason, f"it was refused without a reason: {error}")
        return
    ended = task.wait(trial.patience)
    expect(ended.status is TaskStatus.FAILED, f"a program that cannot be run ended as {ended.status.value}")
    expect(ended.reason, "a task failed and its info has no reason")
    failure = raises(TaskFailed, lambda: resource.task_result(task.id), trial)
    expect((ended.reason or "") in str(failure), f"the reason {ended.reason!r} is not in the error's text: {failure}")


@check("re-attach", needs=("result",), tasks=1)
def re_attach(trial: Trial) -> None:
    """Another object, as in another process, finds a task by its id and gets its result."""
    task = trial.run(trial.subject())
    task.wait(trial.patience)
    # The first object does not read the result: at some vendors it can be read by one process only.
    try:
        data = trial.resource().task(task.id).result(trial.patience).data
    except TaskNotFound as error:
        trial.heard(error)
        raise Failure(f"another object does not find the task: {error}") from error
    expect(trial.mostly(data, "1"), f"another object got {dict(trial.programs.counts(data))}, mostly 1 was expected")


@check("logs", needs=("waiting",))
def logs(trial: Trial) -> None:
    """The log of a task is text, or UnsupportedFunction."""
    task = trial.finished()
    try:
        told = trial.subject().task_logs(task.id)
    except UnsupportedFunction as error:
        trial.heard(error)
        return
    expect(isinstance(told, str), f"the log is {told!r}, text was expected")


@check("threads", needs=("result",), tasks=THREADS)
def threads(trial: Trial) -> None:
    """Threads that share an object get each their own result."""
    resource = trial.subject()
    wrong: list[str] = []
    barrier = threading.Barrier(THREADS)

    def work(number: int) -> None:
        outcome = str(number % 2)
        try:
            barrier.wait(trial.patience)
            data = trial.run(resource, outcome).result(trial.patience).data
            if not trial.mostly(data, outcome):
                wrong.append(f"thread {number} expected mostly {outcome}, got {dict(trial.programs.counts(data))}")
        except Exception as error:  # noqa: BLE001  whatever a driver raises is told
            trial.heard(error)
            wrong.append(f"thread {number}: {type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    allowed = 2 * trial.patience
    deadline = time.monotonic() + allowed
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    if stuck := sum(worker.is_alive() for worker in workers):
        wrong.append(f"{stuck} of {THREADS} threads have not come back after {allowed:g} s")
    expect(not wrong, "; ".join(wrong))
