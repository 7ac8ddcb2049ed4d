# SPDX-License-Identifier: Apache-2.0
"""Forty random circuits against exact probabilities and expectation values (seeds fixed, alpha 1e-4 and 5 sigma)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp, Statevector, random_pauli_list
from scipy import stats

from qrmi_qiskit.aer.device import GATES

ALPHA = 1e-4
SHOTS = 4000
STANDARD = get_standard_gate_name_mapping()


def random_gates(circuit: QuantumCircuit, rng: np.random.Generator, count: int, angles: Any = None) -> None:
    """Append random gates of all that the engine takes; with ``angles``, rotations by them are among the gates."""
    names = [name for name in GATES if STANDARD[name].num_qubits <= circuit.num_qubits]
    for _ in range(count):
        gate = STANDARD[str(rng.choice(names))]
        qubits = rng.permutation(circuit.num_qubits)[: gate.num_qubits].tolist()
        values = rng.uniform(0, 2 * np.pi, len(gate.params)).tolist()
        if angles is not None and values and rng.random() < 0.5:
            chosen = angles[int(rng.integers(len(angles)))]
            values[0] = chosen if rng.random() < 0.5 else 2 * chosen - values[0]
        circuit.append(type(gate)(*values), qubits)


def assert_drawn_from(outcomes: dict[int, int], probabilities: NDArray[np.float64]) -> None:
    """Chi-square test of counts against exact probabilities; outcomes that are rare are put together."""
    shots = sum(outcomes.values())
    seen = np.array([outcomes.get(i, 0) for i in range(len(probabilities))], dtype=float)
    expected = probabilities * shots
    assert seen[probabilities < 1e-12].sum() == 0
    common = expected >= 5
    groups = [(seen[common], expected[common])]
    if expected[~common].sum() >= 5:
        groups.append((seen[~common].sum(keepdims=True), expected[~common].sum(keepdims=True)))
    observed = np.concatenate([group[0] for group in groups])
    wanted = np.concatenate([group[1] for group in groups])
    if len(wanted) > 1:
        assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > ALPHA


def size_of(seed: int) -> tuple[np.random.Generator, int, int]:
    rng = np.random.default_rng(seed)
    return rng, int(rng.integers(2, 9)), int(rng.integers(20, 81))


@pytest.mark.parametrize("first", range(0, 20, 5))
def test_static_circuits_in_several_pubs(sample: Callable[..., Any], first: int) -> None:
    circuits = []
    for seed in range(first, first + 5):
        rng, qubits, gates = size_of(seed)
        circuit = QuantumCircuit(qubits)
        random_gates(circuit, rng, gates)
        circuits.append(circuit)
    result = sample([circuit.measure_all(inplace=False) for circuit in circuits], shots=SHOTS, seed=first)
    for circuit, pub in zip(circuits, result, strict=True):
        assert_drawn_from(pub.data.meas.get_int_counts(), Statevector(circuit).probabilities())


@pytest.mark.parametrize("seed", range(20, 26))
def test_measurement_in_the_middle_with_if_else(sample: Callable[..., Any], seed: int) -> None:
    """The reference projects the state on each outcome and applies that branch to the other qubits."""
    rng, qubits, gates = size_of(seed)
    head = QuantumCircuit(qubits)
    random_gates(head, rng, gates // 2)
    measured = int(rng.integers(qubits))
    others = [qubit for qubit in range(qubits) if qubit != measured]
    branches = []
    for _ in range(2):
        part = QuantumCircuit(qubits - 1)
        random_gates(part, rng, gates // 4)
        branches.append(part)

    circuit = QuantumCircuit(QuantumRegister(qubits), ClassicalRegister(1, "mid"), ClassicalRegister(qubits, "end"))
    circuit.compose(head, inplace=True)
    circuit.measure(measured, 0)
    circuit.if_else((circuit.clbits[0], 1), branches[1], branches[0], others, [])
    circuit.measure(range(qubits), circuit.cregs[1])

    state = Statevector(head)
    probabilities = np.zeros(2**qubits)
    for outcome, part in enumerate(branches):
        kept = np.array([(index >> measured) & 1 == outcome for index in range(2**qubits)])
        probabilities += np.abs(Statevector(np.where(kept, state.data, 0)).evolve(part, others).data) ** 2

    data = sample([circuit], shots=SHOTS, seed=seed)[0].data
    assert_drawn_from(data.end.get_int_counts(), probabilities)
    assert np.array_equal(data.mid.array[:, 0], data.end.slice_bits(measured).array[:, 0])


@pytest.mark.parametrize("seed", range(26, 31))
def test_two_registers(sample: Callable[..., Any], seed: int) -> None:
    rng, qubits, gates = size_of(seed)
    circuit = QuantumCircuit(qubits)
    random_gates(circuit, rng, gates)
    order = rng.permutation(qubits).tolist()
    cut = max(1, qubits // 3)
    measured = QuantumCircuit(
        QuantumRegister(qubits), ClassicalRegister(cut, "left"), ClassicalRegister(qubits - cut, "right")
    )
    measured.compose(circuit, inplace=True)
    measured.measure(order, range(qubits))
    data = sample([measured], shots=SHOTS, seed=seed)[0].data
    joint = data.left.array[:, 0].astype(int) | data.right.array[:, 0].astype(int) << cut
    outcomes, counts = np.unique(joint, return_counts=True)
    exact = Statevector(circuit).probabilities(order)
    assert_drawn_from(dict(zip(outcomes.tolist(), counts.tolist(), strict=True)), exact)


@pytest.mark.parametrize("seed", range(31, 35))
def test_parameter_arrays(sample: Callable[..., Any], seed: int) -> None:
    rng, qubits, gates = size_of(seed)
    angles = ParameterVector("t", 3)
    circuit = QuantumCircuit(qubits)
    for i in range(3):
        circuit.ry(angles[i], i % qubits)
    random_gates(circuit, rng, gates, angles)
    values = rng.uniform(0, 2 * np.pi, (3, 4, 3))
    bits = sample([(circuit.measure_all(inplace=False), values)], shots=SHOTS, seed=seed)[0].data.meas
    assert bits.shape == (3, 4)
    for place in np.ndindex(3, 4):
        exact = Statevector(circuit.assign_parameters(values[place])).probabilities()
        assert_drawn_from(bits.get_int_counts(place), exact)


@pytest.mark.parametrize("seed", range(35, 40))
def test_expectation_values(estimate: Callable[..., Any], seed: int) -> None:
    rng, qubits, gates = size_of(seed)
    angles = ParameterVector("t", 2)
    circuit = QuantumCircuit(qubits)
    circuit.ry(angles[0], 0)
    circuit.rx(angles[1], 1)
    random_gates(circuit, rng, gates, angles)
    paulis = random_pauli_list(qubits, size=6, seed=seed, phase=False)
    observables = [[SparsePauliOp(paulis[:4], rng.normal(size=4))], [paulis[4]], [paulis[5]]]
    pub = (circuit, observables, rng.uniform(0, 2 * np.pi, (4, 2)))
    data = estimate([pub], precision=0.02, seed=seed)[0].data
    exact = StatevectorEstimator().run([pub], precision=0.0).result()[0].data.evs
    assert data.evs.shape == exact.shape == (3, 4)
    assert np.all(np.abs(data.evs - exact) <= 5 * data.stds + 1e-9)
