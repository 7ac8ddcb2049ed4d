# SPDX-License-Identifier: Apache-2.0
"""QRMIProvider: the QPUs of this job as Qiskit backends, found as with qiskit-ibm-runtime's service."""

from __future__ import annotations

import difflib
import itertools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from qrmi_core import (
    AliceBobFelis,
    InputError,
    ListedResource,
    PulserBatch,
    QRMIError,
    QRMIService,
    QRMIWarning,
    ResourceNotFound,
    ResourceUnavailable,
    Task,
    TaskInfo,
    TaskNotFound,
    UnsupportedFunction,
)
from qrmi_qiskit.backend import QRMIBackend
from qrmi_qiskit.job import QRMIJob
from qrmi_qiskit.language import language_of

__all__ = ["QRMIProvider"]

_OTHER_WAYS: Mapping[type, str] = {
    PulserBatch: "Pulser sequences: use qrmi_pulser.QRMIConnection",
    AliceBobFelis: "Alice & Bob's HumanQIR: use qrmi_core.AliceBobFelis and resource.submit",
}


class QRMIProvider:
    """The backends of this job; outside a job, those of the configuration and the embedded simulators.

    Only resources that run circuits are listed. Making a provider or a backend talks to no vendor.
    """

    def __init__(self, service: QRMIService | None = None) -> None:
        """Use a service that exists already, or a new :class:`~qrmi_core.QRMIService`.

        Raises:
            NoQPUError, JobEnvironmentError, ConfigurationError: see :class:`~qrmi_core.QRMIService`.
        """
        self._service = service or QRMIService()
        self._configurations: dict[str, Mapping[str, Any]] = {}

    def backend(self, name: str | None = None, *, use_fractional_gates: bool | None = False) -> QRMIBackend:
        """The backend of that name; without a name the only one.

        Raises:
            NoQPUError: none was named, and the job was given none.
            ResourceNotFound: there is none of that name; says which there are.
            AmbiguousResource: there are several and none was named.
            ResourceUnavailable: it cannot be used, or it runs no circuits; says why.
        """
        if name is None:
            self._service.refuse_to_choose_for_a_job()
            fitting = [entry.name for entry in self._service.listing() if _runs_circuits(entry)]
            name = fitting[0] if len(fitting) == 1 else None
        resource = self._service.resource(name)
        if language_of(resource) is None:
            ways = [_OTHER_WAYS.get(kind, kind.__name__) for kind in resource.takes]
            raise ResourceUnavailable(
                f"{resource.resource_id()} runs no circuits but {' or '.join(ways)}", resource=resource.resource_id()
            )
        return QRMIBackend(resource, use_fractional_gates=use_fractional_gates)

    def backends(
        self,
        name: str | None = None,
        *,
        min_num_qubits: int | None = None,
        simulator: bool | None = None,
        operational: bool | None = None,
        dynamic_circuits: bool | None = None,
        filters: Callable[[QRMIBackend], bool] | None = None,
        use_fractional_gates: bool | None = False,
        **attributes: Any,
    ) -> list[QRMIBackend]:
        """The backends that meet all criteria.

        Targets and status are fetched only where a criterion needs them; configurations are remembered. A backend
        that cannot be asked is left out, with a warning, unless it was named.

        Args:
            name: that backend alone.
            min_num_qubits: at least so many qubits.
            simulator: whether it is a simulator.
            operational: whether it takes jobs now.
            dynamic_circuits: whether it supports control flow that depends on measurements.
            filters: a function of the backend that says whether to keep it.
            use_fractional_gates: see :class:`~qrmi_qiskit.QRMIBackend`.
            attributes: values of its configuration or status, such as ``n_qubits=156`` or ``status_msg="active"``.

        Raises:
            InputError: no backend has an attribute of that name.
        """
        wanted: list[Callable[[QRMIBackend], bool]] = []
        if min_num_qubits is not None:
            wanted.append(lambda backend: self._configuration(backend)["n_qubits"] >= min_num_qubits)
        if simulator is not None:
            wanted.append(lambda backend: bool(self._configuration(backend).get("simulator")) is simulator)
        if dynamic_circuits is not None:
            wanted.append(lambda backend: _is_dynamic(self._configuration(backend)) is dynamic_circuits)
        if operational is not None:
            wanted.append(lambda backend: backend.status().operational is operational)
        if filters is not None:
            wanted.append(filters)
        known: set[str] = set()
        if attributes:
            wanted.append(lambda backend: self._has(backend, attributes, known))
        listed = self._all(name, use_fractional_gates=use_fractional_gates)
        found = [
            backend
            for backend in listed
            if _or_left_out(backend, name, lambda backend: all(meets(backend) for meets in wanted))
        ]
        if known and (unknown := attributes.keys() - known):
            raise InputError(_unknown(min(unknown), known))
        return found

    def least_busy(
        self,
        *,
        min_num_qubits: int | None = None,
        filters: Callable[[QRMIBackend], bool] | None = None,
        use_fractional_gates: bool | None = False,
        **criteria: Any,
    ) -> QRMIBackend:
        """Of the operational backends that :meth:`backends` finds, the one with the fewest waiting jobs.

        Raises:
            ResourceNotFound: none meets the criteria, or none of those that do is operational.
        """
        if criteria.get("operational"):  # else nobody could say whether a criterion or the state is at fault
            del criteria["operational"]
        found = self.backends(
            min_num_qubits=min_num_qubits,
            filters=filters,
            use_fractional_gates=use_fractional_gates,
            **criteria,
        )
        if not found:
            given = {"min_num_qubits": min_num_qubits, "filters": filters, **criteria}
            raise ResourceNotFound(self._none_meets({key: value for key, value in given.items() if value is not None}))
        waiting = [(_or_left_out(backend, None, QRMIBackend.status), backend) for backend in found]
        ready = [(status.pending_jobs, backend) for status, backend in waiting if status and status.operational]
        if not ready:
            met = ", ".join(backend.name for backend in found)
            raise ResourceNotFound(
                f"no backend is operational and meets the criteria (not operational: {met}); `qrmi status` tells why"
            )
        return min(ready, key=lambda pair: pair[0])[1]

    def job(self, job_id: str) -> QRMIJob:
        """The job with that id, submitted by this process or another one.

        Raises:
            TaskNotFound: no backend knows it.
        """
        asked = []
        for backend in self._all():
            try:
                return backend.retrieve_job(job_id)
            except TaskNotFound:
                asked.append(backend.name)
            except QRMIError as error:
                asked.append(f"{backend.name} (no answer: {error})")
        raise TaskNotFound(f"no backend here has a job {job_id!r}; asked: {', '.join(asked)}", task_id=job_id)

    def jobs(
        self,
        limit: int | None = 10,
        skip: int = 0,
        *,
        backend_name: str | None = None,
        pending: bool | None = None,
        program_id: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        descending: bool = True,
    ) -> list[QRMIJob]:
        """The jobs of this user, the newest first.

        Args:
            limit: at most so many; None means all.
            skip: leave out so many of the first.
            backend_name: those of that backend.
            pending: True for those that are queued or running, False for those that have ended.
            program_id: ``sampler`` or ``estimator``.
            created_after: submitted later than that; without a time zone it is local time.
            created_before: submitted earlier than that.
            descending: False puts the oldest first.

        Raises:
            UnsupportedFunction: ``backend_name`` cannot list jobs; backends that cannot are left out otherwise.
        """
        last = None if limit is None else skip + limit
        found: list[tuple[float, QRMIJob]] = []
        for backend in self._all(backend_name):

            def fitting(backend: QRMIBackend) -> list[tuple[float, QRMIJob]]:
                infos = map(backend.resource.task_info, backend.resource.task_ids())
                wanted = (info for info in infos if _fits(info, pending, program_id, created_after, created_before))
                # Tasks come newest first, so no more of one backend than are asked for of all need to be looked at.
                return [_dated(backend, info) for info in itertools.islice(wanted, last if descending else None)]

            try:
                found += _or_left_out(backend, backend_name, fitting) or []
            except UnsupportedFunction:
                if backend_name is not None:
                    raise
        found.sort(key=lambda pair: pair[0], reverse=descending)
        return [job for _, job in found[skip:last]]

    def _all(self, name: str | None = None, *, use_fractional_gates: bool | None = False) -> Iterator[QRMIBackend]:
        if name is not None:
            yield self.backend(name, use_fractional_gates=use_fractional_gates)
            return
        for entry in self._service.listing():
            if _runs_circuits(entry):
                yield QRMIBackend(entry.resource, use_fractional_gates=use_fractional_gates)

    def _none_meets(self, criteria: Mapping[str, Any]) -> str:
        known = [backend.name for backend in self._all(criteria.get("name"))]
        if not known:
            return "there is no QPU here that runs circuits; `qrmi resources` lists what there is"
        asked = ", ".join(key if callable(value) else f"{key}={value!r}" for key, value in criteria.items())
        there = f"there is {known[0]}" if len(known) == 1 else f"there are {', '.join(known)}"
        if len(known) > 8:
            there = f"there are {len(known)}, which `qrmi resources` lists"
        return f"no backend that answers meets the criteria ({asked}): {there}"

    def _configuration(self, backend: QRMIBackend) -> Mapping[str, Any]:
        if backend.name not in self._configurations:
            self._configurations[backend.name] = backend.configuration().to_dict()
        return self._configurations[backend.name]

    def _has(self, backend: QRMIBackend, attributes: Mapping[str, Any], known: set[str]) -> bool:
        told = {**self._configuration(backend), **backend.status().to_dict()}
        known.update(told)
        return all(name in told and told[name] == value for name, value in attributes.items())


def _unknown(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"no backend says anything of {name!r} in its configuration or status{hint}"


Answer = TypeVar("Answer")


def _or_left_out(backend: QRMIBackend, named: str | None, ask: Callable[[QRMIBackend], Answer]) -> Answer | None:
    """The answer of a backend, or a warning and None where it cannot be asked and was not asked for by its name."""
    try:
        return ask(backend)
    except (InputError, UnsupportedFunction):
        raise
    except QRMIError as error:
        if named is not None:
            raise
        warnings.warn(f"{backend.name} is left out: {error}", QRMIWarning, stacklevel=4)
        return None


def _dated(backend: QRMIBackend, info: TaskInfo) -> tuple[float, QRMIJob]:
    primitive_id = backend.language.primitive_id(info.program)
    return info.created or 0.0, QRMIJob(Task(backend.resource, info.id), backend, primitive_id)


def _runs_circuits(entry: ListedResource) -> bool:
    return entry.problem is None and language_of(entry.resource) is not None


def _is_dynamic(configuration: Mapping[str, Any]) -> bool:
    """IBM's own filter looks for the feature, which newer devices no longer name though they have if_else."""
    features = configuration.get("supported_features") or ()
    instructions = configuration.get("supported_instructions") or ()
    return "dynamic_circuits" in features or "if_else" in instructions


def _fits(
    info: TaskInfo,
    pending: bool | None,
    program_id: str | None,
    after: datetime | None,
    before: datetime | None,
) -> bool:
    created = info.created or 0.0
    return (
        (pending is None or pending is not info.status.is_final)
        and (program_id is None or info.program == program_id)
        and (after is None or created > after.timestamp())
        and (before is None or created < before.timestamp())
    )
