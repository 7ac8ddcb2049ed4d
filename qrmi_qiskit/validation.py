# SPDX-License-Identifier: Apache-2.0
"""Whether a circuit fits a target, told before anything is submitted, with the instruction that does not."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping, Sequence

from qiskit import QuantumCircuit
from qiskit.circuit import CONTROL_FLOW_OP_NAMES, CircuitInstruction, ParameterExpression, Qubit
from qiskit.primitives import DataBin
from qiskit.transpiler import Target

from qrmi_core import InputError, LimitExceeded

__all__ = ["check_circuit", "check_measured"]

_NEEDS_NO_HARDWARE = frozenset({"barrier", "store", "break_loop", "continue_loop"})
_TRANSPILE = (
    "transpile the circuit for this backend: "
    "generate_preset_pass_manager(optimization_level=1, backend=backend).run(circuit)"
)


def check_circuit(circuit: QuantumCircuit, target: Target, machine: str, where: str) -> None:
    """Refuse a circuit with an instruction that the target does not have, bodies of control flow included.

    20,000 instructions take about 0.05 s: each pair of a name and its qubits is looked up once.

    Args:
        circuit: its qubit 0 is the target's qubit 0.
        target: what there is.
        machine: the target's name, for the message.
        where: the circuit's place in the call, for the message.

    Raises:
        InputError: an instruction cannot be run; names it, its place and its qubits.
    """
    if target.num_qubits is not None and circuit.num_qubits > target.num_qubits:
        there = target.num_qubits
        raise LimitExceeded(f"{where}: the circuit has {circuit.num_qubits} qubits and {machine} has {there}")
    _check_block(
        circuit, {qubit: index for index, qubit in enumerate(circuit.qubits)}, _Machine(target, machine), where
    )


def check_measured(circuit: QuantumCircuit, where: str) -> None:
    """Refuse a circuit whose sampling would give nothing: no classical register, or no measurement.

    Raises:
        InputError: it is so, or a register's name or size cannot stand in a result.
    """
    if not circuit.cregs:
        raise InputError(f"{where}: the circuit has no classical register, so nothing comes back: add measure_all()")
    for register in circuit.cregs:
        if register.size == 0:
            raise InputError(f"{where}: the classical register {register.name!r} has no bits: leave it out")
        if not register.name.isidentifier() or keyword.iskeyword(register.name):
            raise InputError(
                f"{where}: the classical register {register.name!r} must be named like a Python variable, "
                f"since it becomes result[i].data.NAME"
            )
        if register.name in _TAKEN:
            raise InputError(f"{where}: a classical register cannot be named {register.name!r}: DataBin uses that name")
    if not _measures(circuit):
        raise InputError(f"{where}: the circuit has no measurement, so every bit stays 0: add measure_all()")


_TAKEN = frozenset(name for name in dir(DataBin) if not name.startswith("__"))


class _Machine:
    def __init__(self, target: Target, name: str) -> None:
        self.target = target
        self.name = name
        bounded = target.has_angle_bounds()
        self.bounded = {gate for gate in target.operation_names if bounded and target.gate_has_angle_bounds(gate)}


def _check_block(block: QuantumCircuit, places: Mapping[Qubit, int], machine: _Machine, where: str) -> None:
    seen: set[tuple[str, tuple[Qubit, ...]]] = set()
    for index, instruction in enumerate(block.data):
        name = instruction.name
        key = (name, instruction.qubits)
        if key not in seen:
            seen.add(key)
            qubits = tuple(places[qubit] for qubit in instruction.qubits)
            if name not in _NEEDS_NO_HARDWARE and not machine.target.instruction_supported(name, qubits):
                raise InputError(f"{_place(where, index, name, qubits)}: {_why(machine, name, qubits)}")
        if name in CONTROL_FLOW_OP_NAMES:
            _check_bodies(instruction, index, places, machine, where)
        elif name in machine.bounded:
            _check_angles(instruction, index, places, machine, where)


def _check_bodies(
    instruction: CircuitInstruction, index: int, places: Mapping[Qubit, int], machine: _Machine, where: str
) -> None:
    outer = [places[qubit] for qubit in instruction.qubits]
    for number, body in enumerate(instruction.operation.blocks):
        inside = f"{_place(where, index, instruction.name, outer)}, body {number}"
        _check_block(body, dict(zip(body.qubits, outer, strict=True)), machine, inside)


def _check_angles(
    instruction: CircuitInstruction, index: int, places: Mapping[Qubit, int], machine: _Machine, where: str
) -> None:
    if any(isinstance(angle, ParameterExpression) for angle in instruction.params):
        return
    if not machine.target.supported_angle_bound(instruction.name, instruction.params):
        qubits = [places[qubit] for qubit in instruction.qubits]
        angles = ", ".join(f"{angle:g}" for angle in instruction.params)
        raise InputError(
            f"{_place(where, index, instruction.name, qubits)}: the angle {angles} is outside of what {machine.name} "
            f"takes; {_TRANSPILE}"
        )


def _place(where: str, index: int, name: str, qubits: Sequence[int]) -> str:
    on = f" on qubit{'s' if len(qubits) > 1 else ''} {', '.join(map(str, qubits))}" if qubits else ""
    return f"{where}, instruction {index} ({name}{on})"


def _why(machine: _Machine, name: str, qubits: tuple[int, ...]) -> str:
    target = machine.target
    if name not in target.operation_names:
        return f"{machine.name} has no {name}, it has {_listed(target.operation_names)}; {_TRANSPILE}"
    if len(qubits) == 1:
        return f"{machine.name} has no {name} on this qubit; {_TRANSPILE}"
    if target.instruction_supported(name, qubits[::-1]):
        other = ", ".join(map(str, qubits[::-1]))
        return f"{machine.name} has {name} in the other direction only ({other}); {_TRANSPILE}"
    neighbours = sorted({q for pair in target.qargs_for_operation_name(name) or () if qubits[0] in pair for q in pair})
    coupled = ", ".join(str(q) for q in neighbours if q != qubits[0]) or "none"
    return f"these qubits are not coupled, qubit {qubits[0]} has {name} with {coupled}; {_TRANSPILE}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _measures(block: QuantumCircuit) -> bool:
    operations = block.count_ops()
    if "measure" in operations or CONTROL_FLOW_OP_NAMES.isdisjoint(operations):
        return "measure" in operations
    bodies = (each.operation.blocks for each in block.data if each.name in CONTROL_FLOW_OP_NAMES)
    return any(_measures(body) for blocks in bodies for body in blocks)
