# SPDX-License-Identifier: Apache-2.0
"""Pulser devices from what a resource publishes, without the resource."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pulser.devices import Device, VirtualDevice
from pulser.json.abstract_repr.deserializer import deserialize_device

from qrmi_core import ConfigurationError, Target
from qrmi_pulser.device_json import decode, published
from qrmi_pulser.reading import first_line

if TYPE_CHECKING:
    import os

__all__ = ["device", "devices"]


def device(source: str | os.PathLike[str] | bytes | Target) -> Device | VirtualDevice:
    """The Pulser device that ``qrmi target NAME`` printed, so that a job without a QPU can build sequences.

    Args:
        source: the path of a file, the JSON itself (text or bytes), or a resource's ``target()``; of a list of devices,
            as Pasqal's emulators publish it, the first.

    Raises:
        ConfigurationError: there is no such file, it is not JSON (with line and column), or not a Pulser device.
    """
    return next(iter(devices(source).values()))


def devices(source: str | os.PathLike[str] | bytes | Target) -> dict[str, Device | VirtualDevice]:
    """All the devices in what a resource publishes, by what it calls them; see :func:`device`."""
    file: str | None = None
    if isinstance(source, Target):
        data = source.data
    elif isinstance(source, bytes):
        data = source
    elif isinstance(source, str) and source.lstrip().startswith(("{", "[")):
        data = source.encode()
    else:
        file = str(source)
        data = _read(Path(source))
    return {name: _build(specs.decode(), file) for name, specs in published(data, file=file).items()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read ({error.strerror}); write it with `qrmi target NAME > {path.name}`", file=str(path)
        ) from None


@functools.lru_cache(maxsize=16)  # they cannot be changed, and validating one takes 10 ms
def _build(text: str, file: str | None) -> Device | VirtualDevice:
    try:
        return deserialize_device(text)
    except Exception as error:
        raise ConfigurationError(
            f"{decode(text.encode())['name']} is not a device that this Pulser understands: {first_line(error)}",
            file=file,
        ) from error
