# SPDX-License-Identifier: Apache-2.0
"""What can be compared between resources, read from their targets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qrmi_core.resource import Target

__all__ = ["Characteristics", "characteristics"]


@dataclass(frozen=True)
class Characteristics:
    """Size and quality; errors are medians over the device, None where the target does not say."""

    num_qubits: int | None
    simulator: bool | None
    max_shots: int | None
    two_qubit_error: float | None
    readout_error: float | None


def characteristics(target: Target) -> Characteristics:
    """Read them from IBM's configuration and properties, IQM's documents, or a Pulser device (of a list the first)."""
    document = target.json()
    if isinstance(document, list):
        document = json.loads(document[0]["specs"]) if document else {}
    if "configuration" in document:
        return _of_ibm(document["configuration"] or {}, document.get("properties") or {})
    if "dynamic_quantum_architecture" in document:
        qubits = (document["dynamic_quantum_architecture"] or {}).get("qubits")
        return Characteristics(None if qubits is None else len(qubits), None, None, None, None)
    return Characteristics(document.get("max_atom_num"), None, document.get("max_runs"), None, None)


def _of_ibm(configuration: Mapping[str, Any], properties: Mapping[str, Any]) -> Characteristics:
    gates = (gate for gate in properties.get("gates", ()) if len(gate["qubits"]) == 2)
    return Characteristics(
        num_qubits=configuration.get("n_qubits"),
        simulator=configuration.get("simulator"),
        max_shots=configuration.get("max_shots"),
        two_qubit_error=_median(_values("gate_error", (gate["parameters"] for gate in gates))),
        readout_error=_median(_values("readout_error", properties.get("qubits", ()))),
    )


def _values(name: str, groups: Iterable[Iterable[Mapping[str, Any]]]) -> list[float]:
    return [entry["value"] for group in groups for entry in group if entry["name"] == name]


def _median(values: list[float]) -> float | None:
    """The median; the standard library's costs a tenth of importing this package."""
    if not values:
        return None
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
