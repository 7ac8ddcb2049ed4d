# SPDX-License-Identifier: Apache-2.0
"""What is known of a lease: whose it is, what it holds, and where it is in its life."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

__all__ = [
    "Acquisition",
    "AcquisitionState",
    "Holder",
    "JobKey",
    "LeaseRecord",
    "LeaseState",
]


class LeaseState(enum.Enum):
    """Where a lease is in its life."""

    GRANTING = "granting"
    GRANTED = "granted"
    REFUSED = "refused"
    RELEASING = "releasing"
    RELEASED = "released"

    @property
    def is_live(self) -> bool:
        """True while an allocation may be using the lease."""
        return self in {self.GRANTING, self.GRANTED}


class AcquisitionState(enum.Enum):
    """Where the vendor's side of a lease is, for one resource."""

    INTENDED = "intended"
    ACQUIRING = "acquiring"
    """The vendor was or is being asked: what it said is not in the journal."""
    ACQUIRED = "acquired"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    """The vendor was asked and the answer is lost, with the means to give it back."""
    RELEASE_PENDING = "release pending"
    DRAINING = "draining"
    """Given back, and a task that cannot be cancelled still runs."""
    SETTLING = "settling"
    """Given back: tasks that were sent at the last moment, and what came of the others, are looked for once more."""
    RELEASED = "released"

    @property
    def may_be_held(self) -> bool:
        """True while the vendor may hold something of the lease."""
        return self not in {self.INTENDED, self.FAILED, self.RELEASED}

    @property
    def occupies_lanes(self) -> bool:
        """True while nobody else may have its lanes.

        One whose answer is lost keeps none: a vendor's session that nobody uses keeps nobody out.
        """
        return self not in {self.FAILED, self.RELEASED, self.UNCERTAIN, self.SETTLING}


@dataclass(frozen=True)
class JobKey:
    """One run of one job. Ids are used again and requeued jobs keep theirs; ``submitted`` is in epoch seconds."""

    cluster: str
    job_id: int
    submitted: int
    restarts: int

    def __str__(self) -> str:
        return f"job {self.job_id}" + (f" (restart {self.restarts})" if self.restarts else "")


@dataclass(frozen=True)
class Holder:
    """The allocation that a lease is for, as the workload manager knows it; ``ends`` is in epoch seconds."""

    key: JobKey
    uid: int
    user: str = ""
    account: str = ""
    nodes: tuple[str, ...] = ()
    ends: float | None = None
    batch: bool = True
    array: str | None = None


@dataclass(frozen=True)
class Acquisition:
    """One resource of a lease.

    ``reason`` says why the last step went wrong; ``until`` is when the vendor ends the acquisition by itself
    and ``next_try`` when its release is tried again, both in epoch seconds; ``asked`` is the pool it was chosen from.
    """

    resource: str
    state: AcquisitionState = AcquisitionState.INTENDED
    token: str | None = field(default=None, repr=False)
    reason: str | None = None
    lanes: int = 1
    asked: str | None = None
    until: float | None = None
    tries: int = 0
    next_try: float = 0.0


@dataclass(frozen=True)
class LeaseRecord:
    """What the journal knows of one lease; times are seconds since the epoch.

    ``reason`` says why it was refused or given back, ``transient`` whether asking again may help; ``owner`` is the
    process that grants it; ``nodes_done`` are those whose part of the allocation has ended.
    """

    id: str
    state: LeaseState
    granted: float
    expires: float | None
    acquisitions: tuple[Acquisition, ...]
    holder: Holder | None = None
    reason: str | None = None
    transient: bool = False
    owner: str = ""
    nodes_done: tuple[str, ...] = ()
    ended: float | None = None

    @property
    def may_hold(self) -> bool:
        """True while an allocation uses it, or a vendor may hold something for it."""
        return self.state.is_live or any(each.state.may_be_held for each in self.acquisitions)

    @property
    def is_given_back(self) -> bool:
        """True once all of it can be somebody else's, whatever is still looked for."""
        over = {AcquisitionState.SETTLING, AcquisitionState.RELEASED, AcquisitionState.FAILED}
        return not self.state.is_live and all(each.state in over for each in self.acquisitions)

    @property
    def resources(self) -> str:
        """The names of its resources, as text."""
        return ", ".join(each.resource for each in self.acquisitions)

    def with_acquisition(self, changed: Acquisition) -> LeaseRecord:
        """The same with one resource's acquisition changed."""
        acquisitions = tuple(changed if each.resource == changed.resource else each for each in self.acquisitions)
        return replace(self, acquisitions=acquisitions)

    def acquisition(self, resource: str) -> Acquisition:
        """The acquisition of a resource of this lease."""
        return next(each for each in self.acquisitions if each.resource == resource)
