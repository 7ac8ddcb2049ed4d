# SPDX-License-Identifier: Apache-2.0
"""From the documents of an IQM server to a configuration of the form that targets are built from.

IQM's PRX is Qiskit's RGate. Qubits are numbered in the order in which the dynamic architecture lists them; gates on
computational resonators are left out, since Qiskit has no word for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qrmi_core import ResultError

__all__ = ["configuration_of", "is_iqm_target"]

_ARCHITECTURE = "dynamic_quantum_architecture"
_NAMES = {"prx": ("r", ["theta", "phi"]), "cz": ("cz", []), "measure": ("measure", []), "reset": ("reset", [])}
_SYMMETRIC = frozenset({"cz"})


def is_iqm_target(document: Any) -> bool:
    """True for a JSON value that has the form of an IQM server's documents."""
    return isinstance(document, Mapping) and isinstance(document.get(_ARCHITECTURE), Mapping)


def configuration_of(
    document: Mapping[str, Any], *, name: str | None = None, simulator: bool = False
) -> dict[str, Any]:
    """A configuration as IBM's backends have, with IQM's ``qubits`` and ``calibration_set_id`` besides.

    Args:
        document: the target of a resource that takes IQM's jobs.
        name: the backend's name; by default the device's label.
        simulator: whether nothing quantum is behind it.

    Raises:
        ResultError: the architecture lacks what a target needs, or is malformed.
    """
    architecture = document[_ARCHITECTURE]
    try:
        qubits = [str(qubit) for qubit in architecture["qubits"]]
        places = _places(architecture["gates"], qubits)
        calibration_set_id = architecture["calibration_set_id"]
        static = document.get("static_quantum_architecture") or [{}]
        label = static[0].get("dut_label")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ResultError(
            f"the architecture of {name or 'the device'} cannot be read ({type(error).__name__}: {error}); "
            f"it needs calibration_set_id, qubits and gates as IQM's servers give them"
        ) from error
    controlled = ["if_else"] if "cc_prx" in places else []
    if controlled:
        # IQM's reset is a measurement with a conditional flip, and has no entry of its own yet.
        places.setdefault("reset", places["cc_prx"])
    gates = [
        {"name": _NAMES[gate][0], "parameters": _NAMES[gate][1], "coupling_map": loci, "qasm_def": ""}
        for gate, loci in places.items()
        if gate in _NAMES and loci
    ]
    there = {str(gate["name"]) for gate in gates}
    return {
        "backend_name": name or label or "target",
        "backend_version": str(calibration_set_id),
        "n_qubits": len(qubits),
        "qubits": qubits,
        "calibration_set_id": calibration_set_id,
        "basis_gates": sorted(there & {"r", "cz"}),
        "gates": gates,
        "supported_instructions": sorted(there | {"delay", *controlled}),
        "coupling_map": places.get("cz", []),
        "simulator": simulator,
        "max_shots": None,
        "dt": None,
    }


def _places(gates: Mapping[str, Any], qubits: Sequence[str]) -> dict[str, list[list[int]]]:
    """The qubits of each gate, by IQM's name for it; both directions where they are the same gate."""
    index = {qubit: number for number, qubit in enumerate(qubits)}
    places: dict[str, list[list[int]]] = {}
    for gate, told in gates.items():
        loci = {tuple(locus) for one in told["implementations"].values() for locus in one["loci"]}
        found = {tuple(index[part] for part in locus) for locus in loci if all(part in index for part in locus)}
        if gate in _SYMMETRIC:
            found |= {place[::-1] for place in found}
        places[gate] = [list(place) for place in sorted(found)]
    return places
