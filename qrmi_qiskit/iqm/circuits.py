# SPDX-License-Identifier: Apache-2.0
"""Qiskit circuits in IQM's JSON, and the measurements that come back as bits of classical registers.

A measurement's key tells its bit: ``<register>_<its length>_<its index>_<the bit's index>``, as IQM's own Qiskit
package writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import CircuitInstruction, Clbit, Qubit

from qrmi_core import InputError, ResultError

__all__ = ["Register", "circuit_json", "register_bits", "registers_of", "registers_told"]

_KEY = re.compile(r"(.*)_(\d+)_(\d+)_(\d+)", re.DOTALL)
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}

Register = tuple[str, int]
"""A classical register: its name and length."""


def circuit_json(circuit: QuantumCircuit, qubits: Sequence[str], where: str) -> dict[str, Any]:
    """A circuit without parameters, as IQM's servers take it; qubit ``i`` is the device's ``qubits[i]``.

    Raises:
        InputError: an instruction has no form there; says which.
    """
    writer = _Writer(circuit, qubits, where)
    for index, instruction in enumerate(circuit.data):
        writer.add(instruction, f"{where}, instruction {index} ({instruction.name})")
    return {"name": circuit.name, "instructions": writer.written, "metadata": {}}


class _Writer:
    def __init__(self, circuit: QuantumCircuit, qubits: Sequence[str], where: str) -> None:
        self.written: list[dict[str, Any]] = []
        self._names: dict[Qubit, str] = dict(zip(circuit.qubits, qubits, strict=False))
        self._keys = _keys(circuit)
        self._measured: dict[Clbit, dict[str, Any]] = {}

    def add(self, instruction: CircuitInstruction, where: str) -> None:
        match instruction.name:
            case "r":
                self._prx("prx", instruction, instruction.qubits, {})
            case "cz" | "barrier" | "reset":
                self._write(instruction.name, instruction.qubits)
            case "delay":
                self._write("delay", instruction.qubits, duration=_duration(instruction, where))
            case "measure":
                self._measure(instruction)
            case "if_else":
                self._conditional(instruction, where)
            case "id":
                pass
            case name:
                raise InputError(f"{where}: IQM has no {name}; transpile the circuit for this backend")

    def _write(self, name: str, qubits: Sequence[Qubit], **args: Any) -> dict[str, Any]:
        written = {"name": name, "locus": [self._names[qubit] for qubit in qubits], "args": args}
        self.written.append(written)
        return written

    def _prx(
        self, name: str, instruction: CircuitInstruction, qubits: Sequence[Qubit], feedback: Mapping[str, str]
    ) -> None:
        angle, phase = map(float, instruction.params)
        self._write(name, qubits, angle=angle, phase=phase, **feedback)

    def _measure(self, instruction: CircuitInstruction) -> None:
        bit = instruction.clbits[0]
        if (earlier := self._measured.get(bit)) is not None:
            # The bit is written anew: the register keeps the last value, and a key stands for one measurement.
            earlier["args"]["key"] = f"overwritten.{len(self.written)}"
        self._measured[bit] = self._write("measure", instruction.qubits, key=self._keys[bit])

    def _conditional(self, instruction: CircuitInstruction, where: str) -> None:
        """A gate that depends on one measured bit is IQM's cc_prx."""
        operation = instruction.operation
        bit, value = _condition(operation.condition, where)
        bodies = [body for body in operation.blocks if body.data]
        if value != 1 or len(bodies) != 1 or bodies[0] is not operation.blocks[0]:
            raise InputError(f"{where}: IQM's gates can depend on a bit that is 1, without an else")
        source = self._measured.get(bit)
        if source is None:
            raise InputError(f"{where}: the bit that it depends on has not been measured")
        feedback = source["args"].setdefault("feedback_key", f"feedback.{len(self.written)}")
        outer = dict(zip(bodies[0].qubits, instruction.qubits, strict=True))
        for inner in bodies[0].data:
            if inner.name != "r":
                raise InputError(f"{where}: of IQM's gates r alone can depend on a measurement, not {inner.name}")
            told = {"feedback_key": feedback, "feedback_qubit": source["locus"][0]}
            self._prx("cc_prx", inner, [outer[qubit] for qubit in inner.qubits], told)


def _condition(condition: Any, where: str) -> tuple[Clbit, int]:
    if isinstance(condition, tuple):
        bit, value = condition
        if isinstance(bit, ClassicalRegister) and bit.size == 1:
            bit = bit[0]
        if isinstance(bit, Clbit):
            return bit, int(value)
    raise InputError(f"{where}: IQM's gates can depend on one measured bit, not on an expression or a register")


def _duration(instruction: CircuitInstruction, where: str) -> float:
    unit = instruction.operation.unit
    if unit not in _SECONDS:
        raise InputError(f"{where}: IQM has no time step, so a delay has no unit {unit!r}: use seconds")
    return float(instruction.operation.duration) * _SECONDS[unit]


def _keys(circuit: QuantumCircuit) -> dict[Clbit, str]:
    """The key of each classical bit, by the first register that holds it."""
    keys: dict[Clbit, str] = {}
    for number, register in enumerate(circuit.cregs):
        for index, bit in enumerate(register):
            keys.setdefault(bit, _key((register.name, register.size), number, index))
    return keys


def _key(register: Register, number: int, index: int) -> str:
    name, size = register
    return f"{name}_{size}_{number}_{index}"


def registers_of(circuit: QuantumCircuit) -> list[Register]:
    """The classical registers of a circuit."""
    return [(register.name, register.size) for register in circuit.cregs]


def registers_told(measurements: Mapping[str, Any]) -> list[Register]:
    """The classical registers as far as the keys of measurements tell them.

    Raises:
        ResultError: a key is not one of ours.
    """
    found: dict[int, Register] = {}
    for key in measurements:
        if key.startswith("overwritten."):
            continue
        parts = _KEY.fullmatch(key)
        if parts is None:
            raise ResultError(f"the measurement key {key!r} was not written by Qiskit: read the result as IQM's JSON")
        found[int(parts[3])] = parts[1], int(parts[2])
    return [register for _, register in sorted(found.items())]


def register_bits(measurements: Mapping[str, Any], registers: Sequence[Register]) -> dict[str, NDArray[np.bool_]]:
    """The bits of each register, a row for each shot; a bit that nothing was written to is 0.

    Raises:
        ResultError: the measurements are not of the form that IQM's servers promise.
    """
    try:
        columns = {key: np.fromiter(chain.from_iterable(rows), np.uint8) != 0 for key, rows in measurements.items()}
        # A measurement of Qiskit's is of one qubit, so its rows have one bit each.
        (shots,) = {len(column) for column in columns.values()} | {len(rows) for rows in measurements.values()}
    except (TypeError, ValueError, OverflowError) as error:
        raise ResultError(f"the measurements are no rows of bits of equal number: {error}", transient=True) from error
    found = {}
    for number, register in enumerate(registers):
        bits = np.zeros((shots, register[1]), dtype=np.bool_)
        for index in range(register[1]):
            column = columns.get(_key(register, number, index))
            if column is not None:
                bits[:, index] = column
        found[register[0]] = bits
    return found
