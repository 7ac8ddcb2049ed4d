# SPDX-License-Identifier: Apache-2.0
"""Sequences that several tests run, and engines with a seed to run them on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pulser import Pulse, Register, Sequence
from pulser.devices import AnalogDevice, MockDevice

from qrmi_core import JobContext
from qrmi_pulser.engine import PulserSimulator

SEED = "20261122"
PI_NS = 500
PI_OMEGA = math.pi / PI_NS * 1000


def engine(name: str = "atoms", **settings: str) -> PulserSimulator:
    return PulserSimulator.from_environment(name, {"QRMI_ENGINE_SEED": SEED, **settings}, JobContext())


def five_sigma(shots: int, share: float) -> float:
    """Five standard deviations of a count; never less than five counts."""
    return max(5.0, 5 * math.sqrt(shots * share * (1 - share)))


def assert_counts(counts: Mapping[str, int], expected: Mapping[str, float]) -> None:
    """The counts agree with the probabilities within five standard deviations each."""
    shots = sum(counts.values())
    for bits in {*counts, *expected}:
        share = expected.get(bits, 0.0)
        assert abs(counts.get(bits, 0) - shots * share) <= five_sigma(shots, share), (bits, counts, expected)


def register(atoms: int, spacing: float = 6.0, device: Any = AnalogDevice) -> Register:
    """A chain of atoms; on a layout where the device wants one."""
    chain = Register.from_coordinates([(spacing * place, 0.0) for place in range(atoms)], prefix="q")
    return chain.with_automatic_layout(device) if getattr(device, "requires_layout", False) else chain


def rabi(
    *, omega: float = PI_OMEGA, duration: int = PI_NS, atoms: int = 1, spacing: float = 6.0, device: Any = AnalogDevice
) -> Sequence:
    """A resonant pulse on all atoms."""
    sequence = Sequence(register(atoms, spacing, device), device)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(duration, omega, 0, 0), "rydberg")
    return sequence


def parametrised(device: Any = AnalogDevice) -> Sequence:
    """One atom, a pulse whose Rabi frequency and detuning come with the job."""
    sequence = Sequence(register(1, device=device), device)
    sequence.declare_channel("rydberg", "rydberg_global")
    omega = sequence.declare_variable("omega", dtype=float)
    delta = sequence.declare_variable("delta", dtype=float, size=2)
    sequence.add(Pulse.ConstantPulse(PI_NS, omega, delta[0], delta[1]), "rydberg")
    return sequence


def long_running(device: Any = MockDevice) -> Sequence:
    """A sequence whose emulation takes minutes."""
    sequence = Sequence(register(13, 7.0, device), device)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(200_000, 6.0, 0.5, 0), "rydberg")
    return sequence
