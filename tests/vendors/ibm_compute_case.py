# SPDX-License-Identifier: Apache-2.0
"""IBM's cloud in the suites that run for every vendor."""

from __future__ import annotations

import functools
import json

from vendor_site import Case, site

from qrmi_core import JobContext, QiskitPrimitive
from qrmi_core.drivers.ibm_compute import IBMQuantumComputeService
from qrmi_qiskit.codec import decode_result

__all__ = ["BITS", "CASE", "SHOTS", "sampler_payload", "shows"]

BITS = 8
SHOTS = 20


class Blind(IBMQuantumComputeService):
    """Does not look for a job whose submission was answered ambiguously."""

    def _look_up(self, tag: str) -> str | None:
        return None


def sampler_payload(number: int) -> QiskitPrimitive:
    """A sampler's call whose every shot gives the number."""
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', f"bit[{BITS}] c;", f"qubit[{BITS}] q;"]
    lines += [f"x q[{bit}];" for bit in range(BITS) if number >> bit & 1]
    lines += [f"c[{bit}] = measure q[{bit}];" for bit in range(BITS)]
    parameters = {"pubs": [["\n".join(lines), None, SHOTS]], "version": 2, "support_qiskit": True, "options": {}}
    return QiskitPrimitive("sampler", json.dumps(parameters).encode())


def shows(result: bytes, number: int) -> None:
    """Every shot of a sampler's result gave the number."""
    counts = decode_result(result)[0].data.c.get_int_counts()
    assert counts == {number % 2**BITS: SHOTS}


CASE = Case(
    type="ibm-quantum-compute-service",
    start=functools.partial(site, "ibm-quantum-compute-service", engine="aer_ideal"),
    payload=sampler_payload,
    verify=shows,
    looks_up=True,
    blind=Blind,
    context=JobContext(timeout_seconds=600),
    acquires=True,
)
