# SPDX-License-Identifier: Apache-2.0
"""From IBM's ``configuration`` and ``properties`` JSON to Qiskit's ``Target``.

The rules (which instructions, which of them global, what a faulty qubit removes) are those that
qiskit-ibm-runtime 0.51 applies; tests compare the two for its snapshots.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from qiskit.circuit import ForLoopOp, Gate, IfElseOp, Instruction, Parameter, SwitchCaseOp, WhileLoopOp
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import QubitProperties
from qiskit.transpiler import InstructionProperties, Target

from qrmi_core import ResultError
from qrmi_qiskit.target.angles import RZZ_BOUNDS, register_rzz
from qrmi_qiskit.target.properties import Properties

__all__ = ["FRACTIONAL_GATES", "build_target"]

logger = logging.getLogger(__name__)

FRACTIONAL_GATES = frozenset({"rx", "rzz"})
"""What IBM calls fractional gates: https://quantum.cloud.ibm.com/docs/guides/fractional-gates"""

_CONTROL_FLOW = {
    "if_else": IfElseOp,
    "for_loop": ForLoopOp,
    "while_loop": WhileLoopOp,
    "switch_case": SwitchCaseOp,
}
_NOT_GATES = frozenset({"measure", "reset", "delay"})

Places = dict[tuple[int, ...], InstructionProperties | None]


def build_target(
    configuration: Mapping[str, Any],
    properties: Mapping[str, Any] | Properties | None = None,
    *,
    use_fractional_gates: bool | None = None,
) -> Target:
    """Build the target of a backend.

    Durations are in seconds. What ``properties`` calls not operational is left out. ``use_fractional_gates=False``
    leaves rx and rzz out, as qiskit-ibm-runtime does by default, unless the backend has no coupling map (an ideal
    simulator); None and True keep them.

    Raises:
        ResultError: the configuration or the properties lack what a target needs, or are malformed.
    """
    if isinstance(properties, Mapping):
        properties = Properties.from_dict(properties)
    try:
        return _Builder(configuration, properties, drop_fractional=use_fractional_gates is False).target()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        name = configuration.get("backend_name", "the backend") if isinstance(configuration, Mapping) else "the backend"
        raise ResultError(
            f"the configuration of {name} cannot be read ({type(error).__name__}: {error}); "
            f"it needs n_qubits, basis_gates and gates as IBM's backends give them"
        ) from error


@functools.cache
def _standard() -> Mapping[str, Instruction]:
    gates: Mapping[str, Instruction] = get_standard_gate_name_mapping()
    return gates


class _Builder:
    def __init__(
        self, configuration: Mapping[str, Any], properties: Properties | None, *, drop_fractional: bool
    ) -> None:
        self.configuration = configuration
        self.properties = properties
        self.num_qubits = int(configuration["n_qubits"])
        self.gates = {gate["name"]: gate for gate in configuration["gates"]}
        self.dropped = FRACTIONAL_GATES if drop_fractional and configuration.get("coupling_map") else frozenset()
        self.faulty = frozenset(properties.faulty_qubits()) if properties else frozenset()

    def target(self) -> Target:
        target = Target(**self._of_backend())
        for name in sorted(self._names()):
            if name in _CONTROL_FLOW:
                target.add_instruction(_CONTROL_FLOW[name], name=name)
            elif instruction := self._instruction(name):
                bounds = None
                if name == "rzz" and self.configuration.get("coupling_map"):
                    register_rzz()
                    bounds = RZZ_BOUNDS
                target.add_instruction(instruction, self._places(name), name=name, angle_bounds=bounds)
        for signature in self.configuration.get("instruction_signatures") or []:
            name = signature["name"]
            target.add_instruction(_signed(signature), self._places(name), name=name)
        return target

    def _of_backend(self) -> dict[str, Any]:
        dt = self.configuration.get("dt")
        told: dict[str, Any] = {"num_qubits": self.num_qubits, "dt": None if dt is None else dt * 1e-9}
        told.update(self.configuration.get("timing_constraints") or {})
        if self.properties:
            known = [
                QubitProperties(t1=qubit.get("T1"), t2=qubit.get("T2"), frequency=qubit.get("frequency"))
                for qubit in self.properties.qubits[: self.num_qubits]
            ]
            missing = self.num_qubits - len(known)
            told["qubit_properties"] = known + [QubitProperties() for _ in range(missing)]
        return told

    def _names(self) -> set[str]:
        supported = set(self.configuration.get("supported_instructions") or _NOT_GATES)
        return (set(self.configuration["basis_gates"]) | supported & (_NOT_GATES | _CONTROL_FLOW.keys())) - self.dropped

    def _instruction(self, name: str) -> Instruction | None:
        if name in _standard():
            return _standard()[name]
        if gate := self.gates.get(name):
            qubits = len(gate["coupling_map"][0]) if gate.get("coupling_map") else 0
            return Gate(name, qubits, [Parameter(parameter) for parameter in gate.get("parameters", [])])
        logger.info("%s is left out of the target: neither Qiskit nor the backend defines it", name)
        return None

    def _places(self, name: str) -> Places | None:
        """The qubits that take the instruction, with its duration and error; None means any qubits."""
        if name == "measure" and self.properties:
            return {
                (qubit,): InstructionProperties(values.get("readout_length"), values.get("readout_error"))
                for qubit, values in enumerate(self.properties.qubits[: self.num_qubits])
                if qubit not in self.faulty
            }
        coupling = self.gates.get(name, {}).get("coupling_map")
        places: Places | None = {tuple(qubits): None for qubits in coupling} if coupling else None
        measured = self.properties.gates.get(name) if self.properties else None
        if measured:
            places = {**(places or {}), **{qubits: _measured(values) for qubits, values in measured.items()}}
        if places is None:
            return self._working({(q,): None for q in range(self.num_qubits)}, name) if name in _NOT_GATES else None
        return self._working(places, name)

    def _working(self, places: Places, name: str) -> Places:
        if not self.properties:
            return places
        return {
            qubits: value
            for qubits, value in places.items()
            if self.faulty.isdisjoint(qubits) and self.properties.is_gate_operational(name, qubits)
        }


def _measured(values: Mapping[str, float]) -> InstructionProperties:
    return InstructionProperties(duration=values.get("gate_length"), error=values.get("gate_error"))


def _signed(signature: Mapping[str, Any]) -> Instruction:
    """An instruction that Qiskit does not know, such as ``measure_2``."""
    parameters = [Parameter(name) for name in signature["parameters"]]
    return Instruction(signature["name"], signature["num_qubits"], signature["num_clbits"], parameters)
