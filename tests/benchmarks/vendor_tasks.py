# SPDX-License-Identifier: Apache-2.0
"""Measures a task at vendors' servers for rows_vendors.py: requests, and how late its result is seen.

The floor of a task ends with the fetching of its result, begun at the moment when the server has it. The server
computes nothing: it tells one result of its simulator of every task. Requests are counted once token and target are
there; those to a store (S3) are not. Each vendor has a process; short tasks are measured in turns, since they need the
processor, and long ones at the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

sys.path.extend([str(Path(__file__).parents[1] / "vendors"), str(Path(__file__).parents[1] / "unit" / "qiskit")])

from fault_run import CASES
from figures import Figure, Sample
from taking import one_of, tell
from vendor_site import Case, Clock, Site

from qrmi_core import Payload, QRMIError, QuantumResource, TaskInfo

SHORT = {0.05: 11, 0.5: 7}
LONG = {10.0: 2}
PATIENCE = 120.0
STRIDE = 5
"""Prime to the rounds: long and short tasks take turns, and the driver learns no time that is the usual one."""

NEXT = "next"


class Repeated:
    """In a simulator's place: every task has ended at once, with the result of one that the simulator has run."""

    def __init__(self, engine: QuantumResource, task_id: str) -> None:
        self._engine = engine
        self._info = engine.task_info(task_id)
        self._output = engine.task_output(task_id)
        self._logs = engine.task_logs(task_id)
        self._numbers = itertools.count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def task_start(self, payload: Payload) -> str:
        return str(uuid.UUID(int=next(self._numbers)))

    def task_info(self, task_id: str) -> TaskInfo:
        return replace(self._info, id=task_id)

    def task_wait(self, task_ids: Sequence[str], *, timeout: float) -> list[TaskInfo]:
        return [self.task_info(each) for each in task_ids]

    def task_output(self, task_id: str) -> bytes:
        return self._output

    def task_logs(self, task_id: str) -> str:
        return self._logs

    def task_stop(self, task_id: str) -> None:
        """It has ended."""


def prepared(case: Case, running: Site) -> QuantumResource:
    """Our driver with its token, target and session there, in front of a server that computes nothing any more."""
    context = case.context
    if case.acquires:
        context = replace(context, acquisition_token=running.resource(None, context).acquire())
    resource = running.resource(None, context, QRMI_MIN_POLL="0")
    resource.target()
    resource.submit(case.payload(0)).result(PATIENCE)
    device = running.emulator.device
    device.resource = cast("QuantumResource", Repeated(device.resource, device.resource.task_ids()[0]))
    return resource


def at_once(case: Case) -> tuple[list[Sample], list[Sample]]:
    """A task that has ended when its result is asked for; the time until then is nobody's. There is no floor."""
    with case.start() as running:
        resource = prepared(case, running)
        ready = resource.submit(case.payload(1))
        while not ready.status().is_final:
            ready.wait(PATIENCE)
        counters = running.emulator.counters
        before, begun = counters.total(), time.monotonic()
        task = resource.submit(case.payload(2))
        submitting, requests = time.monotonic() - begun, counters.total() - before
        while not resource.task_info(task.id).status.is_final:
            pass
        before, begun = counters.total(), time.monotonic()
        task.result(PATIENCE)
        return [], [Sample(submitting + time.monotonic() - begun, requests=requests + counters.total() - before)]


def waited_for(case: Case, service: float, rounds: int) -> tuple[list[Sample], list[Sample]]:
    """Tasks of so many seconds, a fifth less to a fifth more: the floor of each, and ours."""
    clock, floor, ours = Clock(), [], []
    with case.start(service_time=clock) as running:
        resource = prepared(case, running)
        counters, device = running.emulator.counters, running.emulator.device
        for number in range(1, rounds + 1):
            clock.seconds = service * (0.8 + 0.4 * (STRIDE * number % rounds + 0.5) / rounds)
            before, begun = counters.total(), time.monotonic()
            task = resource.submit(case.payload(number))
            task.result(PATIENCE)
            took = time.monotonic() - begun
            ours.append(Sample(took, requests=counters.total() - before))
            ready = next(reversed(device._ends.values()))
            with contextlib.suppress(QRMIError):  # IBM's system has it when it is stored
                ended = resource.task_info(task.id).ended or 0.0
                ready = max(ready, time.monotonic() - (time.time() - ended))
            reading = time.monotonic()
            with contextlib.suppress(QRMIError):  # some vendors' results can be read once only
                resource.task_output(task.id)
            floor.append(Sample(ready - begun + time.monotonic() - reading))
    return floor, ours


def told(measure: str, taken: Callable[[], tuple[list[Sample], list[Sample]]]) -> None:
    """Tell what was taken, or why nothing was."""
    try:
        floor, ours = taken()
    except Exception as problem:  # noqa: BLE001  the other vendors are measured all the same
        tell(Figure(measure, "ours", (), error=f"{type(problem).__name__}: {problem}"[:300]))
        return
    if floor:
        tell(Figure(measure, "floor", tuple(floor)))
    tell(Figure(measure, "ours", tuple(ours)))


def one_vendor(name: str) -> None:
    """The short tasks, and, when all vendors are here, the long ones."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the store's server
    case = CASES[name]
    told(f"{name}-0", partial(at_once, case))
    for services in (SHORT, LONG):
        for service, rounds in services.items():
            told(f"{name}-{service:g}", partial(waited_for, case, service, rounds))
        print(NEXT, flush=True)
        if services is SHORT and not sys.stdin.readline():
            return


def all_vendors(names: list[str]) -> None:
    """Every vendor's process in turns, then all of them at once."""
    with contextlib.ExitStack() as stack:
        processes = []
        for name in names:
            command = [sys.executable, __file__, "--one", name]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
            _forward(process)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            _forward(process)


def _forward(process: subprocess.Popen[str]) -> None:
    """Print what a process tells of one part."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == NEXT:
            return
        print(line, end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", type=one_of(CASES), help="resource types; all by default")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one_vendor(options.types[0])
    else:
        all_vendors(options.types or list(CASES))


if __name__ == "__main__":
    main()
