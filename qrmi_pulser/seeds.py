# SPDX-License-Identifier: Apache-2.0
"""Every source of randomness that the emulators draw from, seeded from one number.

pulser-simulation draws samples and noise from numpy's global generator; qutip's Monte-Carlo solver makes
seeds of its own; emu-sv and emu-mps draw from ``random`` and torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["job_seed", "seeded"]


def job_seed(seed: int | None, task_id: str, job_id: str) -> int | None:
    """The seed of one job: equal jobs of a batch differ, the same batch submitted again does not.

    It depends on the job's place in its batch, which is what its id has behind the batch's.
    """
    if seed is None:
        return None
    place = job_id.removeprefix(task_id)
    return int.from_bytes(hashlib.sha256(f"{seed}\0{place}".encode()).digest()[:16])


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed everything for the emulation inside; None takes fresh entropy, also in a forked process."""
    entropy = np.random.SeedSequence(seed)
    random.seed(int(entropy.generate_state(1, np.uint64)[0]))
    np.random.seed(entropy.generate_state(8))
    if torch := sys.modules.get("torch"):
        torch.manual_seed(int(entropy.generate_state(1)[0]))
    qutip: Any = importlib.import_module("qutip")
    solve = qutip.mcsolve

    def reproducible(*arguments: Any, **options: Any) -> Any:
        options.setdefault("seeds", int(np.random.randint(2**31)))
        return solve(*arguments, **options)

    qutip.mcsolve = reproducible
    try:
        yield
    finally:
        qutip.mcsolve = solve
