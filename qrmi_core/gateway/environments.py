# SPDX-License-Identifier: Apache-2.0
"""What a job gets of each resource, by the way it reaches it, and who may have it at all.

``gateway``: the gateway's own address and the job's token. ``direct``: the vendor's endpoint and the site's credential,
and what was acquired. ``local``: a simulator that runs within the allocation, for which nothing is acquired.
"""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from qrmi_core.config import Configuration, ConfiguredPool, ConfiguredResource
from qrmi_core.discovery import driver, engine_types
from qrmi_core.environment import TRUSTED, JobEnvironment, JobResource, write_job
from qrmi_core.errors import ConfigurationError, LeaseRefused, QRMIError, ResourceUnavailable
from qrmi_core.gateway.doors.door import Door, VendorVariables
from qrmi_core.http_settings import CA, DEADLINE
from qrmi_core.leases import Holder, LeaseRecord, LeaseTask
from qrmi_core.leases.settling import with_outcome
from qrmi_core.names import LICENCE, licence
from qrmi_core.resource import JobContext, QuantumResource
from qrmi_core.sharing import Shared
from qrmi_core.tasks import TaskInfo
from qrmi_core.variables import mistakes

__all__ = ["Access", "Environments", "JobDoors", "JobVariables"]

Access: TypeAlias = Literal["gateway", "direct", "local"]

SPARE_SECONDS = 60.0
"""Seconds by which an allocation may be longer than ``max_lease``: Slurm counts in whole minutes."""

Adapt: TypeAlias = Callable[[QuantumResource], None]


@dataclass(frozen=True)
class JobVariables:
    """What a job's environment gets.

    ``environment`` in any case, ``defaults`` where the user has set none of that name; ``absent`` is taken away, for
    there the user may not choose. ``vendor`` is what vendors' own clients read, for the user to opt out of, and
    ``no_proxy`` the host that is reached without a proxy.
    """

    environment: Mapping[str, str] = field(repr=False)
    defaults: Mapping[str, str] = field(repr=False)
    absent: tuple[str, ...]
    vendor: VendorVariables = field(default_factory=VendorVariables)
    no_proxy: str | None = None


@dataclass(frozen=True)
class JobDoors:
    """Where jobs reach the gateway: its URL, the file with the certificates to trust there, and its doors by type."""

    url: str
    ca: str | None
    door: Callable[[str], Door | None]


class Environments:
    """The resources of a site as leases need them; a change of the configuration is another object.

    ``queue_of`` tells how many tasks wait at a resource, as far as it is known; ``adapt`` gives a resource
    what only the gateway can, such as munge credentials of the user whom it is for.
    """

    def __init__(
        self,
        configuration: Configuration,
        file: str,
        *,
        queue_of: Callable[[str], int] = lambda _: 0,
        adapt: Adapt = lambda _resource: None,
        doors: JobDoors | None = None,
    ) -> None:
        """Check what a gateway needs beyond the configuration's own rules.

        Raises:
            ConfigurationError: a resource cannot be offered as it is configured.
        """
        self._file = file
        self._queue_of = queue_of
        self._adapt = adapt
        self._doors = doors
        self._shared = Shared()
        self._accesses: dict[str, Access] = {}
        self.resources: Mapping[str, ConfiguredResource] = {each.name: each for each in configuration.resources}
        self.pools: Mapping[str, ConfiguredPool] = {each.name: each for each in configuration.pools}
        self.lanes: Mapping[str, int] = {each.name: each.lanes for each in configuration.resources}
        self.pool_lanes = {each.name: configuration.pool_lanes(each) for each in configuration.pools}
        self.members: Mapping[str, tuple[str, ...]] = {each.name: each.members for each in configuration.pools}
        self._by_licence = {licence(name): name for name in (*self.resources, *self.pools)}
        for index, resource in enumerate(configuration.resources):
            self._check(resource, f"resources[{index}]")

    def _check(self, resource: ConfiguredResource, place: str) -> None:
        is_simulator, access = resource.type in engine_types(), self.access(resource.name)
        if is_simulator != (access == "local"):
            text = (
                "a simulator runs inside the job: leave access out, or set it to local"
                if is_simulator
                else "local is for simulators, and jobs would get the site's credential: leave access out"
            )
            raise ConfigurationError(text, file=self._file, place=f"{place}.access")
        if not is_simulator:  # which is imported where its jobs run
            self._check_variables(resource, place)
        if access == "gateway":
            self._check_door(resource, f"{place}.access")
        for name, value in resource.environment.items():
            if isinstance(value, str) and any(character in value for character in "\n\0"):
                text = "a value with a line break cannot be handed to jobs"
                raise ConfigurationError(text, file=self._file, place=f"{place}.environment.{name}")

    def _check_variables(self, resource: ConfiguredResource, place: str) -> None:
        """Only a key may be missing, which users then bring.

        A mistake in a key's name would look as if users brought the key, and hand it to jobs under that name.
        """
        try:
            known = driver(resource.type).variables
        except ResourceUnavailable as error:
            raise ConfigurationError(str(error), file=self._file, place=f"{place}.type") from error
        secrets = {each.name for each in known if each.secret}
        written = {
            name: value if isinstance(value, str) else "elsewhere" for name, value in resource.environment.items()
        }
        for name, text in mistakes(resource.type, known, written):
            if name in written:
                raise ConfigurationError(text, file=self._file, place=f"{place}.environment.{name}")
            if name not in secrets:
                raise ConfigurationError(text, file=self._file, place=f"{place}.environment")

    def _check_door(self, resource: ConfiguredResource, place: str) -> None:
        problem = None
        if self._doors is None:
            problem = "jobs cannot reach the gateway: set listen.jobs in its own file"
        elif self._doors.door(resource.type) is None:
            problem = f"the gateway has no door for {resource.type}"
        elif missing := self._missing_keys(resource.name):
            problem = f"{missing[0]} is not set: where users bring their own keys it can only be direct"
        if problem:
            raise ConfigurationError(f"{problem}; or set it to direct", file=self._file, place=place)

    def access(self, name: str) -> Access:
        """How jobs reach a resource: as it is configured, else as fits its type and what the gateway has."""
        if (known := self._accesses.get(name)) is None:
            known = self._accesses[name] = self._access(self.resources[name])
        return known

    def _access(self, resource: ConfiguredResource) -> Access:
        if resource.access is not None:
            return resource.access
        if resource.type in engine_types():
            return "local"
        door = self._doors.door(resource.type) if self._doors is not None else None
        return (
            "gateway"
            if door is not None and door.by_default and not self._users_bring_the_key(resource.name)
            else "direct"
        )

    def _door(self, name: str) -> Door | None:
        """The door that a resource is behind."""
        if self._doors is None or self.access(name) != "gateway":
            return None
        return self._doors.door(self.resources[name].type)

    def wanted(self, licences: Mapping[str, int]) -> dict[str, int]:
        """Lanes by resource or pool, from the licences of a job.

        Raises:
            LeaseRefused: one stands for no resource that is known here.
        """
        wants = {}
        for held, count in licences.items():
            if not held.startswith(LICENCE):
                continue
            if (name := self._by_licence.get(held)) is None:
                raise LeaseRefused(
                    f"the job holds the licence {held}, and the gateway knows no such QPU: tell the site's "
                    f"administrators that Slurm and the gateway are configured differently"
                )
            wants[name] = count
        return wants

    def to_acquire(self, name: str, holder: Holder, seconds: float) -> QuantumResource | None:
        """The resource to be acquired at a grant; None where nothing is, or only with the job's first task."""
        door = self._door(name) if name in self.resources else None
        return None if door is not None and door.acquired_late else self.make(name, holder, None, seconds)

    def make(self, name: str, holder: Holder, token: str | None, seconds: float) -> QuantumResource | None:
        """The resource for one holder; None where nothing is to be acquired.

        Raises:
            QRMIError: it is not configured any more, or cannot be made.
        """
        if name not in self.resources:
            raise ConfigurationError(f"{name} is not in it any more, but a lease holds it", file=self._file)
        if self.access(name) == "local" or self._users_bring_the_key(name):
            return None
        return self.bare(name, JobContext(token, self._left(holder), holder.uid, str(holder.key.job_id)), seconds)

    def may_have_missed(self, record: LeaseRecord, name: str) -> bool:
        """Where jobs reach a resource directly, only what they announce is known of their tasks."""
        return self.is_reached(name, "direct")

    def is_reached(self, name: str, access: Access) -> bool:
        """Whether jobs reach a resource in this way; not, where it is not configured any more."""
        return name in self.resources and self.access(name) == access

    def with_outcome(self, task: LeaseTask, info: TaskInfo | None) -> LeaseTask | None:
        """A task as it is kept once it has ended: as its door would, where it is behind one."""
        door = self._door(task.resource) if task.resource in self.resources else None
        return with_outcome(task, info) if door is None else door.with_outcome(task, info)

    def bare(self, name: str, context: JobContext, seconds: float) -> QuantumResource:
        """The resource as the gateway itself asks it, giving up after about so many seconds.

        Raises:
            QRMIError: it cannot be made.
        """
        from qrmi_core.service import make_resource  # which a gateway needs when somebody wants something

        configured = self.resources[name]
        door = self._door(name)
        values = configured.values() if door is None else door.for_gateway(configured.values())
        if any(variable.name == DEADLINE for variable in driver(configured.type).variables):
            values = {**values, DEADLINE: f"{_least(values.get(DEADLINE), seconds):g}"}
        with self._shared.in_use():
            resource = make_resource(name, configured.type, values, context=context, where=f"{self._file}: ")
        self._adapt(resource)
        return resource

    def problems(self) -> dict[str, str]:
        """What is wrong with the values of resources, by name: files that are gone, words that a driver does not know.

        Nothing is sent for it, and what only jobs have, a simulator or the users' keys, is not looked at.
        """
        found = {}
        for name in self.resources:
            if self.access(name) != "local" and not self._users_bring_the_key(name):
                try:
                    self.bare(name, JobContext(uid=0), 20.0)
                except QRMIError as error:
                    found[name] = str(error)
        return found

    def _users_bring_the_key(self, name: str) -> bool:
        """True where the site has no credential of its own: then there is nothing to acquire with."""
        return bool(self._missing_keys(name))

    def _missing_keys(self, name: str) -> list[str]:
        configured = self.resources[name]
        needed = [each.name for each in driver(configured.type).variables if each.required and each.secret]
        return [variable for variable in needed if variable not in configured.environment]

    def queue(self, name: str) -> int:
        """How many tasks wait at a resource, as far as it is known."""
        return self._queue_of(name)

    def refusal(self, name: str, holder: Holder) -> str | None:
        """Why the holder may not have a resource, or a pool, at all."""
        if name in self.pools:
            reasons = [self.refusal(member, holder) for member in self.pools[name].members]
            return next((reason for reason in reasons if reason is not None), None)
        if (resource := self.resources.get(name)) is None:
            return f"there is no QPU {name} at this site"
        if not _may(resource, holder):
            account = f", account {holder.account}" if holder.account else ""
            return f"{holder.user or holder.uid}{account} may not use {name}: ask the site's administrators for it"
        longest = resource.max_lease
        if longest is not None and (holder.ends is None or holder.ends - time.time() > longest + SPARE_SECONDS):
            minutes = max(1, longest // 60)
            return f"{name} is lent for {longest} seconds at most: submit the job with --time={minutes}"
        return None

    def of_lease(self, record: LeaseRecord, token: str | None = None) -> JobVariables:
        """The variables of the job that holds a lease, and the ``token`` with which it comes in by the doors.

        Raises:
            ConfigurationError: a secret is not there any more.
        """
        holder = record.holder
        if holder is None:
            raise LeaseRefused(f"lease {record.id} is of no job")
        resources = tuple(self._of_resource(each.resource, each.token, holder, token) for each in record.acquisitions)
        environment = write_job(
            JobEnvironment(resources, uid=holder.uid, job_id=str(holder.key.job_id), lease=record.id)
        )
        for name, value in environment.items():
            if "\n" in value or "\0" in value:
                raise ConfigurationError(f"{name} has a line break in it, and cannot be handed to a job")
        known = [(each.name, driver(each.type).variables) for each in resources if self.access(each.name) != "local"]
        direct = [(name, variables) for name, variables in known if self.access(name) == "direct"]
        credentials = {f"{name}_{one.name}" for name, variables in direct for one in variables if one.is_credential}
        endpoints = [
            f"{name}_{one.name}"
            for name, variables in known
            for one in variables
            if one.endpoint or (one.is_credential and self.access(name) == "gateway")
        ]
        return JobVariables(
            {name: value for name, value in environment.items() if name not in credentials},
            {name: value for name, value in environment.items() if name in credentials},
            tuple(name for name in endpoints if name not in environment),
            self._vendor_variables(record, token),
            urlsplit(self._doors.url).hostname if self._doors is not None and token is not None else None,
        )

    def _vendor_variables(self, record: LeaseRecord, token: str | None) -> VendorVariables:
        behind: dict[Door, list[ConfiguredResource]] = {}
        for each in record.acquisitions:
            if (door := self._door(each.resource)) is not None:
                behind.setdefault(door, []).append(self.resources[each.resource])
        always: dict[str, str] = {}
        defaults: dict[str, str] = {}
        for door, resources in behind.items():
            if self._doors is not None and token is not None:
                told = door.vendor_variables(tuple(resources), self._doors.url, token)
                always.update(told.always)
                defaults.update(told.defaults)
        if behind and self._doors is not None and self._doors.ca is not None:
            defaults.update(dict.fromkeys(TRUSTED, self._doors.ca))
        return VendorVariables(always, defaults)

    def is_behind_a_door(self, name: str) -> bool:
        """Whether jobs reach a resource through the gateway only."""
        return name in self.resources and self._door(name) is not None

    def needs_token(self, record: LeaseRecord) -> bool:
        """Whether the job of a lease comes in by a door."""
        return any(self._door(each.resource) is not None for each in record.acquisitions)

    def _of_resource(self, name: str, acquired: str | None, holder: Holder, token: str | None) -> JobResource:
        configured, door = self.resources[name], self._door(name)
        if self.access(name) == "local":
            return JobResource(name, configured.type, configured.values())
        if door is None or self._doors is None or token is None:
            return JobResource(name, configured.type, configured.values(), acquired, self._left(holder))
        values = door.values(configured, f"{self._doors.url}/r/{name}", token)
        if self._doors.ca is not None:
            values = {**values, CA: self._doors.ca}
        return JobResource(name, door.shows, values, acquired, self._left(holder))

    @staticmethod
    def _left(holder: Holder) -> int | None:
        return None if holder.ends is None else max(1, int(holder.ends - time.time()))


def _least(text: str | None, seconds: float) -> float:
    try:
        return min(float(text), seconds) if text else seconds
    except ValueError:
        return seconds


def _may(resource: ConfiguredResource, holder: Holder) -> bool:
    """Whoever stands in one of the three lists; everybody where there are none."""
    if not (resource.users or resource.groups or resource.accounts):
        return True
    if holder.account and holder.account in resource.accounts:
        return True
    try:
        entry = pwd.getpwuid(holder.uid)
    except (KeyError, OverflowError):
        return False
    if entry.pw_name in resource.users:
        return True
    if not resource.groups:
        return False
    groups = set()
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            groups.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return not groups.isdisjoint(resource.groups)
