# SPDX-License-Identifier: Apache-2.0
"""Resources out of service: their jobs wait in Slurm until a vendor is back, or an operator says so.

A reservation ``qrmi_<resource>`` of the resource's licences keeps jobs pending and lets those that run go on. It stands
while there is an outage, which is seen here and probed until it is over, or maintenance, which an operator begins and
ends; both are kept in a file, so they survive this process.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from qrmi_core import polling
from qrmi_core.errors import ConfigurationError, InputError, QRMIError
from qrmi_core.json_files import load_json
from qrmi_core.resource import QuantumResource

__all__ = ["Outages", "Reservations"]

_log = logging.getLogger(__name__)

FILE = "outages.json"
REFUSALS = 2
GOOD_PROBES = 2
PROBE_GAP = 5.0
PROBE_SECONDS = 15.0
HOLD = 30.0
LONGEST_HOLD = 600.0
CONFIRM_SECONDS = 60.0
RETRY_SECONDS = 5.0


class Reservations(Protocol):
    """Who makes and lifts reservations, both of them idempotent: the root helper's client."""

    def make_reservation(self, resource: str, reason: str, lanes: int | None = None) -> None:
        """Keep a resource's jobs waiting; with ``lanes`` only those that are too many for the rest of a pool."""

    def lift_reservation(self, resource: str, reason: str) -> None:
        """Let them start."""


@dataclass(frozen=True)
class _Entry:
    """Why a resource is out of service; ``by`` is an operator, or None where it was seen here."""

    reason: str
    since: float
    by: str | None = None


@dataclass
class _Watch:
    """The probes of one outage; moments are monotonic seconds."""

    begun: float
    not_before: float
    gaps: Iterator[float]
    next_look: float = 0.0
    good: int = 0


class Outages:
    """Counts refusals, keeps reservations, probes; safe to call from several threads.

    Only :meth:`reason`, :meth:`state` and :meth:`granted` return at once; the others may wait for the root helper, and
    :meth:`probe` for vendors.

    Args:
        directory: where ``outages.json`` is kept.
        reservations: the root helper's client; None where there is none, and then nothing keeps jobs waiting.
        resource_of: the resource to probe; None where there is nothing to ask.
        pools: the members of each pool now; the jobs of a pool wait where none of its members is in service.
        lanes: how many lanes each resource and pool has now: where some members of a pool are in service, so many of
            its jobs run as these have lanes.
        gap: the least seconds between two probes of a resource.

    Raises:
        ConfigurationError: the file is not what this class wrote.
    """

    def __init__(
        self,
        directory: Path,
        reservations: Reservations | None,
        resource_of: Callable[[str], QuantumResource | None],
        *,
        pools: Callable[[], Mapping[str, tuple[str, ...]]] = dict,
        lanes: Callable[[], Mapping[str, int]] = dict,
        gap: float = PROBE_GAP,
    ) -> None:
        self._file = directory / FILE
        self._reservations = reservations
        self._resource_of = resource_of
        self._pools = pools
        self._lanes = lanes
        self._of_pools: dict[str, int | None] = {}
        """The lanes of each pool that are kept back: None is all, 0 none."""
        self._gap = gap
        self._acting = threading.RLock()
        self._counting = threading.Lock()
        self._refusals: dict[str, int] = {}
        self._relapses: dict[str, int] = {}
        self._tried: dict[str, float] = {}
        self._confirmed: dict[str, float] = {}
        self._outages, self._maintenance = _read(self._file)
        self._watches = {name: self._watch(0) for name in self._outages}

    def reason(self, resource: str) -> str | None:
        """Why a resource is out of service, or each member of a pool; None where it is not."""
        if (members := self._pools().get(resource)) is not None:
            reasons = {member: self.reason(member) for member in members}
            return None if None in reasons.values() else "; ".join(f"{name}: {why}" for name, why in reasons.items())
        entry = self._maintenance.get(resource) or self._outages.get(resource)
        return None if entry is None else entry.reason

    def state(self, resource: str) -> Literal["maintenance", "offline"] | None:
        """Whether an operator took it out of service, or an outage did."""
        if resource in self._maintenance:
            return "maintenance"
        return "offline" if resource in self._outages else None

    def granted(self, resource: str) -> None:
        """The vendor granted it, so refusals before this one count no more."""
        if resource in self._refusals or resource in self._relapses:
            with self._counting:
                self._refusals.pop(resource, None)
                self._relapses.pop(resource, None)

    def refused(self, resource: str, reason: str, offline: bool = False) -> None:
        """The vendor refused it for now; ``offline`` where it said that the device is out of service.

        A lane that is still being given back is not the vendor's refusal: do not count it here.
        """
        with self._counting:
            self._refusals[resource] = refusals = self._refusals.get(resource, 0) + 1
        if not offline and refusals < REFUSALS:
            return
        with self._acting:
            if resource in self._outages:
                return
            with self._counting:
                self._refusals.pop(resource, None)
                self._relapses[resource] = relapses = self._relapses.get(resource, 0) + 1
            _log.warning("%s is out of service: %s", resource, reason)
            self._keep(outages={**self._outages, resource: _Entry(reason, time.time())})
            self._watches[resource] = self._watch(relapses - 1)
            self._confirm(resource)
            self._follow_pools()

    def maintenance(self, resource: str, reason: str | None, by: str) -> None:
        """Take a resource out of service, or with None let it go back; an outage of its own goes on.

        Raises:
            InputError: the reason is empty.
            QRMIError: the reservation could not be made or lifted, and nothing has changed.
        """
        if reason is not None and not reason.strip():
            raise InputError("say why it is taken out of service: users see it")
        with self._acting:
            before = self._maintenance
            if reason is None:
                if resource not in self._outages and resource in before:
                    self._lift(resource, f"maintenance ended by {by}")
                self._keep(maintenance={name: entry for name, entry in before.items() if name != resource})
                self._confirmed.pop(resource, None)  # an outage that goes on has another reason
                self._follow_pools()
                return
            self._keep(maintenance={**before, resource: _Entry(" ".join(reason.split()), time.time(), by)})
            try:
                self._make(resource)
            except QRMIError:
                self._keep(maintenance=before)
                raise
            self._follow_pools()

    def confirm(self) -> None:
        """See that the reservations stand that should: call it every few seconds."""
        kept_back = [pool for pool, lanes in list(self._of_pools.items()) if lanes != 0]
        for name in {*self._outages, *self._maintenance, *kept_back}:
            self._confirm(name)
        self._follow_pools()

    def probe(self) -> None:
        """Ask the vendors whose turn it is, all at once: call it every few seconds."""
        due = {name: watch for name, watch in list(self._watches.items()) if time.monotonic() >= watch.next_look}
        if not due:
            return
        with ThreadPoolExecutor(len(due), thread_name_prefix="probe") as beside:
            found = dict(zip(due, beside.map(self._is_good, due), strict=True))
        for name, watch in due.items():
            watch.good = watch.good + 1 if found[name] else 0
            soon = time.monotonic() + self._gap
            watch.next_look = soon if found[name] else max(watch.begun + next(watch.gaps), soon)
            if watch.good >= GOOD_PROBES and time.monotonic() >= watch.not_before:
                self._end(name)

    def _is_good(self, name: str) -> bool:
        try:
            resource = self._resource_of(name)
            with polling.until(time.monotonic() + PROBE_SECONDS):
                return resource is None or resource.is_accessible()
        except Exception as error:  # noqa: BLE001  whatever a driver raises, the other resources are probed too
            _log.info("%s is still out of service: %s", name, error)
            return False

    def _end(self, name: str) -> None:
        with self._acting:
            if name not in self._maintenance:
                try:
                    self._lift(name, "it answers again")
                except QRMIError as error:
                    if error.transient:
                        _log.warning("%s answers again, and its reservation is still there: %s", name, error)
                        return
                    _log.error("the reservation qrmi_%s is left alone, delete it by hand: %s", name, error)
            self._watches.pop(name, None)
            self._keep(outages={each: entry for each, entry in self._outages.items() if each != name})
            self._follow_pools()
            _log.warning("%s is back", name)

    def _watch(self, relapses: int) -> _Watch:
        """A resource that answers probes and refuses jobs is let back later each time."""
        now = time.monotonic()
        hold = min(HOLD * 2.0 ** (relapses - 1), LONGEST_HOLD) if relapses else 0.0
        return _Watch(now, now + hold, iter(polling.look_times(self._gap)))

    def _confirm(self, resource: str) -> None:
        """See to it that the reservation stands: the helper or slurmctld may have been away, or have lost it."""
        now = time.monotonic()
        if now < max(self._confirmed.get(resource, -CONFIRM_SECONDS) + CONFIRM_SECONDS, self._tried.get(resource, 0.0)):
            return
        with self._acting:
            if self._kept_back(resource) == 0:
                return
            self._tried[resource] = now + RETRY_SECONDS
            try:
                self._make(resource)
            except QRMIError as error:
                _log.warning("jobs for %s are not kept waiting: %s", resource, error)
                if not error.transient:
                    self._tried[resource] = now + LONGEST_HOLD

    def _follow_pools(self) -> None:
        """Keep as many jobs of a pool waiting as those of its members that are in service have no lanes for."""
        with self._acting:
            for pool in self._pools():
                lanes = self._kept_back(pool)
                is_so = pool in self._of_pools and self._of_pools[pool] == lanes
                if is_so or time.monotonic() < self._tried.get(pool, 0.0):
                    continue
                self._tried[pool] = time.monotonic() + RETRY_SECONDS
                try:
                    if lanes == 0:
                        self._lift(pool, "its members are in service")
                    else:
                        self._make(pool)
                except QRMIError as error:
                    _log.warning("the pool %s does not follow its members yet: %s", pool, error)
                else:
                    self._of_pools[pool] = lanes
                    self._tried.pop(pool)

    def _kept_back(self, name: str) -> int | None:
        """How many lanes of a resource or pool jobs are not to have: None is all, 0 none."""
        if self.reason(name) is not None:
            return None
        if (members := self._pools().get(name)) is None:
            return 0
        lanes = self._lanes()
        in_service = sum(lanes.get(member, 0) for member in members if self.reason(member) is None)
        return max(0, lanes.get(name, 0) - in_service)

    def _make(self, resource: str) -> None:
        if self._reservations is not None:
            if lanes := self._kept_back(resource):
                reason = "; ".join(f"{name}: {why}" for name in self._pools()[resource] if (why := self.reason(name)))
                self._reservations.make_reservation(resource, reason, lanes)
            else:
                self._reservations.make_reservation(resource, self.reason(resource) or "")
        self._confirmed[resource] = time.monotonic()

    def _lift(self, resource: str, reason: str) -> None:
        if self._reservations is not None:
            self._reservations.lift_reservation(resource, reason)
        self._confirmed.pop(resource, None)

    def _keep(self, **changed: dict[str, _Entry]) -> None:
        """Change what is out of service, on the disk first.

        Raises:
            QRMIError: the disk does not take an operator's word; an outage goes on without being written down.
        """
        outages = changed.get("outages", self._outages)
        maintenance = changed.get("maintenance", self._maintenance)
        told = {
            "version": 1,
            "outages": {name: asdict(entry) for name, entry in outages.items()},
            "maintenance": {name: asdict(entry) for name, entry in maintenance.items()},
        }
        draft = self._file.with_name(f".{FILE}.new")
        try:
            with draft.open("w", encoding="utf-8") as file:
                json.dump(told, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._file)
        except OSError as error:
            if "maintenance" in changed:
                raise QRMIError(f"{self._file} cannot be written: {error.strerror}", transient=True) from error
            _log.warning("%s cannot be written, so a restart forgets an outage: %s", self._file, error.strerror)
        self._outages, self._maintenance = outages, maintenance


def _read(file: Path) -> tuple[dict[str, _Entry], dict[str, _Entry]]:
    if not file.exists():
        return {}, {}
    told: Any = load_json(file)
    try:
        if told["version"] != 1:
            raise ConfigurationError("it is of a newer version: start the program that wrote it", file=str(file))
        return _entries(told["outages"]), _entries(told["maintenance"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            "it is damaged: delete it, and say again what is in maintenance", file=str(file)
        ) from error


def _entries(told: dict[str, dict[str, Any]]) -> dict[str, _Entry]:
    return {name: _Entry(**each) for name, each in told.items()}
