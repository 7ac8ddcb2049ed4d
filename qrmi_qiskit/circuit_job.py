# SPDX-License-Identifier: Apache-2.0
"""The job of ``backend.run``: a sampler's task whose result has the form of Qiskit's ``Result``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Clbit
from qiskit.primitives import BitArray, PubResult
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import JobStatus, JobV1
from qiskit.result import Result
from qiskit.result.models import ExperimentResult, ExperimentResultData

from qrmi_core import Task, TaskStatus, UnsupportedFunction, WaitTimeout
from qrmi_qiskit.job import fetch_result

if TYPE_CHECKING:
    from qrmi_qiskit.backend import QRMIBackend

__all__ = ["QRMICircuitJob", "with_plain_registers"]

_STATUS = {
    TaskStatus.QUEUED: JobStatus.QUEUED,
    TaskStatus.RUNNING: JobStatus.RUNNING,
    TaskStatus.COMPLETED: JobStatus.DONE,
    TaskStatus.FAILED: JobStatus.ERROR,
    TaskStatus.CANCELLED: JobStatus.CANCELLED,
}


def with_plain_registers(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with registers that can stand in a sampler's result, which ``backend.run`` has no names of.

    Bits that are in no register get one. Qiskit's BackendEstimatorV2 names registers after Paulis, and cuts the
    names of long ones with dots: then all registers are numbered instead.
    """
    covered = _with_register_for_loose_bits(circuit)
    if all(register.name.isidentifier() for register in covered.cregs):
        return covered
    plain = QuantumCircuit(covered.qubits, covered.clbits, name=covered.name, metadata=covered.metadata)
    for index, register in enumerate(covered.cregs):
        plain.add_register(ClassicalRegister(bits=list(register), name=f"register_{index}"))
    for instruction in covered.data:
        plain.append(instruction)
    return plain


def _with_register_for_loose_bits(circuit: QuantumCircuit) -> QuantumCircuit:
    loose = [bit for bit in circuit.clbits if not circuit.find_bit(bit).registers]
    if not loose:
        return circuit
    covered = circuit.copy()
    covered.add_register(ClassicalRegister(bits=loose, name="loose_bits"))
    return covered


class QRMICircuitJob(JobV1):  # type: ignore[misc]
    """A job of ``backend.run``; its result has counts, and the memory of each shot where that was asked for.

    The same task can be had as a sampler's job from ``backend.retrieve_job(job.job_id())``, in any process.
    """

    def __init__(self, task: Task, backend: QRMIBackend, pubs: Sequence[SamplerPub], *, memory: bool) -> None:
        super().__init__(backend, task.id)
        self._task = task
        self._pubs = pubs
        self._memory = memory
        self._result: Result | None = None
        self._fetching = threading.Lock()

    def submit(self) -> None:
        """Not for users: ``backend.run`` has submitted the job already."""
        raise UnsupportedFunction("the job was submitted by backend.run()", task_id=self._job_id)

    def status(self) -> JobStatus:
        """Its status."""
        return _STATUS[self._task.status()]

    def cancel(self) -> None:
        """Cancel it; a job that has ended stays as it is."""
        self._task.cancel()

    def wait_for_final_state(
        self,
        timeout: float | None = None,
        wait: float = 5,
        callback: Callable[[str, JobStatus, JobV1], None] | None = None,
    ) -> None:
        """Wait until it has ended; a ``callback`` is called every ``wait`` seconds with id, status and job.

        Raises:
            WaitTimeout: after ``timeout`` seconds; the job goes on.
        """
        if callback is None:
            self._task.wait(timeout)
            return
        left = float("inf") if timeout is None else timeout
        while True:
            try:
                self._task.wait(min(wait, left))
            except WaitTimeout:
                left -= wait
                if left <= 0:
                    raise
            else:
                return
            callback(self._job_id, self.status(), self)

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the job and return its result.

        Raises:
            WaitTimeout: after ``timeout`` seconds; the job goes on.
            TaskFailed: it failed; says why.
            TaskCancelled: it was cancelled.
            ResultError: the result arrived damaged, twice.
        """
        self._task.wait(timeout)
        with self._fetching:
            if self._result is None:
                results = fetch_result(self._task, self._backend, "sampler", {"pubs": self._pubs})
                self._result = Result(
                    backend_name=self._backend.name,
                    backend_version=self._backend.backend_version,
                    job_id=self._job_id,
                    success=True,
                    status="COMPLETED",
                    results=[
                        _experiment(pub.circuit, result, memory=self._memory)
                        for pub, result in zip(self._pubs, results, strict=True)
                    ],
                )
            return self._result


def _experiment(circuit: QuantumCircuit, pub: PubResult, *, memory: bool) -> ExperimentResult:
    rows = _memory_rows(circuit, {register.name: pub.data[register.name] for register in circuit.cregs})
    words, counts = np.unique(rows.view(f"V{rows.shape[1]}").ravel(), return_counts=True)
    data = ExperimentResultData(
        counts={_hexadecimal(word.tobytes()): int(count) for word, count in zip(words, counts, strict=True)},
        memory=[_hexadecimal(row.tobytes()) for row in rows] if memory else None,
    )
    header = {
        "name": circuit.name,
        "creg_sizes": [[register.name, register.size] for register in circuit.cregs],
        "memory_slots": len(circuit.clbits),
        "metadata": circuit.metadata,
    }
    return ExperimentResult(shots=len(rows), success=True, data=data, status="DONE", header=header)


def _memory_rows(circuit: QuantumCircuit, registers: dict[str, BitArray]) -> NDArray[np.uint8]:
    """A row of bytes for each shot, big-endian: bit ``i`` from the right is the classical bit ``i``."""
    width = len(circuit.clbits)
    places: dict[Clbit, int] = {bit: index for index, bit in enumerate(circuit.clbits)}
    shots = next(iter(registers.values())).num_shots
    bits = np.zeros((shots, -(-width // 8) * 8), dtype=np.uint8)
    for register in circuit.cregs:
        measured = np.unpackbits(registers[register.name].array, axis=-1)[..., ::-1][..., : register.size]
        bits[:, [bits.shape[1] - 1 - places[bit] for bit in register]] = measured
    return np.packbits(bits, axis=-1)


def _hexadecimal(word: bytes) -> str:
    return f"{int.from_bytes(word, 'big'):#x}"
