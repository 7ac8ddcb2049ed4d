# SPDX-License-Identifier: Apache-2.0
"""An estimator over a device that only samples: Qiskit's own BackendEstimatorV2, asked twice.

Before the job it is asked which circuits it would run; after it, what their counts mean. It derives the same circuits
both times, so nothing of it needs to be kept while the job runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BackendEstimatorV2, PrimitiveResult, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.providers import BackendV2, Options
from qiskit.quantum_info import SparseObservable
from qiskit.result import Result
from qiskit.result.models import ExperimentResult, ExperimentResultData
from qiskit.transpiler import Target

from qrmi_core import ResultError
from qrmi_qiskit.circuit_job import with_plain_registers
from qrmi_qiskit.iqm.circuits import register_bits, registers_of
from qrmi_qiskit.observables import in_paulis

__all__ = ["estimated", "measurement_circuits"]


def measurement_circuits(pubs: Sequence[EstimatorPub], target: Target) -> list[QuantumCircuit]:
    """The circuits whose counts give the pubs' expectation values."""
    device = _Asked(target)
    try:
        BackendEstimatorV2(backend=device).run(_of_paulis(pubs)).result()
    except _Stopped:
        return [with_plain_registers(circuit) for circuit in device.circuits]
    raise AssertionError("an estimator that runs no circuit")


def estimated(
    pubs: Sequence[EstimatorPub], target: Target, measured: Sequence[Mapping[str, Any]]
) -> PrimitiveResult[PubResult]:
    """The expectation values that the measurements of those circuits give.

    Raises:
        ResultError: they are of other circuits.
    """
    return BackendEstimatorV2(backend=_Answering(target, measured)).run(_of_paulis(pubs)).result()


def _of_paulis(pubs: Sequence[EstimatorPub]) -> list[EstimatorPub]:
    """The pubs with observables that BackendEstimatorV2 takes, which knows no projectors."""
    return [EstimatorPub(pub.circuit, _in_paulis(pub.observables), pub.parameter_values, pub.precision) for pub in pubs]


def _in_paulis(observables: ObservablesArray) -> ObservablesArray:
    written = observables.sparse_observables_array()
    sums = np.empty(written.size, dtype=object)
    for index, observable in enumerate(written.reshape(-1)):
        sums[index] = SparseObservable.from_sparse_list(in_paulis(observable), num_qubits=observables.num_qubits)
    return ObservablesArray(sums.reshape(observables.shape))


class _Device(BackendV2):  # type: ignore[misc]
    """A backend with a target and nothing behind it."""

    def __init__(self, target: Target) -> None:
        super().__init__(name="measured")
        self._target = target

    @property
    def target(self) -> Target:
        return self._target

    @property
    def max_circuits(self) -> None:
        return None

    @classmethod
    def _default_options(cls) -> Options:
        return Options()


class _Stopped(Exception):
    """The circuits are known."""


class _Asked(_Device):
    circuits: Sequence[QuantumCircuit] = ()

    def run(self, run_input: Sequence[QuantumCircuit], **options: Any) -> None:
        self.circuits = run_input
        raise _Stopped


class _Answering(_Device):
    def __init__(self, target: Target, measured: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(target)
        self._measured = measured

    def run(self, run_input: Sequence[QuantumCircuit], **options: Any) -> _Done:
        if len(run_input) != len(self._measured):
            raise ResultError(f"{len(self._measured)} circuits came back of {len(run_input)}", transient=True)
        circuits = map(with_plain_registers, run_input)
        experiments = [_experiment(*pair) for pair in zip(circuits, self._measured, strict=True)]
        return _Done(Result(success=True, results=experiments))


class _Done:
    """A job that has ended."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def result(self) -> Result:
        return self._result


def _experiment(circuit: QuantumCircuit, measured: Mapping[str, Any]) -> ExperimentResult:
    registers = registers_of(circuit)
    bits = np.concatenate([register_bits(measured, registers)[name] for name, _ in registers], axis=1)
    words = Counter("".join("1" if bit else "0" for bit in row[::-1]) for row in bits)
    header = {"creg_sizes": registers, "memory_slots": bits.shape[1], "name": circuit.name}
    counts = {f"{int(word, 2):#x}": count for word, count in words.items()}
    return ExperimentResult(shots=len(bits), success=True, data=ExperimentResultData(counts=counts), header=header)
