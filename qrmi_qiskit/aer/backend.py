# SPDX-License-Identifier: Apache-2.0
"""The qubits in use as a backend of Qiskit's: what Aer builds noise from, and what runs circuits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, Options
from qiskit.result import Result
from qiskit.transpiler import Target
from qiskit_aer.noise import NoiseModel

from qrmi_core import InputError
from qrmi_qiskit.aer.compaction import Compact
from qrmi_qiskit.aer.device import Device
from qrmi_qiskit.aer.reduction import reduced_target
from qrmi_qiskit.aer.simulator import Simulator

__all__ = ["Backends", "ReducedBackend"]


class ReducedBackend(BackendV2):  # type: ignore[misc]
    """A backend of a few qubits; ``noise`` is Aer's noise model of its target, None for an ideal device."""

    def __init__(self, target: Target, simulator: Simulator, *, noisy: bool) -> None:
        super().__init__(name=simulator.resource)
        self._target = target
        self.simulator = simulator
        self.noise = NoiseModel.from_backend(self) if noisy else None

    @property
    def target(self) -> Target:
        return self._target

    @property
    def max_circuits(self) -> None:
        return None

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(self, run_input: QuantumCircuit | Sequence[QuantumCircuit], **options: Any) -> _Done:
        """Run circuits with the options ``shots`` and ``seed_simulator``, as Qiskit's BackendEstimatorV2 does."""
        circuits = [run_input] if isinstance(run_input, QuantumCircuit) else run_input
        return _Done(
            self.simulator.run(circuits, shots=options["shots"], seed=options["seed_simulator"], noise=self.noise)
        )


class _Done:
    """A job that has ended."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def result(self) -> Result:
        return self._result


class Backends:
    """Makes the backends of a device's qubits; those of one set of qubits and gates once."""

    def __init__(self, device: Device, simulator: Simulator) -> None:
        self.device = device
        self.simulator = simulator
        self._made: dict[object, ReducedBackend] = {}

    def backend(self, compacted: Compact, *, all_single: bool = False) -> ReducedBackend:
        """Return the backend for a compact circuit; with ``all_single`` it takes every gate on one qubit.

        Raises:
            InputError: the circuit has an instruction that the device does not.
        """
        key = (compacted.qubits, compacted.places, all_single)
        if key not in self._made:
            self._made[key] = self._make(compacted, all_single=all_single)
        return self._made[key]

    def _make(self, compacted: Compact, *, all_single: bool) -> ReducedBackend:
        noisy = self.device.properties is not None
        if noisy:
            self._check_width(compacted)
        target = reduced_target(self.device, compacted, all_single=all_single)
        if noisy:
            self._check_places(compacted, target)
        return ReducedBackend(target, self.simulator, noisy=noisy)

    def _check_width(self, compacted: Compact) -> None:
        there = self.device.configuration["n_qubits"]
        if compacted.qubits[-1] >= there:
            raise InputError(
                f"the circuit uses qubit {compacted.qubits[-1]}, and {self.simulator.resource} has {there} qubits"
            )

    def _check_places(self, compacted: Compact, target: Target) -> None:
        index = {qubit: i for i, qubit in enumerate(compacted.qubits)}
        for name, qubits in sorted(compacted.places):
            if qubits and not target.instruction_supported(name, tuple(index[qubit] for qubit in qubits)):
                raise InputError(
                    f"{name} on {_listed(qubits)} is no instruction of {self.simulator.resource}: "
                    f"transpile the circuit for this backend"
                )


def _listed(qubits: Sequence[int]) -> str:
    return f"qubit{'s' if len(qubits) > 1 else ''} {', '.join(map(str, qubits))}"
