# SPDX-License-Identifier: Apache-2.0
"""A goal that is missed is told, and makes the benchmark fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize(
    ("seconds", "error", "code", "told"),
    [
        ("1.4", "", 0, "met (1.40 x floor, 3 requests)"),
        ("1.6", "", 1, "MISSED (1.60 x floor, 3 requests)"),
        ("1.4", "KeyError: 'x'", 1, "MISSED (ours: KeyError: 'x')"),
        ("0", "", 1, "MISSED (nothing to compare with ('ours'))"),
    ],
)
def test_goals(tmp_path: Path, seconds: str, error: str, code: int, told: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(BENCHMARKS), seconds, error, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert told in ended.stdout
    assert "Traceback" not in ended.stderr
    assert '"requests": 2' in (tmp_path / "latest.json").read_text()
    assert "<svg" in (tmp_path / "chart.svg").read_text()
