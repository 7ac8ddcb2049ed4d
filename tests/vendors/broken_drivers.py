# SPDX-License-Identifier: Apache-2.0
"""Drivers with one fault each, a few lines over the good one of the guide; ``BROKEN`` says which check names it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from guide import guide_driver

from qrmi_core import (
    Payload,
    QRMIError,
    QuantumResource,
    ResourceError,
    SubmissionUncertain,
    Target,
    TaskInfo,
    TaskNotFound,
    TaskResult,
    TaskStatus,
    VendorError,
    VendorUnreachable,
)
from qrmi_core.drivers import Undecided

__all__ = ["BROKEN", "RemembersForAll"]

Good: Any = guide_driver()
BROKEN: dict[str, list[type[QuantumResource]]] = {}


def fails(check: str) -> Any:
    def add(broken: type[QuantumResource]) -> type[QuantumResource]:
        BROKEN.setdefault(check, []).append(broken)
        return broken

    return add


@fails("constructor")
class ConnectsWhenMade(Good):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        server = urlsplit(self.values["QRMI_ACME_ENDPOINT"])
        socket.create_connection((server.hostname or "", server.port or 80), 5).close()


@fails("constructor")
class RenamesItself(Good):
    def resource_id(self) -> str:
        return self.name.upper()


@fails("status")
class SaysOnlyYes(Good):
    def status(self) -> Any:
        return True


@fails("target")
class CutsItsTargetOff(Good):
    asked = 0

    def target(self) -> Target:
        CutsItsTargetOff.asked += 1
        return super().target() if self.asked == 1 else Target(super().target().data[:-2])


@fails("metadata")
class HasNumbersInItsMetadata(Good):
    def metadata(self) -> Any:
        return {"lanes": 1}


@fails("foreign-payload")
class TripsOverForeignPayloads(Good):
    def refuse_other_kinds(self, payload: Payload) -> None:
        """It looks at nothing."""


@fails("unknown-task")
class InventsTasks(Good):
    def task_info(self, task_id: str) -> TaskInfo:
        try:
            return super().task_info(task_id)
        except TaskNotFound:
            return TaskInfo(task_id, TaskStatus.FAILED, reason="unknown")


@fails("acquisition")
class ReleasesOnlyOnce(Good):
    released: set[str] = set()  # noqa: RUF012  shared by all objects of the test

    def release(self, acquisition_token: str) -> None:
        if acquisition_token in self.released:
            raise ResourceError("there is no such session")
        self.released.add(acquisition_token)


@fails("waiting")
class CachesTheStatusForEver(Good):
    seen: dict[str, TaskInfo] = {}  # noqa: RUF012  shared by all objects of the test

    def task_info(self, task_id: str) -> TaskInfo:
        if task_id not in self.seen:
            self.seen[task_id] = super().task_info(task_id)
        return self.seen[task_id]


@fails("result")
class TurnsBitsAround(Good):
    def task_output(self, task_id: str) -> bytes:
        data = super().task_output(task_id)
        return data.replace(b'"1"', b'"x"').replace(b'"0"', b'"1"').replace(b'"x"', b'"0"')


@fails("info")
class CountsBackwards(Good):
    def task_info(self, task_id: str) -> TaskInfo:
        return replace(super().task_info(task_id), qpu_seconds=-1.0)


@fails("wait-for-several")
class WaitsForOne(Good):
    def task_wait(self, task_ids: Collection[str], **options: Any) -> dict[str, TaskInfo]:
        return super().task_wait(list(task_ids)[:1], **options)


@fails("wait-time-out")
class IgnoresTheTimeOut(Good):
    def task_wait(self, task_ids: Collection[str], **options: Any) -> dict[str, TaskInfo]:
        return super().task_wait(task_ids, first=options.get("first", False))


@fails("wait-time-out")
class TellsTheTimeOutLate(Good):
    def task_wait(self, task_ids: Collection[str], *, timeout: float | None = None, **options: Any) -> Any:
        return super().task_wait(task_ids, timeout=None if timeout is None else timeout + 1.3, **options)


@fails("result-of-unfinished")
class ReadsResultsBeforeTheStatus(Good):
    def task_result(self, task_id: str) -> TaskResult:
        return TaskResult(self.task_output(task_id))


@fails("cancel")
class CancelsNothing(Good):
    def task_stop(self, task_id: str) -> None:
        """It does nothing."""


@fails("cancel-of-ended")
class CannotCancelWhatHasEnded(Good):
    def task_stop(self, task_id: str) -> None:
        if self.task_info(task_id).status is TaskStatus.COMPLETED:
            raise VendorError("the job has ended", http_status=403)
        super().task_stop(task_id)


@fails("reason")
class LosesTheReason(Good):
    def task_info(self, task_id: str) -> TaskInfo:
        return replace(super().task_info(task_id), reason=None)


@fails("re-attach")
class KnowsOnlyItsOwnTasks(Good):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.mine: set[str] = set()

    def task_start(self, payload: Payload) -> str:
        task_id: str = super().task_start(payload)
        self.mine.add(task_id)
        return task_id

    def task(self, task_id: str) -> Any:
        if task_id not in self.mine:
            raise TaskNotFound(f"no task {task_id}")
        return super().task(task_id)


@fails("logs")
class HasNoLogsToGive(Good):
    def task_logs(self, task_id: str) -> Any:
        return None


@fails("threads")
class RemembersOnlyTheLastTask(Good):
    last = ""
    waiting = threading.Semaphore(0)

    def task_start(self, payload: Payload) -> str:
        self.last = super().task_start(payload)
        return self.last

    def task_output(self, task_id: str) -> bytes:
        return super().task_output(self.last or task_id)


@fails("threads")
class LocksItselfOut(Good):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.submitting = threading.Lock()
        self.free = threading.Event()

    def task_start(self, payload: Payload) -> str:
        if not self.submitting.acquire(blocking=False):
            self.free.wait()  # nobody ever sets it
        try:
            return str(super().task_start(payload))
        finally:
            self.submitting.release()


@fails("secrets")
class PutsItsTokenIntoErrors(Good):
    def task_info(self, task_id: str) -> TaskInfo:
        try:
            return super().task_info(task_id)
        except TaskNotFound as error:
            raise TaskNotFound(f"{error} (asked with {self.values['QRMI_ACME_TOKEN']})") from None


@fails("reads-survive")
class GivesUpAtOnce(Good):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._server._pause = lambda *_: False


@fails("reads-survive")
class RemembersAndGivesUp(GivesUpAtOnce):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ended: dict[str, TaskInfo] = {}
        self.results: dict[str, bytes] = {}

    def task_info(self, task_id: str) -> TaskInfo:
        info = self.ended.get(task_id) or super().task_info(task_id)
        if info.status.is_final:
            self.ended[task_id] = info
        return info

    def task_output(self, task_id: str) -> bytes:
        if task_id not in self.results:
            self.results[task_id] = super().task_output(task_id)
        return self.results[task_id]


class RemembersForAll(GivesUpAtOnce):
    """What it remembers hides the fault, also from new objects; so no check can name it."""

    ended: dict[str, TaskInfo] = {}  # noqa: RUF012  shared by all objects of the test

    def task_info(self, task_id: str) -> TaskInfo:
        info = self.ended.get(task_id) or super().task_info(task_id)
        if info.status.is_final:
            self.ended[task_id] = info
        return info


@fails("whole-results")
class TakesWhatCame(Good):
    def task_output(self, task_id: str) -> bytes:
        counts = self._server.get(f"/jobs/{task_id}/artifacts/measurement_counts").body
        return b'{"measurement_counts": ' + counts + b"}"


@fails("whole-results")
class RemembersWhatCame(TakesWhatCame):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.results: dict[str, bytes] = {}

    def task_output(self, task_id: str) -> bytes:
        if task_id not in self.results:
            self.results[task_id] = super().task_output(task_id)
        return self.results[task_id]


@fails("whole-results")
class TakesWhatCameSecond(Good):
    def task_output(self, task_id: str) -> bytes:
        counts = self._server.get_document(f"/jobs/{task_id}/artifacts/measurement_counts")
        measurements = self._server.get(f"/jobs/{task_id}/artifacts/measurements").body
        return b'{"measurement_counts": %b, "measurements": %b}' % (counts, measurements)


@fails("submitted-once")
class SubmitsAgainBlindly(Good):
    def task_start(self, payload: Payload) -> str:
        self.refuse_other_kinds(payload)
        path = f"/jobs/{self.device}/{payload.job_type}"  # type: ignore[union-attr]
        for _ in range(3):
            try:
                return str(self._server.submit(path, data=payload.iqmjson, headers=JSON).json()["id"])  # type: ignore[union-attr]
            except Undecided:
                continue
        raise QRMIError("no answer")


@fails("submitted-once")
class LosesWhatItSubmitted(Good):
    def task_start(self, payload: Payload) -> str:
        self.refuse_other_kinds(payload)
        path = f"/jobs/{self.device}/{payload.job_type}"  # type: ignore[union-attr]
        try:
            return str(self._server.submit(path, data=payload.iqmjson, headers=JSON).json()["id"])  # type: ignore[union-attr]
        except Undecided as undecided:
            raise undecided.cause from None


@fails("silence")
class WaitsForEver(Good):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        transport = self._server._transport
        transport._settings = replace(transport._settings, read_timeout=30.0)


@fails("silence")
class IsPatientWithSubmissions(Good):
    def task_start(self, payload: Payload) -> str:
        transport = self._server._transport
        settings = transport._settings
        transport._settings = replace(settings, read_timeout=30.0)
        try:
            return str(super().task_start(payload))
        finally:
            transport._settings = settings


@fails("silence")
class LeaksTimeOutsOfResults(Good):
    def task_output(self, task_id: str) -> bytes:
        try:
            return bytes(super().task_output(task_id))
        except VendorUnreachable as error:
            raise TimeoutError(f"no result of {task_id}") from error


@fails("silence")
class LeaksTimeOutsOfSubmissions(Good):
    def task_start(self, payload: Payload) -> str:
        try:
            return str(super().task_start(payload))
        except SubmissionUncertain as error:
            if "was silent" in str(error):
                raise TimeoutError("no answer to a submission") from error
            raise


@fails("unknown-status-word")
class KnowsAllWords(Good):
    def status_of(self, word: str) -> TaskStatus:
        if word not in self.words:
            raise ResourceError(f"unknown status {word}")
        return self.words[word]


JSON = {"Content-Type": "application/json"}
