# SPDX-License-Identifier: Apache-2.0
"""When vendors refuse, or say that a device is offline: its jobs wait from then on, and pools do without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from qrmi_core.errors import LeaseRefused, QRMIError, ResourceUnavailable
from qrmi_core.gateway.environments import Environments
from qrmi_core.gateway.outages import Outages
from qrmi_core.gateway.vendor_view import VendorView
from qrmi_core.resource import ResourceStatus, ResourceStatusCode

__all__ = ["MembersInService", "VendorWatch"]

ASKED_AFTER_REFUSAL = 1.0
ASKED_FOR_QUEUE = 1.0
ASKED_IN_PASSING = 10.0


class MembersInService(Mapping[str, tuple[str, ...]]):
    """The members of each pool that may be granted now; all of them where none may."""

    def __init__(self, members: Callable[[], Mapping[str, tuple[str, ...]]], outages: Outages) -> None:
        self._members = members
        self._outages = outages

    def __getitem__(self, pool: str) -> tuple[str, ...]:
        members = self._members()[pool]
        return tuple(each for each in members if self._outages.state(each) is None) or members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members())

    def __len__(self) -> int:
        return len(self._members())


class VendorWatch:
    """Tells the outages what vendors say; ``within`` calls something that blocks in a thread."""

    def __init__(
        self,
        outages: Outages,
        vendors: VendorView,
        resources: Callable[[], Environments],
        within: Callable[..., Awaitable[Any]],
    ) -> None:
        self._outages = outages
        self._vendors = vendors
        self._resources = resources
        self._within = within

    async def refused(self, refusal: LeaseRefused) -> None:
        """Count a refusal that was the vendor's own; lanes that are still being given back are nobody's fault."""
        name, cause = refusal.resource, refusal.__cause__
        if not refusal.transient or not isinstance(cause, QRMIError) or name is None:
            return
        if name not in self._resources().resources:
            return
        offline = isinstance(cause, ResourceUnavailable) and cause.code == "offline"
        told = await self._vendors.soon(name, ASKED_AFTER_REFUSAL)
        reason = _offline(told)
        await self._within("release", self._outages.refused, name, reason or str(cause), offline or reason is not None)

    async def refresh(self, names: Iterable[str]) -> None:
        """Ask how long the queues are at the members of the pools among these, so that the shortest can be chosen."""
        pools = self._resources().pools
        members = {member for name in names if name in pools for member in pools[name].members}
        await asyncio.gather(*(self._vendors.soon(member, ASKED_FOR_QUEUE) for member in members))

    async def look(self) -> None:
        """Ask the vendors of the resources that are in service, so that no job has to find out."""
        known = self._resources()
        names = [name for name in known.resources if known.access(name) != "local" and not self._outages.state(name)]
        await asyncio.gather(*(self._look_at(name) for name in names))

    async def _look_at(self, name: str) -> None:
        reason = _offline(await self._vendors.soon(name, ASKED_IN_PASSING))
        if reason is not None:
            await self._within("release", self._outages.refused, name, reason, True)


def _offline(told: ResourceStatus | QRMIError | None) -> str | None:
    """The reason of a vendor that says itself that its device takes no tasks."""
    if not isinstance(told, ResourceStatus) or told.status is ResourceStatusCode.ONLINE:
        return None
    return told.status_reason or f"the vendor says that it is {told.status.value}"
