# SPDX-License-Identifier: Apache-2.0
"""What a job on Slurm waits longer: without --qpu for the plugin and the scripts, with it for its QPU.

The Slurm that is compared with has a Prolog that does nothing, for slurmd pauses after any.

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
    for command, title in (("srun", "srun true"), ("sbatch", "sbatch, to its program")):
        charted = command == "srun"
        rows += [
            _row(
                f"slurm-{command}", f"{title}, no --qpu", "adds <= 10 ms to Slurm alone",
                over_at_most(0.010, "floor"), charted=charted,
            ),
            _row(
                f"slurm-{command}-simulator", f"{title}, --qpu of a simulator", "adds <= 250 ms to no --qpu",
                over_at_most(0.250, "floor"),
            ),
            _row(
                f"slurm-{command}-session", f"{title}, --qpu with IBM's session", "adds <= 250 ms to no --qpu",
                over_at_most(0.250, "floor"), charted=charted,
            ),
        ]  # fmt: skip
    return [
        *rows,
        _row(
            "slurm-prolog", "prolog of a job without a QPU", "adds <= 5 ms to /bin/sh", over_at_most(0.005, "floor")
        ),
        _row(
            "slurm-prolog-qpu", "prolog that is refused a QPU; floor: Python", "<= 150 ms", seconds_at_most(0.150)
        ),
    ]  # fmt: skip


def _row(name: str, title: str, goal: str, check: Check, *, charted: bool = False) -> Measure:
    taken = figures_from("slurm_jobs.py")(name)
    return Measure(name, title, (), (Goal(name, goal, check),), min_poll_zero=False, charted=charted, taken=taken)
