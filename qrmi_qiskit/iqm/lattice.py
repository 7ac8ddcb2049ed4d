# SPDX-License-Identifier: Apache-2.0
"""The device that the engine simulates: a rectangular lattice, described in the documents of IQM's servers."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

__all__ = ["LATTICE", "Lattice"]

LATTICE = "QRMI_IQM_LATTICE"

_SIZE = re.compile(r"([1-9][0-9]?)x([1-9][0-9]?)")
_IMPLEMENTATION = "simulated"
_SINCE = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Lattice:
    """Qubits QB1, QB2 ... in rows, each coupled with its neighbours in the row and in the column."""

    rows: int
    columns: int

    @classmethod
    def parse(cls, text: str) -> Lattice:
        """Read ``ROWSxCOLUMNS``, such as ``4x5``.

        Raises:
            ValueError: it is something else.
        """
        size = _SIZE.fullmatch(text)
        if size is None:
            raise ValueError(f"{text!r} is no lattice: ROWSxCOLUMNS was expected, such as 4x5, each from 1 to 99")
        return cls(int(size[1]), int(size[2]))

    @property
    def qubits(self) -> list[str]:
        """The names of the qubits, row by row."""
        return [f"QB{number}" for number in range(1, self.rows * self.columns + 1)]

    @property
    def couplings(self) -> list[tuple[str, str]]:
        """The pairs of neighbours, each once."""
        pairs = []
        for row in range(self.rows):
            for column in range(self.columns):
                number = row * self.columns + column + 1
                if column + 1 < self.columns:
                    pairs.append((f"QB{number}", f"QB{number + 1}"))
                if row + 1 < self.rows:
                    pairs.append((f"QB{number}", f"QB{number + self.columns}"))
        return pairs

    @property
    def calibration_set_id(self) -> str:
        """The id of the only calibration set; the same for lattices of the same size."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:qrmi:iqm-simulator:{self.rows}x{self.columns}"))

    def target(self, name: str) -> bytes:
        """What IQM's servers tell of a device, as one JSON object; an ideal device has no quality metrics."""
        single = [[qubit] for qubit in self.qubits]
        pairs = [list(pair) for pair in self.couplings]
        loci = {"prx": single, "cz": pairs, "measure": single, "cc_prx": single}
        return json.dumps(
            {
                "calibration_set": {
                    "observation_set_id": self.calibration_set_id,
                    "observation_set_type": "calibration-set",
                    "describes_id": None,
                    "invalid": False,
                    "dut_label": name,
                    "created_timestamp": _SINCE,
                    "end_timestamp": _SINCE,
                    "observations": [],
                },
                "dynamic_quantum_architecture": {
                    "calibration_set_id": self.calibration_set_id,
                    "qubits": self.qubits,
                    "computational_resonators": [],
                    "gates": {gate: _gate(where) for gate, where in loci.items() if where},
                },
                "quality_metrics": None,
                "static_quantum_architecture": [
                    {
                        "dut_label": name,
                        "qubits": self.qubits,
                        "computational_resonators": [],
                        "connectivity": pairs,
                    }
                ],
            }
        ).encode()


def _gate(loci: list[list[str]]) -> dict[str, Any]:
    return {
        "implementations": {_IMPLEMENTATION: {"loci": loci}},
        "default_implementation": _IMPLEMENTATION,
        "override_default_implementation": {},
    }
