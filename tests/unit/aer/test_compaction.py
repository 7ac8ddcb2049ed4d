# SPDX-License-Identifier: Apache-2.0
"""Wide circuits cut to the qubits in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Instruction, Parameter
from qiskit.circuit.classical import expr, types
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import Statevector
from qiskit.transpiler import Target

from qrmi_core import InputError
from qrmi_qiskit.aer.compaction import compact


def wide(size: int = 20, bits: int = 2) -> QuantumCircuit:
    return QuantumCircuit(QuantumRegister(size, "q"), ClassicalRegister(bits, "c"))


def test_only_the_qubits_in_use_remain_in_their_order() -> None:
    circuit = wide()
    circuit.cx(17, 3)
    circuit.measure([17, 3], [0, 1])
    compacted = compact(circuit)
    assert compacted.qubits == (3, 17)
    assert compacted.circuit.num_qubits == 2
    assert [compacted.circuit.find_bit(qubit).index for qubit in compacted.circuit.data[0].qubits] == [1, 0]
    assert compacted.circuit.cregs == circuit.cregs
    assert compacted.places == {("cx", (17, 3)), ("measure", (17,)), ("measure", (3,))}


def test_qubits_can_be_kept() -> None:
    circuit = wide()
    circuit.x(5)
    assert compact(circuit, keep={9, 2}).qubits == (2, 5, 9)


def test_an_empty_circuit_keeps_one_qubit() -> None:
    circuit = wide()
    circuit.barrier()
    assert compact(circuit).qubits == (0,)
    assert compact(QuantumCircuit(3)).circuit.num_qubits == 1


def test_what_leaves_a_qubit_in_its_ground_state_does_not_keep_it() -> None:
    circuit = wide()
    circuit.reset(range(20))
    circuit.delay(100, range(20), unit="dt")
    circuit.x(7)
    circuit.delay(50, 7, unit="dt")
    compacted = compact(circuit)
    assert compacted.qubits == (7,)
    assert [op.name for op in compacted.circuit.data] == ["reset", "delay", "x", "delay"]
    assert compacted.places == {("reset", (7,)), ("delay", (7,)), ("x", (7,))}


def test_barriers_are_cut() -> None:
    circuit = wide()
    circuit.x([4, 6])
    circuit.barrier(label="here")
    circuit.barrier(1, 2)
    circuit.barrier(0, 6)
    circuit.x(6)
    barriers = [op for op in compact(circuit).circuit.data if op.name == "barrier"]
    assert [(op.operation.num_qubits, op.label) for op in barriers] == [(2, "here"), (1, None)]


def test_the_state_is_the_same() -> None:
    for seed in range(10):
        small = random_circuit(4, 6, max_operands=3, seed=seed)
        chosen = np.random.default_rng(seed).permutation(12)[:4].tolist()
        circuit = QuantumCircuit(12)
        circuit.compose(small, chosen, inplace=True)
        compacted = compact(circuit, keep=chosen)
        back = [compacted.qubits.index(qubit) for qubit in chosen]
        order = small.copy_empty_like().compose(compacted.circuit, np.argsort(back).tolist())
        assert Statevector(order).equiv(Statevector(small)), seed


def test_parameters_and_registers_remain() -> None:
    circuit = QuantumCircuit(QuantumRegister(20), ClassicalRegister(1, "a"), ClassicalRegister(3, "b"))
    circuit.rx(2 * Parameter("t"), 3)
    circuit.measure(3, 2)
    compacted = compact(circuit)
    assert list(compacted.circuit.parameters) == list(circuit.parameters)
    assert compacted.circuit.cregs == circuit.cregs
    assert [compacted.circuit.find_bit(bit).index for bit in compacted.circuit.data[1].clbits] == [2]


def test_variables_are_refused_since_aer_crashes_with_them() -> None:
    circuit = wide()
    number = circuit.add_var("number", expr.lift(1, types.Uint(2)))
    circuit.store(number, expr.lift(3, types.Uint(2)))
    with pytest.raises(InputError, match=r"classical variables \(number\), with which Aer crashes: keep values in"):
        compact(circuit)


def test_bits_can_be_stored(sample: Callable[..., Any]) -> None:
    circuit = wide()
    circuit.store(circuit.clbits[1], expr.lift(True))
    circuit.measure(0, 0)
    assert sample([circuit], shots=5)[0].data.c.get_counts() == {"10": 5}


def nested() -> QuantumCircuit:
    """A loop that counts to two on qubit 9, with a break, a barrier and a delay on qubits of no use."""
    circuit = wide(20, 2)
    with circuit.while_loop((circuit.clbits[1], 0)):
        circuit.x(9)
        circuit.barrier()
        circuit.delay(10, 1, unit="dt")
        circuit.measure(9, 0)
        with circuit.if_test((circuit.clbits[0], 0)) as otherwise:
            circuit.x(14)
            circuit.measure(14, 1)
            circuit.break_loop()
        with otherwise:
            circuit.barrier(0, 9, 14)
            circuit.x(15)
            circuit.x(15)
    return circuit


def test_control_flow_loses_the_qubits_that_no_block_uses() -> None:
    compacted = compact(nested())
    assert compacted.qubits == (9, 14, 15)
    loop = compacted.circuit.data[0]
    assert len(loop.qubits) == 3
    body = loop.operation.blocks[0]
    assert body.num_qubits == 3
    assert "delay" not in body.count_ops()
    assert ("x", (15,)) in compacted.places
    assert ("measure", (14,)) in compacted.places
    assert not any(1 in qubits for _, qubits in compacted.places)


def test_cut_control_flow_runs(sample: Callable[..., Any]) -> None:
    result = sample([nested()], shots=20)
    assert result[0].data.c.get_counts() == {"10": 20}


def test_transpiled_control_flow_runs(sample: Callable[..., Any], target_of: Callable[[str], Target]) -> None:
    circuit = QuantumCircuit(QuantumRegister(4), ClassicalRegister(2, "a"), ClassicalRegister(2, "b"))
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.cx(1, 3)
    with circuit.for_loop(range(3)):
        circuit.x(3)
    circuit.measure(3, 1)
    with circuit.switch(circuit.cregs[0]) as case:
        with case(0, 1):
            circuit.x(1)
        with case(3):
            circuit.x(2)
        with case(case.DEFAULT):
            circuit.h(2)
    circuit.measure([1, 2], circuit.cregs[1])
    isa = transpile(circuit, target=target_of("fez"), optimization_level=1, seed_transpiler=3)
    assert isa.num_qubits == 156
    for ran in (circuit, isa):
        result = sample([ran], shots=50)
        assert result[0].data.a.get_counts() == {"11": 50}
        assert result[0].data.b.get_counts() == {"11": 50}


def test_expressions_and_registers_as_conditions_run(sample: Callable[..., Any]) -> None:
    circuit = QuantumCircuit(QuantumRegister(9), ClassicalRegister(3, "seen"), ClassicalRegister(3, "done"))
    seen = circuit.cregs[0]
    circuit.x([4, 6])
    circuit.measure([4, 5, 6], seen)
    with circuit.if_test(expr.equal(seen, 5)):
        circuit.x(0)
    with circuit.if_test((seen, 4)):
        circuit.x(1)
    with circuit.if_test(expr.bit_and(seen[0], expr.logic_not(seen[1]))):
        circuit.x(8)
    circuit.measure([0, 1, 8], circuit.cregs[1])
    assert sample([circuit], shots=10)[0].data.done.get_counts() == {"101": 10}


def test_ibms_short_measurement_and_reset_are_what_they_are(sample: Callable[..., Any]) -> None:
    circuit = QuantumCircuit(3, 2)
    circuit.x([0, 2])
    circuit.append(Instruction("measure_2", 1, 1, []), [2], [0])
    circuit.append(Instruction("reset_2", 1, 0, []), [0])
    circuit.measure(0, 1)
    assert sample([circuit], shots=10)[0].data.c.get_counts() == {"01": 10}
