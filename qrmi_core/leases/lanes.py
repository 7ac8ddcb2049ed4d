# SPDX-License-Identifier: Apache-2.0
"""Which lease holds which lanes: what the journal says of live leases, at hand, and told to those who wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from qrmi_core.errors import LeaseRefused
from qrmi_core.leases.records import Acquisition, AcquisitionState, LeaseRecord

__all__ = ["Lanes"]

LONGEST_NAP = 1.0


class Lanes:
    """The live leases of a site and the lanes that they hold; safe to use from several threads.

    ``totals`` says how many lanes each resource has and ``pools`` which resources a pool stands for.
    """

    def __init__(self, totals: Mapping[str, int], pools: Mapping[str, tuple[str, ...]]) -> None:
        self.totals = totals
        self.pools = pools
        self._held: dict[str, LeaseRecord] = {}
        self._changed = threading.Condition()

    def configure(self, totals: Mapping[str, int], pools: Mapping[str, tuple[str, ...]]) -> None:
        """Go on with other numbers; leases that are held stay."""
        with self._changed:
            self.totals, self.pools = totals, pools
            self._changed.notify_all()

    def hurry(self, resource: str) -> None:
        """Let what is still to be given back of a resource be tried at once."""
        with self._changed:
            for lease, record in self._held.items():
                for each in record.acquisitions:
                    if each.resource == resource and each.state is AcquisitionState.RELEASE_PENDING and each.next_try:
                        record = record.with_acquisition(replace(each, next_try=0.0))
                self._held[lease] = record

    def keep(self, record: LeaseRecord) -> None:
        """Note where a lease is now; one that holds nothing any more is forgotten."""
        with self._changed:
            if record.may_hold:
                self._held[record.id] = record
            else:
                self._held.pop(record.id, None)
            self._changed.notify_all()

    def live(self) -> list[LeaseRecord]:
        """The leases that an allocation uses, or of which a vendor may hold something."""
        with self._changed:
            return list(self._held.values())

    def get(self, lease_id: str) -> LeaseRecord | None:
        """A live lease."""
        with self._changed:
            return self._held.get(lease_id)

    def used(self, resource: str) -> int:
        """How many lanes of a resource are held."""
        with self._changed:
            return sum(each.lanes for _, each in self._holders(resource))

    def _holders(self, resource: str) -> Iterable[tuple[LeaseRecord, Acquisition]]:
        now = time.time()
        for record in self._held.values():
            for each in record.acquisitions:
                if each.resource == resource and each.state.occupies_lanes and not _is_past(each, now):
                    yield record, each

    def reserve(self, record: LeaseRecord, queue: Callable[[str], int], *, wait: float) -> LeaseRecord:
        """Wait until all lanes that a lease asks for are free, and hold them.

        Of a pool it is the member with the shortest ``queue``. Returns the record with each acquisition's resource.

        Raises:
            LeaseRefused: they were not free in time (transient), or there are never so many.
        """
        deadline = time.monotonic() + wait
        with self._changed:
            while True:
                chosen, blocked = self._fit(record, queue)
                if chosen is not None:
                    self._held[record.id] = chosen
                    return chosen
                left = deadline - time.monotonic()
                if left <= 0:
                    raise LeaseRefused(f"{blocked}: it is still being given back", transient=True, resource=blocked)
                self._changed.wait(min(left, LONGEST_NAP))

    def _fit(self, record: LeaseRecord, queue: Callable[[str], int]) -> tuple[LeaseRecord | None, str]:
        acquisitions: list[Acquisition] = []
        for wanted in record.acquisitions:
            asked = wanted.asked or wanted.resource
            members = [name for name in self.pools.get(asked, (asked,)) if name in self.totals]
            able = [name for name in members if wanted.lanes <= self.totals[name]]
            if not able:
                raise LeaseRefused(f"{asked} has no {wanted.lanes} lanes at this site", resource=asked)
            taken = {each.resource for each in acquisitions}
            free = [name for name in able if name not in taken and self._free(name, record.id) >= wanted.lanes]
            if not free:
                return None, self._who_holds(able, record.id)
            name = free[0] if len(free) == 1 else min(free, key=queue)
            acquisitions.append(replace(wanted, resource=name, asked=asked if asked != name else None))
        return replace(record, acquisitions=tuple(acquisitions)), ""

    def _free(self, resource: str, but: str) -> int:
        held = sum(each.lanes for record, each in self._holders(resource) if record.id != but)
        return self.totals[resource] - held

    def _who_holds(self, resources: Iterable[str], but: str) -> str:
        told = []
        for resource in resources:
            holders = [
                str(record.holder.key)
                for record, _ in self._holders(resource)
                if record.holder is not None and record.id != but
            ]
            told.append(f"{resource} is held by {' and '.join(holders) or 'somebody else'}")
        return ", ".join(told)


def _is_past(acquisition: Acquisition, now: float) -> bool:
    """True where the vendor ended it by itself, and only its release, or a word of its tasks, is still waited for."""
    failing = acquisition.state is AcquisitionState.DRAINING and acquisition.tries > 0
    over = acquisition.until is not None and now > acquisition.until
    return over and (failing or acquisition.state is AcquisitionState.RELEASE_PENDING)
