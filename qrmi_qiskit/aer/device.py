# SPDX-License-Identifier: Apache-2.0
"""What an engine simulates, as IBM's configuration and properties JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrmi_core import Limits
from qrmi_qiskit.aer.snapshots import snapshot_files

__all__ = [
    "GATES",
    "IDEAL",
    "IDEAL_QUBITS",
    "METHOD",
    "METHODS",
    "NOISE",
    "SNAPSHOT",
    "Device",
    "load_device",
    "target_json",
]

SNAPSHOT = "QRMI_AER_SNAPSHOT"
METHOD = "QRMI_AER_METHOD"
NOISE = "QRMI_AER_NOISE"

IDEAL = "ideal"
IDEAL_QUBITS = 30

METHODS = (
    "automatic",
    "density_matrix",
    "extended_stabilizer",
    "matrix_product_state",
    "stabilizer",
    "statevector",
)
"""Aer's simulation methods that give counts on a CPU."""

GATES: Mapping[str, tuple[str, ...]] = {
    "ccx": (),
    "ccz": (),
    "cp": ("theta",),
    "crx": ("theta",),
    "cry": ("theta",),
    "crz": ("theta",),
    "cswap": (),
    "csx": (),
    "cu": ("theta", "phi", "lambda", "gamma"),
    "cu1": ("lambda",),
    "cu3": ("theta", "phi", "lambda"),
    "cx": (),
    "cy": (),
    "cz": (),
    "ecr": (),
    "h": (),
    "id": (),
    "p": ("lambda",),
    "r": ("theta", "phi"),
    "rx": ("theta",),
    "rxx": ("theta",),
    "ry": ("theta",),
    "ryy": ("theta",),
    "rz": ("phi",),
    "rzx": ("theta",),
    "rzz": ("theta",),
    "s": (),
    "sdg": (),
    "swap": (),
    "sx": (),
    "sxdg": (),
    "t": (),
    "tdg": (),
    "u": ("theta", "phi", "lambda"),
    "u1": ("lambda",),
    "u2": ("phi", "lambda"),
    "u3": ("theta", "phi", "lambda"),
    "x": (),
    "y": (),
    "z": (),
}
"""Qiskit's standard gates that Aer takes as they are, with the names of their parameters."""


@dataclass(frozen=True)
class Device:
    """A backend's description; ``properties`` is None for one without noise."""

    configuration: dict[str, Any]
    properties: dict[str, Any] | None


def load_device(name: str, snapshot: str, limits: Limits, *, noise: bool = True) -> Device:
    """Describe the engine ``name``, which simulates ``snapshot``: the name of one, or ``ideal``.

    Without ``noise`` a snapshot's gates and coupling map are kept, and its errors are not.

    Raises:
        LookupError: there is no such snapshot.
    """
    if snapshot == IDEAL:
        return Device(_ideal(name, limits), None)
    configuration, properties = snapshot_files(snapshot)
    described = _snapshot(configuration, name, limits)
    return Device(described, json.loads(properties.read_bytes()) if noise else None)


def target_json(name: str, snapshot: str, limits: Limits) -> bytes:
    """The target of the engine ``name`` in the form of IBM's resources; the properties are the file's own bytes.

    Raises:
        LookupError: there is no such snapshot.
    """
    if snapshot == IDEAL:
        return json.dumps({"configuration": _ideal(name, limits), "properties": None}).encode()
    configuration, properties = snapshot_files(snapshot)
    described = json.dumps(_snapshot(configuration, name, limits)).encode()
    return b'{"configuration": %b, "properties": %b}' % (described, properties.read_bytes().strip())


def _snapshot(file: Path, name: str, limits: Limits) -> dict[str, Any]:
    configuration: dict[str, Any] = json.loads(file.read_bytes())
    return configuration | {"backend_name": name, "simulator": True, "max_shots": limits.shots}


def _ideal(name: str, limits: Limits) -> dict[str, Any]:
    return {
        "backend_name": name,
        "backend_version": "1.0.0",
        "description": "ideal simulator without noise, any qubit with any other",
        "online_date": "2026-01-01T00:00:00+00:00",
        "sample_name": None,
        "n_qubits": min(IDEAL_QUBITS, limits.qubits),
        "basis_gates": list(GATES),
        "gates": [{"name": gate, "parameters": list(parameters), "qasm_def": ""} for gate, parameters in GATES.items()],
        "supported_instructions": [
            *GATES,
            "measure",
            "reset",
            "delay",
            "if_else",
            "for_loop",
            "while_loop",
            "switch_case",
        ],
        "coupling_map": None,
        "dt": 1.0,
        "meas_map": [],
        "supported_features": ["qasm3"],
        "n_registers": 1,
        "local": True,
        "simulator": True,
        "conditional": True,
        "open_pulse": False,
        "memory": True,
        "credits_required": False,
        "allow_q_object": True,
        "max_experiments": None,
        "max_shots": limits.shots,
    }
