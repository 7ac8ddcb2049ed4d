# SPDX-License-Identifier: Apache-2.0
"""Alice & Bob in the suites that run for every vendor."""

from __future__ import annotations

import json
from functools import partial

from vendor_site import Case, site

from qrmi_core import AliceBobFelis
from qrmi_core.drivers.felis import AliceBobFelisDriver

__all__ = ["CASE", "SHOTS", "qir"]

SHOTS = 20
WIDTH = 8


def qir(*calls: str, results: int) -> bytes:
    """A program of these calls, ``h__body %Qubit* null``, that records its results, the highest first."""
    lines = [
        f"  call void @__quantum__qis__{name}({arguments})" for name, _, arguments in (c.partition(" ") for c in calls)
    ]
    lines += [
        f"  call void @__quantum__rt__result_record_output({result(index)}, i8* null)"
        for index in reversed(range(results))
    ]
    head = ["%Qubit = type opaque", "%Result = type opaque", "", "define void @main() #0 {", "entry:"]
    return "\n".join([*head, *lines, "  ret void", "}", ""]).encode()


def qubit(index: int) -> str:
    return f"%Qubit* {_pointer(index, '%Qubit*')}"


def result(index: int) -> str:
    return f"%Result* {_pointer(index, '%Result*')}"


def _pointer(index: int, kind: str) -> str:
    return f"inttoptr (i64 {index} to {kind})" if index else "null"


def payload(number: int) -> AliceBobFelis:
    """A program whose only outcome is the number, as bits."""
    bits = [index for index in range(WIDTH) if number >> index & 1]
    flips = [f"x__body {qubit(index)}" for index in bits]
    measurements = [f"mz__body {qubit(index)}, {result(index)}" for index in range(WIDTH)]
    return AliceBobFelis(qir(*flips, *measurements, results=WIDTH), json.dumps({"nbShots": SHOTS}).encode())


def verify(data: bytes, number: int) -> None:
    assert data == f"{number:0{WIDTH}b},{SHOTS}\n".encode()


class Blind(AliceBobFelisDriver):
    """Does not look whether a program arrived whose upload got no clear answer."""

    def _look_up(self, task_id: str) -> str | None:
        return None


CASE = Case(
    "alice-bob-felis",
    start=partial(site, "alice-bob-felis"),
    payload=payload,
    verify=verify,
    looks_up=True,
    blind=Blind,
)
