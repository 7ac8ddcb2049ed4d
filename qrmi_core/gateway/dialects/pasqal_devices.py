# SPDX-License-Identifier: Apache-2.0
"""The device types of Pasqal's cloud: QPUs, each a device behind the server under names of its own, and emulators."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Refused
from qrmi_core.gateway.dialects.offered import Offered
from qrmi_core.gateway.dialects.pasqal_records import Batch

__all__ = ["QPU", "PasqalDevices", "device_of", "is_like_qpu"]

QPU = "FRESNEL"
EMULATED_QPU = "EMU_FRESNEL"
EMULATORS = ("EMU_FREE", EMULATED_QPU, "EMU_MPS", "EMU_SV")


class PasqalDevices:
    """The QPUs that are ``offered``; programs for an emulator run on that which their sequences are made for."""

    def __init__(self, offered: Offered) -> None:
        self._offered = offered

    @property
    def qpus(self) -> tuple[str, ...]:
        """The device types that are QPUs."""
        return self._offered.names

    @property
    def types(self) -> tuple[str, ...]:
        """All device types."""
        return (*self.qpus, *EMULATORS)

    def behind(self, device_type: str) -> Device:
        """The device that stands for a type in a list of all."""
        return self._offered.get(device_type) or self._offered.first

    async def specs(self, name: str) -> str:
        """The abstract representation of a QPU under that name.

        Raises:
            Refused: 404, there is none; 400, there are several.
        """
        if (device := self._offered.get(name)) is None:
            raise Refused(404, f"there are no specifications of a device {name}")
        return json.dumps({**(await device.target()).json(), "name": name})

    def for_batch(self, device_type: str, sequences: Collection[str]) -> Device:
        """The device that runs a batch of a type.

        Raises:
            Refused: 400, there is none, or there are several.
        """
        if (device := self._offered.get(device_type)) is not None:
            return device
        if device_type not in EMULATORS:
            raise Refused(400, f"there is no device type {device_type}; there are {', '.join(self.types)}")
        found = [self._offered.get(name) for name in _made_for(sequences) if name in self.qpus]
        return next(filter(None, found), self._offered.first)

    async def adapted(self, sequence: str, batch: Batch) -> str:
        """A sequence for a QPU, with the name that the device behind has itself.

        Raises:
            Refused: 400, it was made for another device.
        """
        decoded = _decoded(sequence)
        name = decoded["device"]["name"]
        if self._offered.get(name) is not batch.device:
            expected = self.qpus[0] if batch.device_type == EMULATED_QPU else batch.device_type
            raise Refused(400, f"the sequence was made for the device {name}, not for {expected}")
        decoded["device"]["name"] = (await batch.device.target()).json()["name"]
        return json.dumps(decoded)


def is_like_qpu(batch: Batch) -> bool:
    """Whether a batch runs as on a QPU: on a device's own sequences only, with a number of runs."""
    return batch.device_type not in EMULATORS or batch.device_type == EMULATED_QPU


def device_of(sequences: Collection[str]) -> str:
    """The device that the sequences were made for: the one to run a batch on that names none.

    Raises:
        Refused: 400, there is none or there are several.
    """
    names = _made_for(sequences)
    if len(names) != 1:
        raise Refused(400, f"the sequences were made for several devices: {', '.join(sorted(names)) or 'none'}")
    return names.pop()


def _made_for(sequences: Collection[str]) -> set[str]:
    return {str(_decoded(sequence)["device"]["name"]) for sequence in sequences}


def _decoded(sequence: str) -> dict[str, Any]:
    try:
        decoded = json.loads(sequence)
        named = isinstance(decoded["device"]["name"], str)
    except (ValueError, KeyError, TypeError, RecursionError):
        named = False
    if not named:
        raise Refused(400, "sequence_builder is not a serialised Pulser sequence")
    return dict(decoded)
