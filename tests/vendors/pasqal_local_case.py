# SPDX-License-Identifier: Apache-2.0
"""Warden in the suites that run for every vendor."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from munge_daemon import Munged, libraries, munged
from pulser import Pulse, Register, Sequence
from pulser.devices import AnalogDevice
from vendor_site import Case, Site, site

from qrmi_core import JobContext, PulserBatch, PulserJob
from qrmi_core.gateway.dialects import DialectOptions

__all__ = ["CASE", "CONTEXT", "pulse", "start", "warden"]

CONTEXT = JobContext(uid=os.getuid(), job_id="42")


def pulse(area: float, *, atoms: int = 1, duration: int = 400) -> Sequence[Any]:
    """A resonant pulse on atoms too far apart to see each other."""
    places = [(place * 30.0, 0.0) for place in range(atoms)]
    register = Register.from_coordinates(places, prefix="q").with_automatic_layout(AnalogDevice)
    sequence = Sequence(register, AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(duration, area / duration * 1000, 0, 0), "rydberg")
    sequence.measure("ground-rydberg")
    return sequence


_SEQUENCES = [pulse(area).to_abstract_repr().encode() for area in (1e-9, math.pi)]


def payload(number: int) -> PulserBatch:
    """An atom that stays (even numbers) or is excited (odd ones), and a number of shots that no other has."""
    return PulserBatch(_SEQUENCES[number % 2], (PulserJob(10 + number),))


def verify(data: bytes, number: int) -> None:
    counter = json.loads(data)["counter"]
    assert sum(counter.values()) == 10 + number, (number, counter)
    assert counter.get(str(number % 2), 0) >= 0.8 * (10 + number), (number, counter)


@contextlib.contextmanager
def warden(daemons: Munged, *, options: DialectOptions | None = None, **more: Any) -> Iterator[Site]:
    """A server whose users are attested by these daemons."""
    libraries()
    options = replace(options or DialectOptions(), munge_socket=daemons.socket)
    with site("pasqal-local", options=options, **more) as running:
        yield running


@contextlib.contextmanager
def start(**options: Any) -> Iterator[Site]:
    """A server with daemons of its own."""
    with munged() as daemons, warden(daemons, **options) as running:
        yield running


CASE = Case(
    type="pasqal-local",
    start=start,
    payload=payload,
    verify=verify,
    looks_up=False,
    context=CONTEXT,
    acquires=True,
)
