# SPDX-License-Identifier: Apache-2.0
"""The variables that every engine takes: how large a task may be, how many run at once, and the seed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from qrmi_core.engines.work import Limits
from qrmi_core.errors import ResourceUnavailable
from qrmi_core.variables import Variable

__all__ = ["ENGINE_VARIABLES", "check_settings", "lanes_of", "limits_of", "seed_of"]

SEED = "QRMI_ENGINE_SEED"
LANES = "QRMI_ENGINE_LANES"
QUBITS = "QRMI_ENGINE_MAX_QUBITS"
SHOTS = "QRMI_ENGINE_MAX_SHOTS"
MEMORY = "QRMI_ENGINE_MEMORY_MB"
INPUT = "QRMI_ENGINE_MAX_INPUT_MB"
THREADS = "QRMI_ENGINE_THREADS"

ENGINE_VARIABLES = (
    Variable(SEED, "a whole number that makes results reproducible"),
    Variable(LANES, "how many tasks run at once (default: the cores of the machine)"),
    Variable(QUBITS, "the most qubits or atoms of a program (default 1000)"),
    Variable(SHOTS, "the most shots of a pub or job (default 1000000)"),
    Variable(MEMORY, "the memory of one task in MB (default: half of the machine's)"),
    Variable(INPUT, "the most that a payload may expand to, in MB (default 256)"),
    Variable(THREADS, "the threads of one task (default: the cores of the machine)"),
)

_MEGABYTE = 2**20


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(settings: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = settings.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and int(text) >= least:
        return int(text)
    raise ResourceUnavailable(f"{name} is {text!r}: a whole number of at least {least} was expected")


def limits_of(settings: Mapping[str, str]) -> Limits:
    """The limits that an environment block sets.

    Raises:
        ResourceUnavailable: a value is not a positive whole number.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Limits(
        qubits=_number(settings, QUBITS, 1000),
        shots=_number(settings, SHOTS, 1_000_000),
        memory=_number(settings, MEMORY, physical // 2 // _MEGABYTE) * _MEGABYTE,
        decompressed=_number(settings, INPUT, 256) * _MEGABYTE,
        threads=_number(settings, THREADS, _cores()),
    )


def seed_of(settings: Mapping[str, str]) -> int | None:
    """The seed, None when results need not be reproducible."""
    return _number(settings, SEED, 0, least=0) if SEED in settings else None


def lanes_of(settings: Mapping[str, str]) -> int:
    """How many tasks run at once."""
    return _number(settings, LANES, _cores())


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise ResourceUnavailable unless every common value can be used."""
    limits_of(settings)
    seed_of(settings)
    lanes_of(settings)
