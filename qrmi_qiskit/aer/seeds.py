# SPDX-License-Identifier: Apache-2.0
"""Seeds: one for a task, a derived one for each pub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qrmi_core import InputError

__all__ = ["aer_seed", "pub_seed", "task_seed"]


def task_seed(options: Mapping[str, Any], of_engine: int | None) -> int | None:
    """The seed of a task: its option ``simulator.seed_simulator`` or ``seed_estimator``, else the engine's.

    None means a fresh one.

    Raises:
        InputError: the option is no whole number, or negative.
    """
    simulator = options.get("simulator") or {}
    seed = simulator.get("seed_simulator") if isinstance(simulator, Mapping) else None
    name = "seed_estimator" if seed is None else "simulator.seed_simulator"
    seed = options.get("seed_estimator") if seed is None else seed
    if seed is None:
        return of_engine
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"options.{name} is {seed!r}: a whole number of at least 0 was expected")
    return seed


def pub_seed(seed: int | None, index: int) -> np.random.SeedSequence:
    """What the pub ``index`` of a task draws its random numbers from."""
    return np.random.SeedSequence() if seed is None else np.random.SeedSequence([seed, index])


def aer_seed(sequence: np.random.SeedSequence) -> int:
    """A seed for Aer, which takes 31 bits."""
    return int(sequence.generate_state(1)[0]) >> 1
