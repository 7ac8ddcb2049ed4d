# SPDX-License-Identifier: Apache-2.0
"""Pasqal's cloud in the suites that run for every vendor."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from typing import Any

from pulser import Pulse, Register, Sequence
from pulser.devices import AnalogDevice, Device
from vendor_site import Case, site

from qrmi_core import PulserBatch, PulserJob
from qrmi_core.drivers.pasqal_cloud import PasqalCloud

__all__ = ["CASE", "FRESNEL", "Blind", "batch", "rabi"]

FRESNEL: Device = dataclasses.replace(AnalogDevice, name="FRESNEL")
"""What the server publishes: the device of its engine under the vendor's name."""

NANOSECONDS = 500


class Blind(PasqalCloud):
    """Looks for no batch: what comes of it where answers are lost."""

    def _look_up(self, tag: str) -> str | None:
        return None


def rabi(area: float, *, atoms: int = 1, device: Device = FRESNEL, pulses: bool = True) -> Sequence[Any]:
    """A resonant pulse of this area on atoms in a row, measured; or nothing yet."""
    row = Register.from_coordinates([(6.0 * place, 0.0) for place in range(atoms)], prefix="q")
    sequence = Sequence(row.with_automatic_layout(device), device)
    sequence.declare_channel("rydberg", "rydberg_global")
    if pulses:
        sequence.add(Pulse.ConstantPulse(NANOSECONDS, area / NANOSECONDS * 1000, 0, 0), "rydberg")
        sequence.measure("ground-rydberg")
    return sequence


@functools.cache
def _text(pulses: int) -> bytes:
    text: str = rabi(pulses * math.pi).to_abstract_repr()
    return text.encode()


def batch(number: int) -> PulserBatch:
    """A pulse that excites the atom for odd numbers and brings it back for even ones, with its own number of shots."""
    return PulserBatch(_text(1 if number % 2 else 2), (PulserJob(runs=10 + number),))


def verify(data: bytes, number: int) -> None:
    counts = json.loads(data)["counter"]
    assert sum(counts.values()) == 10 + number, (number, counts)
    assert max(counts, key=counts.get) == ("1" if number % 2 else "0"), (number, counts)


CASE = Case(
    type="pasqal-cloud",
    start=functools.partial(site, "pasqal-cloud"),
    payload=batch,
    verify=verify,
    looks_up=True,
    blind=Blind,
)
