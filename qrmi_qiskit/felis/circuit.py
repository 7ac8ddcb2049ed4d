# SPDX-License-Identifier: Apache-2.0
"""A program as a Qiskit circuit of the qubits that it uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qiskit import QuantumCircuit

from qrmi_core import InputError
from qrmi_qiskit.felis.instructions import MEASUREMENTS, RECORDS
from qrmi_qiskit.felis.noise import CatNoise
from qrmi_qiskit.felis.qir import INVALID, NOT_SUPPORTED, Call
from qrmi_qiskit.felis.structure import Choice, Step

__all__ = ["Translated", "translate"]

_TO_Z = {"mx": ("h",), "my": ("sdg", "h"), "mz": ()}
_FROM_Z = {"mx": ("h",), "my": ("h", "s"), "mz": ()}
_PREPARED = {"prepare_x": ("h",), "prepare_y": ("h", "s"), "prepare_z": ()}


@dataclass(frozen=True)
class Translated:
    """A circuit, and for each character of an outcome the classical bit that it shows (None: it was never measured)."""

    circuit: QuantumCircuit
    shown: tuple[int | None, ...]

    def outcome(self, bits: int) -> str:
        """What Felis writes for a shot whose classical bits are those of a number."""
        return "".join("0" if index is None else str(bits >> index & 1) for index in self.shown)


def translate(steps: Sequence[Step], qubits: int, noise: CatNoise | None = None) -> Translated:
    """Make a circuit of a program for a device of ``qubits`` qubits, with the device's errors in it.

    An outcome shows the results in the order in which the program records them, or all of them, the highest number
    first, where it records none.

    Raises:
        InputError: the program uses a qubit that is not there, gives no result, or measures one that it has recorded.
    """
    calls = list(_calls(steps))
    used = sorted({qubit for call in calls for qubit in call.qubits})
    if used and used[-1] >= qubits:
        call = next(call for call in calls if used[-1] in call.qubits)
        raise InputError(
            f"line {call.line}: {call.function} acts on qubit {used[-1]}, and the target has {qubits} qubits, from 0",
            code=NOT_SUPPORTED,
        )
    results = sorted({call.result for call in calls if call.gate in MEASUREMENTS and call.result is not None})
    recorded = _recorded(calls) or results[::-1]
    if not recorded:
        raise InputError("the program measures and records nothing", code=INVALID)
    place = {result: index for index, result in enumerate(results)}
    writer = _Writer({qubit: index for index, qubit in enumerate(used)}, place, noise)
    writer.write(steps)
    return Translated(writer.circuit, tuple(place.get(result) for result in recorded))


def _calls(steps: Sequence[Step]) -> Iterator[Call]:
    for step in steps:
        if isinstance(step, Choice):
            yield from _calls(step.one)
            yield from _calls(step.zero)
        else:
            yield step


def _recorded(calls: Sequence[Call]) -> list[int]:
    recorded: dict[int, None] = {}
    shown = []
    for call in calls:
        if call.result is None:
            continue
        if call.gate == RECORDS:
            recorded[call.result] = None
            shown.append(call.result)
        elif call.result in recorded:
            raise InputError(
                f"line {call.line}: {call.function} measures result {call.result} after it was recorded", code=INVALID
            )
    return shown


class _Writer:
    """Writes gates one after another.

    What turns a qubit back after a measurement along X or Y is written only when the qubit is used again: nothing
    follows most measurements, and then Aer draws all shots from one state. For the same reason a qubit that nothing
    has acted on is not reset.
    """

    def __init__(self, qubits: dict[int, int], results: dict[int, int], noise: CatNoise | None) -> None:
        self.circuit = QuantumCircuit(max(1, len(qubits)), len(results))
        self._qubits = qubits
        self._results = results
        self._noise = noise
        self._touched: set[int] = set()
        self._late: dict[int, tuple[str, ...]] = {}

    def write(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Choice):
                self._choice(step)
            elif step.gate != RECORDS:
                self._call(step)

    def _choice(self, choice: Choice) -> None:
        bit = self._results.get(choice.result)
        if bit is None:  # a result that is never measured is 0
            self.write(choice.zero)
            return
        self._turn_back(list(self._late))
        clbit = self.circuit.clbits[bit]
        if not choice.one:
            with self.circuit.if_test((clbit, 0)):
                self._branch(choice.zero)
            return
        with self.circuit.if_test((clbit, 1)) as otherwise:
            self._branch(choice.one)
        if choice.zero:
            with otherwise:
                self._branch(choice.zero)

    def _branch(self, steps: Sequence[Step]) -> None:
        self.write(steps)
        self._turn_back(list(self._late))

    def _call(self, call: Call) -> None:
        if call.gate == "barrier":
            self.circuit.barrier()
            return
        qubits = [self._qubits[qubit] for qubit in call.qubits]
        if call.gate == "reset" or call.gate in _PREPARED:
            self._prepare(call, qubits[0])
            return
        self._turn_back(qubits)
        self._touched.update(qubits)
        if call.gate in MEASUREMENTS and call.result is not None:
            self._errors(call, qubits)
            self._gates(_TO_Z[call.gate], qubits[0])
            self.circuit.measure(qubits[0], self._results[call.result])
            self._late[qubits[0]] = _FROM_Z[call.gate]
        elif call.gate == "delay":
            if call.numbers[0] < 0:
                raise InputError(f"line {call.line}: {call.function} is given a negative time", code=INVALID)
            self.circuit.delay(call.numbers[0], qubits[0], unit="us")
            self._errors(call, qubits)
        else:
            getattr(self.circuit, call.gate)(*call.numbers, *qubits)
            self._errors(call, qubits)

    def _prepare(self, call: Call, qubit: int) -> None:
        self._late.pop(qubit, None)
        if qubit in self._touched:
            self.circuit.reset(qubit)
        self._touched.add(qubit)
        if call.numbers and call.numbers[0]:
            self.circuit.x(qubit)
        self._gates(_PREPARED.get(call.gate, ()), qubit)
        self._errors(call, [qubit])

    def _errors(self, call: Call, qubits: Sequence[int]) -> None:
        """Write what a device with noise does beside the call."""
        if self._noise is None:
            return
        seconds = call.numbers[0] * 1e-6 if call.gate == "delay" else self._noise.step
        for qubit in qubits:
            self.circuit.append(self._noise.idle(seconds), [qubit])
        if call.gate == "cx":
            self.circuit.append(self._noise.control(), [qubits[0]])

    def _turn_back(self, qubits: Sequence[int]) -> None:
        for qubit in qubits:
            self._gates(self._late.pop(qubit, ()), qubit)

    def _gates(self, names: Sequence[str], qubit: int) -> None:
        for name in names:
            getattr(self.circuit, name)(qubit)
