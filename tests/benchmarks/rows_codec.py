# SPDX-License-Identifier: Apache-2.0
"""Targets, programs and results that are large."""

from __future__ import annotations

from figures import Goal, all_of, ratio_at_most, value_at_most
from runner import Measure, Run

__all__ = ["measures"]

CLIENTS = ("upstream", "vendor", "ours")


def measures(quick: bool) -> list[Measure]:
    """What is to be run."""
    times, rounds = (3, 1) if quick else (7, 1)

    def runs(program: str, who: tuple[str, ...]) -> tuple[Run, ...]:
        return tuple(Run(each, f"documents:{program}", {"who": each, "times": times}) for each in who)

    return [
        Measure(
            "target", "target of 156 qubits", runs("target", ("floor", *CLIENTS)),
            (
                Goal("target", "<= upstream", ratio_at_most(1.0, "upstream")),
                Goal("target", "<= 10 ms again", value_at_most("ms again", 10)),
            ),
            rounds=rounds, charted=True,
        ),
        Measure(
            "sweep", "1,000 points of 100 qubits, 5,000 gates, submitted", runs("sweep", CLIENTS),
            (
                Goal(
                    "sweep", "<= 0.5 x upstream's time, <= 0.55 x its bytes",
                    all_of(ratio_at_most(0.5, "upstream"), value_at_most("kB sent", 0.55, of="upstream")),
                ),
            ),
            rounds=rounds, charted=True,
        ),
        Measure(
            "result", "100,000 shots of 100 bits: fetched and decoded", runs("big_result", ("floor", *CLIENTS)),
            (Goal("result", "<= upstream", ratio_at_most(1.0, "upstream")),), {"result": "large"},
            rounds=rounds, charted=True,
        ),
    ]  # fmt: skip
