# SPDX-License-Identifier: Apache-2.0
"""The journal of leases: what was intended and what came of it, in the order it happened.

An intent is written before each call of a vendor and its outcome after it, so that whoever reads the journal
after a crash knows what may have been left behind. The first implementation keeps it in memory.
"""

from __future__ import annotations

import enum
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

__all__ = ["Acquisition", "AcquisitionState", "Journal", "LeaseRecord", "LeaseState", "MemoryJournal"]


class LeaseState(enum.Enum):
    """Where a lease is in its life."""

    GRANTING = "granting"
    GRANTED = "granted"
    REFUSED = "refused"
    RELEASING = "releasing"
    RELEASED = "released"


class AcquisitionState(enum.Enum):
    """Where the vendor's side of a lease is, for one resource."""

    INTENDED = "intended"
    ACQUIRED = "acquired"
    FAILED = "failed"
    RELEASE_PENDING = "release pending"
    RELEASED = "released"

    @property
    def may_be_held(self) -> bool:
        """True while the vendor may hold the resource for the lease."""
        return self in {self.INTENDED, self.ACQUIRED, self.RELEASE_PENDING}


@dataclass(frozen=True)
class Acquisition:
    """One resource of a lease; ``reason`` says why the last step went wrong."""

    resource: str
    state: AcquisitionState = AcquisitionState.INTENDED
    token: str | None = field(default=None, repr=False)
    reason: str | None = None


@dataclass(frozen=True)
class LeaseRecord:
    """What the journal knows of one lease; times are seconds since the epoch."""

    id: str
    state: LeaseState
    granted: float
    expires: float | None
    acquisitions: tuple[Acquisition, ...]

    def with_acquisition(self, changed: Acquisition) -> LeaseRecord:
        """The same with one resource's acquisition changed."""
        acquisitions = tuple(changed if each.resource == changed.resource else each for each in self.acquisitions)
        return replace(self, acquisitions=acquisitions)


class Journal(ABC):
    """Where leases are kept. Every call is durable when it returns."""

    @abstractmethod
    def write(self, record: LeaseRecord) -> None:
        """Keep the record, in place of an earlier one of the same lease."""

    @abstractmethod
    def read(self, lease_id: str) -> LeaseRecord | None:
        """The record of a lease, None when there is none."""

    @abstractmethod
    def live(self) -> list[LeaseRecord]:
        """The leases of which a vendor may still hold something."""


class MemoryJournal(Journal):
    """A journal that lasts as long as its process: for leases that must not outlive it either."""

    def __init__(self) -> None:
        self._records: dict[str, LeaseRecord] = {}
        self._lock = threading.Lock()

    def write(self, record: LeaseRecord) -> None:
        with self._lock:
            self._records[record.id] = record

    def read(self, lease_id: str) -> LeaseRecord | None:
        with self._lock:
            return self._records.get(lease_id)

    def live(self) -> list[LeaseRecord]:
        with self._lock:
            records = list(self._records.values())
        return [record for record in records if any(each.state.may_be_held for each in record.acquisitions)]
