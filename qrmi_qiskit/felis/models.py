# SPDX-License-Identifier: Apache-2.0
"""What the engine can stand for: a universal computer without noise, or a few cat qubits with simple errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qrmi_core import Limits
from qrmi_qiskit.felis.instructions import CATS, INSTRUCTIONS, Function, signature

__all__ = ["CATS_MODEL", "IDEAL_MODEL", "MODEL", "MODELS", "Model"]

MODEL = "QRMI_FELIS_MODEL"
IDEAL_MODEL = "ideal"
CATS_MODEL = "cats"

MOST_SHOTS = 10_000_000
DEFAULT_SHOTS = 1000


@dataclass(frozen=True)
class Model:
    """A target: the end of its name, its qubits and instructions, and its parameters beside the number of shots."""

    name: str
    qubits: int
    instructions: Mapping[str, Function]
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def described(self, limits: Limits) -> dict[str, Any]:
        """Its entry in the vendor's list of targets, within an engine's limits."""
        qubits, shots = min(self.qubits, limits.qubits), min(MOST_SHOTS, limits.shots)
        return {
            "name": f"EMU:{qubits}Q:{self.name}",
            "numQubits": qubits,
            "instructions": [{"signature": signature(name, each)} for name, each in self.instructions.items()],
            "inputParams": {
                "nbShots": _parameter("int", min(DEFAULT_SHOTS, shots), 1, shots, required=True),
                **self.parameters,
            },
        }


def _parameter(kind: str, default: float, least: float, most: float, *, required: bool = False) -> dict[str, Any]:
    return {"required": required, "type": kind, "default": default, "constraints": [{"min": least, "max": most}]}


MODELS: Mapping[str, Model] = {
    IDEAL_MODEL: Model("IDEAL", 30, INSTRUCTIONS),
    CATS_MODEL: Model(
        "NOISY_CATS",
        6,
        CATS,
        {
            "averageNbPhotons": _parameter("float", 8.0, 1.0, 30.0),
            "kappa1": _parameter("float", 1e3, 1.0, 1e6),
            "kappa2": _parameter("float", 1e6, 1e4, 1e9),
        },
    ),
}
"""By the values of :data:`MODEL`; rates are in 1/s."""
