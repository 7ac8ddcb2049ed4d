# SPDX-License-Identifier: Apache-2.0
"""What a task costs at each vendor's server: requests, and how late its result is seen.

The floor of a task ends with the fetching of its result, begun at the moment when the server has it: service times are
drawn at random, and the simulator's own time counts where it is longer. Requests are counted once token and target are
there; those to a store (S3) are not.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "vendors"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "qiskit"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "pulser"))

from fault_run import CASES
from vendor_site import Case, Site

from qrmi_core import QRMIError, QuantumResource

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
    chance = random.Random(1)
    with case.start(service_time=lambda: service * chance.uniform(0.8, 1.2)) as running:
        resource = prepared(case, running)
        counters, engine = running.emulator.counters, running.emulator.device.resource
        ratios, requests = [], []
        for number in range(1, rounds + 1):
            before, start = counters.total(), time.monotonic()
            task = resource.submit(case.payload(number))
            task.result(120)
            took = time.monotonic() - start
            requests.append(counters.total() - before)
            ended = engine.task_info(engine.task_ids()[0]).ended or 0.0
            ready = max(
                next(reversed(running.emulator.device._ends.values())), time.monotonic() - (time.time() - ended)
            )
            start_of_reading = time.monotonic()
            with contextlib.suppress(QRMIError):  # some vendors' results can be read once only
                resource.task_output(task.id)
            ratios.append(took / (ready - start + time.monotonic() - start_of_reading))
    ratio, most = GOALS[service]
    print(
        f"{name}: service {service:g} s: median {statistics.median(ratios):.3f} x floor (goal {ratio}), "
        f"median {statistics.median(requests):g} requests, {max(requests)} at most (goal {most})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", default=list(CASES), help="resource types; all by default")
    chosen = parser.parse_args().types
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the store's server
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        for name in chosen:
            at_once(name, CASES[name])
            for service, rounds in ROUNDS.items():
                waiting(name, CASES[name], service, rounds)


if __name__ == "__main__":
    main()
