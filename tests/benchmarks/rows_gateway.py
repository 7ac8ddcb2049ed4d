# SPDX-License-Identifier: Apache-2.0
"""What the gateway adds to a request: the floor is the same request, asked of the vendor's server directly."""

from __future__ import annotations

from dataclasses import dataclass

from figures import Goal, all_of, median_at_least, over_at_most, seconds_at_most, value_at_most, worst_at_most
from runner import Measure
from taking import figures_from

__all__ = ["measures"]


@dataclass(frozen=True)
class Kind:
    """A request: its name in gateway_load.py, how many a second there must be, and which share of the direct ones."""

    name: str
    title: str
    rate: int
    share: float


KINDS = (
    Kind("status", "a device's status", 2500, 0.15),
    Kind("job", "a job", 2500, 0.15),
    Kind("submission", "a submission", 1500, 0.08),
)
ADDED = all_of(over_at_most(0.0015, "floor"), over_at_most(0.005, "floor", percent=99))


def measures(quick: bool) -> list[Measure]:
    """What is to be run."""
    kinds = KINDS[:1] if quick else KINDS
    load = figures_from("gateway_load.py", *(kind.name for kind in kinds), "--seconds", "2" if quick else "4")
    rows = [
        Measure(
            "gateway-start", "gateway: start to listening", (),
            (
                Goal("gateway-start", "<= 0.6 s", seconds_at_most(0.6)),
                Goal("gateway-start", "<= 70 MB idle", value_at_most("MB idle", 70)),
            ),
            min_poll_zero=False, taken=load("gateway-start"),
        )
    ]  # fmt: skip
    for kind in kinds:
        name = f"gateway-{kind.name}"
        most = all_of(
            median_at_least("per second", kind.rate), median_at_least("per second", kind.share, of="floor")
        )  # fmt: skip
        rows += [
            Measure(
                name, f"gateway: {kind.title}, 200 a second", (),
                (Goal(name, "adds <= 1.5 ms, <= 5 ms at the p99", ADDED),),
                min_poll_zero=False, charted=kind.name == "job", taken=load(name),
            ),
            Measure(
                f"{name}-most", f"gateway: {kind.title}, 32 connections", (),
                (Goal(f"{name}-most", f">= {kind.rate:,} per second, >= {kind.share} x floor's", most),),
                min_poll_zero=False, taken=load(f"{name}-most"),
            ),
        ]  # fmt: skip
    return rows if quick else [*rows, *_announcements()]


def _announcements() -> list[Measure]:
    """A submission is held up by its announcement to the gateway; nothing may make that long."""
    announced = figures_from("announcements.py")
    goal = "<= 5 ms at worst"
    return [
        Measure(
            name, f"announcing a task to a gateway that {how}", (), (Goal(name, goal, worst_at_most(0.005)),),
            min_poll_zero=False, taken=announced(name),
        )
        for name, how in (("announce-away", "is away"), ("announce-silent", "does not answer"))
    ]  # fmt: skip
