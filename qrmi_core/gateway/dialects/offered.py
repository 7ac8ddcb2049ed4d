# SPDX-License-Identifier: Apache-2.0
"""Several devices behind one server, by the names that each answers to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Refused
from qrmi_core.names import answering

__all__ = ["Offered"]


class Offered:
    """Devices by name; each answers to its other names too, which count less than anybody's own name.

    ``first`` is the one for requests that name none. ``names`` are all that one device answers to, own names first.
    """

    def __init__(self, devices: Mapping[str, Device], others: Mapping[str, Collection[str]] | None = None) -> None:
        self._devices = dict(devices)
        self._others = dict.fromkeys(devices, ()) | dict(others or {})
        self.first = next(iter(devices.values()))
        known = [*devices, *(name for names in self._others.values() for name in names)]
        self.names = tuple(name for name in dict.fromkeys(known) if len(answering(name, self._others)) == 1)

    def get(self, name: object) -> Device | None:
        """The device that answers to a name; None where there is none.

        Raises:
            Refused: 400, there are several; says which.
        """
        found = answering(name, self._others) if isinstance(name, str) else []
        if len(found) > 1:
            raise Refused(400, f"several QPUs here have the device {name}, name one of them: {', '.join(found)}")
        return self._devices[found[0]] if found else None

    def is_own(self, name: str) -> bool:
        """Whether a device has a name as its own."""
        return name in self._devices

    def devices(self) -> Collection[Device]:
        """All of them."""
        return self._devices.values()
