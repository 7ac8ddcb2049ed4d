# SPDX-License-Identifier: Apache-2.0
"""A device cut to the qubits in use, so that Aer's own noise model of it is small.

Aer's model of a whole device of 156 qubits takes 10 to 20 s. Here the device's configuration and properties are
cut to the qubits and couplings that a circuit uses, and Aer is handed a backend of that size; so every error that
can act on the circuit is Aer's own, the relaxation during delays included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qiskit.transpiler import Target

from qrmi_qiskit.aer.compaction import Compact
from qrmi_qiskit.aer.device import Device
from qrmi_qiskit.target import build_target

__all__ = ["reduced_target"]

Kept = Callable[[str, Sequence[int]], list[int] | None]


def reduced_target(device: Device, compacted: Compact, *, all_single: bool) -> Target:
    """The target of the qubits of a compact circuit, numbered as it numbers them.

    It has the gates on two and more qubits that the circuit uses, and of those on one qubit the used ones or, with
    ``all_single``, all.
    """
    index = {qubit: i for i, qubit in enumerate(compacted.qubits)}

    def kept(gate: str, qubits: Sequence[int]) -> list[int] | None:
        place = tuple(qubits)
        if (gate, place) in compacted.places or (all_single and len(place) == 1 and place[0] in index):
            return [index[qubit] for qubit in place]
        return None

    properties = device.properties and _reduced_properties(device.properties, compacted.qubits, kept)
    configuration = _reduced_configuration(device.configuration, len(index), kept)
    named = {name for name, _ in compacted.places}
    signatures = device.configuration.get("instruction_signatures") or []
    configuration["instruction_signatures"] = [one for one in signatures if one["name"] in named]
    return build_target(configuration, properties)


def _reduced_configuration(configuration: Mapping[str, Any], size: int, kept: Kept) -> dict[str, Any]:
    gates = []
    gone = set()
    for gate in configuration["gates"]:
        if not gate.get("coupling_map"):
            gates.append(gate)
            continue
        places = [place for old in gate["coupling_map"] if (place := kept(gate["name"], old)) is not None]
        if places:
            gates.append({**gate, "coupling_map": places})
        else:
            gone.add(gate["name"])
    return {
        **configuration,
        "n_qubits": size,
        "gates": gates,
        "basis_gates": [name for name in configuration["basis_gates"] if name not in gone],
    }


def _reduced_properties(properties: Mapping[str, Any], qubits: Sequence[int], kept: Kept) -> dict[str, Any]:
    return {
        **properties,
        "qubits": [properties["qubits"][qubit] for qubit in qubits],
        "gates": [
            {**gate, "qubits": place}
            for gate in properties["gates"]
            if (place := kept(gate["gate"], gate["qubits"])) is not None
        ],
    }
