# SPDX-License-Identifier: Apache-2.0
"""Many tasks through a driver while its server makes faults, and the count of what the device was made to run."""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from vendor_site import Case

from qrmi_core import QRMIError, QuantumResource, SubmissionUncertain
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.faults import Counters, FaultRates, Faults

__all__ = ["CASES", "Report", "fault_run"]

THREADS = 8
PATIENCE = 240.0
NO_TASKS = ("token", "session", "cancel", "complete", "close")


def _cases() -> dict[str, Case]:
    modules = (importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("*_case.py")))
    return {module.CASE.type: module.CASE for module in modules}


CASES = _cases()


@dataclass
class Report:
    """What became of the tasks: those with a result of their own, those left open, and what else went wrong."""

    tasks: int
    results: int = 0
    uncertain: int = 0
    errors: list[str] = field(default_factory=list)
    runs: int = 0
    counters: list[Counters] = field(default_factory=list)

    @property
    def ambiguous_submissions(self) -> int:
        """How many submissions got no clear answer."""
        return sum(
            count
            for counters in self.counters
            for route, count in counters.ambiguous.items()
            if route.startswith("POST") and not any(word in route for word in NO_TASKS)
        )

    def table(self) -> str:
        """Faults by route, a line each."""
        summary = (
            f"{self.tasks} tasks: {self.results} results, {self.uncertain} uncertain, {self.runs} runs on the device, "
            f"{self.ambiguous_submissions} submissions answered ambiguously"
        )
        lines = [summary]
        for counters in self.counters:
            for route, count in sorted(counters.requests.items()):
                made = ", ".join(f"{name} {number}" for name, number in sorted(counters.faults[route].items()))
                lines.append(f"  {route}: {count} requests; {made or 'no faults'}")
        return "\n".join([*lines, *(f"  error: {error}" for error in self.errors)])


def fault_run(case: Case, tasks: int, *, seed: int, kind: type[QuantumResource] | None = None) -> Report:
    """Run ``tasks`` tasks in eight threads under rough faults; ``kind`` is another driver than the type's own."""
    faults = Faults(FaultRates.rough(), seed=seed)
    report = Report(tasks)
    with case.start(faults=faults, options=DialectOptions(list_delay=2.0, seed=seed)) as running:
        resource = running.resource(kind, case.context, QRMI_MIN_POLL="0")
        token = resource.acquire() if case.acquires else None
        if token is not None:
            resource = running.resource(kind, replace(case.context, acquisition_token=token), QRMI_MIN_POLL="0")
        left = iter(range(tasks))
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    return
                outcome, error = _one(case, resource, number)
                with lock:
                    report.results += outcome == "result"
                    report.uncertain += outcome == "uncertain"
                    if error:
                        report.errors.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        report.errors += ["a thread still runs" for thread in threads if thread.is_alive()]
        if token is not None:
            resource.release(token)
        report.runs = running.emulator.device.runs
        report.counters = [faults.counters, *(each.counters for each in running.also_faulty)]
    return report


def _one(case: Case, resource: QuantumResource, number: int) -> tuple[str, str]:
    try:
        task = resource.submit(case.payload(number))
    except SubmissionUncertain:
        return "uncertain", ""
    except QRMIError as error:
        return "lost", f"task {number}: {type(error).__name__}: {error}"
    try:
        case.verify(task.result(timeout=PATIENCE).data, number)
    except (QRMIError, AssertionError) as error:
        return "lost", f"task {number} ({task.id}): {type(error).__name__}: {error}"
    return "result", ""
