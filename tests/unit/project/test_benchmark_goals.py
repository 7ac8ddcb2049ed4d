# SPDX-License-Identifier: Apache-2.0
"""A goal that is missed is told, and makes the benchmark fail; and every goal is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from figures import Figure, Goal, Sample, all_of, ratio_at_most, requests_at_most
from chart import draw
from report import Row, missed, saved, shown
from runner import Measure
from pathlib import Path

check = all_of(ratio_at_most(1.5, "floor"), requests_at_most(3))
measure = Measure("m", "a task", (), (Goal("m", "<= 1.5 x floor, <= 3 requests", check),), charted=True)
figures = [
    Figure("m", "floor", tuple(Sample(seconds, requests=2) for seconds in (1.0, 1.0, 9.0))),
    Figure("m", "ours", tuple(Sample(float(sys.argv[2]), requests=3) for _ in range(3)), error=sys.argv[3] or None),
]
row = Row(measure, figures if sys.argv[2] != "0" else figures[:1])
print(shown(row))
saved([row], Path(sys.argv[4], "latest.json"), quick=True)
draw([row], Path(sys.argv[4], "chart.svg"))
sys.exit(1 if missed([row]) else 0)
"""

CHECKS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import figures
from figures import Figure, Goal, Sample

check = eval(sys.argv[2], vars(figures))
told = {
    who: Figure("m", who, tuple(Sample(each, values={"per second": 1 / each}) for each in seconds))
    for who, seconds in json.loads(sys.argv[3]).items()
}
again = {who: Figure.of(json.loads(json.dumps(each.plain()))) for who, each in told.items()}
verdict = Goal("m", "", check).verdict(again)
print(json.dumps([verdict.met, verdict.told]))
"""

MEASURES = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rows import collected
print(json.dumps({
    each.name: {"goals": [goal.text for goal in each.goals], "who": [run.who for run in each.runs],
                "taken": each.taken is not None}
    for each in collected(quick=sys.argv[2] == "quick")
}))
"""

TAKEN = """
import sys
sys.path.insert(0, sys.argv[1])
from figures import Goal, seconds_at_most
from report import Row, missed
from runner import Measure, measured
import taking
taking.__file__ = sys.argv[2]
goals = (Goal("m", "<= 1 s", seconds_at_most(1.0)),)
rows = [Measure(name, name, (), goals, taken=taking.figures_from("setup.py")(name)) for name in ("first", "second")]
print(*missed([Row(each, measured(each, None)) for each in rows]), sep="\\n")
"""

STOPPED = """
import sys
sys.path.insert(0, {benchmarks!r})
from figures import Figure, Sample
from taking import tell
tell(Figure("first", "ours", (Sample(0.5),)))
open({log!r}, "a").write("run ")
sys.exit("no Slurm here")
"""


def told(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, str(BENCHMARKS), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def measures(how: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(MEASURES, how))
    return found


@pytest.mark.parametrize(
    ("seconds", "error", "code", "said"),
    [
        ("1.4", "", 0, "met (1.40 x floor, 3 requests)"),
        ("1.6", "", 1, "MISSED (1.60 x floor, 3 requests)"),
        ("1.4", "KeyError: 'x'", 1, "MISSED (ours: KeyError: 'x')"),
        ("0", "", 1, "MISSED (nothing to compare with ('ours'))"),
    ],
)
def test_goals(tmp_path: Path, seconds: str, error: str, code: int, said: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(BENCHMARKS), seconds, error, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert said in ended.stdout
    assert "Traceback" not in ended.stderr
    assert '"requests": 2' in (tmp_path / "latest.json").read_text()
    assert "<svg" in (tmp_path / "chart.svg").read_text()


QUICK_FLOOR, SLOW_ONCE = [0.001] * 100, [0.002] * 98 + [0.009] * 2


@pytest.mark.parametrize(
    ("check", "seconds", "met", "said"),
    [
        ("over_at_most(0.0015, 'floor')", {"floor": QUICK_FLOOR, "ours": SLOW_ONCE}, True, "1 ms over floor"),
        ("over_at_most(0.0005, 'floor')", {"floor": QUICK_FLOOR, "ours": SLOW_ONCE}, False, "1 ms over floor"),
        (
            "over_at_most(0.005, 'floor', percent=99)", {"floor": QUICK_FLOOR, "ours": SLOW_ONCE}, False,
            "8 ms over floor at the p99",
        ),
        (
            "over_at_most(0.005, 'floor', percent=99)", {"floor": QUICK_FLOOR, "ours": [*SLOW_ONCE, 0.002] * 2}, False,
            "8 ms over floor at the p99",
        ),
        (
            "over_at_most(0.005, 'floor', percent=99)", {"floor": QUICK_FLOOR, "ours": [0.002] * 199 + [0.9]}, True,
            "1 ms over floor at the p99",
        ),
        ("over_at_most(0.005, 'floor', percent=99)", {"floor": QUICK_FLOOR, "ours": []}, False, "nothing to compare"),
        ("over_at_most(0.005, 'floor')", {"floor": [], "ours": QUICK_FLOOR}, False, "nothing to compare"),
        ("over_at_most(0.005, 'floor')", {"ours": QUICK_FLOOR}, False, "nothing to compare"),
        ("worst_at_most(0.005)", {"ours": SLOW_ONCE}, False, "9 ms at worst"),
        ("worst_at_most(0.010)", {"ours": SLOW_ONCE}, True, "9 ms at worst"),
        ("worst_at_most(0.010)", {"ours": []}, False, "nothing to compare"),
        ("median_at_least('per second', 400)", {"ours": SLOW_ONCE}, True, "500 per second"),
        ("median_at_least('per second', 600)", {"ours": SLOW_ONCE}, False, "500 per second"),
        (
            "median_at_least('per second', 0.6, of='floor')", {"floor": QUICK_FLOOR, "ours": SLOW_ONCE}, False,
            "0.50 x floor's per second",
        ),
        ("median_at_least('per minute', 1)", {"ours": SLOW_ONCE}, False, "nothing to compare"),
    ],
)  # fmt: skip
def test_checks_judge_rightly(check: str, seconds: dict[str, list[float]], met: bool, said: str) -> None:
    judged, words = json.loads(told(CHECKS, check, json.dumps(seconds)))
    assert judged is met, words
    assert said in words


# What the project promised to be measured, and the rows that do so.
PROMISED = {
    "task of 0 ms, requests after token and target": "task-0",
    "task of 0 ms, RTT 50 ms": "task-0-rtt",
    "tasks of 30-80 ms, log-uniform, untrained": "task-30-80",
    "tasks of 0.3-0.8 s, untrained": "task-300-800",
    "tasks of 6-16 s": "task-6-16",
    "constant service time, after 5 tasks": "task-same",
    "constant service time, after 5 tasks, far away": "task-same-rtt",
    "32 submitted, then collected, 50 ms, parallel": "burst",
    "the same over one lane": "burst-lane",
    "100 tasks one after another, 0 ms": "sequence",
    "1,000 tasks in flight from one process": "in-flight",
    "whole program": "program",
    "import qrmi_core": "import-core",
    "import our sampler": "import-sampler",
    "156-qubit target": "target",
    "1,000-point sweep, 100 qubits, 5,000 gates": "sweep",
    "100k shots x 100 bits: fetch and decode": "result",
    "Pulser: 0 ms task": "pulser-0",
    "Pulser: 10 jobs in one run": "pulser-10",
    "Pulser: 50 ms task": "pulser-50",
    "100-point Pulser sweep": "pulser-sweep",
    "20 tasks under 10 % 500s": "faults-500",
    "20 tasks under 10 % 429s": "faults-429",
    "8 threads on one resource": "threads",
    "gateway: start and memory": "gateway-start",
    **{
        f"gateway: {what}, {kind}": f"gateway-{kind}{row}"
        for kind in ("status", "job", "submission")
        for what, row in (("added latency", ""), ("requests per second", "-most"))
    },
    **{
        f"Slurm: {what}, {command}": f"slurm-{command}{row}"
        for command in ("srun", "sbatch")
        for what, row in (("no plugin at all", ""), ("--qpu", "-session"), ("--qpu of a simulator", "-simulator"))
    },
}


def test_what_was_promised_is_measured_against_a_goal() -> None:
    found = measures("whole")
    without = {what: name for what, name in PROMISED.items() if not found.get(name, {}).get("goals")}
    assert not without


def test_the_quick_run_needs_neither_slurm_nor_vendors_clients() -> None:
    found = measures("quick")
    assert set(found) < set(measures("whole"))
    assert not [name for name, each in found.items() if name.startswith("slurm") or "vendor" in each["who"]]
    assert "gateway-status" in found


def test_a_program_that_stops_early_is_run_once_and_misses_what_it_had_not_measured(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "setup.py").write_text(STOPPED.format(benchmarks=str(BENCHMARKS), log=str(log)))
    assert told(TAKEN, str(tmp_path / "taking.py")) == "second: <= 1 s: ours: no Slurm here\n"
    assert log.read_text() == "run "
