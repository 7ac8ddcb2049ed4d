# SPDX-License-Identifier: Apache-2.0
"""What was measured on a backend: IBM's ``properties`` JSON with its units applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from qrmi_core import InputError, ResultError

__all__ = ["Properties"]

_EXPONENTS = {"f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12}
_FACTORS: dict[str, tuple[int, int]] = {
    prefix: (10 ** max(power, 0), 10 ** max(-power, 0)) for prefix, power in _EXPONENTS.items()
}

Values = Mapping[str, float]


@dataclass(frozen=True)
class Properties:
    """The calibration of a backend at one moment.

    ``qubits[q]`` and ``gates[name][qubits]`` hold what the backend reports, in seconds, hertz or without
    unit: ``T1``, ``T2``, ``frequency``, ``readout_error``, ``readout_length``, ``prob_meas0_prep1`` ...;
    ``gate_error``, ``gate_length``. The methods are named as those of qiskit-ibm-runtime's
    ``BackendProperties``; they raise :class:`~qrmi_core.InputError` where the backend reports no such value.
    """

    backend_name: str
    backend_version: str
    last_update_date: datetime | None
    qubits: Sequence[Values]
    gates: Mapping[str, Mapping[tuple[int, ...], Values]]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read IBM's ``properties`` object.

        Raises:
            ResultError: it is not one.
        """
        try:
            gates: dict[str, dict[tuple[int, ...], Values]] = {}
            for gate in data["gates"]:
                gates.setdefault(gate["gate"], {})[tuple(gate["qubits"])] = _values(gate["parameters"])
            date = data.get("last_update_date")
            return cls(
                backend_name=str(data.get("backend_name", "")),
                backend_version=str(data.get("backend_version", "")),
                last_update_date=datetime.fromisoformat(date) if isinstance(date, str) else date,
                qubits=[_values(qubit) for qubit in data["qubits"]],
                gates=gates,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ResultError(
                f"the properties of the backend cannot be read ({type(error).__name__}: {error})"
            ) from error

    def t1(self, qubit: int) -> float:
        """T1 in seconds."""
        return self._of_qubit(qubit, "T1")

    def t2(self, qubit: int) -> float:
        """T2 in seconds."""
        return self._of_qubit(qubit, "T2")

    def frequency(self, qubit: int) -> float:
        """Frequency in hertz."""
        return self._of_qubit(qubit, "frequency")

    def readout_error(self, qubit: int) -> float:
        """Probability of a wrong readout."""
        return self._of_qubit(qubit, "readout_error")

    def readout_length(self, qubit: int) -> float:
        """Duration of a readout in seconds."""
        return self._of_qubit(qubit, "readout_length")

    def gate_error(self, gate: str, qubits: int | Iterable[int]) -> float:
        """Error of a gate: one minus its average fidelity."""
        return self._of_gate(gate, qubits, "gate_error")

    def gate_length(self, gate: str, qubits: int | Iterable[int]) -> float:
        """Duration of a gate in seconds."""
        return self._of_gate(gate, qubits, "gate_length")

    def is_qubit_operational(self, qubit: int) -> bool:
        """False when the backend says that the qubit does not work."""
        return qubit >= len(self.qubits) or bool(self.qubits[qubit].get("operational", True))

    def is_gate_operational(self, gate: str, qubits: int | Iterable[int]) -> bool:
        """False when the backend says that the gate does not work on these qubits."""
        return bool(self.gates.get(gate, {}).get(_tuple(qubits), {}).get("operational", True))

    def faulty_qubits(self) -> list[int]:
        """The qubits that do not work."""
        return [qubit for qubit in range(len(self.qubits)) if not self.is_qubit_operational(qubit)]

    def faulty_gates(self) -> list[tuple[str, tuple[int, ...]]]:
        """The gates that do not work, as (name, qubits)."""
        return [
            (name, qubits)
            for name, places in self.gates.items()
            for qubits in places
            if not self.is_gate_operational(name, qubits)
        ]

    def _of_qubit(self, qubit: int, name: str) -> float:
        if not 0 <= qubit < len(self.qubits):
            raise InputError(f"{self.backend_name} reports {len(self.qubits)} qubits, there is no qubit {qubit}")
        if name not in self.qubits[qubit]:
            raise InputError(f"{self.backend_name} does not report {name} of qubit {qubit}")
        return self.qubits[qubit][name]

    def _of_gate(self, gate: str, qubits: int | Iterable[int], name: str) -> float:
        place = _tuple(qubits)
        try:
            return self.gates[gate][place][name]
        except KeyError:
            raise InputError(f"{self.backend_name} does not report {name} of {gate} on {list(place)}") from None


def _tuple(qubits: int | Iterable[int]) -> tuple[int, ...]:
    return (qubits,) if isinstance(qubits, int) else tuple(qubits)


def _values(reported: Iterable[Mapping[str, Any]]) -> Values:
    return {entry["name"]: _in_si(entry["value"], entry["unit"]) for entry in reported}


def _in_si(value: float, unit: str) -> float:
    """Apply the unit's prefix; dividing by a power of ten is exact where multiplying by its inverse is not."""
    if len(unit) < 2:
        return value
    if unit[0] not in _FACTORS:
        raise ValueError(f"unknown unit {unit!r}")
    factor, divisor = _FACTORS[unit[0]]
    return value * factor / divisor
