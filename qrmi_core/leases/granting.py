# SPDX-License-Identifier: Apache-2.0
"""Granting and giving back within one process: all resources of a lease, or none."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qrmi_core.errors import LeaseRefused, QRMIError, ReleaseIncomplete
from qrmi_core.leases.journal import Journal
from qrmi_core.leases.keyed_locks import KeyedLocks
from qrmi_core.leases.records import Acquisition, AcquisitionState, LeaseRecord, LeaseState
from qrmi_core.leases.vendor_side import acquire, give_back, reason_of
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
    """Grants and releases leases of this process, and keeps the journal of them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._resources: dict[str, tuple[QuantumResource, ...]] = {}
        self._releasing = KeyedLocks()

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
        for resource in resources:
            try:
                record = acquire(self._journal, record, resource.name, resource)
            except BaseException as error:
                reason = reason_of(error)
                failed = replace(record.acquisition(resource.name), state=AcquisitionState.FAILED, reason=reason)
                self._undo(record.with_acquisition(failed))
                if not isinstance(error, QRMIError):
                    raise
                raise LeaseRefused(
                    f"{resource.name} could not be acquired: {reason}",
                    resource=resource.name,
                    transient=error.transient,
                ) from error
        record = replace(record, state=LeaseState.GRANTED)
        self._journal.write(record)
        tokens = {each.resource: each.token for each in record.acquisitions if each.token is not None}
        return Lease(record.id, tuple(resources), tokens, record.expires)

    def _undo(self, record: LeaseRecord) -> None:
        """Give back what was acquired; what was never tried is nobody's."""
        record = self._give_back(replace(record, state=LeaseState.REFUSED))
        if not record.may_hold:
            self._resources.pop(record.id, None)

    def release(self, lease_id: str) -> None:
        """Cancel the unfinished tasks of a lease and give its resources back; twice is no error.

        Every resource is tried. Call again to retry those that could not be given back.

        Raises:
            ReleaseIncomplete: some could not be given back; the journal keeps them.
        """
        with self._releasing.hold(lease_id):
            self._release(lease_id)

    def _release(self, lease_id: str) -> None:
        record = self._journal.read(lease_id)
        if record is None or not record.may_hold:
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
        resources = {resource.name: resource for resource in self._resources[record.id]}

        def release(acquisition: Acquisition) -> Acquisition:
            if acquisition.token is not None:
                resources[acquisition.resource].release(acquisition.token)
            return replace(acquisition, state=AcquisitionState.RELEASED, reason=None)

        def failed(acquisition: Acquisition, reason: str) -> Acquisition:
            return replace(acquisition, state=AcquisitionState.RELEASE_PENDING, reason=reason)

        return give_back(self._journal, record, release, failed=failed)
