# SPDX-License-Identifier: Apache-2.0
"""The model of the gateway's load finds again what the runs that it is fitted on were made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from gateway_model import LONGEST_TASK, Load, Measured, fitted

def run(load, task, idle):
    elapsed = load.seconds + LONGEST_TASK
    cpu = task * load.tasks + idle * elapsed
    vendor = 4 * load.tasks + 2 * elapsed
    p99 = 0.01 + 0.001 * load.rate
    return Measured(load, elapsed, 5 * load.tasks, vendor, cpu, 3 * load.tasks, load.tasks, p99, 0.0, 0.0, {}, 0.0)

task, idle = map(float, sys.argv[2:])
loads = Load(1, 100, 6), Load(1, 1000, 40), Load(1, 10000, 300)
few, many, most = (run(load, task, idle) for load in loads)
for name, value in fitted(few, many).figures(most.load).items():
    print(f"{name}: {value / most.figures()[name]:.4f}")
"""


def test_runs_that_follow_the_model_are_predicted() -> None:
    command = [sys.executable, "-c", PROGRAM, str(BENCHMARKS), "0.01", "0.05"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert [line.rpartition(" ")[2] for line in told.splitlines()] == ["1.0000"] * 5, told
