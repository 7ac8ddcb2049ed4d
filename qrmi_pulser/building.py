# SPDX-License-Identifier: Apache-2.0
"""One built sequence from a template and a job's variables, for devices that take nothing else and check nothing."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import OrderedDict
from typing import Any

from pulser import Sequence
from pulser.backend.abc import EmulatorBackend
from pulser.devices import Device, VirtualDevice

from qrmi_core import InputError, Target
from qrmi_pulser.devices import device as read_device
from qrmi_pulser.reading import refusing

__all__ = ["build", "on_device", "remember"]

MOST_REMEMBERED = 10_000
_About = tuple[tuple[str, ...], int]
_remembered: OrderedDict[tuple[bytes, bytes], _About] = OrderedDict()


def remember(template: bytes, variables: bytes | None, sequence: Sequence[Any]) -> None:
    """Know the atoms and the duration of what somebody has built already: building takes long."""
    _keep(_key(template, variables), _about(sequence))


def _keep(key: tuple[bytes, bytes], about: _About) -> None:
    _remembered[key] = about
    while len(_remembered) > MOST_REMEMBERED:
        _remembered.popitem(last=False)


def _key(template: bytes, variables: bytes | None) -> tuple[bytes, bytes]:
    values = json.dumps(json.loads(variables or b"{}"), sort_keys=True).encode()
    return _digest(template), hashlib.sha256(values).digest()


@functools.lru_cache(maxsize=4)
def _digest(template: bytes) -> bytes:
    return hashlib.sha256(template).digest()


def _about(sequence: Sequence[Any]) -> _About:
    return tuple(str(atom) for atom in sequence.register.qubit_ids), sequence.get_duration()


def build(template: bytes, variables: bytes | None, target: Target | None = None) -> tuple[bytes, tuple[str, ...], int]:
    """A sequence as a device takes it, the order of its atoms in bitstrings, and its duration in nanoseconds.

    What has no variables comes back untouched. Without a target it does in any case, and it is not looked at whether
    the device can run it: for a sequence that it has run already.

    Raises:
        InputError: it is no sequence, cannot be built from these variables, or not be run by this device; says why.
    """
    if target is None:
        key = _key(template, variables)
        if (about := _remembered.get(key)) is None:
            about = _about(_built(_read(template), variables))
            _keep(key, about)
        return template, *about
    with_variables = _read(template)
    sequence = _built(with_variables, variables)
    if sequence is not with_variables:
        template = sequence.to_abstract_repr().encode()
    on_device(sequence, read_device(target))
    return template, *_about(sequence)


@functools.lru_cache(maxsize=4)
def _read(template: bytes) -> Sequence[Any]:
    with refusing("the sequence cannot be read"):
        return Sequence.from_abstract_repr(template.decode())


def _built(sequence: Sequence[Any], variables: bytes | None) -> Sequence[Any]:
    """The same where it has no variables."""
    if not (sequence.is_parametrized() or sequence.is_register_mappable()):
        return sequence
    with refusing("the sequence cannot be built from the job's variables"):
        return sequence.build(**json.loads(variables or b"{}"))


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
