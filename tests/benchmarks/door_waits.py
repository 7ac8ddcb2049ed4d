# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of waits at doors share: service times by the order of submissions, and the table."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

__all__ = ["SERVICE_TIMES", "Order", "head", "row"]

SERVICE_TIMES = (0.05, 0.3, 0.8, 2.0)
"""Seconds that a task takes at the vendor's."""


class Order:
    """The service times of tasks in the order in which they are submitted, and the vendor's requests between them."""

    def __init__(self, times: Sequence[float]) -> None:
        self._times: Iterator[float] = iter(times)
        self.requests: Callable[[], Counter[str]] = Counter
        self.marks: list[Counter[str]] = []

    def __call__(self) -> float:
        self.marks.append(self.requests())
        return next(self._times, 0.0)

    def between(self, first: int, after: int) -> Counter[str]:
        """The vendor's requests from one submission, by its place, to another."""
        marks = [*self.marks, self.requests()]
        return marks[after] - marks[first]


def head(what: str) -> None:
    """The table's head."""
    print(f"\n{what}\n{'':34} {'task':>6} {'median':>8} {'min':>8} {'max':>8} {'requests':>9} {'looks':>6}  per task")


def row(how: str, seconds: float, waits: Sequence[float], requests: Counter[str], looks: Sequence[str]) -> None:
    """One service time: the waits, and what each task cost the vendor; ``looks`` are routes that tell a state."""
    count = len(waits)
    told = f"{statistics.median(waits):8.3f} {min(waits):8.3f} {max(waits):8.3f}"
    looked = sum(requests[route] for route in looks)
    print(f"{how:34} {seconds:4g} s {told} {requests.total() / count:9.1f} {looked / count:6.1f}", flush=True)
