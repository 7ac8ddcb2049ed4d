# SPDX-License-Identifier: Apache-2.0
"""The backend that the primitives of qiskit-pasqal-provider run on: analog circuits of Qiskit on a Pulser QPU."""

from __future__ import annotations

from typing import Any

from pulser import QPUBackend
from pulser.backend.remote import RemoteResults
from qiskit import QuantumCircuit
from qiskit.primitives import PrimitiveResult
from qiskit.providers import Options
from qiskit.providers.jobstatus import JobStatus
from qiskit_pasqal_provider.providers.abstract_base import PasqalBackend, PasqalJob
from qiskit_pasqal_provider.providers.pulse_utils import gen_seq, get_register_from_circuit, place_register
from qiskit_pasqal_provider.providers.result import build_primitive_result
from qiskit_pasqal_provider.providers.target import PasqalTarget

from qrmi_core import InputError, QuantumResource, TaskStatus
from qrmi_pulser.connection import QRMIConnection

__all__ = ["QiskitPasqalBackend"]

_STATUS = {
    TaskStatus.QUEUED: JobStatus.QUEUED,
    TaskStatus.RUNNING: JobStatus.RUNNING,
    TaskStatus.COMPLETED: JobStatus.DONE,
    TaskStatus.FAILED: JobStatus.ERROR,
    TaskStatus.CANCELLED: JobStatus.CANCELLED,
}


class QiskitPasqalBackend(PasqalBackend):  # type: ignore[misc]  # the package has no types
    """A Pulser QPU of this job for ``SamplerV2`` of qiskit-pasqal-provider.

    Args:
        resource: the name of a QPU, a ``QuantumResource`` or a ``QRMIConnection``; None for the only Pulser QPU.
        device_type: an emulator's name, such as ``EMU_FREE``; None for the QPU itself.

    Raises:
        QRMIError: there is no such QPU, or it cannot be used; see :class:`QRMIConnection`.
    """

    _version = "1"

    def __init__(
        self, resource: str | QuantumResource | QRMIConnection | None = None, *, device_type: str | None = None
    ) -> None:
        self._connection = resource if isinstance(resource, QRMIConnection) else QRMIConnection(resource)
        self._backend_name = self._connection.resource.name
        super().__init__(name=self._backend_name)
        self._emulator = device_type
        device = next(iter(self._connection.fetch_available_devices().values()))
        self._target = PasqalTarget(device=device)

    @property
    def target(self) -> PasqalTarget:
        """The device and the layout that registers are placed on."""
        return self._target

    @property
    def max_circuits(self) -> int | None:
        """A call of the sampler runs one circuit."""
        return 1

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(
        self,
        run_input: QuantumCircuit,
        shots: int | None = None,
        values: dict[str, Any] | None = None,
        **options: Any,
    ) -> QiskitPasqalJob:
        """Submit a circuit with one analog gate; the sampler calls this.

        Raises:
            InputError: the number of shots is missing.
            ValueError: the circuit does not fit the device; nothing was submitted.
        """
        if shots is None:
            raise InputError(f"{self._backend_name}: a QPU needs the number of shots: run(..., shots=1000)")
        device = self._target.device
        register = place_register(get_register_from_circuit(run_input), device, self._target.layout)
        sequence = gen_seq(analog_register=register, device=device, circuit=run_input)
        if values:
            # Built here: Pulser cannot write the waveforms with variables that the provider makes.
            sequence = sequence.build(**values)
        params: list[Any] = [{"runs": shots}]
        if self._emulator is None:
            results = QPUBackend(sequence, self._connection).run(params)
        else:
            results = self._connection.submit(sequence, job_params=params, device_type=self._emulator)
        return QiskitPasqalJob(self, self._connection, results)


class QiskitPasqalJob(PasqalJob):  # type: ignore[misc]  # the package has no types
    """A circuit that was submitted; its id is that of the one job of its batch."""

    def __init__(self, backend: QiskitPasqalBackend, connection: QRMIConnection, results: RemoteResults) -> None:
        super().__init__(job_id=results.job_ids[0])
        self._backend = backend
        self._connection = connection
        self._results = results

    @property
    def batch_id(self) -> str:
        """The id with which ``QRMIConnection.get_results`` finds it from another process."""
        return self._results.batch_id

    def status(self) -> JobStatus:
        """Where the job is in its life."""
        (info,) = self._connection.resource.batch_jobs(self.batch_id)
        return _STATUS[info.status]

    def result(self) -> PrimitiveResult[Any]:
        """Wait for the counts.

        Raises:
            TaskFailed, TaskCancelled: there are none, and why.
        """
        resource = self._connection.resource
        ended = resource.batch_wait(self.batch_id, [self._job_id])
        ended[self._job_id].raise_unless_completed(resource.name)
        counts = self._results[0].final_bitstrings
        metadata = {"batch_id": self.batch_id, "shots": sum(counts.values())}
        return build_primitive_result(resource.name, self._job_id, {"counter": dict(counts)}, metadata)

    def cancel(self) -> None:
        """Cancel it; one that has ended is left as it is."""
        self._connection.cancel_batch(self.batch_id)

    def done(self) -> bool:
        """True once it is completed."""
        return self.status() is JobStatus.DONE

    def running(self) -> bool:
        """True while it runs."""
        return self.status() is JobStatus.RUNNING

    def cancelled(self) -> bool:
        """True once it is cancelled."""
        return self.status() is JobStatus.CANCELLED

    def in_final_state(self) -> bool:
        """True once it has ended."""
        return self.status() in {JobStatus.DONE, JobStatus.ERROR, JobStatus.CANCELLED}
