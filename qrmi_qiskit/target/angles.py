# SPDX-License-Identifier: Apache-2.0
"""Rzz on IBM's processors takes angles from 0 to pi/2; this tells the transpiler how to reach the others."""

from __future__ import annotations

import functools
import math

from qiskit.circuit import Qubit
from qiskit.circuit.library import RZGate, RZZGate, XGate
from qiskit.dagcircuit import DAGCircuit

__all__ = ["RZZ_BOUNDS", "fold_rzz", "register_rzz"]

RZZ_BOUNDS = [(0.0, math.pi / 2)]
"""The angles that IBM's processors take, as ``Target.add_instruction(angle_bounds=)`` wants them."""


@functools.cache
def register_rzz() -> None:
    """Let every pass manager of this process fold the angles of rzz."""
    from qiskit.transpiler.passes.utils.wrap_angles import WRAP_ANGLE_REGISTRY

    WRAP_ANGLE_REGISTRY.add_wrapper("rzz", fold_rzz)


def fold_rzz(angles: list[float], _qubits: list[Qubit]) -> DAGCircuit:
    """Return rzz of any angle in terms of rz, x and rzz of 0 to pi/2, its global phase included.

    With rzz(a) = exp(-i a ZZ / 2): a turn of 2 pi is a factor -1; rzz(pi) = i rz(pi) rz(pi); and an X before and
    after on one qubit turns the sign of the angle.
    """
    dag = DAGCircuit()
    first, second = Qubit(), Qubit()
    dag.add_qubits([first, second])
    turns = round(angles[0] / math.tau)
    angle = angles[0] - turns * math.tau
    phase = math.pi * (turns % 2)
    if abs(angle) > math.pi / 2:
        half = math.copysign(math.pi, angle)
        angle -= half
        phase += half / 2
        dag.apply_operation_back(RZGate(math.pi), [first])
        dag.apply_operation_back(RZGate(math.pi), [second])
    if angle < 0:
        dag.apply_operation_back(XGate(), [first])
        dag.apply_operation_back(RZZGate(-angle), [first, second])
        dag.apply_operation_back(XGate(), [first])
    elif angle > 0:
        dag.apply_operation_back(RZZGate(angle), [first, second])
    dag.global_phase = phase
    return dag
