# SPDX-License-Identifier: Apache-2.0
"""QRMIService: the resources that this process can use."""

from __future__ import annotations

import fnmatch
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qrmi_core import discovery, environment
from qrmi_core.characteristics import Characteristics, characteristics
from qrmi_core.engines.resource import EngineResource
from qrmi_core.errors import (
    AmbiguousResource,
    NoQPUError,
    QRMIError,
    QRMIWarning,
    ResourceNotFound,
    ResourceUnavailable,
)
from qrmi_core.http_settings import DEADLINE
from qrmi_core.names import answering, did_you_mean
from qrmi_core.resource import JobContext, QuantumResource, ResourceStatusCode
from qrmi_core.variables import mistakes

if TYPE_CHECKING:
    from qrmi_core.config import ConfiguredResource

__all__ = ["ListedResource", "QRMIService", "make_resource"]

ASKED = "SLURM_SPANK_QPU"
"""In it the plugin notes the job's ``--qpu``."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class ListedResource:
    """A resource by name: made when it is first asked for, or the reason why it cannot be."""

    name: str
    type: str
    origin: str
    _read: Callable[[], Mapping[str, str]]
    _make: Callable[[Mapping[str, str]], QuantumResource]

    @property
    def values(self) -> Mapping[str, str]:
        """Its environment block, as a job that is granted the resource sees it.

        Raises:
            ConfigurationError: a secret that the configuration names is not there.
        """
        return self._read()

    @functools.cached_property
    def made(self) -> QuantumResource | QRMIError:
        """The resource, or the error that says why there is none."""
        try:
            return self._make(self._read())
        except QRMIError as error:
            return error
        except Exception as error:  # noqa: BLE001  a plug-in may raise anything; it must not hide the other resources
            return ResourceUnavailable(
                f"{self.name} cannot be used: the driver of {self.type} raised {type(error).__name__}: {error}; "
                f"report it to the driver's authors",
                resource=self.name,
            )

    @property
    def resource(self) -> QuantumResource:
        """The resource.

        Raises:
            QRMIError: it cannot be used, and why.
        """
        if isinstance(self.made, QRMIError):
            raise self.made
        return self.made

    def hurried(self, seconds: float) -> QuantumResource:
        """The resource, giving up after so many seconds where its block does not say for how long it is to be tried.

        Raises:
            QRMIError: it cannot be used, and why.
        """
        resource = self.resource
        if any(variable.name == DEADLINE for variable in resource.variables):
            return self._make({DEADLINE: f"{seconds:g}", **self._read()})
        return resource

    def devices(self) -> tuple[str, ...]:
        """The vendor's names of the device that it is, or imitates; none where that cannot be told."""
        if self.type in discovery.engine_types():
            try:
                return self.resource.imitates() if isinstance(self.resource, EngineResource) else ()
            except Exception:  # noqa: BLE001  see made
                return ()
        try:
            device = self._read().get(environment.DEVICE)
        except QRMIError:
            return ()
        return (device,) if device else ()

    @property
    def problem(self) -> QRMIError | None:
        """Why the resource cannot be used, None when it can."""
        return self.made if isinstance(self.made, QRMIError) else None


class QRMIService:
    """The resources of this job; outside a job, those of the configuration file and the embedded engines.

    A resource that is misconfigured or unknown stays listed with its reason and hides none of the others.
    Making the service talks to no vendor.

    Raises:
        NoQPUError: the workload manager says why this job has no QPU.
        JobEnvironmentError: the job's variables are wrong.
        ConfigurationError: the configuration file is wrong.
    """

    def __init__(self, config: Path | str | None = None) -> None:
        job = None if config is not None else environment.read_job()
        self.in_job = job is not None
        self.problems: list[QRMIError] = []
        listed = _of_job(job) if job is not None else self._of_site(None if config is None else Path(config))
        self._listed = {entry.name: entry for entry in listed}
        self._characteristics: dict[str, Characteristics] = {}

    def _of_site(self, config: Path | None) -> Iterator[ListedResource]:
        engines, self.problems = discovery.embedded()
        file = environment.config_file(config)
        configured: Sequence[ConfiguredResource] = ()
        if file is not None:
            from qrmi_core.config import load

            configured = load(file)
        taken = {resource.name.lower() for resource in configured}
        for resource in configured:
            yield _configured(resource, str(file))
        for name, (kind, block) in engines.items():
            if name.lower() not in taken:
                make = functools.partial(make_resource, name, kind, context=JobContext())
                yield ListedResource(name, kind, "embedded", functools.partial(_of_embedded, kind, block), make)

    def listing(self) -> list[ListedResource]:
        """Every resource by name, those that cannot be used included."""
        return list(self._listed.values())

    def names(self) -> list[str]:
        """The names of all resources."""
        return list(self._listed)

    def resources(self) -> list[QuantumResource]:
        """The resources that can be used; :meth:`listing` tells of the others."""
        return [entry.made for entry in self._listed.values() if isinstance(entry.made, QuantumResource)]

    def resource(self, name: str | None = None) -> QuantumResource:
        """A resource by its name, or its device's; without a name the only one.

        Raises:
            ResourceNotFound: there is none of that name; says which there are.
            AmbiguousResource: there are several and none was named, or several have the device that was.
            ResourceUnavailable, ConfigurationError: it cannot be used, and why.
        """
        if name is None:
            return self._only()
        return self.listed(name).resource

    def listed(self, name: str) -> ListedResource:
        """What is known of a resource by its name, whether it can be used or not.

        A resource answers also to the vendor's name of its device, and in a job, which was given it, a simulator to the
        name of the device that it imitates. Names come first.

        Raises:
            ResourceNotFound: there is none of that name; says which there are.
            AmbiguousResource: several have that device; says which.
        """
        if (entry := self._listed.get(name)) is not None:
            return entry
        return self._of_device(name)

    def _of_device(self, name: str) -> ListedResource:
        where = "this job" if self.in_job else "this configuration"
        devices = {each.name: each.devices() for each in self._listed.values()}
        found = answering(name, devices)
        simulators = [each for each in found if self._listed[each].type in discovery.engine_types()]
        if not self.in_job:
            found = [each for each in found if each not in simulators]
        if len(found) == 1:
            return self._listed[found[0]]
        if found:
            raise AmbiguousResource(
                f"{where} has several QPUs whose device is {name}, name one: {', '.join(found)}", resource=name
            )
        if not self.in_job and (way := _way_to_it(name)):
            raise ResourceNotFound(f"{where} has no QPU named {name}: {way}", resource=name)
        if not self.in_job and (lacking := discovery.lacking(name)):
            raise ResourceNotFound(f"{where} has no QPU named {name}: {lacking}", resource=name)
        simulated = f"{' and '.join(simulators)} simulates that device; " if simulators else ""
        known = did_you_mean(name, list(self._listed))
        raise ResourceNotFound(f"{where} has no QPU named {name}: {simulated}{known}", resource=name)

    def refuse_to_choose_for_a_job(self) -> None:
        """Raise NoQPUError in a job of a workload manager that was given no QPU, or of which only the steps have it.

        Whoever asks there for "the QPU of this job" must not be handed a simulator in its place.
        """
        if not self.in_job and (job := environment.scheduler_job()):
            if asked := _asked_for_by_salloc():
                raise NoQPUError(
                    f"{job} was submitted with --qpu={asked}, and only its steps have that QPU: start the program with "
                    f"srun, or name a simulator in the program; `qrmi resources` lists them"
                )
            raise NoQPUError(
                f"{job} was given no QPU: ask for one with --qpu=NAME (#SBATCH --qpu=NAME), or run the program with "
                f"`qrmi run --qpu=NAME -- ...`, or name a simulator in the program; `qrmi resources` lists them"
            )

    def _only(self) -> QuantumResource:
        self.refuse_to_choose_for_a_job()
        if len(self._listed) == 1:
            return next(iter(self._listed.values())).resource
        if not self._listed:
            raise ResourceNotFound("there is no QPU here: install an engine (pip install 'qrmi-providers[qiskit]')")
        if self.in_job:
            raise AmbiguousResource(f"this job has several QPUs, name one: {', '.join(self._listed)}")
        raise AmbiguousResource(
            f"no QPU was chosen, and there are {len(self._listed)}: name one, or run the program with "
            f"`qrmi run --qpu=NAME -- ...`; `qrmi resources` lists them"
        )

    def select(
        self,
        *,
        name: str | None = None,
        type: str | None = None,  # noqa: A002  the word that configuration files use
        simulator: bool | None = None,
        min_qubits: int | None = None,
        min_shots: int | None = None,
        max_two_qubit_error: float | None = None,
        max_readout_error: float | None = None,
        online: bool = False,
    ) -> list[QuantumResource]:
        """The resources that meet all criteria.

        ``name`` may hold ``*`` and ``?``; errors are medians over the device. A resource that does not say what a
        criterion asks for, or does not answer, does not meet it; the latter is told in a warning. Targets are
        fetched only where a criterion needs them, and once.
        """

        def meets(resource: QuantumResource) -> bool:
            if name is not None and not fnmatch.fnmatchcase(resource.name, name):
                return False
            if type is not None and resource.type != type:
                return False
            bounds = (min_qubits, min_shots, max_two_qubit_error, max_readout_error)
            if simulator is not None or any(bound is not None for bound in bounds):
                known = self._known(resource)
                if not (
                    (simulator is None or _is_simulator(resource, known) is simulator)
                    and _at_least(known.num_qubits, min_qubits)
                    and _at_least(known.max_shots, min_shots)
                    and _at_most(known.two_qubit_error, max_two_qubit_error)
                    and _at_most(known.readout_error, max_readout_error)
                ):
                    return False
            return not online or resource.status().status is ResourceStatusCode.ONLINE

        return [resource for resource in self.resources() if _answers(meets, resource)]

    def _known(self, resource: QuantumResource) -> Characteristics:
        if resource.name not in self._characteristics:
            self._characteristics[resource.name] = characteristics(resource.target())
        return self._characteristics[resource.name]

    def least_busy(self, **criteria: object) -> QuantumResource:
        """Of the online resources that :meth:`select` finds, the one with the fewest waiting tasks.

        Raises:
            ResourceNotFound: none is online and meets the criteria.
        """
        waiting = []
        for resource in self.select(**criteria):  # type: ignore[arg-type]
            status = _answers(lambda each: each.status(), resource)
            if status and status.status is ResourceStatusCode.ONLINE:
                waiting.append((status.pending_job_count or 0, resource))
        if not waiting:
            asked = ", ".join(f"{key}={value}" for key, value in criteria.items()) or "none"
            raise ResourceNotFound(f"no QPU is online and meets the criteria ({asked}); `qrmi status` tells why")
        return min(waiting, key=lambda pair: pair[0])[1]


def _way_to_it(name: str) -> str | None:
    """How to get a QPU that this process has not: it is that of its job's steps, or the site's client.json names it."""
    from qrmi_core.client_settings import load_client_settings

    asked = _asked_for_by_salloc() or ""
    if name in (item.partition(":")[0] for item in asked.split(",")):
        return f"only the steps of {environment.scheduler_job()} have it: start the program with srun"
    try:
        known = any(each.name == name for each in load_client_settings().resources)
    except QRMIError:  # what is wrong in the file is told to those who need it
        return None
    return f"{name} is a QPU of this site, which jobs get: sbatch --qpu={name} or srun --qpu={name}" if known else None


def _asked_for_by_salloc() -> str | None:
    """What ``--qpu`` was, in the shell or command that salloc starts where it is, outside of the job's nodes.

    Slurm sets the two other variables on nodes; there the first may be left from the job that submitted this one.
    """
    told = environment.own_values((ASKED, "SLURM_STEP_ID", "SLURMD_NODENAME"))
    return told.get(ASKED) if len(told) == 1 else None


def _answers(ask: Callable[[QuantumResource], _Answer], resource: QuantumResource) -> _Answer | None:
    """What a resource answers; None, with a warning, where it does not."""
    try:
        return ask(resource)
    except QRMIError as error:
        warnings.warn(f"{resource.name} is left out: {error}", QRMIWarning, stacklevel=3)
        return None


def _of_embedded(kind: str, block: Mapping[str, str]) -> dict[str, str]:
    """An engine's own block, and the variables of its type that are set without a resource's name in front."""
    return environment.own_values(variable.name for variable in discovery.driver(kind).variables) | dict(block)


def _of_job(job: environment.JobEnvironment) -> Iterator[ListedResource]:
    for resource in job.resources:
        make = functools.partial(
            make_resource, resource.name, resource.type, context=job.context(resource), strict=False
        )
        yield ListedResource(resource.name, resource.type, "job", functools.partial(dict, resource.values), make)


def _configured(resource: ConfiguredResource, file: str) -> ListedResource:
    make = functools.partial(make_resource, resource.name, resource.type, context=JobContext(), where=f"{file}: ")
    return ListedResource(resource.name, resource.type, file, resource.values, make)


def make_resource(
    name: str,
    kind: str,
    values: Mapping[str, str],
    *,
    context: JobContext,
    strict: bool = True,
    where: str = "",
) -> QuantumResource:
    """Make a resource; a job's variables may hold more than this version knows, a file's may not.

    A simulator whose entry leaves open what it simulates is the embedded one of its name, if there is one.
    """
    try:
        driver = discovery.driver(kind)
    except ResourceUnavailable as error:
        raise ResourceUnavailable(f"{where}{name} cannot be used: {error}", resource=name) from error
    known = {variable.name for variable in driver.variables}
    checked = values if strict else {key: value for key, value in values.items() if key in known}
    lacks = any(variable.required and not checked.get(variable.name) for variable in driver.variables)
    if lacks and issubclass(driver, EngineResource):
        checked = {**driver.embedded().get(name, {}), **checked}
    if wrong := mistakes(kind, driver.variables, checked):
        listed = "; ".join(what for _, what in wrong)
        raise ResourceUnavailable(f"{where}{name}.environment: {listed}", resource=name)
    return driver.from_environment(name, checked, context)


def _is_simulator(resource: QuantumResource, known: Characteristics) -> bool | None:
    told = resource.metadata().get("simulator")
    return known.simulator if told is None else told == "true"


def _at_least(value: float | None, bound: float | None) -> bool:
    return bound is None or (value is not None and value >= bound)


def _at_most(value: float | None, bound: float | None) -> bool:
    return bound is None or (value is not None and value <= bound)
