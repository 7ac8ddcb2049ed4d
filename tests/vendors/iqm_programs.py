# SPDX-License-Identifier: Apache-2.0
"""Random programs of IQM's operations, as IQM's JSON and as a Qiskit circuit whose PRX is its defining matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from iqm_case import measure, prx
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import UnitaryGate

from qrmi_qiskit.iqm.lattice import Lattice

__all__ = ["RandomProgram", "prx_matrix"]

X = np.array([[0, 1], [1, 0]], dtype=complex)
Y = np.array([[0, -1j], [1j, 0]], dtype=complex)


def prx_matrix(angle: float, phase: float) -> NDArray[np.complex128]:
    """exp(-i (X cos phase + Y sin phase) angle / 2)."""
    axis = X * np.cos(phase) + Y * np.sin(phase)
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * axis


class RandomProgram:
    """A patch of coupled qubits of a lattice, 15 to 60 random gates, perhaps gates that depend on a measurement.

    All qubits are measured at last, with keys of one to three qubits in random order; ``circuit`` has one register for
    each key.
    """

    def __init__(self, seed: int, lattice: Lattice, *, feedback: bool = False) -> None:
        self.random = np.random.default_rng(seed)
        self.instructions: list[dict[str, Any]] = []
        self.qubits = self._patch(lattice, int(self.random.integers(2, 7)))
        self.couplings = [pair for pair in lattice.couplings if set(pair) <= set(self.qubits)]
        self.keys = self._keys()
        registers = [ClassicalRegister(len(qubits), key) for key, qubits in self.keys.items()]
        middle = [ClassicalRegister(1, "middle")] if feedback else []
        self.circuit = QuantumCircuit(QuantumRegister(len(self.qubits), "q"), *middle, *registers)
        self._gates(int(self.random.integers(15, 61)))
        if feedback:
            self._feedback(middle[0])
            self._gates(10)
        for register, (key, qubits) in zip(registers, self.keys.items(), strict=True):
            self.instructions.append(measure(*(int(name[2:]) for name in qubits), key=key))
            self.circuit.measure([self._index(name) for name in qubits], register)

    def _patch(self, lattice: Lattice, size: int) -> list[str]:
        patch = [str(self.random.choice(lattice.qubits))]
        while len(patch) < size:
            near = sorted({b for pair in lattice.couplings for a, b in (pair, pair[::-1]) if a in patch} - {*patch})
            patch.append(str(self.random.choice(near)))
        return patch

    def _keys(self) -> dict[str, list[str]]:
        left = [str(name) for name in self.random.permutation(self.qubits)]
        keys = {}
        while left:
            size = int(self.random.integers(1, 4))
            keys[f"key{len(keys)}"], left = left[:size], left[size:]
        return keys

    def _index(self, name: str) -> int:
        return self.qubits.index(name)

    def _gates(self, number: int) -> None:
        for _ in range(number):
            if self.couplings and self.random.random() < 0.4:
                pair = list(self.random.permutation(self.couplings[self.random.integers(len(self.couplings))]))
                self.instructions.append({"name": "cz", "locus": [str(name) for name in pair], "args": {}})
                self.circuit.cz(*map(self._index, pair))
            else:
                name = str(self.random.choice(self.qubits))
                angle, phase = map(float, self.random.uniform(-2 * np.pi, 2 * np.pi, 2))
                self.instructions.append(prx(int(name[2:]), angle, phase))
                self.circuit.append(UnitaryGate(prx_matrix(angle, phase)), [self._index(name)])

    def _feedback(self, register: ClassicalRegister) -> None:
        source, flipped = (str(name) for name in self.random.choice(self.qubits, 2, replace=False))
        measured = measure(int(source[2:]), key="middle")
        measured["args"]["feedback_key"] = "f"
        told = {"angle": 2.1, "phase": 0.4, "feedback_key": "f", "feedback_qubit": source}
        self.instructions += [measured, {"name": "cc_prx", "locus": [flipped], "args": told}]
        self.circuit.measure(self._index(source), register[0])
        with self.circuit.if_test((register[0], 1)):
            self.circuit.append(UnitaryGate(prx_matrix(2.1, 0.4)), [self._index(flipped)])
