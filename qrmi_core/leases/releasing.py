# SPDX-License-Identifier: Apache-2.0
"""Giving a lease back: its tasks cancelled, its acquisitions released, and what fails tried again until it does not."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import Protocol

from qrmi_core.errors import QRMIError, TaskNotFound, UnsupportedFunction
from qrmi_core.leases.journal import Journal
from qrmi_core.leases.lanes import Lanes
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, LeaseRecord, LeaseState
from qrmi_core.leases.vendor_side import give_back
from qrmi_core.resource import QuantumResource

__all__ = ["Releaser", "ResourceSource"]

_log = logging.getLogger(__name__)

VENDOR_SECONDS = 20.0
FIRST_GAP = 2.0
LONGEST_GAP = 60.0
LOOK_GAP = 2.0


class ResourceSource(Protocol):
    """Who makes the resources that leases are of."""

    def make(self, name: str, holder: Holder, token: str | None, seconds: float) -> QuantumResource | None:
        """The resource for one holder and acquisition, whose calls take about so long at most.

        None where there is nothing to acquire, as for a simulator that runs within the allocation.

        Raises:
            QRMIError: it cannot be made.
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
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    def release(self, lease_id: str, *, why: str) -> LeaseRecord | None:
        """Give a lease back as far as it can be now; None for one that nobody knows. Twice is no error.

        What cannot be given back stays in the journal with its reason, for :meth:`retry`.

        Raises:
            JournalUnavailable: nothing of it is in the journal; try again.
        """
        with self._one_at_a_time(lease_id):
            record = self._lanes.get(lease_id) or self._journal.read(lease_id)
            if record is None or not record.may_hold:
                return record
            if record.state.is_live:
                granted = record.state is LeaseState.GRANTED
                record = replace(record, state=LeaseState.RELEASING if granted else LeaseState.REFUSED, reason=why)
                _log.info("lease %s of %s: giving %s back, %s", record.id, _whose(record), record.resources, why)
            return self._give_back(record)

    def give_back(self, record: LeaseRecord) -> LeaseRecord:
        """Give back what a lease holds that was changed by the caller: one whose grant failed."""
        with self._one_at_a_time(record.id):
            return self._give_back(record)

    def retry(self) -> None:
        """Try again what could not be given back and is due."""
        for record in self.due():
            try:
                self.release(record.id, why=record.reason or "")
            except QRMIError as error:
                _log.warning("lease %s is not given back yet: %s", record.id, error)

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
        for record in self._lanes.live():
            for each in record.acquisitions:
                if each.resource == resource and each.state is AcquisitionState.RELEASE_PENDING and each.next_try:
                    self._lanes.keep(record.with_acquisition(replace(each, next_try=0.0)))

    def _one_at_a_time(self, lease_id: str) -> threading.Lock:
        with self._lock:
            return self._busy.setdefault(lease_id, threading.Lock())

    def _give_back(self, record: LeaseRecord) -> LeaseRecord:
        never_tried = [each for each in record.acquisitions if each.state is AcquisitionState.INTENDED]
        for each in never_tried:
            record = record.with_acquisition(replace(each, state=AcquisitionState.RELEASED))
        self._lanes.keep(record)

        def release(acquisition: Acquisition) -> Acquisition:
            return self._released(record, acquisition)

        record = give_back(self._journal, record, release, failed=_pending)
        if not record.may_hold:
            state = LeaseState.RELEASED if record.state is LeaseState.RELEASING else record.state
            record = replace(record, state=state, ended=time.time())
            self._journal.write(record)
        self._lanes.keep(record)
        return record

    def _released(self, record: LeaseRecord, acquisition: Acquisition) -> Acquisition:
        if acquisition.state in {AcquisitionState.ACQUIRING, AcquisitionState.UNCERTAIN}:
            return _answer_lost(acquisition)
        if record.holder is None:
            return replace(acquisition, state=AcquisitionState.RELEASED)
        resource = self._source.make(acquisition.resource, record.holder, acquisition.token, VENDOR_SECONDS)
        if resource is None:
            return replace(acquisition, state=AcquisitionState.RELEASED, reason=None)
        if acquisition.state is AcquisitionState.DRAINING:
            return self._drained(record, acquisition, resource)
        return self._cancelled_and_released(record, acquisition, resource)

    def _cancelled_and_released(
        self, record: LeaseRecord, acquisition: Acquisition, resource: QuantumResource
    ) -> Acquisition:
        runs_on, problem = self._cancel(record, resource)
        if acquisition.token is not None:
            resource.release(acquisition.token)
        if problem is not None:
            raise problem
        if runs_on:
            reason = f"{resource.name} cannot cancel: {len(runs_on)} of its tasks run until they end"
            return replace(acquisition, state=AcquisitionState.DRAINING, reason=reason, next_try=time.time() + LOOK_GAP)
        return replace(acquisition, state=AcquisitionState.RELEASED, reason=None)

    def cancel_tasks(self, record: LeaseRecord) -> None:
        """Cancel what is known to run for a lease; it stays granted, so results can still be read."""
        for acquisition in record.acquisitions:
            if acquisition.state is not AcquisitionState.ACQUIRED or record.holder is None:
                continue
            try:
                resource = self._source.make(acquisition.resource, record.holder, acquisition.token, VENDOR_SECONDS)
                problem = self._cancel(record, resource)[1] if resource is not None else None
            except QRMIError as error:
                problem = error
            if problem is not None:
                _log.warning(
                    "lease %s: tasks on %s were not cancelled yet: %s", record.id, acquisition.resource, problem
                )

    def _cancel(self, record: LeaseRecord, resource: QuantumResource) -> tuple[list[str], QRMIError | None]:
        """Cancel each task; those that cannot be cancelled and run on, and the first problem."""
        runs_on, problem = [], None
        for task in self._journal.tasks(record.id):
            if task.resource != resource.name:
                continue
            try:
                resource.task_stop(task.task_id)
            except TaskNotFound:
                continue
            except UnsupportedFunction:
                runs_on.append(task.task_id)
            except QRMIError as error:
                problem = problem or error
        return runs_on, problem

    def _drained(self, record: LeaseRecord, acquisition: Acquisition, resource: QuantumResource) -> Acquisition:
        for task in self._journal.tasks(record.id):
            if task.resource == resource.name:
                try:
                    ended = resource.task_info(task.task_id).status.is_final
                except TaskNotFound:
                    ended = True
                if not ended:
                    return replace(acquisition, next_try=time.time() + LOOK_GAP)
        return replace(acquisition, state=AcquisitionState.RELEASED, reason=None)


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
    draining = acquisition.state is AcquisitionState.DRAINING
    gap = min(FIRST_GAP * 2.0 ** min(acquisition.tries, 10), LONGEST_GAP)
    _log.warning("%s is not given back yet, the next try is in %.0f s: %s", acquisition.resource, gap, reason)
    return replace(
        acquisition,
        state=AcquisitionState.DRAINING if draining else AcquisitionState.RELEASE_PENDING,
        reason=reason,
        tries=acquisition.tries + 1,
        next_try=time.time() + gap,
    )


def _whose(record: LeaseRecord) -> str:
    return str(record.holder.key) if record.holder else "nobody"
