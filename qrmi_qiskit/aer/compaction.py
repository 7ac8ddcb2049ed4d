# SPDX-License-Identifier: Apache-2.0
"""Circuits of a device's width, reduced to the qubits that they use.

A transpiled circuit has all the device's qubits (156, say) and uses a few; what is simulated, and what noise
is built for, are those few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from qiskit import QuantumCircuit
from qiskit.circuit import BreakLoopOp, CircuitInstruction, ContinueLoopOp, Measure, Qubit, Reset
from qiskit.circuit.library import Barrier

from qrmi_core import InputError

__all__ = ["Compact", "compact"]

_PASSIVE = frozenset({"barrier", "break_loop", "continue_loop", "delay", "reset"})
"""What leaves a qubit that nothing else acts on in its ground state, where it may as well be left out."""

_SYNONYMS = {"measure_2": Measure, "reset_2": Reset}
"""Instructions of IBM's that are the same operation with another pulse."""

Place = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Compact:
    """A reduced circuit.

    ``qubits[i]`` is the device's number of its qubit ``i``; ``places`` are the instructions that it uses, as
    (name, the device's numbers of the qubits), those within control flow included.
    """

    circuit: QuantumCircuit
    qubits: tuple[int, ...]
    places: frozenset[Place]


def compact(circuit: QuantumCircuit, keep: Collection[int] = ()) -> Compact:
    """Reduce a circuit to the qubits that it uses and those of ``keep``, in the device's order; at least one.

    Classical bits and registers and parameters stay as they are; barriers are cut to the qubits that remain;
    control flow loses the qubits that none of its blocks uses. The global phase is dropped.

    Raises:
        InputError: the circuit has classical variables, which Aer does not survive.
    """
    qubits = tuple(sorted(_used(circuit) | set(keep))) or (0,)
    places: set[Place] = set()
    _collect(circuit, range(circuit.num_qubits), frozenset(qubits), places)
    return Compact(_reduced(circuit, qubits), qubits, frozenset(places))


def _index(circuit: QuantumCircuit) -> dict[Qubit, int]:
    return {qubit: index for index, qubit in enumerate(circuit.qubits)}


def _used(circuit: QuantumCircuit) -> set[int]:
    """The positions of the qubits that anything but a passive instruction acts on."""
    index = _index(circuit)
    used: set[int] = set()
    for instruction in circuit.data:
        if instruction.name in _PASSIVE:
            continue
        positions = [index[qubit] for qubit in instruction.qubits]
        if instruction.is_control_flow():
            inner = set().union(*(_used(block) for block in instruction.operation.blocks))
            positions = [positions[i] for i in inner]
        used.update(positions)
    return used


def _collect(circuit: QuantumCircuit, numbers: Sequence[int], kept: frozenset[int], places: set[Place]) -> None:
    """Add the places of a circuit, whose qubit ``i`` is the device's ``numbers[i]``."""
    number = dict(zip(circuit.qubits, numbers, strict=True))
    for instruction in circuit.data:
        outer = tuple(number[qubit] for qubit in instruction.qubits)
        if instruction.is_control_flow():
            for block in instruction.operation.blocks:
                _collect(block, outer, kept, places)
        elif instruction.name not in _PASSIVE or (kept.issuperset(outer) and instruction.name in {"delay", "reset"}):
            places.add((instruction.name, outer))


def _reduced(circuit: QuantumCircuit, positions: Iterable[int]) -> QuantumCircuit:
    if circuit.num_identifiers:
        names = ", ".join(variable.name for variable in (*circuit.iter_vars(), *circuit.iter_stretches()))
        raise InputError(
            f"the circuit has classical variables ({names}), with which Aer crashes: keep values in registers"
        )
    qubits = [circuit.qubits[position] for position in positions]
    kept = frozenset(qubits)
    new = QuantumCircuit(qubits, circuit.clbits, *circuit.cregs, name=circuit.name)
    for instruction in circuit.data:
        reduced = _reduced_instruction(instruction, new, kept)
        if reduced is not None:
            new.append(reduced, copy=False)
    return new


def _reduced_instruction(
    instruction: CircuitInstruction, new: QuantumCircuit, kept: frozenset[Qubit]
) -> CircuitInstruction | None:
    """The instruction as it stands in ``new``; None where nothing of it remains."""
    name = instruction.name
    if name in {"break_loop", "continue_loop"}:
        jump = BreakLoopOp if name == "break_loop" else ContinueLoopOp
        return CircuitInstruction(jump(new.num_qubits, new.num_clbits), new.qubits, new.clbits)
    if instruction.is_control_flow():
        inner = [i for i, qubit in enumerate(instruction.qubits) if qubit in kept]
        blocks = [_reduced(block, inner) for block in instruction.operation.blocks]
        operation = instruction.operation.replace_blocks(blocks)
        return CircuitInstruction(operation, [instruction.qubits[i] for i in inner], instruction.clbits)
    if name == "barrier":
        qubits = [qubit for qubit in instruction.qubits if qubit in kept]
        return CircuitInstruction(Barrier(len(qubits), instruction.label), qubits, ()) if qubits else None
    if name in _PASSIVE and not kept.issuperset(instruction.qubits):
        return None
    if name in _SYNONYMS:
        return instruction.replace(operation=_SYNONYMS[name]())
    return instruction
