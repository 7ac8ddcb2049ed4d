# SPDX-License-Identifier: Apache-2.0
"""How much memory an emulation takes, so that what cannot fit is refused with figures instead of dying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qrmi_core import LimitExceeded, Limits

if TYPE_CHECKING:
    from pulser import Sequence
    from pulser.backend import EmulationConfig
    from pulser.noise_model import NoiseModel

__all__ = ["check_size", "memory_needed"]

# Bytes per element of the state, fitted to the peak memory of qutip 5.3 with 8 to 16 atoms (3 to 9 for the
# master equation) and rounded up: operators grow with the atoms, exchange terms with the pairs of atoms.
_OPERATORS = 300
_EXCHANGE = 45
_MASTER_EQUATION = 1200
_KRYLOV_VECTORS = 40 * 16
_AMPLITUDE = 16
_SAMPLES = 48
_GIGABYTE = 2**30

_LOSSES = frozenset({"dephasing", "relaxation", "depolarizing", "eff_noise"})
_SHOT_TO_SHOT = frozenset({"doppler", "amplitude", "detuning", "register", "dmm_sigma"})


def check_size(
    sequence: Sequence[Any], device_type: str, config: EmulationConfig[Any], limits: Limits, resource: str
) -> None:
    """Refuse a built sequence that has too many atoms, or that needs more memory than allowed.

    Raises:
        LimitExceeded: with the figures and what to do.
    """
    atoms = len(sequence.register.qubit_ids)
    if atoms > limits.qubits:
        raise LimitExceeded(
            f"the sequence has {atoms} atoms and {resource} takes {limits.qubits} at most (QRMI_ENGINE_MAX_QUBITS)",
            resource=resource,
        )
    needed = memory_needed(sequence, device_type, config)
    if needed > limits.memory:
        instead = "" if device_type == "EMU_MPS" else ", or EMU_MPS (RemoteMPSBackend)"
        raise LimitExceeded(
            f"{atoms} atoms of {_levels(sequence, _noise(sequence, config))} levels for {sequence.get_duration()} ns "
            f"need about {_gigabytes(needed)} of memory with {device_type}, and a task on {resource} may use "
            f"{_gigabytes(limits.memory)}: use fewer atoms, a shorter sequence or fewer evaluation times{instead}, "
            f"or raise QRMI_ENGINE_MEMORY_MB",
            resource=resource,
        )


def memory_needed(sequence: Sequence[Any], device_type: str, config: EmulationConfig[Any]) -> int:
    """The peak memory of an emulation in bytes, a rough upper bound.

    A pure state of n atoms with d levels has d^n amplitudes; with losses the master equation takes d^2n. A tensor
    network (EMU_MPS) has no such bound: for it only the samples of the pulses are counted.
    """
    atoms = len(sequence.register.qubit_ids)
    needed: int = atoms * sequence.get_duration() * _SAMPLES
    if device_type == "EMU_MPS":
        return needed
    noise = _noise(sequence, config)
    dimension: int = _levels(sequence, noise) ** atoms
    kept = _AMPLITUDE * _evaluations(sequence, config)
    if device_type == "EMU_SV":
        per_amplitude = _KRYLOV_VECTORS
    elif "XY" in sequence.get_addressed_bases():
        per_amplitude = _EXCHANGE * atoms * atoms
    else:
        per_amplitude = _OPERATORS * atoms
    needed += dimension * (per_amplitude + kept)
    if _LOSSES.isdisjoint(noise.noise_types):
        return needed
    return needed + dimension * dimension * (kept + (_MASTER_EQUATION if _by_master_equation(noise, config) else 0))


def _noise(sequence: Sequence[Any], config: EmulationConfig[Any]) -> NoiseModel:
    return (config.prefer_device_noise_model and sequence.device.noise_model) or config.noise_model


def _levels(sequence: Sequence[Any], noise: NoiseModel) -> int:
    return len(sequence.get_addressed_states()) + noise.with_leakage


def _by_master_equation(noise: NoiseModel, config: EmulationConfig[Any]) -> bool:
    solver = str(getattr(getattr(config, "solver", "default"), "value", "default"))
    if solver == "default":
        return _SHOT_TO_SHOT.isdisjoint(noise.noise_types)
    return solver != "MonteCarlo"


def _evaluations(sequence: Sequence[Any], config: EmulationConfig[Any]) -> int:
    lists = [config.default_evaluation_times, *(observable.evaluation_times for observable in config.observables)]
    if any(isinstance(times, str) for times in lists):
        return sequence.get_duration()
    return 2 + len({float(time) for times in lists if times is not None for time in times})


def _gigabytes(size: int) -> str:
    figure = size / _GIGABYTE
    return f"{figure:.1f} GB" if figure < 1e6 else f"{figure:.0e} GB"
