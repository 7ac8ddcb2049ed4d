# SPDX-License-Identifier: Apache-2.0
"""The doors of a site, and what they share: tokens, books, and the ways to the vendors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from qrmi_core.gateway.bodies import Spool
from qrmi_core.gateway.doors.admission import Admission
from qrmi_core.gateway.doors.books import Books
from qrmi_core.gateway.doors.door import Door, Refusal
from qrmi_core.gateway.doors.routing import add_doors
from qrmi_core.gateway.doors.tokens import JobTokens
from qrmi_core.gateway.doors.upstream import Upstream
from qrmi_core.leases import LeaseRecord, LeaseState

if TYPE_CHECKING:
    from qrmi_core.config import ConfiguredResource
    from qrmi_core.gateway.doors.pass_through import Answer
    from qrmi_core.gateway.guard import Guard, Handler
    from qrmi_core.gateway.service import Gateway

__all__ = ["DOORS", "Doors", "door_type"]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

SPOOLED_BYTES = 2 * 2**30
"""Bytes of bodies that lie on the disk at the same time."""

DOORS = {
    "ibm-quantum-compute-service": "ibm_compute:IBMComputeDoor",
    "qiskit-runtime-service": "ibm_compute:QiskitRuntimeDoor",
    "ibm-quantum-system": "ibm_system:IBMSystemDoor",
    "pasqal-cloud": "pasqal_cloud:PasqalCloudDoor",
    "pasqal-local": "pasqal_local:WardenDoor",
    "iqm-server": "iqm:IQMDoor",
    "alice-bob-felis": "felis:FelisDoor",
}
"""The door in front of each type of resource; one that is not built lets its resources be reached directly."""


def door_type(resource_type: str) -> type[Door] | None:
    """The door in front of a type of resource, None where there is none."""
    module, _, attribute = DOORS.get(resource_type, "").partition(":")
    if not module:
        return None
    try:
        found: type[Door] = getattr(import_module(f"{__package__}.{module}"), attribute)
    except ModuleNotFoundError:
        return None
    return found


class Doors:
    """What stands between jobs and vendors. Made in the event loop, in which it is used; see :meth:`load`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.tokens = JobTokens(gateway.journal)
        self.admission = Admission(gateway, self.tokens)
        self.books = Books(gateway.journal, gateway.note_task, gateway.threads("journal"), gateway.metrics)
        self.spool = Spool(Path(gateway.settings.state_dir), budget=SPOOLED_BYTES)
        self._upstreams: dict[str, Upstream] = {}
        self._doors: dict[str, Door] = {}
        self._retired: list[Upstream] = []
        self._late: set[asyncio.Task[Any]] = set()
        self._in_doubt: dict[str, set[str]] = {}
        self.stopping = asyncio.Event()
        """Is set when the gateway ends: polls that are held are to be answered, and no others held."""
        self._at_stop: list[Callable[[], None]] = []

    async def load(self) -> None:
        """Take up what the process before this one left.

        Raises:
            JournalUnavailable: the journal cannot be read.
        """
        await self.gateway.within("journal", self.tokens.load)
        await self.books.load()

    def door(self, resource_type: str) -> Door | None:
        """The door in front of a type of resource, made when it is first asked for: a site has few of the types."""
        if resource_type not in self._doors and (kind := door_type(resource_type)) is not None:
            self._doors[resource_type] = kind(self)
            for other in kind.together_with:
                self.door(other)
        return self._doors.get(resource_type)

    def application(self, guard: Guard) -> web.Application:
        """The routes of all doors."""
        application = web.Application(middlewares=[guard.middleware, self._counted], client_max_size=2**62)
        add_doors(application.router, self.all, self._door_of)
        return application

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count what comes to no door."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            self.gateway.metrics.refused("", error.status)
            raise

    def all(self) -> list[Door]:
        """Every door that this site has had a resource for."""
        return list(self._doors.values())

    def _door_of(self, name: str) -> Door | None:
        known = self.gateway.resources.resources
        return self.door(known[name].type) if name in known else None

    def resource(self, name: str) -> ConfiguredResource:
        """A resource as it is configured."""
        return self.gateway.resources.resources[name]

    def behind(self, door: Door, lease: LeaseRecord) -> tuple[str, ...]:
        """The resources of a lease that a door is in front of."""
        known = self.gateway.resources
        names = (each.resource for each in lease.acquisitions if each.resource in known.resources)
        return tuple(
            name for name in names if known.access(name) == "gateway" and known.resources[name].type == door.serves
        )

    def upstream(self, name: str, make: Callable[[ConfiguredResource], Upstream]) -> Upstream:
        """The way to the vendor of a resource, made once for each configuration: ask for it with each request."""
        if name not in self._upstreams:
            self._upstreams[name] = made = make(self.resource(name))
            made.on_error = self.gateway.metrics.vendor_error
        return self._upstreams[name]

    async def finished(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Do something to its end, also where whoever asked for it goes: what a vendor was sent must be noted."""
        task = asyncio.ensure_future(work)
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return await asyncio.shield(task)

    async def answer_of(self, lease: LeaseRecord, resource: str, sending: Awaitable[Answer]) -> Answer:
        """The vendor's answer to a new task; where it leaves open whether the task was taken, that is remembered.

        Raises:
            Refusal: as ``sending`` does, where nobody knows.
        """
        try:
            answer = await sending
        except Refusal:
            self._in_doubt.setdefault(lease.id, set()).add(resource)
            raise
        if answer.status >= 500:
            self._in_doubt.setdefault(lease.id, set()).add(resource)
        return answer

    def is_in_doubt(self, lease_id: str, resource: str) -> bool:
        """Whether the vendor may have taken a task of a lease that stands in no books."""
        return resource in self._in_doubt.get(lease_id, ())

    async def forget(self) -> None:
        """Make the ways to the vendors anew: the configuration was read again. Requests under way end first."""
        ways, self._upstreams = self._upstreams, {}
        for way in ways.values():
            await way.retire()
        self._retired = [way for way in (*self._retired, *ways.values()) if way.is_open]

    def when_stopping(self, call: Callable[[], None]) -> None:
        """Have something called in the event loop when the gateway ends, before it waits for what is being answered."""
        self._at_stop.append(call)

    def stop(self) -> None:
        """The gateway ends: whoever is held is to be answered."""
        self.stopping.set()
        for call in self._at_stop:
            call()

    async def tidy(self) -> None:
        """Forget the tokens of leases that have ended, and leave their tasks to the journal; for now and then."""
        for lease_id in self.tokens.leases():
            record = self.gateway.keeper.current(lease_id)
            if record is None or record.state is not LeaseState.GRANTED:
                self.tokens.revoke(lease_id)
                self.books.forget(lease_id)
        for lease_id in [each for each in self._in_doubt if self.gateway.keeper.current(each) is None]:
            del self._in_doubt[lease_id]

    async def close(self, patience: float) -> None:
        """Let what must be noted be noted, for so many seconds; then close the ways to the vendors."""
        if self._late:
            await asyncio.wait(self._late, timeout=patience)
        for way in (*self._upstreams.values(), *self._retired):
            await way.close()
