# SPDX-License-Identifier: Apache-2.0
"""One built sequence from a template and a job's variables, for devices that take nothing else and check nothing."""

from __future__ import annotations

import json
from typing import Any

from pulser import Sequence
from pulser.backend.abc import EmulatorBackend
from pulser.devices import Device, VirtualDevice

from qrmi_core import InputError, Target
from qrmi_pulser.devices import device as read_device
from qrmi_pulser.reading import refusing

__all__ = ["build", "on_device"]


def build(template: bytes, variables: bytes | None, target: Target | None = None) -> tuple[bytes, tuple[str, ...], int]:
    """A sequence as a device takes it, the order of its atoms in bitstrings, and its duration in nanoseconds.

    What has no variables comes back untouched. Without a target it is not looked at whether the device can run it: for
    a sequence that it has run already.

    Raises:
        InputError: it is no sequence, cannot be built from these variables, or not be run by this device; says why.
    """
    with refusing("the sequence cannot be read"):
        sequence = Sequence.from_abstract_repr(template.decode())
    if sequence.is_parametrized() or sequence.is_register_mappable():
        with refusing("the sequence cannot be built from the job's variables"):
            sequence = sequence.build(**json.loads(variables or b"{}"))
            template = sequence.to_abstract_repr().encode()
    if target is not None:
        on_device(sequence, read_device(target))
    return template, tuple(str(atom) for atom in sequence.register.qubit_ids), sequence.get_duration()


def on_device(sequence: Sequence[Any], device: Device | VirtualDevice) -> Sequence[Any]:
    """A built sequence moved to the device that a resource stands for, where that changes nothing of its pulses.

    Raises:
        InputError: it was made for another device, or the device cannot run it.
    """
    if sequence.device.name != device.name:
        raise InputError(
            f"the sequence was made for the device {sequence.device.name} and this resource is {device.name}: build it "
            f"with QRMIConnection().fetch_available_devices()"
        )
    with refusing(f"{device.name} cannot run the sequence"):
        if sequence.device != device:
            sequence = sequence.with_new_device(device, strict=True)
        EmulatorBackend.validate_sequence(sequence, mimic_qpu=True)
    return sequence
