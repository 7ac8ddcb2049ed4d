# SPDX-License-Identifier: Apache-2.0
"""From a job of an IQM server to Qiskit circuits of the qubits in use, or to the reason why it cannot be run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import Clbit, Qubit

from qrmi_core import InputError, UnsupportedPayload
from qrmi_qiskit.iqm.lattice import Lattice

__all__ = ["MAX_INSTRUCTIONS", "Program", "read_job"]

MAX_INSTRUCTIONS = 100_000

OPERATIONS = ("barrier", "cc_prx", "cz", "delay", "measure", "prx", "reset")

_HERALDING = ("none", "zeros")


@dataclass(frozen=True)
class Program:
    """A circuit on the qubits that it uses.

    ``keys`` are its measurement keys in the order of the circuit, each with the number of its qubits; their bits
    follow each other in the circuit's classical bits.
    """

    circuit: QuantumCircuit
    keys: Mapping[str, int]


def read_job(job: Mapping[str, Any], lattice: Lattice) -> list[Program]:
    """Read the circuits of a job; a device without noise and drift has nothing for its other options to change.

    Raises:
        InputError: the job is not well formed or does not fit the lattice; says in which circuit and instruction.
    """
    calibration = job.get("calibration_set_id")
    if calibration not in (None, lattice.calibration_set_id):
        raise InputError(
            f"there is no calibration set {calibration}, the only one is {lattice.calibration_set_id}",
            code="calibration_set_not_found",
        )
    heralding = job.get("heralding_mode") or _HERALDING[0]
    if heralding not in _HERALDING:
        raise InputError(f"heralding_mode is {heralding!r}: it is {' or '.join(_HERALDING)}")
    mapping = _mapping(job.get("qubit_mapping"))
    couplings = frozenset(map(frozenset, lattice.couplings))
    qubits = {name: index for index, name in enumerate(lattice.qubits)}
    return [_read(f"circuit {i}", one, mapping, qubits, couplings) for i, one in enumerate(job["circuits"])]


def _mapping(told: Any) -> Mapping[str, str] | None:
    if told is None:
        return None
    try:
        pairs = (
            told.items() if isinstance(told, dict) else [(one["logical_name"], one["physical_name"]) for one in told]
        )
        mapping = {str(logical): str(physical) for logical, physical in pairs}
    except (TypeError, KeyError) as error:
        raise InputError(
            'qubit_mapping is a list of {"logical_name", "physical_name"}; this is something else'
        ) from error
    if len(set(mapping.values())) < len(mapping):
        raise InputError("qubit_mapping maps two logical qubits to the same physical one")
    return mapping


def _read(
    where: str,
    circuit: Any,
    mapping: Mapping[str, str] | None,
    qubits: Mapping[str, int],
    couplings: frozenset[frozenset[str]],
) -> Program:
    if isinstance(circuit, str):
        raise UnsupportedPayload(f"{where} is a QIR string, which this simulator does not read: send instructions")
    instructions = circuit.get("instructions") if isinstance(circuit, dict) else None
    if not isinstance(instructions, list):
        raise InputError(f'{where} has no "instructions": a list was expected')
    if len(instructions) > MAX_INSTRUCTIONS:
        raise InputError(f"{where} has {len(instructions)} instructions, {MAX_INSTRUCTIONS} are taken")
    read = [_instruction(f"{where}, instruction {i}", one, mapping, qubits) for i, one in enumerate(instructions)]
    used = sorted({name for one in read for name in one.locus}, key=qubits.__getitem__)
    builder = _Builder(used, couplings)
    for one in read:
        builder.add(one)
    if not builder.keys:
        raise InputError(f"{where} measures nothing, so it has no result: add a measure")
    return Program(builder.circuit, builder.keys)


@dataclass(frozen=True)
class _Instruction:
    where: str
    name: str
    locus: Sequence[str]
    args: Mapping[str, Any]

    def number(self, argument: str) -> float:
        value = self.args.get(argument)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self.refused(f"its argument {argument} is {value!r}: a finite number was expected")
        return float(value)

    def text(self, argument: str) -> str:
        value = self.args.get(argument)
        if not isinstance(value, str) or not value:
            raise self.refused(f"its argument {argument} is {value!r}: a string was expected")
        return value

    def refused(self, why: str) -> InputError:
        return InputError(f"{self.where} ({self.name}): {why}")


def _instruction(where: str, told: Any, mapping: Mapping[str, str] | None, qubits: Mapping[str, int]) -> _Instruction:
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        raise InputError(f'{where}: {{"name", "locus", "args"}} was expected')
    # "qubits" is the word of clients from before November 2025.
    locus, args = told.get("locus", told.get("qubits")), told.get("args") or {}
    if not isinstance(locus, list) or not all(isinstance(name, str) for name in locus) or not isinstance(args, dict):
        raise InputError(f"{where} ({told['name']}): its locus is a list of qubits, its args an object")
    if mapping is not None:
        unmapped = next((name for name in locus if name not in mapping), None)
        if unmapped is not None:
            raise InputError(f"{where} ({told['name']}): the qubit {unmapped} is not in qubit_mapping")
        locus = [mapping[name] for name in locus]
    instruction = _Instruction(where, told["name"], locus, args)
    if instruction.name not in OPERATIONS:
        raise instruction.refused(f"no such operation is simulated, there are {', '.join(OPERATIONS)}")
    unknown = next((name for name in locus if name not in qubits), None)
    if unknown is not None:
        raise instruction.refused(f"there is no qubit {unknown}, there are {', '.join(qubits)}")
    if not locus or len(set(locus)) < len(locus):
        raise instruction.refused("its locus is empty or names a qubit twice")
    return instruction


class _Builder:
    """Adds one instruction after another to a circuit."""

    def __init__(self, used: Sequence[str], couplings: frozenset[frozenset[str]]) -> None:
        self.circuit = QuantumCircuit(len(used))
        self.keys: dict[str, int] = {}
        self._qubit_of: dict[str, Qubit] = dict(zip(used, self.circuit.qubits, strict=True))
        self._couplings = couplings
        self._feedback: dict[tuple[str, str], Clbit] = {}
        self._feedback_keys: set[str] = set()

    def add(self, told: _Instruction) -> None:
        known: Mapping[str, Callable[[_Instruction], None]] = {
            "barrier": lambda one: self.circuit.barrier(self._on(one)),
            "cc_prx": self._cc_prx,
            "cz": self._cz,
            "delay": self._delay,
            "measure": self._measure,
            "prx": self._prx,
            "reset": lambda one: self.circuit.reset(self._on(one)),
        }
        known[told.name](told)

    def _on(self, told: _Instruction, width: int | None = None) -> list[Qubit]:
        if width is not None and len(told.locus) != width:
            raise told.refused(f"it acts on {width} qubit{'s' if width > 1 else ''}, not {len(told.locus)}")
        return [self._qubit_of[name] for name in told.locus]

    def _prx(self, told: _Instruction) -> None:
        self.circuit.r(told.number("angle"), told.number("phase"), *self._on(told, 1))

    def _cz(self, told: _Instruction) -> None:
        pair = self._on(told, 2)
        if frozenset(told.locus) not in self._couplings:
            raise told.refused(f"{' and '.join(told.locus)} are not coupled")
        self.circuit.cz(*pair)

    def _delay(self, told: _Instruction) -> None:
        if told.number("duration") < 0:
            raise told.refused("its duration is negative")

    def _measure(self, told: _Instruction) -> None:
        key, qubits = told.text("key"), self._on(told)
        if key in self.keys:
            raise told.refused(f"the key {key!r} stands for two measurements")
        self.keys[key] = len(qubits)
        bits = [Clbit() for _ in qubits]
        self.circuit.add_bits(bits)
        self.circuit.measure(qubits, bits)
        if told.args.get("feedback_key") is not None:
            feedback = told.text("feedback_key")
            if feedback in self._feedback_keys:
                raise told.refused(f"the feedback key {feedback!r} stands for two measurements")
            self._feedback_keys.add(feedback)
            self._feedback |= {(feedback, name): bit for name, bit in zip(told.locus, bits, strict=True)}

    def _cc_prx(self, told: _Instruction) -> None:
        source = told.text("feedback_key"), told.text("feedback_qubit")
        if source not in self._feedback:
            raise told.refused(f"no measurement of {source[1]} before it has the feedback key {source[0]!r}")
        with self.circuit.if_test((self._feedback[source], 1)):
            self._prx(told)
