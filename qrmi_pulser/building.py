# SPDX-License-Identifier: Apache-2.0
"""One built sequence from a template and a job's variables, for devices that take nothing else."""

from __future__ import annotations

import json

from pulser import Sequence

from qrmi_pulser.reading import refusing

__all__ = ["build"]


def build(template: bytes, variables: bytes | None) -> tuple[bytes, tuple[str, ...], int]:
    """A sequence as a device takes it, the order of its atoms in bitstrings, and its duration in nanoseconds.

    What has no variables comes back untouched.

    Raises:
        InputError: it is no sequence, or cannot be built from these variables; says why.
    """
    with refusing("the sequence cannot be read"):
        sequence = Sequence.from_abstract_repr(template.decode())
    if sequence.is_parametrized() or sequence.is_register_mappable():
        with refusing("the sequence cannot be built from the job's variables"):
            sequence = sequence.build(**json.loads(variables or b"{}"))
            template = sequence.to_abstract_repr().encode()
    return template, tuple(str(atom) for atom in sequence.register.qubit_ids), sequence.get_duration()
