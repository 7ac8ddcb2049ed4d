# SPDX-License-Identifier: Apache-2.0
"""The JSON of a Pulser device: which one an engine stands for, and what can be said of it without Pulser."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qrmi_core import ConfigurationError, ResourceUnavailable

__all__ = ["BUILT_IN", "DEFAULT", "DEVICE", "decode", "device_json", "is_file", "published", "unknown_device"]

DEVICE = "QRMI_PULSER_DEVICE"
DEFAULT = "AnalogDevice"
BUILT_IN = ("AnalogDevice", "DigitalAnalogDevice", "WeightedAnalogDevice")

_EXPECTED = ("name", "dimensions", "channels")


def decode(data: bytes, *, file: str | None = None) -> dict[str, Any]:
    """The JSON object of a device, looked at just closely enough to tell that it is one.

    Raises:
        ConfigurationError: it is not JSON (with line and column), or something else than a Pulser device.
    """
    try:
        text = data.decode()
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"byte {error.start} is not UTF-8: a Pulser device is JSON text", file=file) from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{error.msg}: a Pulser device as JSON was expected", file=file, place=_line(error)
        ) from None
    except RecursionError:
        raise ConfigurationError("nested too deeply for a Pulser device", file=file) from None
    if not isinstance(value, dict) or any(key not in value for key in _EXPECTED):
        hint = f"one has {', '.join(_EXPECTED)}; take what `qrmi target NAME` prints for a Pulser QPU"
        if isinstance(value, dict) and "configuration" in value:
            hint = "this is the target of a Qiskit resource, for qrmi_qiskit.QRMIBackend.from_target"
        raise ConfigurationError(f"not a Pulser device: {hint}", file=file)
    return value


def published(data: bytes, *, file: str | None = None) -> dict[str, bytes]:
    """The devices in what a resource publishes, by what it calls them: one as it is, or the list of Pasqal's cloud.

    A device that stands alone is called by its own name. The list is ``[{"device_type": ..., "specs": "<JSON>"}]``.

    Raises:
        ConfigurationError: it is something else.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        value = json.loads(data)
        if isinstance(value, list) and value:
            found = {str(entry["device_type"]): str(entry["specs"]).encode() for entry in value}
            for specs in found.values():
                decode(specs, file=file)
            return found
    return {decode(data, file=file)["name"]: data}


def _line(error: json.JSONDecodeError) -> str:
    return f"line {error.lineno}, column {error.colno}"


def is_file(device: str) -> bool:
    """True when the value of QRMI_PULSER_DEVICE names a file rather than one of Pulser's devices."""
    return "/" in device or device.endswith(".json")


def unknown_device(resource: str, device: str) -> str:
    """What to say where QRMI_PULSER_DEVICE names neither one of Pulser's devices nor a file."""
    return (
        f"{resource}: {DEVICE} is {device!r}: one of {', '.join(BUILT_IN)} or the path of a device's JSON file "
        f"was expected"
    )


def device_json(settings: Mapping[str, str], resource: str, kept: Path | None = None) -> bytes:
    """The abstract representation of the device that an engine stands for.

    Importing Pulser to ask for one of its devices takes seconds, so what it says is kept in the directory ``kept``, for
    each version of Pulser.

    Raises:
        ResourceUnavailable: there is no such device, or it is a virtual one, which takes no QPU's programs.
    """
    device = settings.get(DEVICE) or DEFAULT
    if not is_file(device):
        if device not in BUILT_IN:
            raise ResourceUnavailable(unknown_device(resource, device), resource=resource)
        return _of_pulser(device) if kept is None else _kept(device, kept)
    try:
        data = Path(device).expanduser().read_bytes()
        described = decode(data, file=device)
    except OSError as error:
        raise ResourceUnavailable(
            f"{resource}: {DEVICE}: {device} cannot be read ({error.strerror})", resource=resource
        ) from None
    except ConfigurationError as error:
        raise ResourceUnavailable(f"{resource}: {DEVICE}: {error}", resource=resource) from None
    if described.get("is_virtual"):
        raise ResourceUnavailable(
            f"{resource}: {DEVICE}: {device} is a virtual device; Pulser sends programs for a QPU to a Device only "
            f"(VirtualDevice has no physical limits; run those with RemoteEmuFreeBackend on any engine)",
            resource=resource,
        )
    return data


def _of_pulser(device: str) -> bytes:
    text: str = getattr(importlib.import_module("pulser.devices"), device).to_abstract_repr()
    return text.encode()


def _kept(device: str, directory: Path) -> bytes:
    file = directory / f"{device}-{importlib.metadata.version('pulser-core')}.json"
    with contextlib.suppress(OSError, ConfigurationError):
        data = file.read_bytes()
        if decode(data)["name"] == device:
            return data
    data = _of_pulser(device)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):  # it is only slower without
        directory.mkdir(mode=0o700, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(file)
    return data
