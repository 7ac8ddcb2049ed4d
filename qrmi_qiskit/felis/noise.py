# SPDX-License-Identifier: Apache-2.0
"""The errors of a simple cat qubit: phases flip often, bits hardly ever.

With n photons on average and the rates kappa1 (one photon is lost) and kappa2 (two are exchanged), a cat's phase flips
at the rate n kappa1 and its bit at n kappa1 exp(-2 n). Every gate, preparation and measurement takes 1/kappa2, a delay
as long as it says. A CX flips the phase of its control with the probability pi^2 / (64 n) beside that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from qiskit.circuit import Instruction
from qiskit_aer.noise import pauli_error

__all__ = ["CatNoise"]


class CatNoise:
    """Makes the errors of one job."""

    def __init__(self, parameters: Mapping[str, float]) -> None:
        self._photons = parameters["averageNbPhotons"]
        self._phase_rate = self._photons * parameters["kappa1"]
        self._bit_rate = self._phase_rate * math.exp(-2 * self._photons)
        self.step = 1.0 / parameters["kappa2"]
        self._made: dict[tuple[float, float], Instruction] = {}

    def idle(self, seconds: float) -> Instruction:
        """What happens to a cat in so many seconds."""
        return self._error(_flip(self._bit_rate * seconds), _flip(self._phase_rate * seconds))

    def control(self) -> Instruction:
        """What a CX does to its control, beside the time that it takes."""
        return self._error(0.0, math.pi**2 / (64 * self._photons))

    def _error(self, bit: float, phase: float) -> Instruction:
        if (bit, phase) not in self._made:
            chances = {
                "I": (1 - bit) * (1 - phase),
                "X": bit * (1 - phase),
                "Y": bit * phase,
                "Z": (1 - bit) * phase,
            }
            self._made[bit, phase] = pauli_error(list(chances.items())).to_instruction()
        return self._made[bit, phase]


def _flip(expected: float) -> float:
    """The probability of an odd number of flips where so many are expected."""
    return (1 - math.exp(-2 * expected)) / 2
