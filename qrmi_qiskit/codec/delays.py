# SPDX-License-Identifier: Apache-2.0
"""Delays in units of dt, the only ones that survive QPY.

QPY drops the unit of a delay, up to version 18 at least: 3000 ns come back as 3000 dt, without a word
(https://github.com/Qiskit/qiskit/issues/8293).
"""

from __future__ import annotations

from qiskit import QuantumCircuit
from qiskit.circuit import CONTROL_FLOW_OP_NAMES, CircuitInstruction, Delay, ParameterExpression
from qiskit.utils import apply_prefix

from qrmi_core import InputError

__all__ = ["with_delays_in_dt"]

_KEPT = frozenset({"dt", "expr"})


def with_delays_in_dt(circuit: QuantumCircuit, dt: float | None) -> QuantumCircuit:
    """Return the circuit with every delay in multiples of ``dt`` seconds; the circuit itself where nothing changes.

    Raises:
        InputError: a delay cannot be converted, since there is no ``dt`` or its duration is a parameter.
    """
    if not _has_other_units(circuit):
        return circuit
    converted = circuit.copy_empty_like()
    for instruction in circuit.data:
        converted.append(_converted(instruction, dt), copy=False)
    return converted


def _has_other_units(circuit: QuantumCircuit) -> bool:
    names = circuit.count_ops().keys()
    if "delay" not in names and names.isdisjoint(CONTROL_FLOW_OP_NAMES):
        return False
    for instruction in circuit.data:
        if instruction.name == "delay" and instruction.operation.unit not in _KEPT:
            return True
        if instruction.is_control_flow() and any(map(_has_other_units, instruction.operation.blocks)):
            return True
    return False


def _converted(instruction: CircuitInstruction, dt: float | None) -> CircuitInstruction:
    if instruction.is_control_flow():
        blocks = [with_delays_in_dt(block, dt) for block in instruction.operation.blocks]
        return instruction.replace(operation=instruction.operation.replace_blocks(blocks))
    if instruction.name != "delay" or instruction.operation.unit in _KEPT:
        return instruction
    duration, unit = instruction.operation.duration, instruction.operation.unit
    what = f"a delay of {duration} {unit} would lose its unit on its way (QPY keeps none)"
    if isinstance(duration, ParameterExpression):
        raise InputError(f"{what}: give its duration in dt")
    if dt is None:
        raise InputError(f"{what}, and the backend has no dt to convert it to: give it in dt, or leave it out")
    return instruction.replace(operation=Delay(round(apply_prefix(duration, unit) / dt), "dt"))
