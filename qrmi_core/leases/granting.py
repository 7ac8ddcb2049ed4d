# SPDX-License-Identifier: Apache-2.0
"""Granting and giving back: all resources of a lease, or none."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qrmi_core.errors import LeaseRefused, QRMIError, ReleaseIncomplete
from qrmi_core.leases.journal import Acquisition, AcquisitionState, Journal, LeaseRecord, LeaseState
from qrmi_core.names import clash
from qrmi_core.resource import QuantumResource

__all__ = ["Lease", "Leases"]


@dataclass(frozen=True)
class Lease:
    """The grant of one or more resources to one allocation, from its start to its end."""

    id: str
    resources: tuple[QuantumResource, ...]
    tokens: dict[str, str]
    expires: float | None

    def __repr__(self) -> str:
        return f"<Lease {self.id} of {', '.join(resource.name for resource in self.resources)}>"


class Leases:
    """Grants and releases leases, and keeps the journal of them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._resources: dict[str, tuple[QuantumResource, ...]] = {}
        self._lock = threading.Lock()
        self._releasing: dict[str, threading.Lock] = {}

    def grant(self, resources: Sequence[QuantumResource], *, seconds: float | None = None) -> Lease:
        """Acquire every resource, or none; ``seconds`` is how long the allocation may last.

        Raises:
            LeaseRefused: one could not be acquired; those acquired before it were given back.
        """
        if twins := clash(resource.name for resource in resources):
            raise LeaseRefused(f"{twins[0]} is asked for twice: name each QPU once", resource=twins[0])
        now = time.time()
        record = LeaseRecord(
            id=os.urandom(16).hex(),
            state=LeaseState.GRANTING,
            granted=now,
            expires=None if seconds is None else now + seconds,
            acquisitions=tuple(Acquisition(resource.name) for resource in resources),
        )
        self._resources[record.id] = tuple(resources)
        tokens = {}
        for resource in resources:
            self._journal.write(record)
            try:
                token = resource.acquire()
            except BaseException as error:
                reason = str(error) if isinstance(error, QRMIError) else f"{type(error).__name__}: {error}"
                failed = Acquisition(resource.name, AcquisitionState.FAILED, reason=reason)
                self._undo(record.with_acquisition(failed))
                if not isinstance(error, QRMIError):
                    raise
                raise LeaseRefused(
                    f"{resource.name} could not be acquired: {reason}",
                    resource=resource.name,
                    transient=error.transient,
                ) from error
            tokens[resource.name] = token
            record = record.with_acquisition(Acquisition(resource.name, AcquisitionState.ACQUIRED, token))
        record = replace(record, state=LeaseState.GRANTED)
        self._journal.write(record)
        return Lease(record.id, tuple(resources), tokens, record.expires)

    def _undo(self, record: LeaseRecord) -> None:
        """Give back what was acquired; what was never tried is nobody's."""
        for acquisition in record.acquisitions:
            if acquisition.state is AcquisitionState.INTENDED:
                record = record.with_acquisition(replace(acquisition, state=AcquisitionState.RELEASED))
        record = self._give_back(replace(record, state=LeaseState.REFUSED))
        if all(not each.state.may_be_held for each in record.acquisitions):
            self._resources.pop(record.id, None)

    def release(self, lease_id: str) -> None:
        """Cancel the unfinished tasks of a lease and give its resources back; twice is no error.

        Every resource is tried. Call again to retry those that could not be given back.

        Raises:
            ReleaseIncomplete: some could not be given back; the journal keeps them.
        """
        with self._lock:
            one_at_a_time = self._releasing.setdefault(lease_id, threading.Lock())
        with one_at_a_time:
            self._release(lease_id)

    def _release(self, lease_id: str) -> None:
        record = self._journal.read(lease_id)
        if record is None or not any(each.state.may_be_held for each in record.acquisitions):
            return
        record = self._give_back(replace(record, state=LeaseState.RELEASING))
        pending = [each for each in record.acquisitions if each.state is AcquisitionState.RELEASE_PENDING]
        if pending:
            reasons = "; ".join(f"{each.resource}: {each.reason}" for each in pending)
            raise ReleaseIncomplete(
                f"lease {lease_id} could not be given back whole: {reasons}; release it again",
                resource=pending[0].resource,
                transient=True,
            )
        self._journal.write(replace(record, state=LeaseState.RELEASED))
        self._resources.pop(lease_id, None)

    def _give_back(self, record: LeaseRecord) -> LeaseRecord:
        """Release each acquisition, the last first; the record with what came of it, which is in the journal."""
        self._journal.write(record)
        resources = {resource.name: resource for resource in self._resources[record.id]}
        for acquisition in reversed(record.acquisitions):
            if acquisition.token is None or not acquisition.state.may_be_held:
                continue
            try:
                resources[acquisition.resource].release(acquisition.token)
            except Exception as error:  # noqa: BLE001  a resource that fails must not keep the others from their release
                changed = replace(acquisition, state=AcquisitionState.RELEASE_PENDING, reason=str(error))
            else:
                changed = replace(acquisition, state=AcquisitionState.RELEASED, reason=None)
            record = record.with_acquisition(changed)
            self._journal.write(record)
        return record
