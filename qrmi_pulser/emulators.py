# SPDX-License-Identifier: Apache-2.0
"""The emulators behind Pulser's device types: their modules, and the options that only they understand.

A device type is the word that the remote emulator backends of pasqal-cloud send. The options are the
arguments of each emulator's own configuration class beyond ``pulser.backend.EmulationConfig``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from qrmi_core import UnsupportedPayload

__all__ = ["EMULATORS", "Emulator", "emulator", "foreign_options"]


@dataclass(frozen=True, slots=True)
class Emulator:
    """One emulator: the module and the class of its backend, and its own options."""

    device_type: str
    module: str
    backend: str
    options: frozenset[str]
    extra: str

    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


_TENSOR_OPTIONS = frozenset({"dt", "gpu", "interaction_cutoff", "log_file", "log_level", "max_krylov_dim", "solver"})

EMULATORS: Mapping[str, Emulator] = {
    emulator.device_type: emulator
    for emulator in (
        Emulator(
            "EMU_FREE",
            "pulser_simulation",
            "QutipBackendV2",
            frozenset({"print_progress", "progress_bar", "sampling_rate", "solver"}),
            "pulser",
        ),
        Emulator("EMU_SV", "emu_sv", "SVBackend", _TENSOR_OPTIONS | {"krylov_tolerance"}, "emulators"),
        Emulator(
            "EMU_MPS",
            "emu_mps",
            "MPSBackend",
            _TENSOR_OPTIONS
            | {
                "autosave_dt",
                "autosave_prefix",
                "extra_krylov_tolerance",
                "max_bond_dim",
                "num_gpus_to_use",
                "optimize_qubit_ordering",
                "precision",
            },
            "emulators",
        ),
    )
}


def emulator(device_type: str, resource: str) -> Emulator:
    """The emulator that ``device_type`` names.

    Raises:
        UnsupportedPayload: there is none of that name, or it is not installed.
    """
    found = EMULATORS.get(device_type)
    if found is None:
        newer = "EMU_TN was replaced by EMU_MPS; " if device_type == "EMU_TN" else ""
        raise UnsupportedPayload(
            f"{resource} has no device type {device_type}: {newer}it takes {', '.join(EMULATORS)}, "
            f"or none for the device that it stands for (QPUBackend)",
            resource=resource,
        )
    if not found.is_installed():
        raise UnsupportedPayload(
            f"{resource} runs {device_type} with {found.module.replace('_', '-')}, which is not installed: "
            f"pip install 'qrmi-providers[{found.extra}]', or use EMU_FREE",
            resource=resource,
        )
    return found


def foreign_options(device_type: str) -> frozenset[str]:
    """Options of the other emulators that mean nothing to this one."""
    known = frozenset[str]().union(*(other.options for other in EMULATORS.values()))
    return known - EMULATORS[device_type].options
