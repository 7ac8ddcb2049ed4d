# SPDX-License-Identifier: Apache-2.0
"""Random circuits and observables, and what exact probabilities say of them, without Aer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import CircuitInstruction, Clbit, ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy.stats import chi2, chi2_contingency

ONE = ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx")
TURNED = ("rx", "ry", "rz", "p")
TWO = ("cx", "cz", "cy", "swap", "ecr")
TWO_TURNED = ("rzz", "rxx", "cp", "crx")


def add_gates(circuit: QuantumCircuit, gates: int, random: np.random.Generator, parameters: list | None = None) -> None:
    """Append random gates; the first of their angles are the parameters, where there are any."""
    left = list(parameters or ())
    for _ in range(gates):
        kind = random.choice(["one", "turned", "two", "two_turned"], p=[0.25, 0.3, 0.3, 0.15])
        pair = [int(qubit) for qubit in random.choice(circuit.num_qubits, 2, replace=False)]
        angle = random.uniform(0, 2 * np.pi)
        if kind == "one":
            getattr(circuit, random.choice(ONE))(pair[0])
        elif kind == "two":
            getattr(circuit, random.choice(TWO))(*pair)
        else:
            if left:
                angle = left.pop(0)
            if kind == "turned":
                getattr(circuit, random.choice(TURNED))(angle, pair[0])
            else:
                getattr(circuit, random.choice(TWO_TURNED))(angle, *pair)
    for angle in left:
        circuit.ry(angle, int(random.integers(circuit.num_qubits)))


def random_circuit(seed: int, *, parameters: int = 0) -> tuple[QuantumCircuit, np.random.Generator]:
    """A circuit of 2 to 8 qubits and 20 to 80 gates, without measurements, and the generator that made it."""
    random = np.random.default_rng(seed)
    circuit = QuantumCircuit(int(random.integers(2, 9)))
    add_gates(circuit, int(random.integers(20, 81)), random, list(ParameterVector("a", parameters)))
    return circuit, random


def two_registers(seed: int) -> QuantumCircuit:
    """All qubits but the last measured into two registers, in a random order."""
    random = np.random.default_rng(seed)
    width = int(random.integers(3, 9))
    left, right = ClassicalRegister(width // 2, "left"), ClassicalRegister(width - 1 - width // 2, "right")
    circuit = QuantumCircuit(QuantumRegister(width, "q"), left, right)
    add_gates(circuit, int(random.integers(20, 81)), random)
    circuit.measure([int(qubit) for qubit in random.permutation(width)[: width - 1]], [*left, *right])
    return circuit


def with_feedback(seed: int) -> QuantumCircuit:
    """Measurements between the gates, and gates that depend on them."""
    random = np.random.default_rng(seed)
    width = int(random.integers(2, 6))
    middle, end = ClassicalRegister(2, "middle"), ClassicalRegister(width, "end")
    circuit = QuantumCircuit(QuantumRegister(width, "q"), middle, end)
    add_gates(circuit, 15, random)
    circuit.measure(0, middle[0])
    with circuit.if_test((middle[0], 1)) as otherwise:
        circuit.h(1)
        circuit.rz(0.7, 1)
    with otherwise:
        circuit.cx(0, 1)
    add_gates(circuit, 15, random)
    circuit.measure(1, middle[1])
    with circuit.if_test((middle, 2)):
        circuit.x(0)
        circuit.ry(1.1, 1)
    add_gates(circuit, 10, random)
    circuit.measure(range(width), end)
    return circuit


def random_observable(qubits: int, random: np.random.Generator) -> SparsePauliOp:
    labels = {"".join(random.choice(list("IXYZ"), qubits)) for _ in range(int(random.integers(1, 6)))}
    return SparsePauliOp(sorted(labels), random.uniform(-1, 1, len(labels)))


def branch_probabilities(circuit: QuantumCircuit) -> dict[str, float]:
    """The probability of each string of classical bits, by following every outcome of every measurement.

    It knows gates, ``measure`` and ``if_else`` on a bit or a register: what StatevectorSampler does not take.
    """
    found: dict[str, float] = {}
    start = (Statevector.from_label("0" * circuit.num_qubits), dict.fromkeys(circuit.clbits, 0), 1.0)
    for _, bits, probability in _branches([start], circuit.data, circuit):
        word = " ".join("".join(str(bits[bit]) for bit in reversed(register)) for register in reversed(circuit.cregs))
        found[word] = found.get(word, 0.0) + probability
    return found


Branch = tuple[Statevector, dict[Clbit, int], float]


def _branches(branches: list[Branch], data: list[CircuitInstruction], circuit: QuantumCircuit) -> list[Branch]:
    for instruction in data:
        following: list[Branch] = []
        for state, bits, probability in branches:
            qubits = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
            if instruction.name == "measure":
                weights = state.probabilities(qubits)
                for outcome in (0, 1):
                    if weights[outcome] > 1e-12:
                        projector = np.diag([1.0 - outcome, float(outcome)]) / np.sqrt(weights[outcome])
                        told = {**bits, instruction.clbits[0]: outcome}
                        following.append((state.evolve(projector, qubits), told, probability * weights[outcome]))
            elif instruction.name == "if_else":
                condition, value = instruction.operation.condition
                watched = [condition] if isinstance(condition, Clbit) else list(condition)
                number = sum(bits[bit] << place for place, bit in enumerate(watched))
                body = instruction.operation.blocks[0 if number == value else 1 :][:1]
                inner = body[0] if body and body[0] is not None else None
                chosen = [(state, bits, probability)]
                if inner is not None:
                    outer = dict(zip(inner.qubits, instruction.qubits, strict=True))
                    moved = [each.replace(qubits=[outer[qubit] for qubit in each.qubits]) for each in inner.data]
                    chosen = _branches(chosen, moved, circuit)
                following += chosen
            else:
                following.append((state.evolve(instruction.operation, qubits), bits, probability))
        branches = following
    return branches


def agree(ours: Mapping[str, int], theirs: Mapping[str, int], alpha: float = 1e-4) -> None:
    """Two samples are of one distribution (chi-square, outcomes seen less than ten times taken together)."""
    words = sorted(ours.keys() | theirs.keys())
    table = np.array([[sample.get(word, 0) for word in words] for sample in (ours, theirs)])
    rare = table.sum(axis=0) < 10
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] > 1:
        assert chi2_contingency(table, correction=False).pvalue > alpha


def chi_square_p(counts: Mapping[str, int], probabilities: Mapping[str, float]) -> float:
    """The probability of counts at least as far off as these; outcomes that are rarer than 5 are taken together."""
    shots = sum(counts.values())
    assert all(probabilities.get(word, 0.0) > 1e-12 for word in counts), "an outcome that cannot be"
    expected: NDArray[np.float64] = np.array(list(probabilities.values())) * shots
    seen = np.array([counts.get(word, 0) for word in probabilities], dtype=float)
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum())
    seen = np.append(seen[~rare], seen[rare].sum())
    if expected[-1] < 5:  # too few even together: they join the rarest of the others
        order = np.argsort(expected)
        expected, seen = expected[order], seen[order]
        expected = np.append(expected[:2].sum(), expected[2:])
        seen = np.append(seen[:2].sum(), seen[2:])
    if len(expected) < 2:
        return 1.0
    return float(chi2.sf(((seen - expected) ** 2 / expected).sum(), len(expected) - 1))
