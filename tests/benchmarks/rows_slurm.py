# SPDX-License-Identifier: Apache-2.0
"""What a job on Slurm waits longer: without --qpu for the plugin and the scripts, with it for its QPU.

Real Slurm, private to the benchmark; where there is none, these goals are missed.
"""

from __future__ import annotations

from figures import Check, Goal, over_at_most, seconds_at_most
from runner import Measure
from taking import figures_from

__all__ = ["measures"]


def measures(quick: bool) -> list[Measure]:
    """What is to be run; nothing where it must be ``quick``."""
    if quick:
        return []
    rows = []
    for command, of in (("srun", "srun true"), ("sbatch", "sbatch to its program")):
        rows += [
            _row(
                f"slurm-{command}", f"{of}, no --qpu; floor: Slurm alone", "adds <= 10 ms",
                over_at_most(0.010, "floor"), charted=True,
            ),
            _row(
                f"slurm-{command}-simulator", f"{of}, --qpu of a simulator; floor: no --qpu", "adds <= 250 ms",
                over_at_most(0.250, "floor"),
            ),
            _row(
                f"slurm-{command}-session", f"{of}, --qpu with a session at IBM's; floor: no --qpu",
                "adds <= 250 ms", over_at_most(0.250, "floor"), charted=True,
            ),
        ]  # fmt: skip
    return [
        *rows,
        _row(
            "slurm-prolog", "prolog of a job without a QPU; floor: /bin/sh", "<= 5 ms over /bin/sh",
            over_at_most(0.005, "floor"),
        ),
        _row(
            "slurm-prolog-qpu", "prolog that asks for a QPU and is refused; floor: Python", "<= 150 ms",
            seconds_at_most(0.150),
        ),
    ]  # fmt: skip


def _row(name: str, title: str, goal: str, check: Check, *, charted: bool = False) -> Measure:
    taken = figures_from("slurm_jobs.py")(name)
    return Measure(name, title, (), (Goal(name, goal, check),), min_poll_zero=False, charted=charted, taken=taken)
