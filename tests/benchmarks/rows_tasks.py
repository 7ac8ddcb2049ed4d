# SPDX-License-Identifier: Apache-2.0
"""Waiting, and tasks on IBM's cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from figures import (
    Check,
    Figures,
    Goal,
    Verdict,
    all_of,
    ratio_at_most,
    requests_at_most,
    service_at_most,
    value_at_least,
    value_at_most,
)
from runner import Measure, Run

__all__ = ["measures"]

EVERYBODY = ("floor", "upstream", "vendor", "ours")
RTT = 0.05
Knobs = Mapping[str, Any]


def _measure(
    name: str, title: str, goal: str, check: Check, program: str, who: tuple[str, ...] = EVERYBODY, **more: Any
) -> Measure:
    arguments = more.pop("arguments", {})
    runs = tuple(Run(each, f"tasks:{program}", {"who": each, **arguments}) for each in who)
    return Measure(name, title, runs, (Goal(name, goal, check),), **more)


def measures(quick: bool) -> list[Measure]:
    """What is to be run; ``quick`` leaves out what takes long."""
    rows = [*_single(quick), *_many(quick)]
    return rows if quick else [*rows, *_long(), *_troubled()]


def _single(quick: bool) -> list[Measure]:
    times, fewer = (5, 3) if quick else (14, 7)

    def one(name: str, title: str, goal: str, check: Check, knobs: Knobs, **more: Any) -> Measure:
        arguments = {"times": times, "knobs": knobs, **more.pop("arguments", {})}
        return _measure(name, title, goal, check, "one_by_one", arguments=arguments, **more)

    drawn_short = all_of(ratio_at_most(1.2, "floor", paired=True), requests_at_most(12))
    drawn_long = all_of(ratio_at_most(1.15, "floor", paired=True), requests_at_most(20))
    constant = all_of(service_at_most(1.05), requests_at_most(6))
    constant_far = all_of(service_at_most(1.05, plus=2 * RTT), requests_at_most(6))
    some = {"times": fewer}
    rows = [
        one("task-0", "task of 0 ms", "<= 3 requests", requests_at_most(3), {}, charted=True),
        one(
            "task-0-rtt", "task of 0 ms, RTT 50 ms", "<= 1.55 x floor", ratio_at_most(1.55, "floor"), {"rtt": RTT},
            arguments=some, charted=True,
        ),
        one(
            "task-30-80", "tasks of 30-80 ms, untrained", "<= 1.2 x floor, <= 12 requests", drawn_short,
            {"service": [0.03, 0.08]}, charted=True,
        ),
    ]  # fmt: skip
    if not quick:
        rows += [
            one(
                "task-300-800", "tasks of 0.3-0.8 s, untrained", "<= 1.15 x floor, <= 20 requests", drawn_long,
                {"service": [0.3, 0.8]}, arguments=some, charted=True,
            ),
            one(
                "task-same", "tasks of 400 ms, after 5 alike", "<= 1.05 x + 2 RTT, <= 6 requests", constant,
                {"service": 0.4}, who=("upstream", "ours"), arguments={"trained": 5, "times": 9},
            ),
            one(
                "task-same-rtt", "tasks of 2 s, RTT 50 ms, after 5 alike", "<= 1.05 x + 2 RTT, <= 6 requests",
                constant_far, {"service": 2.0, "rtt": RTT}, who=("upstream", "ours"),
                arguments={"trained": 5, "times": 4},
            ),
        ]  # fmt: skip
    return rows


def _many(quick: bool) -> list[Measure]:
    times = 3 if quick else 5
    parallel, lane = {"service": 0.05}, {"service": 0.05, "lanes": 1}
    rows = [
        _measure(
            "burst", "32 tasks of 50 ms, then collected", "<= 2.5 x floor", ratio_at_most(2.5, "floor"), "burst",
            arguments={"tasks": 32, "times": times, "knobs": parallel}, charted=True,
        ),
        _measure(
            "sequence", "100 tasks of 0 ms in sequence", "<= upstream, or requests alone take as long",
            _sequence_check, "sequence", arguments={"tasks": 100, "times": times},
            charted=True,
        ),
    ]  # fmt: skip
    if not quick:
        rows += [
            _measure(
                "burst-lane", "32 tasks of 50 ms, one lane", "<= 1.05 x floor", ratio_at_most(1.05, "floor"), "burst",
                arguments={"tasks": 32, "times": 3, "knobs": lane}, charted=True,
            ),
            _measure(
                "threads", "8 threads on one resource", "8 of 8", value_at_least("succeeded", 8), "threads",
                who=("upstream", "vendor", "ours"),
                arguments={"count": 8, "knobs": {"service": 0.05, "rtt": 0.02}}, rounds=2,
            ),
        ]  # fmt: skip
    return rows


def _sequence_check(figures: Figures) -> Verdict:
    """Requests cost what they cost in this language: where they alone take as long as upstream, the split is told."""
    ratio = figures["ours"].ratio_to(figures["upstream"])
    requests = figures["ours"].value("s in requests")
    least = figures["ours"].requests() * figures["floor"].seconds() / figures["floor"].requests()
    split = f"{requests:.2f} s in requests ({least:.2f} s at the floor's cost), of {figures['ours'].seconds():.2f} s"
    return Verdict(ratio <= 1.0 or requests >= figures["upstream"].seconds(), f"{ratio:.2f} x upstream; {split}")


def _long() -> list[Measure]:
    idle = all_of(value_at_most("% of a core", 2), value_at_most("MB over", 60), value_at_most("waiting threads", 1))
    return [
        _measure(
            "task-6-16", "tasks of 6-16 s, 24 at once in 24 processes", "<= 1.05 x service time, <= 38 requests",
            all_of(service_at_most(1.05), requests_at_most(38)), "together", who=("ours",), at_once=24,
            arguments={"processes": 24}, knobs={"service": [6.0, 16.0]},
        ),
        _measure(
            "in-flight", "1,000 tasks in flight", "one loop waits, <= 2 % of a core, <= 60 MB over the baseline", idle,
            "in_flight", who=("ours",), arguments={"tasks": 1000, "idle": 20.0, "knobs": {"service": 3600.0}},
        ),
    ]  # fmt: skip


def _troubled() -> list[Measure]:
    rows = []
    for status, more in ((500, {}), (429, {"retry_after": 1})):
        faults = [{"status": status, "share": 0.1, "match": "/jobs", **more}]
        rows.append(
            _measure(
                f"faults-{status}", f"20 tasks under 10 % {status}s", "20 of 20, none run twice",
                all_of(value_at_least("succeeded", 20), value_at_most("run", 20)), "under_faults",
                who=("upstream", "vendor", "ours"),
                arguments={"tasks": 20, "knobs": {"faults": faults, "seed": 7}},
            )
        )  # fmt: skip
    return rows
