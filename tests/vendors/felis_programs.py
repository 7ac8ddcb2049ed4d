# SPDX-License-Identifier: Apache-2.0
"""Random programs, each written twice: as QIR text, and as a Qiskit circuit that says what it means."""

from __future__ import annotations

import struct

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

__all__ = ["RandomProgram"]

ONE = {"h__body": "h", "x__body": "x", "y__body": "y", "z__body": "z", "s__body": "s", "t__body": "t"} | {
    "s__adj": "sdg",
    "t__adj": "tdg",
}
TURNED = {"rx__body": "rx", "ry__body": "ry", "rz__body": "rz"}
TWO = {"cnot__body": "cx", "cx__body": "cx", "cz__body": "cz", "swap__body": "swap"}
THREE = {"ccx__body": "ccx", "toffoli__body": "ccx"}
MEASURED = {"mz__body": "", "m__body": "", "measure__body": "", "mx__body": "x", "my__body": "y"}
RESULTS = 4
RESETS = 3
CHOICES = 2


class RandomProgram:
    """Gates, measurements along every axis, preparations, resets and choices that results decide, in random order.

    ``circuit`` resets a qubit by measuring it into the register ``scratch`` and flipping it if that gave 1; the
    outcome of the program is the register ``c``.
    """

    def __init__(self, seed: int, *, choices: int = CHOICES) -> None:
        self.random = np.random.default_rng(seed)
        self.opaque = bool(self.random.integers(2))
        self.width = int(self.random.integers(3, 6))
        self.numbers = [int(number) for number in self.random.permutation(30)[: self.width]]
        self.circuit = QuantumCircuit(
            QuantumRegister(self.width, "q"), ClassicalRegister(RESULTS, "c"), ClassicalRegister(RESETS, "scratch")
        )
        self.lines = ["entry:", self._runtime("initialize", "ptr null" if self.opaque else "i8* null")]
        self.measured = 0
        self.resets = 0
        self.choices = 0
        for _ in range(30):
            self._step(choices)
        while self.measured < RESULTS:
            self._gate()
            self._measure()
        for index in reversed(range(RESULTS)):
            self.lines.append(self._runtime("result_record_output", f"{self._result(index)}, {self._label()}"))

    @property
    def text(self) -> bytes:
        """The QIR."""
        head = [
            "; ModuleID = 'random'",
            'source_filename = "random"',
            "%Qubit = type opaque",
            "%Result = type opaque",
            "",
            'define void @"a random program"() #0 {',
        ]
        tail = [
            "  ret void",
            "}",
            "",
            'attributes #0 = { "entry_point" }',
            '!0 = !{i32 1, !"qir_major_version", i32 1}',
        ]
        return "\n".join([*head, *self.lines, *tail, ""]).encode()

    def _step(self, choices: int) -> None:
        drawn = self.random.random()
        if drawn < 0.06 and self.measured < RESULTS - 1:
            self._measure()
        elif drawn < 0.14 and self.resets < RESETS:
            self._prepare()
        elif drawn < 0.25 and self.measured and self.choices < choices:
            self._choose()
        else:
            self._gate()

    def _gate(self) -> None:
        one, two, three = (int(place) for place in self.random.permutation(self.width)[:3])
        kind = self.random.choice(["one", "turned", "two", "three", "rzz"], p=[0.3, 0.3, 0.25, 0.05, 0.1])
        angle = float(self.random.uniform(-7, 7))
        if kind == "one":
            self._both(str(self.random.choice(list(ONE))), ONE, one)
        elif kind == "turned":
            self._both(str(self.random.choice(list(TURNED))), TURNED, one, angle=angle)
        elif kind == "two":
            self._both(str(self.random.choice(list(TWO))), TWO, one, two)
        elif kind == "three":
            self._both(str(self.random.choice(list(THREE))), THREE, one, two, three)
        else:
            self._both("rzz__body", {"rzz__body": "rzz"}, one, two, angle=angle)

    def _both(self, name: str, meanings: dict[str, str], *places: int, angle: float | None = None) -> None:
        numbers = [] if angle is None else [angle]
        getattr(self.circuit, meanings[name])(*numbers, *places)
        # LLVM writes a double in hexadecimal where a short decimal is not exact.
        written = [f"double 0x{struct.pack('>d', number).hex().upper()}" for number in numbers]
        self._call(name, *written, *(self._qubit(place) for place in places))

    def _measure(self) -> None:
        name, place = str(self.random.choice(list(MEASURED))), int(self.random.integers(self.width))
        axis = MEASURED[name]
        if axis == "y":
            self.circuit.sdg(place)
        if axis:
            self.circuit.h(place)
        self.circuit.measure(place, self.circuit.cregs[0][self.measured])
        if axis:
            self.circuit.h(place)
        if axis == "y":
            self.circuit.s(place)
        self._call(name, self._qubit(place), self._result(self.measured))
        self.measured += 1

    def _prepare(self) -> None:
        name, place = str(self.random.choice(["reset", "prepare_x", "prepare_y", "prepare_z"])), self._place()
        scratch = self.circuit.cregs[1][self.resets]
        self.circuit.measure(place, scratch)
        with self.circuit.if_test((scratch, 1)):
            self.circuit.x(place)
        self.resets += 1
        bit = name != "reset" and bool(self.random.integers(2))
        if bit:
            self.circuit.x(place)
        if name in {"prepare_x", "prepare_y"}:
            self.circuit.h(place)
        if name == "prepare_y":
            self.circuit.s(place)
        self._call(f"{name}__body", *([] if name == "reset" else [f"i1 {str(bit).lower()}"]), self._qubit(place))

    def _choose(self) -> None:
        number, result = self.choices, int(self.random.integers(self.measured))
        self.choices += 1
        self.lines += [
            f"  %{number} = call i1 @__quantum__qis__read_result__body({self._result(result)})",
            f"  br i1 %{number}, label %then{number}, label %else{number}",
            "",
            f"then{number}:  ; preds = %entry",
        ]
        with self.circuit.if_test((self.circuit.cregs[0][result], 1)) as otherwise:
            self._gate()
            self._gate()
        self.lines += [f"  br label %continue{number}", "", f"else{number}:"]
        with otherwise:
            self._gate()
        self.lines += [f"  br label %continue{number}", "", f"continue{number}:"]

    def _place(self) -> int:
        return int(self.random.integers(self.width))

    def _call(self, name: str, *arguments: str) -> None:
        self.lines.append(f"  call void @__quantum__qis__{name}({', '.join(arguments)})")

    def _runtime(self, name: str, arguments: str) -> str:
        return f"  call void @__quantum__rt__{name}({arguments})"

    def _label(self) -> str:
        return "ptr @0" if self.opaque else "i8* getelementptr inbounds ([3 x i8], [3 x i8]* @0, i32 0, i32 0)"

    def _qubit(self, place: int) -> str:
        return self._pointer(self.numbers[place], "%Qubit*")

    def _result(self, index: int) -> str:
        return self._pointer(index, "%Result*")

    def _pointer(self, number: int, kind: str) -> str:
        kind = "ptr" if self.opaque else kind
        return f"{kind} inttoptr (i64 {number} to {kind})" if number else f"{kind} null"
