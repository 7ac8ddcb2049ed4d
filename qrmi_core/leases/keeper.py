# SPDX-License-Identifier: Apache-2.0
"""The keeper of a site's leases: one for each run of a job, all resources or none, and none forgotten."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace

from qrmi_core import polling
from qrmi_core.errors import LeaseRefused, QRMIError, SubmissionUncertain
from qrmi_core.leases.journal import MOST_TASKS, Journal, LeaseTask
from qrmi_core.leases.lanes import Lanes
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState
from qrmi_core.leases.releasing import Releaser, ResourceSource
from qrmi_core.leases.vendor_side import acquire, reason_of

__all__ = ["LeaseKeeper"]

_log = logging.getLogger(__name__)

TTL_MARGIN = 60.0
"""Seconds by which an acquisition outlives its allocation's time limit."""

SHORTEST_VENDOR_SECONDS = 2.0
KEPT_SECONDS = 30 * 86400
"""For how long the journal tells of a lease that has ended."""

JOB_OVER = "the job is over"
TIME_OVER = "the job's time limit is over"
UNDONE = "the gateway ended while it was being granted"

LATE_SECONDS = 600.0
"""For how long after its end tasks of a lease may still be announced: a job's last words, and nobody else's."""


class LeaseKeeper:
    """Grants, releases and reaps; safe to call from several threads.

    ``recover`` is called once, before anything else. Then the service releases what is ``due`` every few seconds, what
    has ``ended`` whenever it has asked the workload manager which jobs there are, and what is ``overdue`` where it gets
    no answer; each lease in a thread of its own, since vendors may be slow.
    """

    def __init__(
        self,
        journal: Journal,
        source: ResourceSource,
        lanes: Mapping[str, int],
        pools: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._journal = journal
        self._source = source
        self._lanes = Lanes(lanes, pools or {})
        self._releaser = Releaser(journal, source, self._lanes)
        self._owner = os.urandom(8).hex()
        self._lock = threading.Lock()
        self._attempts: dict[JobKey, Future[LeaseRecord]] = {}

    def configure(self, lanes: Mapping[str, int], pools: Mapping[str, tuple[str, ...]]) -> None:
        """Go on with other numbers of lanes and other pools; leases that are held stay."""
        self._lanes.configure(lanes, pools)

    def live(self) -> list[LeaseRecord]:
        """The leases that an allocation uses, or of which a vendor may hold something."""
        return self._lanes.live()

    def used(self, resource: str) -> int:
        """How many lanes of a resource are held."""
        return self._lanes.used(resource)

    def get(self, lease_id: str) -> LeaseRecord | None:
        """A lease by its id, also one that has ended."""
        return self._lanes.get(lease_id) or self._journal.read(lease_id)

    def current(self, lease_id: str) -> LeaseRecord | None:
        """A lease by its id while an allocation uses it or a vendor may hold something of it; never blocks."""
        return self._lanes.get(lease_id)

    def recover(self) -> None:
        """Take up the journal that another process left: what it was granting is undone, the rest goes on."""
        for record in self._journal.live():
            if record.owner == self._owner:
                continue
            if record.state is not LeaseState.GRANTING:
                self._lanes.keep(record)
            elif any(each.state is AcquisitionState.ACQUIRED for each in record.acquisitions):
                self._lanes.keep(_undone(record))  # it is due: the vendor, which may be slow, is asked later
            else:
                self._undo(record)

    def _undo(self, record: LeaseRecord) -> None:
        if self._lanes.get(record.id) is None:
            self._releaser.give_back(_undone(record))
        else:
            self._releaser.release(record.id, why=UNDONE)

    def grant(self, holder: Holder, wants: Mapping[str, int], *, wait: float) -> LeaseRecord:
        """The lease of one run of a job: the first who asks gets it made, others meanwhile and afterwards the same.

        Args:
            holder: the allocation, as the workload manager knows it.
            wants: lanes by resource or pool.
            wait: seconds for which a vendor, or lanes that are still being given back, are waited for.

        Raises:
            LeaseRefused: nothing was granted, and why; ``transient`` where asking again may help.
            JournalUnavailable: it cannot be written down, so it is not granted.
        """
        with self._lock:
            attempt = self._attempts.get(holder.key)
            first = attempt is None
            if attempt is None:
                attempt = self._attempts[holder.key] = Future()
        if not first:
            return _answer_of(attempt, wait)
        try:
            record = self._grant(holder, wants, wait)
        except BaseException as error:
            attempt.set_exception(error)
            raise
        else:
            attempt.set_result(record)
            return record
        finally:
            with self._lock:
                del self._attempts[holder.key]

    def _grant(self, holder: Holder, wants: Mapping[str, int], wait: float) -> LeaseRecord:
        deadline = time.monotonic() + wait
        for name in wants:
            if reason := self._source.refusal(name, holder):
                raise LeaseRefused(reason, resource=name)
        attempt = 0
        while True:
            record = self._claimed(holder, wants)
            if record.state is LeaseState.GRANTED:
                return record
            try:
                return self._granted(self._reserved(record, deadline), holder, deadline)
            except LeaseRefused as refusal:
                left = deadline - time.monotonic() - SHORTEST_VENDOR_SECONDS
                if not refusal.transient or left <= 0:
                    _log.warning("%s gets no lease of %s: %s", holder.key, record.resources, refusal)
                    raise
            polling.pause(min(polling.backoff(attempt), left))
            attempt += 1

    def _claimed(self, holder: Holder, wants: Mapping[str, int]) -> LeaseRecord:
        """A new record in the journal, or the lease that this run of the job was granted before."""
        now = time.time()
        wanted = LeaseRecord(
            id=os.urandom(16).hex(),
            state=LeaseState.GRANTING,
            granted=now,
            expires=None if holder.ends is None else holder.ends + TTL_MARGIN,
            acquisitions=tuple(Acquisition(name, lanes=lanes) for name, lanes in wants.items()),
            holder=holder,
            owner=self._owner,
        )
        while (record := self._journal.claim(wanted)).id != wanted.id:
            if record.state is LeaseState.GRANTED:
                return record
            if record.state is not LeaseState.GRANTING:
                raise LeaseRefused(f"the lease of this run of {holder.key} was given back already ({record.reason})")
            self._undo(record)  # of a process that is gone, for each run is granted by one thread at a time
        return wanted

    def _reserved(self, record: LeaseRecord, deadline: float) -> LeaseRecord:
        try:
            for each in record.acquisitions:
                for name in self._lanes.pools.get(each.resource, (each.resource,)):
                    self._releaser.hurry(name)
            return self._lanes.reserve(record, self._source.queue, wait=max(0.0, deadline - time.monotonic()))
        except LeaseRefused as refusal:
            self._refuse(record, refusal)
            raise
        except Exception as error:
            self._refuse(record, LeaseRefused(reason_of(error), transient=True))
            raise

    def _granted(self, record: LeaseRecord, holder: Holder, deadline: float) -> LeaseRecord:
        """Acquire each resource, or give back those that were; the lease is in the journal."""
        name = ""
        try:
            for name in [each.resource for each in record.acquisitions]:
                seconds = max(SHORTEST_VENDOR_SECONDS, deadline - time.monotonic())
                resource = self._source.to_acquire(name, holder, seconds)
                if resource is None:
                    nothing = replace(record.acquisition(name), state=AcquisitionState.ACQUIRED)
                    record = record.with_acquisition(nothing)
                else:
                    record = acquire(self._journal, record, name, resource, until=record.expires)
                self._lanes.keep(record)
            with self._releaser.turn(record.id):
                if why := self._releaser.unwanted(record.id):
                    raise LeaseRefused(f"it was given back before it was granted ({why})")
                granted = replace(record, state=LeaseState.GRANTED)
                self._journal.write(granted)
                self._lanes.keep(granted)
        except BaseException as error:
            reason = f"{name} could not be acquired: {reason_of(error)}"
            transient = isinstance(error, QRMIError) and error.transient
            refusal = LeaseRefused(reason, transient=transient, resource=name)
            at_fault = record.acquisition(name)
            if at_fault.state is not AcquisitionState.ACQUIRED:
                lost = isinstance(error, SubmissionUncertain)
                state = AcquisitionState.ACQUIRING if lost else AcquisitionState.FAILED
                record = record.with_acquisition(replace(at_fault, state=state, reason=reason, until=record.expires))
            self._refuse(record, refusal)
            if not isinstance(error, QRMIError):
                raise
            raise refusal from error
        _log.info("lease %s: %s has %s", granted.id, holder.key, granted.resources)
        return granted

    def _refuse(self, record: LeaseRecord, refusal: LeaseRefused) -> None:
        refused = replace(record, state=LeaseState.REFUSED, reason=str(refusal), transient=refusal.transient)
        try:
            self._releaser.give_back(refused)
        except QRMIError:
            # Nothing of it is in the journal; the next process finds the intent there, this one tries again.
            self._lanes.keep(refused)
            _log.exception("lease %s could not be refused in the journal", record.id)

    def note_task(self, lease_id: str, task: LeaseTask) -> Future[None]:
        """Note a task of a lease, to be cancelled at its end; of a lease that has just ended it is cancelled now.

        The future is done once the task is on the disk, or says that the lease has too many (LeaseRefused) or that it
        is not noted (JournalUnavailable). Many tasks of one lease are one commit so.

        Raises:
            LeaseRefused: there is no such lease, it has no such resource, or it ended long ago.
            JournalUnavailable: the journal is closed.
        """
        resource = task.resource
        with self._releaser.turn(lease_id):
            record = self.get(lease_id)
            if record is None or resource not in {each.resource for each in record.acquisitions}:
                raise LeaseRefused(f"no lease {lease_id} has a resource {resource}", resource=resource)
            if record.state in {LeaseState.GRANTING, LeaseState.REFUSED}:
                raise LeaseRefused(f"lease {lease_id} was not granted: it has no tasks", resource=resource)
            if record.ended is not None and record.ended < time.time() - LATE_SECONDS and not record.may_hold:
                raise LeaseRefused(f"lease {lease_id} ended long ago: it has no new tasks", resource=resource)
            noted = self._noted(lease_id, task)
            if record.state is not LeaseState.GRANTED:
                self._releaser.late(record, resource)
        return noted

    def note_task_at_once(self, lease_id: str, task: LeaseTask) -> Future[None] | None:
        """The same for a task of a lease that is granted and that nobody changes just now; None for any other.

        It never blocks, so an event loop may call it.
        """
        with self._releaser.turn_at_once(lease_id) as is_ours:
            record = self.current(lease_id) if is_ours else None
            if record is None or record.state is not LeaseState.GRANTED:
                return None
            if task.resource not in {each.resource for each in record.acquisitions}:
                return None
            return self._noted(lease_id, task)

    def _noted(self, lease_id: str, task: LeaseTask) -> Future[None]:
        noted: Future[None] = Future()

        def settle(kept: Future[bool]) -> None:
            if (error := kept.exception()) is not None:
                noted.set_exception(error)
            elif kept.result():
                noted.set_result(None)
            else:
                text = f"lease {lease_id} has {MOST_TASKS} tasks already: more are not cancelled at its end"
                noted.set_exception(LeaseRefused(text, resource=task.resource))

        self._journal.add_task(lease_id, task, most=MOST_TASKS).add_done_callback(settle)
        return noted

    def node_done(self, lease_id: str, node: str) -> None:
        """One node's part of the allocation has ended; after the last the lease is given back."""
        with self._releaser.turn(lease_id):
            record = self._lanes.get(lease_id)
            if record is None or record.state is not LeaseState.GRANTED:
                return
            record = replace(record, nodes_done=tuple(dict.fromkeys((*record.nodes_done, node))))
            self._journal.write(record)
            self._lanes.keep(record)
        if record.holder and set(record.holder.nodes) <= set(record.nodes_done):
            self._releaser.release(lease_id, why="the job has ended on all of its nodes")

    def nodes_done_of(self, job_id: int, node: str, *, before: float) -> None:
        """The same for each lease of a job that was granted before a moment, where the node lost its id."""
        for record in self.of_job(job_id):
            if record.granted < before:
                self.node_done(record.id, node)

    def of_job(self, job_id: int) -> list[LeaseRecord]:
        """The live leases of a job."""
        return [each for each in self._lanes.live() if each.holder and each.holder.key.job_id == job_id]

    def release(self, lease_id: str, *, why: str) -> LeaseRecord | None:
        """Give a lease back as far as it can be now; see :meth:`Releaser.release`."""
        return self._releaser.release(lease_id, why=why)

    def cancel_tasks(self, lease_id: str) -> None:
        """Cancel what is known to run for a lease that stays granted."""
        record = self._lanes.get(lease_id)
        if record is not None and record.state is LeaseState.GRANTED:
            self._releaser.cancel_tasks(record)

    def due(self) -> list[LeaseRecord]:
        """What could not be given back and may be tried again."""
        return self._releaser.due()

    def ended(self, alive: Mapping[int, tuple[JobKey, float | None]], *, taken: float) -> list[LeaseRecord]:
        """The leases of jobs that are no more; the others learn of new time limits.

        Args:
            alive: the jobs that are not over, by id: which run each is, and when it ends at most (epoch seconds).
            taken: when the workload manager was asked (epoch seconds); younger leases are left alone.
        """
        found = []
        for record in self._lanes.live():
            if record.state is not LeaseState.GRANTED or record.holder is None or record.granted >= taken:
                continue
            key, ends = alive.get(record.holder.key.job_id, (None, None))
            if key != record.holder.key:
                found.append(record)
            elif ends is not None and ends != record.holder.ends:
                self._extend(record, ends)
        return found

    def _extend(self, record: LeaseRecord, ends: float) -> None:
        """The job's time limit was changed."""
        with self._releaser.turn(record.id):
            latest = self._lanes.get(record.id)
            if latest is not None and latest.state is LeaseState.GRANTED and latest.holder is not None:
                latest = replace(latest, holder=replace(latest.holder, ends=ends), expires=ends + TTL_MARGIN)
                self._journal.write(latest)
                self._lanes.keep(latest)

    def prune(self) -> None:
        """Let the journal forget the leases that ended long ago; to be called now and then."""
        if pruned := self._journal.prune(time.time() - KEPT_SECONDS):
            _log.info("%d leases that ended more than %d days ago are forgotten", pruned, KEPT_SECONDS // 86400)

    def overdue(self) -> list[LeaseRecord]:
        """The leases whose allocation cannot be any more, for when the workload manager does not answer."""
        now = time.time()
        granted = (record for record in self._lanes.live() if record.state is LeaseState.GRANTED)
        return [record for record in granted if record.expires is not None and record.expires < now]


def _undone(record: LeaseRecord) -> LeaseRecord:
    return replace(record, state=LeaseState.REFUSED, reason=UNDONE, transient=True)


def _answer_of(attempt: Future[LeaseRecord], wait: float) -> LeaseRecord:
    try:
        return attempt.result(wait)
    except TimeoutError:
        raise LeaseRefused("the lease is still being granted for another node of the job", transient=True) from None
    except LeaseRefused as refusal:
        raise LeaseRefused(str(refusal), transient=refusal.transient, resource=refusal.resource) from refusal
