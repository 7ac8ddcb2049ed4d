# SPDX-License-Identifier: Apache-2.0
"""Every driver under faults: no task is lost, none runs twice, and the look-up is what makes it so."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from fault_run import CASES, Report, fault_run

SHORT = pytest.param(40, 1, id="40 tasks")
LONG = pytest.param(200, 10, id="200 tasks", marks=pytest.mark.slow)

ATTEMPTS = 4
PATIENT = ("ibm-quantum-system", "pasqal-cloud")
"""Drivers that take longest; IBM's cloud and Alice & Bob show in each run that no task is lost."""

Record = Callable[[str, object], None]


def run(name: str, tasks: int, record_property: Record, *, blind: bool = False) -> Report:
    seed = random.SystemRandom().randrange(2**32)
    case = CASES[name]
    report = fault_run(case, tasks, seed=seed, kind=case.blind if blind else None)
    record_property("faults", f"{name}, seed {seed}{', without its look-up' if blind else ''}: {report.table()}")
    return report


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("tasks", "ambiguous"), [SHORT, LONG])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in PATIENT else [])
        for name, case in CASES.items()
        if case.looks_up
    ],
)
def test_every_task_runs_once(name: str, tasks: int, ambiguous: int, record_property: Record) -> None:
    report = run(name, tasks, record_property)
    assert not report.errors, report.table()
    assert (report.results, report.runs) == (tasks, tasks), report.table()
    assert report.ambiguous_submissions >= ambiguous, report.table()


@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "ambiguous"), [SHORT, LONG])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.looks_up])
def test_every_task_is_accounted_for(name: str, tasks: int, ambiguous: int, record_property: Record) -> None:
    report = run(name, tasks, record_property)
    assert not report.errors, report.table()
    assert report.results + report.uncertain == tasks, report.table()
    assert report.results <= report.runs <= tasks, report.table()
    assert report.ambiguous_submissions >= ambiguous, report.table()


@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.parametrize("tasks", [40, 200])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.looks_up])
def test_without_the_look_up_a_task_is_lost_or_runs_twice(name: str, tasks: int, record_property: Record) -> None:
    # A run of 40 tasks meets no fault that matters once in 70 times, so there are several.
    reports = []
    for _ in range(ATTEMPTS):
        reports.append(run(name, tasks, record_property, blind=True))
        if reports[-1].runs != tasks or reports[-1].results < tasks:
            return
    pytest.fail("\n".join(report.table() for report in reports))
