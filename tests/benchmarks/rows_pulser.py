# SPDX-License-Identifier: Apache-2.0
"""Pulser's programs on Pasqal's cloud."""

from __future__ import annotations

from typing import Any

from figures import Check, Goal, ratio_at_most, requests_at_most
from runner import Measure, Run

__all__ = ["measures"]

EVERYBODY = ("floor", "upstream", "vendor", "ours")


def measures(quick: bool) -> list[Measure]:
    """What is to be run."""
    times, fewer = (5, 3) if quick else (15, 5)
    rows = [
        _row("pulser-0", "Pulser: task of 0 ms", "<= 3 requests", requests_at_most(3), times, 1, {}, charted=True),
        _row(
            "pulser-50", "Pulser: task of 50 ms", "<= 1.5 x floor", ratio_at_most(1.5, "floor"), fewer, 1,
            {"service": 0.05}, charted=True,
        ),
    ]  # fmt: skip
    if quick:
        return rows
    swept = tuple(
        Run(who, "pulser_tasks:sweep", {"who": who, "times": 3, "points": 100}) for who in EVERYBODY if who != "floor"
    )
    return [
        *rows,
        _row("pulser-10", "Pulser: 10 jobs in one run", "<= 6 requests", requests_at_most(6), fewer, 10, {}),
        Measure(
            "pulser-sweep", "Pulser: 100 points, submitted", swept,
            (Goal("pulser-sweep", "<= 0.2 x upstream", ratio_at_most(0.2, "upstream")),), charted=True,
        ),
    ]  # fmt: skip


def _row(
    name: str, title: str, goal: str, check: Check, times: int, jobs: int, knobs: dict[str, Any], **more: Any
) -> Measure:
    runs = tuple(
        Run(who, "pulser_tasks:one_by_one", {"who": who, "times": times, "jobs": jobs, "knobs": knobs})
        for who in EVERYBODY
    )
    return Measure(name, title, runs, (Goal(name, goal, check),), **more)
