# SPDX-License-Identifier: Apache-2.0
"""What a task costs at each vendor's server: requests, and how late its result is seen.

The floor of a task is what its server needs: the drawn service time, or the simulator's own time where that is longer.
Requests are counted once token and target are there, those to a store (S3) apart.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "vendors"))

from fault_run import CASES
from vendor_site import Case, Site

from qrmi_core import QuantumResource

ROUNDS = {0.05: 15, 0.5: 9, 10.0: 3}
GOALS = {0.05: (1.2, 12), 0.5: (1.15, 20), 10.0: (1.05, 38)}


def prepared(case: Case, running: Site) -> QuantumResource:
    """Our driver with its token, target and session there, and the engine warm."""
    context = case.context
    if case.acquires:
        context = replace(context, acquisition_token=running.resource(None, context).acquire())
    resource = running.resource(None, context, QRMI_MIN_POLL="0")
    resource.target()
    resource.submit(case.payload(0)).result(60)
    return resource


def at_once(name: str, case: Case) -> None:
    with case.start() as running:
        resource = prepared(case, running)
        ready = resource.submit(case.payload(1))
        while not ready.status().is_final:
            ready.wait(60)
        counters = running.emulator.counters
        before = counters.total()
        task = resource.submit(case.payload(2))
        submitted = counters.total() - before
        while not resource.task_info(task.id).status.is_final:
            pass
        before = counters.total()
        task.result(60)
        print(f"{name}: done at once: {submitted + counters.total() - before} requests")


def waiting(name: str, case: Case, service: float, rounds: int) -> None:
    chance = random.Random(1)  # noqa: S311
    drawn: list[float] = []

    def service_time() -> float:
        drawn.append(service * chance.uniform(0.8, 1.2))
        return drawn[-1]

    with case.start(service_time=service_time) as running:
        resource = prepared(case, running)
        counters, engine = running.emulator.counters, running.emulator.device.resource
        ratios, requests = [], []
        for number in range(1, rounds + 1):
            before, start = counters.total(), time.monotonic()
            resource.submit(case.payload(number)).result(120)
            took = time.monotonic() - start
            info = engine.task_info(engine.task_ids()[0])
            floor = max(drawn[-1], (info.ended or 0.0) - (info.created or 0.0))
            ratios.append(took / floor)
            requests.append(counters.total() - before)
    ratio, most = GOALS[service]
    print(
        f"{name}: service {service:g} s: median {statistics.median(ratios):.3f} x floor (goal {ratio}), "
        f"{max(requests)} requests at most (goal {most})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", default=list(CASES), help="resource types; all by default")
    chosen = parser.parse_args().types
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        for name in chosen:
            at_once(name, CASES[name])
            for service, rounds in ROUNDS.items():
                waiting(name, CASES[name], service, rounds)


if __name__ == "__main__":
    main()
