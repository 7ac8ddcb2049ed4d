# SPDX-License-Identifier: Apache-2.0
"""Giving a lease back: its tasks cancelled, its acquisitions released, and what fails tried again until it does not."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from typing import Protocol

from qrmi_core.errors import ConfigurationError, QRMIError, TaskNotFound, UnsupportedFunction, VendorUnreachable
from qrmi_core.leases.journal import Journal, LeaseTask
from qrmi_core.leases.keyed_locks import KeyedLocks
from qrmi_core.leases.lanes import Lanes
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, LeaseRecord, LeaseState
from qrmi_core.leases.settling import note_outcomes, note_unannounced
from qrmi_core.leases.vendor_side import give_back
from qrmi_core.resource import QuantumResource
from qrmi_core.submission import LIST_LAG
from qrmi_core.tasks import TaskInfo

__all__ = ["Releaser", "ResourceSource"]

_log = logging.getLogger(__name__)

SESSION = "session"
VENDOR_SECONDS = 20.0
FIRST_GAP = 2.0
LONGEST_GAP = 60.0
LOOK_GAP = 2.0
CANCEL_SECONDS = 30.0
"""For how long one try cancels tasks, before it closes the session; the next try goes on with the others."""

TRIES_OF_A_TASK = 6
"""After so many tries a task that the vendor refuses to cancel, or to tell of, keeps its lane no longer."""

OUTCOME_SECONDS = 1.0
"""For how long it is asked what came of tasks while their lane is still held."""

SETTLING_SECONDS = 30.0
LOOKS = 3
"""How often it is asked after the release what came of tasks: vendors say of some late, or never, that they ended."""


class ResourceSource(Protocol):
    """Who makes the resources that leases are of."""

    def to_acquire(self, name: str, holder: Holder, seconds: float) -> QuantumResource | None:
        """The resource to be acquired at a grant; None where nothing is, or only with the job's first task.

        Raises:
            QRMIError: it cannot be made.
        """

    def make(self, name: str, holder: Holder, token: str | None, seconds: float) -> QuantumResource | None:
        """The resource for one holder and acquisition, to be given back; its calls take about so long at most.

        None where there is nothing to acquire, as for a simulator that runs within the allocation.

        Raises:
            QRMIError: it cannot be made.
        """

    def may_have_missed(self, record: LeaseRecord, name: str) -> bool:
        """Whether a lease may have tasks on a resource that the journal does not know."""

    def with_outcome(self, task: LeaseTask, info: TaskInfo | None) -> LeaseTask | None:
        """A task as the journal is to keep it, of which its vendor tells that it ended, or that there is none.

        None where nothing is to be noted.
        """

    def refusal(self, name: str, holder: Holder) -> str | None:
        """Why the holder may not have a resource, or a pool, at all; None where it may."""

    def queue(self, name: str) -> int:
        """How many tasks wait at a resource, as far as it is known without asking the vendor now."""


class Releaser:
    """Releases leases; each one in one thread at a time."""

    def __init__(self, journal: Journal, source: ResourceSource, lanes: Lanes) -> None:
        self._journal = journal
        self._source = source
        self._lanes = lanes
        self._busy = KeyedLocks()
        self._turns = KeyedLocks()
        self._unwanted: dict[str, str] = {}
        self._late: dict[str, set[str]] = {}
        self._stopped: dict[str, set[LeaseTask]] = {}

    def turn(self, lease_id: str) -> contextlib.AbstractContextManager[None]:
        """Held by whoever reads a lease and writes it changed; never while a vendor is asked."""
        return self._turns.hold(lease_id)

    def turn_at_once(self, lease_id: str) -> contextlib.AbstractContextManager[bool]:
        """The same where nobody has to be waited for; otherwise it is not held, and the answer is False."""
        return self._turns.hold_at_once(lease_id)

    def unwanted(self, lease_id: str) -> str | None:
        """Why a lease was released while it was still being granted."""
        return self._unwanted.get(lease_id)

    def release(self, lease_id: str, *, why: str) -> LeaseRecord | None:
        """Give a lease back as far as it can be now; None for one that nobody knows. Twice is no error.

        What cannot be given back stays in the journal with its reason, and is :meth:`due` again. One that is being
        granted is given back by whoever grants it, as soon as the vendor has answered.

        Raises:
            JournalUnavailable: nothing of it is in the journal; try again.
        """
        with self._busy.hold(lease_id):
            with self.turn(lease_id):
                record = self._lanes.get(lease_id) or self._journal.read(lease_id)
                if record is None or not record.may_hold:
                    return record
                if record.state is LeaseState.GRANTING:
                    self._unwanted[lease_id] = why
                    return record
                if record.state is LeaseState.GRANTED:
                    record = replace(record, state=LeaseState.RELEASING, reason=why)
                    _log.info("lease %s of %s: giving %s back, %s", record.id, _whose(record), record.resources, why)
                record = self._begun(record)
            return self._give_back(record)

    def give_back(self, record: LeaseRecord) -> LeaseRecord:
        """Give back what a lease holds that was changed by the caller: one whose grant failed."""
        with self._busy.hold(record.id):
            with self.turn(record.id):
                record = self._begun(record)
            return self._give_back(record)

    def late(self, record: LeaseRecord, resource: str) -> None:
        """A task was announced of a lease that is given back, or was: cancel it too. The caller holds the turn."""
        if record.id in self._late:
            self._late[record.id].add(resource)  # whoever gives it back looks there at the end
            return
        record = _opened_again(record, {resource})
        self._journal.write(record)
        self._lanes.keep(record)

    def due(self) -> list[LeaseRecord]:
        """What could not be given back and may be tried again."""
        now = time.time()
        return [
            record
            for record in self._lanes.live()
            if not record.state.is_live
            and any(each.state.may_be_held and each.next_try <= now for each in record.acquisitions)
        ]

    def hurry(self, resource: str) -> None:
        """Let what is still to be given back of a resource be tried at once: somebody waits for it."""
        self._lanes.hurry(resource)

    def _begun(self, record: LeaseRecord) -> LeaseRecord:
        for each in record.acquisitions:
            if each.state is AcquisitionState.INTENDED:
                record = record.with_acquisition(replace(each, state=AcquisitionState.RELEASED))
        self._unwanted.pop(record.id, None)
        self._late[record.id] = set()
        self._lanes.keep(record)
        return record

    def _give_back(self, record: LeaseRecord) -> LeaseRecord:
        def release(acquisition: Acquisition) -> Acquisition:
            return self._released(record, acquisition)

        late: set[str] = set()
        try:
            record = give_back(self._journal, record, release, failed=_pending)
        finally:
            with self.turn(record.id):
                late = self._late.pop(record.id)
                record = _opened_again(record, late)
                if not record.may_hold:
                    state = LeaseState.RELEASED if record.state is LeaseState.RELEASING else record.state
                    record = replace(record, state=state, ended=record.ended or time.time())
                    self._stopped.pop(record.id, None)
                if late or not record.may_hold:
                    self._journal.write(record)
                self._lanes.keep(record)
        return record

    def _released(self, record: LeaseRecord, acquisition: Acquisition) -> Acquisition:
        if acquisition.state in {AcquisitionState.ACQUIRING, AcquisitionState.UNCERTAIN}:
            return _answer_lost(acquisition)
        if record.holder is None:
            return replace(acquisition, state=AcquisitionState.RELEASED)
        if acquisition.state is AcquisitionState.SETTLING and acquisition.next_try > time.time():
            return acquisition
        resource = self._source.make(acquisition.resource, record.holder, acquisition.token, VENDOR_SECONDS)
        if resource is None:
            if acquisition.token is not None:
                raise ConfigurationError(
                    f"{acquisition.resource} was acquired for it, and is configured now so that nothing is acquired "
                    f"there: put back its access or credential until this is given back"
                )
            return replace(acquisition, state=AcquisitionState.RELEASED, reason=None)
        if acquisition.state is AcquisitionState.DRAINING:
            return self._drained(record, acquisition, resource)
        if acquisition.state is AcquisitionState.SETTLING:
            return self._settled(record, acquisition, resource)
        return self._cancelled_and_released(record, acquisition, resource)

    def _cancelled_and_released(
        self, record: LeaseRecord, acquisition: Acquisition, resource: QuantumResource
    ) -> Acquisition:
        runs_on, problem = self._cancel(record, resource, acquisition.tries)
        # Before the release: some vendors forget tasks with it.
        known = problem is None and self._note_outcomes(record, resource, OUTCOME_SECONDS)
        if acquisition.token is not None:
            resource.release(acquisition.token)
        if problem is not None:
            raise problem
        if runs_on:
            reason = f"{resource.name} cannot cancel: {len(runs_on)} of its tasks run until they end"
            draining = replace(acquisition, state=AcquisitionState.DRAINING, reason=reason, tries=0)
            return replace(draining, next_try=time.time() + LOOK_GAP)
        if not self._cancel_unannounced(record, resource, acquisition) and known:
            return replace(acquisition, state=AcquisitionState.RELEASED, reason=None)
        settling = replace(acquisition, state=AcquisitionState.SETTLING, reason=None, tries=0)
        return replace(settling, next_try=time.time() + LIST_LAG)

    def _cancel_unannounced(self, record: LeaseRecord, resource: QuantumResource, acquisition: Acquisition) -> bool:
        """Cancel what the vendor took from the job and the journal does not know; whether to look once more.

        It is looked for once more where the vendor lists such tasks, for lists show new ones late. So what goes wrong
        the first time holds nothing up.
        """
        if record.state is LeaseState.REFUSED or not self._source.may_have_missed(record, acquisition.resource):
            return False
        try:
            if not note_unannounced(self._journal, record.id, resource):
                return False
            self._cancel(record, resource, acquisition.tries)
        except QRMIError as error:
            _log.info("lease %s: what was sent to %s at the last moment: %s", record.id, resource.name, error)
        return True

    def _settled(self, record: LeaseRecord, acquisition: Acquisition, resource: QuantumResource) -> Acquisition:
        """Look once more for tasks that nobody announced, and what came of all; its lane is free already."""
        released = replace(acquisition, state=AcquisitionState.RELEASED, reason=None)
        problem: QRMIError | None = None
        try:
            if self._source.may_have_missed(record, acquisition.resource):
                note_unannounced(self._journal, record.id, resource)
            problem = self._cancel(record, resource, acquisition.tries)[1]
        except QRMIError as error:
            problem = error
        known = self._note_outcomes(record, resource, SETTLING_SECONDS)
        if problem is not None:
            if problem.transient or acquisition.tries < TRIES_OF_A_TASK:
                raise problem
            _log.warning("lease %s: what is left of it on %s is left alone: %s", record.id, resource.name, problem)
        elif not known and acquisition.tries + 1 < LOOKS:
            return replace(acquisition, tries=acquisition.tries + 1, next_try=time.time() + LOOK_GAP)
        return released

    def cancel_tasks(self, record: LeaseRecord) -> None:
        """Cancel what is known to run for a lease; it stays granted, so results can still be read."""
        for acquisition in record.acquisitions:
            if acquisition.state is not AcquisitionState.ACQUIRED or record.holder is None:
                continue
            try:
                resource = self._source.make(acquisition.resource, record.holder, acquisition.token, VENDOR_SECONDS)
                problem = self._cancel(record, resource, 0)[1] if resource is not None else None
            except QRMIError as error:
                problem = error
            if problem is not None:
                _log.warning(
                    "lease %s: tasks on %s were not cancelled yet: %s", record.id, acquisition.resource, problem
                )

    def _cancel(self, record: LeaseRecord, resource: QuantumResource, tries: int) -> tuple[list[str], QRMIError | None]:
        """Cancel each task, the last first; those that cannot be cancelled and run on, and the first problem.

        What was cancelled is not tried again. The rest waits for the next try when the vendor is away or time is over.
        """
        runs_on: list[str] = []
        problem: QRMIError | None = None
        stopped = self._stopped.setdefault(record.id, set())
        left = [task for task in self._tasks(record, resource) if task not in stopped]
        end = time.monotonic() + CANCEL_SECONDS
        while left:
            if time.monotonic() > end:
                text = f"{len(left)} of its tasks are still to be cancelled"
                return runs_on, problem or QRMIError(text, transient=True, resource=resource.name)
            task = left.pop()
            try:
                if task.kind == SESSION:
                    resource.release(task.task_id)
                else:
                    resource.task_stop(task.task_id)
            except TaskNotFound:
                pass
            except UnsupportedFunction:
                runs_on.append(task.task_id)
                continue
            except QRMIError as error:
                if isinstance(error, VendorUnreachable):
                    return runs_on, problem or error
                if not _is_given_up(record, task, error, tries):
                    problem = problem or error
                    continue
            stopped.add(task)
        return runs_on, problem

    def _drained(self, record: LeaseRecord, acquisition: Acquisition, resource: QuantumResource) -> Acquisition:
        stopped = self._stopped.setdefault(record.id, set())
        for task in self._tasks(record, resource):
            if task in stopped or task.kind == SESSION:
                continue
            info: TaskInfo | None = None
            try:
                with contextlib.suppress(TaskNotFound):
                    info = resource.task_info(task.task_id)
                ended = info is None or info.status.is_final
                if ended and (known := self._source.with_outcome(task, info)) is not None:
                    self._journal.update_task(known, once=True).result()
            except QRMIError as error:
                if not _is_given_up(record, task, error, acquisition.tries):
                    raise
                ended = True
            if not ended:
                return replace(acquisition, tries=0, next_try=time.time() + LOOK_GAP)
            stopped.add(task)
        return replace(acquisition, state=AcquisitionState.RELEASED, reason=None)

    def _note_outcomes(self, record: LeaseRecord, resource: QuantumResource, seconds: float) -> bool:
        """Note what came of tasks of which nobody has; whether there is nothing more to be noted."""
        outcome = self._source.with_outcome
        return note_outcomes(self._journal, self._tasks(record, resource), resource, outcome, seconds=seconds)

    def _tasks(self, record: LeaseRecord, resource: QuantumResource) -> list[LeaseTask]:
        return [task for task in self._journal.tasks(record.id) if task.resource == resource.name]


def _is_given_up(record: LeaseRecord, task: LeaseTask, error: QRMIError, tries: int) -> bool:
    """Any word is a task's id to who announces it: what the vendor refuses for good must not keep a lane for ever."""
    if error.transient or tries < TRIES_OF_A_TASK:
        return False
    _log.warning("lease %s: the task %r on %s is left alone: %s", record.id, task.task_id, task.resource, error)
    return True


def _opened_again(record: LeaseRecord, resources: set[str]) -> LeaseRecord:
    """The same with something to be given back of these; lanes that somebody else may have by now it holds no more."""
    for each in record.acquisitions:
        if each.resource in resources:
            lanes = each.lanes if each.state.occupies_lanes else 0
            again = replace(each, state=AcquisitionState.RELEASE_PENDING, lanes=lanes, tries=0, next_try=0.0)
            record = record.with_acquisition(again)
    return record


def _answer_lost(acquisition: Acquisition) -> Acquisition:
    """What has no name at the vendor can only be waited for; all else is given back, however late that is."""
    now = time.time()
    if acquisition.until is not None and now > acquisition.until:
        return replace(acquisition, state=AcquisitionState.RELEASED, reason="the vendor's own time limit ended it")
    if acquisition.state is AcquisitionState.ACQUIRING:
        lost = "the answer to its acquisition was lost; the vendor ends it at its time limit"
        return replace(acquisition, state=AcquisitionState.UNCERTAIN, reason=lost, next_try=acquisition.until or now)
    # Without a limit nothing of it can be found again, and nothing else can be waited for.
    return acquisition if acquisition.until else replace(acquisition, state=AcquisitionState.RELEASED)


def _pending(acquisition: Acquisition, reason: str) -> Acquisition:
    stays = acquisition.state in {AcquisitionState.DRAINING, AcquisitionState.SETTLING}
    gap = min(FIRST_GAP * 2.0 ** min(acquisition.tries, 10), LONGEST_GAP)
    _log.warning("%s is not given back yet, the next try is in %.0f s: %s", acquisition.resource, gap, reason)
    return replace(
        acquisition,
        state=acquisition.state if stays else AcquisitionState.RELEASE_PENDING,
        reason=reason,
        tries=acquisition.tries + 1,
        next_try=time.time() + gap,
    )


def _whose(record: LeaseRecord) -> str:
    return str(record.holder.key) if record.holder else "nobody"
