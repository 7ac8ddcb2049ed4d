# SPDX-License-Identifier: Apache-2.0
"""QRMIBackend: a resource as a Qiskit backend, or just its target, read from a file."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, Options

from qrmi_core import (
    InputError,
    Payload,
    QuantumResource,
    ResourceStatusCode,
    ResourceUnavailable,
    Task,
)
from qrmi_qiskit.circuit_job import QRMICircuitJob, with_plain_registers
from qrmi_qiskit.configuration import BackendStatus, Configuration
from qrmi_qiskit.job import QRMIJob
from qrmi_qiskit.language import Language, language_of, warn_of_idle
from qrmi_qiskit.pubs import sampler_pubs
from qrmi_qiskit.target import Properties
from qrmi_qiskit.target_document import TargetDocument, document_of_resource, read_document
from qrmi_qiskit.validation import check_circuit, check_measured

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from qiskit.transpiler import Target

__all__ = ["QRMIBackend"]

_RUN_OPTIONS = ("shots", "memory", "seed_simulator", "meas_level", "init_qubits", "rep_delay")


class QRMIBackend(BackendV2):  # type: ignore[misc]
    """A QPU or simulator to transpile for, and to run on.

    Made from a resource (``QRMIProvider().backend(name)`` does that) it talks to nobody until its target, its
    status or a job is asked for. Made by :meth:`from_target` it has a target and nothing behind it.
    """

    def __init__(
        self,
        source: QuantumResource | TargetDocument,
        *,
        name: str | None = None,
        use_fractional_gates: bool | None = False,
    ) -> None:
        """Make a backend.

        Args:
            source: a resource whose target is IBM's configuration and properties, or just such a target.
            name: the backend's name; by default that of the source.
            use_fractional_gates: True keeps rx and rzz in the target where the device has them.
        """
        self._resource = source if isinstance(source, QuantumResource) else None
        self._document = None if isinstance(source, QuantumResource) else source
        super().__init__(name=name or (source.name if isinstance(source, TargetDocument) else source.resource_id()))
        self._use_fractional_gates = use_fractional_gates
        self._loading = threading.RLock()

    @classmethod
    def from_target(
        cls,
        source: str | bytes | os.PathLike[str] | Mapping[str, Any],
        *,
        name: str | None = None,
        use_fractional_gates: bool | None = False,
    ) -> Self:
        """Make a backend without a resource, to transpile where no QPU is at hand.

        Args:
            source: what ``qrmi target NAME`` printed: the path of a file with it, the JSON text itself, or the
                object that it describes.
            name: the backend's name; by default the one that the target gives.
            use_fractional_gates: True keeps rx and rzz in the target where the device has them.

        Raises:
            ConfigurationError: the file is missing, is not JSON (with line and column), or holds no such target.
        """
        return cls(read_document(source, use_fractional_gates=use_fractional_gates), name=name)

    @classmethod
    def _default_options(cls) -> Options:
        return Options(shots=4096, memory=False, seed_simulator=None)

    @property
    def resource(self) -> QuantumResource:
        """The resource behind this backend.

        Raises:
            ResourceUnavailable: there is none, since the backend was made from a target.
        """
        if self._resource is None:
            raise ResourceUnavailable(
                f"{self.name} was made from a target and has no QPU behind it: use QRMIProvider().backend(...) "
                f"in a job with a QPU, or under `qrmi run --qpu=NAME`",
                resource=self.name,
            )
        return self._resource

    @property
    def language(self) -> Language:
        """How circuits are written for the resource and its results are read.

        Raises:
            ResourceUnavailable: there is no resource, or it runs no circuits.
        """
        language = language_of(self.resource)
        if language is None:
            raise ResourceUnavailable(f"{self.name} ({self.resource.resource_type()}) runs no circuits")
        return language

    @property
    def document(self) -> TargetDocument:
        """The target as the resource gave it, fetched once; :meth:`refresh` fetches it again."""
        with self._loading:
            if self._document is None:
                self._document = document_of_resource(self.resource, use_fractional_gates=self._use_fractional_gates)
            return self._document

    def refresh(self) -> None:
        """Fetch the target again.

        Raises:
            ResourceUnavailable: there is no resource to ask.
        """
        fetched = document_of_resource(self.resource, use_fractional_gates=self._use_fractional_gates)
        with self._loading:
            self._document = fetched

    @property
    def target(self) -> Target:
        """Qiskit's target: instructions, coupling, durations and errors."""
        return self.document.target

    @property
    def num_qubits(self) -> int:
        """The number of qubits."""
        return self.configuration().num_qubits

    @property
    def max_circuits(self) -> int | None:
        """None: one job takes any number of circuits."""
        return None

    @property
    def simulator(self) -> bool:
        """True where nothing quantum is behind the backend."""
        return bool(self.document.configuration.get("simulator"))

    @property
    def max_shots(self) -> int | None:
        """The most shots of one pub, None where the resource does not say."""
        return self.document.configuration.get("max_shots")

    def configuration(self) -> Configuration:
        """What the vendor says of the device: ``n_qubits``, ``basis_gates``, ``supported_features`` ..."""
        return Configuration(self.document.configuration)

    def properties(self) -> Properties | None:
        """What was measured on the device; None where nothing was, as for an ideal simulator."""
        return self.document.properties

    def status(self) -> BackendStatus:
        """Whether the resource takes jobs now, and how many wait."""
        now = self.resource.status()
        return BackendStatus(
            backend_name=self.name,
            backend_version=str(self.backend_version or ""),
            operational=now.status is ResourceStatusCode.ONLINE,
            pending_jobs=now.pending_job_count or 0,
            status_msg=now.status_reason or ("active" if now.status is ResourceStatusCode.ONLINE else now.status.value),
        )

    def check(self, circuit: QuantumCircuit, where: str) -> None:
        """Refuse a circuit that does not fit the target.

        Raises:
            InputError: it does not; names the instruction.
        """
        check_circuit(circuit, self.target, self.name, where)

    def submit(self, payload: Payload) -> Task:
        """Send a payload to the resource.

        Raises:
            ResourceUnavailable: there is none.
        """
        return self.resource.submit(payload)

    def run(self, run_input: QuantumCircuit | Iterable[QuantumCircuit], **options: Any) -> QRMICircuitJob:
        """Run circuits and get counts: ``backend.run(circuit, shots=1000).result().get_counts()``.

        Args:
            run_input: one circuit or several, without unbound parameters.
            options: ``shots`` (4096), ``memory`` (False; True keeps the outcome of each shot), ``seed_simulator``,
                ``init_qubits``, ``rep_delay`` (seconds).

        Raises:
            InputError: a circuit does not fit the target, or an option does not exist.
            ResourceUnavailable: the backend was made from a target.
        """
        chosen = {**self.options.__dict__, **options}
        for name in options:
            _refuse_unknown(name, options[name])
        listed = [run_input] if isinstance(run_input, QuantumCircuit) else list(run_input)
        circuits = [with_plain_registers(each) if isinstance(each, QuantumCircuit) else each for each in listed]
        pubs = sampler_pubs(circuits, chosen["shots"], chosen["shots"], self.max_shots)
        for index, circuit in enumerate(circuits):
            self.check(circuit, f"circuit {index}")
            check_measured(circuit, f"circuit {index}")
        sent = {
            "simulator": {"seed_simulator": chosen["seed_simulator"]},
            "execution": {name: chosen.get(name) for name in ("init_qubits", "rep_delay")},
        }
        given = {group: {k: v for k, v in values.items() if v is not None} for group, values in sent.items()}
        groups = {group: values for group, values in given.items() if values}
        names = [f"{group}.{name}" for group, values in groups.items() for name in values]
        idle = self.language.idle(names, simulator=self.simulator)
        warn_of_idle((name.partition(".")[2] for name in idle), self, stacklevel=2)
        task = self.submit(self.language.sampler(pubs, groups, self))
        return QRMICircuitJob(task, self, pubs, memory=bool(chosen["memory"]))

    def retrieve_job(self, job_id: str) -> QRMIJob:
        """The job with that id, submitted by this process or another one.

        Raises:
            TaskNotFound: the resource knows no such job.
        """
        task = self.resource.task(job_id)
        return QRMIJob(task, self, self.language.primitive_id(task.info().program))

    def __repr__(self) -> str:
        return f"<QRMIBackend({self.name!r})>"


def _refuse_unknown(name: str, value: Any) -> None:
    if name not in _RUN_OPTIONS:
        near = difflib.get_close_matches(name, _RUN_OPTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_RUN_OPTIONS)}"
        raise InputError(f"backend.run has no option {name!r}; {hint}")
    if name == "meas_level" and value not in (2, None):
        raise InputError("backend.run gives classified bits only: leave meas_level out, or set it to 2")
