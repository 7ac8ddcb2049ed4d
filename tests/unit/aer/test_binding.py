# SPDX-License-Identifier: Apache-2.0
"""Sweeps: every expression of parameters gets the value that Qiskit gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.quantum_info import Statevector

from qrmi_qiskit.aer.binding import bound_sweep
from qrmi_qiskit.aer.device import GATES

A, B = Parameter("a"), Parameter("b")


@pytest.mark.parametrize(
    "expression",
    [
        A,
        A + np.pi / 2,
        -A,
        2 * A - B / 3 + 1,
        A * B,
        A**2,
        (A + 1).sin(),
        A.abs(),
        A.sign(),
        A * 0 + 3 + B,
        (A - A) + B,
    ],
)
@pytest.mark.parametrize("shape", [(), (7,), (2, 3)])
def test_values_are_those_of_qiskit(expression: Any, shape: tuple[int, ...]) -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(expression, 0)
    circuit.rz(A, 0)
    circuit.ry(B, 0)
    values = np.random.default_rng(3).normal(size=(*shape, 2))
    bound, binds = bound_sweep(circuit, BindingsArray({(A, B): values}))

    for point, (a, b) in enumerate(values.reshape(-1, 2)):
        wanted = circuit.assign_parameters({A: a, B: b})
        given = bound.assign_parameters({parameter: binds[parameter][point] for parameter in bound.parameters})
        for one, other in zip(wanted.data, given.data, strict=True):
            assert float(one.params[0]) == pytest.approx(float(other.params[0]))


def parametrised_gates() -> list[str]:
    return [name for name, gate in get_standard_gate_name_mapping().items() if gate.params and name in GATES]


@pytest.mark.parametrize("name", parametrised_gates())
def test_every_gate_that_the_engine_takes_is_bound(sample: Callable[..., Any], name: str) -> None:
    """Aer ignores the values of some gates without a word; a sweep must give what bound circuits give."""
    gate = get_standard_gate_name_mapping()[name]
    angles = ParameterVector("t", len(gate.params))
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    circuit.append(type(gate)(*angles), range(gate.num_qubits))
    circuit.h([0, 1])
    circuit.measure_all()
    values = np.random.default_rng(1).uniform(0.5, 2.5, (3, len(angles)))
    swept = sample([(circuit, values)], shots=4000)[0].data.meas
    for point in range(3):
        bound = circuit.assign_parameters(values[point]).remove_final_measurements(inplace=False)
        exact = Statevector(bound).probabilities()
        seen = np.array([swept.get_int_counts(point).get(outcome, 0) for outcome in range(4)])
        assert np.all(np.abs(seen - 4000 * exact) <= 5 * np.sqrt(4000 * exact * (1 - exact)) + 1e-6), (point, exact)


def test_equal_expressions_share_a_parameter() -> None:
    angles = ParameterVector("t", 3)
    circuit = QuantumCircuit(1)
    for _ in range(10):
        circuit.rx(angles[0] + 1, 0)
        circuit.rx(angles[1], 0)
        circuit.rx(angles[2], 0)
    bound, binds = bound_sweep(circuit, BindingsArray({tuple(angles): np.zeros((5, 3))}))
    assert len(bound.parameters) == len(binds) == 3


def test_a_circuit_without_parameters_is_left_alone() -> None:
    circuit = QuantumCircuit(1)
    assert bound_sweep(circuit, BindingsArray(shape=(3,))) == (circuit, {})


def test_parameters_within_control_flow_are_bound(sample: Callable[..., Any]) -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.rx(A, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.rx(A + B, 1)
    with otherwise:
        circuit.rx(B, 1)
    with circuit.for_loop(range(2), loop_parameter=(step := Parameter("step"))):
        circuit.rx(step * np.pi, 2)
    circuit.measure([1, 2], [1, 2])
    points = [[0, 0], [np.pi, 0], [0, np.pi], [np.pi, np.pi]]
    result = sample([(circuit, {("a", "b"): points})], shots=20)
    counts = [result[0].data.c.get_counts(i) for i in range(4)]
    assert counts == [{"100": 20}, {"111": 20}, {"110": 20}, {"101": 20}]
