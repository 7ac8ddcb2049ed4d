# SPDX-License-Identifier: Apache-2.0
"""The emulated device: when each of its jobs begins and ends."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Device", "Job"]


@dataclass
class Job:
    """One job or batch; times are monotonic seconds."""

    id: str
    body: dict[str, Any]
    start: float
    end: float
    created: str
    fails: bool = False
    cancelled: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """Queued, Running, Completed, Failed or Cancelled."""
        if self.cancelled:
            return "Cancelled"
        now = time.monotonic()
        if now < self.end:
            return "Queued" if now < self.start else "Running"
        return "Failed" if self.fails else "Completed"

    @property
    def is_pending(self) -> bool:
        """Whether it is yet to end."""
        return self.state in {"Queued", "Running"}


class Device:
    """Works for ``service`` seconds on each job (or drawn from [least, most], log-uniformly), on so many lanes at once.

    Without lanes every job begins as it comes.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.batches: dict[str, Job] = {}
        self.use(service=0.0, lanes=0, seed=1)

    def use(self, *, service: float | list[float], lanes: int, seed: int) -> None:
        """Work like this from now on."""
        self._service = service
        self._free = [0.0] * lanes
        self._chance = random.Random(seed)

    def _drawn(self) -> float:
        if isinstance(self._service, list):
            least, most = map(math.log, self._service)
            return math.exp(self._chance.uniform(least, most))
        return self._service

    def times(self) -> tuple[float, float]:
        """When a job that comes at this moment begins and ends."""
        now, seconds = time.monotonic(), self._drawn()
        if not self._free:
            return now, now + seconds
        lane = self._free.index(min(self._free))
        start = max(now, self._free[lane])
        self._free[lane] = start + seconds
        return start, start + seconds
