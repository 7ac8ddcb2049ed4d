# SPDX-License-Identifier: Apache-2.0
"""IQM in the suites of every vendor."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

from vendor_site import Case, site

from qrmi_core import IQMServer

__all__ = ["CASE", "circuit", "job", "measure", "prx"]

BITS = 10


def prx(qubit: int, angle: float = math.pi, phase: float = 0.0) -> dict[str, Any]:
    """A phased rotation about x; pi flips the qubit."""
    return {"name": "prx", "locus": [f"QB{qubit}"], "args": {"angle": angle, "phase": phase}}


def measure(*qubits: int, key: str = "m") -> dict[str, Any]:
    return {"name": "measure", "locus": [f"QB{qubit}" for qubit in qubits], "args": {"key": key}}


def circuit(*instructions: dict[str, Any]) -> dict[str, Any]:
    return {"name": "circuit", "instructions": list(instructions), "metadata": {}}


def job(*circuits: Any, shots: int = 5, **fields: Any) -> bytes:
    """The body of a circuit job."""
    return json.dumps({"circuits": list(circuits), "shots": shots, **fields}).encode()


def numbered(number: int) -> IQMServer:
    """A job whose result is its number, in binary."""
    flips = [prx(bit + 1) for bit in range(BITS) if number >> bit & 1]
    return IQMServer(job(circuit(*flips, measure(*range(1, BITS + 1)))), "circuit")


def verify(result: bytes, number: int) -> None:
    bits = [number >> bit & 1 for bit in range(BITS)]
    told = json.loads(result)
    assert told["measurements"] == [{"m": [bits] * 5}]
    assert told["measurement_counts"] == [{"counts": {"".join(map(str, bits)): 5}, "measurement_keys": ["m"]}]


CASE = Case(
    type="iqm-server",
    start=functools.partial(site, "iqm-server"),
    payload=numbered,
    verify=verify,
    looks_up=False,
)
