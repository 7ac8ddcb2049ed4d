# SPDX-License-Identifier: Apache-2.0
"""Runs the measures: the clients in turns, round after round, each time in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counted import Counted
from environment import peer_python, variables
from figures import Figure, Goal, Sample

__all__ = ["Measure", "Run", "measured"]

LONGEST = 600.0
PIPES: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Run:
    """What one client is made to do.

    Either ``program``, ``module:function`` of ``programs/``, which takes samples in a worker; or ``code``, Python whose
    whole process is one sample, from its start to its exit. ``python`` tells what runs it where that is not the
    client's own.
    """

    who: str
    program: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    python: Callable[[], Path] | None = None


@dataclass(frozen=True)
class Measure:
    """One row: who does what, under which knobs of the emulator, so many ``rounds``, ``at_once`` processes in each.

    A measure that needs no emulator has no runs: ``taken`` measures all and returns the figures.
    """

    name: str
    title: str
    runs: tuple[Run, ...]
    goals: tuple[Goal, ...]
    knobs: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 1
    at_once: int = 1
    min_poll_zero: bool = True
    charted: bool = False
    taken: Callable[[], Sequence[Figure]] | None = None


def measured(measure: Measure, emulator: Counted | None) -> list[Figure]:
    """Run a measure. Every round has the same draws for everybody, and each round its own."""
    if measure.taken is not None:
        return list(measure.taken())
    assert emulator is not None, measure.name
    found: dict[str, list[Figure]] = {run.who: [] for run in measure.runs}
    for number in range(measure.rounds):
        for run in measure.runs:
            emulator.use(**{"seed": number + 1, **measure.knobs})
            found[run.who].append(_run(measure, run, emulator))
    return [_together(each) for each in found.values()]


def _together(rounds: list[Figure]) -> Figure:
    samples = tuple(sample for each in rounds for sample in each.samples)
    error = next((each.error for each in rounds if each.error), None)
    first = rounds[0]
    return Figure(first.measure, first.who, samples, max(each.peak for each in rounds), error)


def _run(measure: Measure, run: Run, emulator: Counted) -> Figure:
    python = _python(run)
    with tempfile.TemporaryDirectory(prefix="qrmi-bench-") as home:
        environment = {**variables(emulator.url, home=Path(home)), **run.environment}
        if run.code:
            return _whole(measure, run, [str(python), "-c", run.code], environment, emulator)
        command = [str(python), str(WORKER), run.program]
        request = json.dumps({"port": emulator.port, "arguments": dict(run.arguments)})
        processes = [subprocess.Popen(command, env=environment, text=True, **PIPES) for _ in range(measure.at_once)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{request}\n")
            process.stdin.flush()
        told = [_answer(process) for process in processes]
    samples = tuple(Sample(**sample) for each in told for sample in each["samples"])
    error = next((each["error"] for each in told if each["error"]), None)
    return Figure(measure.name, run.who, samples, max(each["peak"] for each in told), error)


def _python(run: Run) -> Path:
    if run.python is not None:
        return run.python()
    return peer_python() if run.who in {"upstream", "vendor"} else Path(sys.executable)


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        out, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"samples": [], "peak": 0.0, "error": f"no end after {LONGEST:g} s"}
    if process.returncode:
        return {"samples": [], "peak": 0.0, "error": f"ended with {process.returncode}"}
    answer: dict[str, Any] = json.loads(out)
    return answer


def _whole(measure: Measure, run: Run, command: list[str], environment: dict[str, str], emulator: Counted) -> Figure:
    """The whole process as a sample."""
    before = emulator.counts()
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.read()
        told = process.stderr.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    after = emulator.counts()
    sample = Sample(
        seconds,
        used.ru_utime + used.ru_stime,
        *(after[name] - before[name] for name in ("requests", "up", "down")),
    )
    error = told.strip().rpartition("\n")[2][:300] or "failed" if process.returncode else None
    return Figure(measure.name, run.who, (sample,), used.ru_maxrss * 1024 / 1e6, error)
