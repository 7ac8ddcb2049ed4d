# SPDX-License-Identifier: Apache-2.0
"""Values of parametrised circuits, in the form in which Aer binds a whole sweep in one run.

Aer binds plain parameters fast and evaluates expressions point by point in Python: 14 us for each point and
expression. Transpilers write many (``theta + pi/2``), nearly all of them affine. So each expression becomes a
parameter of its own, whose values are computed here, for all points at once where it is affine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Parameter, ParameterExpression
from qiskit.primitives.containers.bindings_array import BindingsArray

__all__ = ["bound_sweep"]

Values = NDArray[np.float64]

_BOUND_BY_AER = frozenset({"p", "r", "rx", "rxx", "ry", "ryy", "rz", "rzx", "rzz", "u", "u1", "u2", "u3"})
"""The gates whose parameters Aer 0.18 binds. Those of controlled gates it ignores without a word."""


def bound_sweep(circuit: QuantumCircuit, values: BindingsArray) -> tuple[QuantumCircuit, dict[Parameter, Values]]:
    """Return the circuit with plain parameters only, and their values at each point of ``values``, flattened."""
    if not circuit.num_parameters:
        return circuit, {}
    columns = values.as_array(circuit.parameters).reshape(values.size, circuit.num_parameters)
    known = {parameter: columns[:, i] for i, parameter in enumerate(circuit.parameters)}
    sweep = _Sweep(known)
    return sweep.rewritten(circuit), sweep.binds


class _Sweep:
    def __init__(self, known: Mapping[Parameter, Values]) -> None:
        self._known = known
        self._named: dict[ParameterExpression, Parameter] = {}
        self.binds: dict[Parameter, Values] = {}

    def rewritten(self, circuit: QuantumCircuit) -> QuantumCircuit:
        new = circuit.copy_empty_like()
        new.global_phase = 0
        for instruction in circuit.data:
            for part in _bindable(instruction):
                new.append(self._instruction(part), copy=False)
        return new

    def _instruction(self, instruction: CircuitInstruction) -> CircuitInstruction:
        if instruction.is_control_flow():
            blocks = [self.rewritten(block) for block in instruction.operation.blocks]
            return instruction.replace(operation=instruction.operation.replace_blocks(blocks))
        if not instruction.is_parameterized():
            return instruction
        operation = instruction.operation.to_mutable()
        operation.params = [self._plain(parameter) for parameter in operation.params]
        return instruction.replace(operation=operation)

    def _plain(self, value: Any) -> Any:
        """The parameter that stands for an expression of known parameters; anything else is left as it is."""
        if not isinstance(value, ParameterExpression) or not value.parameters:
            return value
        if not value.parameters <= self._known.keys():
            return value
        if isinstance(value, Parameter):
            self.binds[value] = self._known[value]
            return value
        if value not in self._named:
            self._named[value] = Parameter(f"expression_{len(self._named)}")
            self.binds[self._named[value]] = self._evaluated(value)
        return self._named[value]

    def _evaluated(self, expression: ParameterExpression) -> Values:
        names = list(expression.parameters)
        points = np.stack([self._known[name] for name in names], axis=-1)
        affine = _affine(expression, names)
        if affine is not None:
            return affine(points)
        return np.array([_at(expression, names, point) for point in points])


def _bindable(instruction: CircuitInstruction) -> list[CircuitInstruction]:
    """The instruction, or the ones that Aer can bind and that it is made of (up to a global phase)."""
    definition = instruction.operation.definition if instruction.is_parameterized() else None
    if definition is None or instruction.name in _BOUND_BY_AER or instruction.is_control_flow():
        return [instruction]
    outer = dict(zip(definition.qubits, instruction.qubits, strict=True))
    parts = (part.replace(qubits=[outer[qubit] for qubit in part.qubits]) for part in definition.data)
    return [bindable for part in parts for bindable in _bindable(part)]


class _Affine(NamedTuple):
    offset: float
    slopes: Values

    def __call__(self, points: Values) -> Values:
        values: Values = self.offset + points @ self.slopes
        return values


def _affine(expression: ParameterExpression, names: Sequence[Parameter]) -> _Affine | None:
    """The expression as an affine function; None where it is not one."""
    try:
        slopes = [expression.gradient(name) for name in names]
    except RuntimeError:  # it has no derivative
        return None
    if not all(isinstance(slope, float | int) for slope in slopes):
        return None
    affine = _Affine(_at(expression, names, np.zeros(len(names))), np.array(slopes, dtype=float))
    # A step function's slope is constant too, almost everywhere; two more points tell it.
    probes = np.outer([1.0, -1.0], 1.37 + np.arange(len(names)))
    return affine if np.allclose(affine(probes), [_at(expression, names, probe) for probe in probes]) else None


def _at(expression: ParameterExpression, names: Sequence[Parameter], point: Values) -> float:
    return float(expression.bind(dict(zip(names, point.tolist(), strict=True))))
