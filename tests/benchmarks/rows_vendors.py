# SPDX-License-Identifier: Apache-2.0
"""Tasks at the vendors that no peer is measured at: our drivers at servers that speak these vendors' APIs."""

from __future__ import annotations

from figures import Goal, all_of, ratio_at_most, requests_at_most
from runner import Measure
from taking import figures_from

__all__ = ["measures"]

TYPES = {"alice-bob-felis": 2, "ibm-quantum-system": 0, "iqm-server": 0, "pasqal-local": 0}
"""By type: the requests of a task beside its looks that IBM's, for which the goals were set, does without."""

GOALS = {"0.05": ("50 ms", 1.2, 12), "0.5": ("0.5 s", 1.15, 20), "10": ("10 s", 1.05, 38)}
"""By the tasks' service time in seconds: how it is told, the most times the floor, and the most requests."""


def measures(quick: bool) -> list[Measure]:
    """What is to be run; nothing where it must be ``quick``."""
    return [] if quick else [row for name, more in TYPES.items() for row in _vendor(name, more)]


def _vendor(name: str, more: int) -> list[Measure]:
    # Started with the first row that is wanted, for all vendors: the long tasks run at the same time.
    taken = figures_from("vendor_tasks.py", *TYPES)
    rows = [Measure(f"{name}-0", f"{name}: a task that has ended", (), (), taken=taken(f"{name}-0"))]
    for service, (title, ratio, requests) in GOALS.items():
        measure = f"{name}-{service}"
        requests += more
        check = all_of(ratio_at_most(ratio, "floor", paired=True), requests_at_most(requests))
        goal = Goal(measure, f"<= {ratio} x floor, <= {requests} requests", check)
        rows.append(Measure(measure, f"{name}: tasks of {title}", (), (goal,), taken=taken(measure)))
    return rows
