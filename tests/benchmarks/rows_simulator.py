# SPDX-License-Identifier: Apache-2.0
"""The built-in simulators, and the command line."""

from __future__ import annotations

from figures import Check, Goal, seconds_at_most, service_at_most
from runner import Measure, Run
from taking import figures_from

__all__ = ["measures"]

HELP = """
import sys
from qrmi_core.cli import main
sys.argv = ["qrmi", "--help"]
main()
"""


def measures(quick: bool) -> list[Measure]:
    """What is to be run; nothing where it must be ``quick``."""
    if quick:
        return []
    return [
        Measure(
            "command", "qrmi --help; floor: an empty interpreter", (Run("floor", code="pass"), Run("ours", code=HELP)),
            (Goal("command", "<= 0.4 s", seconds_at_most(0.4)),), rounds=5, min_poll_zero=False,
        ),
        _row("simulator-bell", "Bell on aer_fez: target, transpiled, run", "<= 5 s", seconds_at_most(5.0)),
        _row(
            "simulator-wait", "a simulator's task of about a second, waited for", "<= 1.05 x service time",
            service_at_most(1.05),
        ),
        _row("simulator-cancel", "a simulator's task cancelled, its worker gone", "<= 1 s", seconds_at_most(1.0)),
    ]  # fmt: skip


def _row(name: str, title: str, goal: str, check: Check) -> Measure:
    taken = figures_from("simulator_tasks.py")(name)
    return Measure(name, title, (), (Goal(name, goal, check),), min_poll_zero=False, taken=taken)
