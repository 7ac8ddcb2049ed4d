# SPDX-License-Identifier: Apache-2.0
"""The programs of the conformance suite for Pulser: one atom, and a pulse that turns it or leaves it where it is."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
from pulser import Pulse, Register, Sequence
from pulser.register.special_layouts import TriangularLatticeLayout

from qrmi_core import PulserBatch, PulserJob, ResultError, Target
from qrmi_pulser.devices import device

__all__ = ["PulserPrograms"]

FEWEST_TRAPS = 20
SHORTEST = 200


class PulserPrograms:
    """What :class:`qrmi_core.conformance.programs.Programs` demands, for resources that take ``PulserBatch``."""

    def __init__(self, target: bytes, shots: int) -> None:
        self.target = target
        self.shots = shots

    def good(self, outcome: str) -> PulserBatch:
        """A pulse of area pi, which takes the atom to the Rydberg state, or of 2 pi, which brings it back."""
        return self._batch(self._sequence(math.pi if outcome == "1" else 2 * math.pi))

    def broken(self) -> PulserBatch:
        """A sequence that names a channel which it does not declare."""
        text = json.loads(self._sequence(math.pi))
        for operation in text["operations"]:
            operation["ch"] = "no_such_channel"
        return self._batch(json.dumps(text))

    def counts(self, result: bytes) -> Counter[str]:
        """The bits that were measured, and how often.

        Raises:
            ResultError: it is no result of a job.
        """
        try:
            return Counter({str(bits): int(count) for bits, count in json.loads(result)["counter"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultError(f"this is no result of a Pulser job: {type(error).__name__}: {error}") from error

    def _batch(self, sequence: str) -> PulserBatch:
        return PulserBatch(sequence.encode(), (PulserJob(self.shots),))

    def _sequence(self, area: float) -> str:
        on = device(Target(self.target))
        names = [name for name, channel in on.channels.items() if channel.addressing == "Global"]
        name = next(name for name in names if on.channels[name].basis == "ground-rydberg")
        channel = on.channels[name]
        sequence = Sequence(_one_atom(on), on)
        sequence.declare_channel("global", name)
        # 1000: areas count in microseconds, durations in nanoseconds.
        shortest = area / (channel.max_amp or math.tau) * 1000
        clock = channel.clock_period
        duration = math.ceil(max(shortest, channel.min_duration, SHORTEST) / clock) * clock
        sequence.add(Pulse.ConstantPulse(duration, area / duration * 1000, 0.0, 0.0), "global")
        sequence.measure("ground-rydberg")
        return str(sequence.to_abstract_repr())


def _one_atom(on: Any) -> Any:
    if not on.requires_layout:
        return Register.from_coordinates(np.zeros((1, 2)), prefix="q")
    layouts = on.pre_calibrated_layouts or on.calibrated_register_layouts.values()
    for layout in layouts:
        return layout.define_register(0)
    return TriangularLatticeLayout(max(FEWEST_TRAPS, on.min_layout_traps), on.min_atom_distance).define_register(0)
