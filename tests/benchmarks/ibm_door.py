# SPDX-License-Identifier: Apache-2.0
"""How long tasks take through IBM's own client, from run() to result(): by the gateway, and directly.

python tests/benchmarks/ibm_door.py [--repetitions 7]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / each) for each in ("unit/gateway/doors", "unit/gateway", "vendors", "unit/qiskit")]

from door_waits import SERVICE_TIMES, Order, head, row  # noqa: E402
from doored import Job, doored  # noqa: E402
from ibm_site import cloud, entry  # noqa: E402
from munge_daemon import libraries, munged  # noqa: E402

QUEUED = 50
LONG = 60.0
LOOKS = ("GET /api/v1/jobs/{id}", "GET /api/v1/jobs")
WAYS = ("gateway, vendor's min_poll 0", "gateway, vendor's min_poll 0.5", "directly")
PROGRAM = f"""
import json, sys, time
from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

count, account = json.loads(sys.argv[1])
backend = QiskitRuntimeService(**account).backends()[0]
circuit = QuantumCircuit(2)
circuit.h(0)
circuit.measure_all()
circuit = transpile(circuit, backend, optimization_level=0)
sampler = SamplerV2(backend)
sampler.run([circuit], shots=10).result()
waits = []
for _ in range(count):
    job = sampler.run([circuit], shots=10)
    begun = time.perf_counter()
    job.result()
    waits.append(time.perf_counter() - begun)
jobs = [sampler.run([circuit], shots=10) for _ in range({QUEUED})]
loops = []
for _ in range(3):
    begun, used = time.perf_counter(), time.process_time()
    words = {{job.status() for job in jobs}}
    loops.append((time.perf_counter() - begun, time.process_time() - used))
print(json.dumps([waits, loops, sorted(words)]))
"""


def main() -> None:
    """Each way with its own vendor, whose service times follow the order of submissions."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repetitions", type=int, default=7)
    repetitions = options.parse_args().repetitions
    libraries()
    head("qiskit-ibm-runtime, SamplerV2.run() to result(), one task after another")
    loops = {}
    with munged() as daemons:
        for way in WAYS:
            loops[way] = _tried(way, daemons.socket, repetitions)
    print(f"\njob.status() of {QUEUED} unfinished jobs, three times in a loop (of it the client's own processor time)")
    for way, (seconds, words) in loops.items():
        told = ", ".join(f"{wall:.3f} s ({used:.3f})" for wall, used in seconds)
        print(f"{way:34} {told}, {', '.join(words)}")


def _tried(way: str, socket: str, repetitions: int) -> tuple[list[tuple[float, float]], list[str]]:
    times = [each for each in SERVICE_TIMES for _ in range(repetitions)]
    order = Order([0.0, *times, *[LONG] * QUEUED])
    directory = Path(tempfile.mkdtemp())
    program = directory / "program.py"
    program.write_text(PROGRAM)  # of a file: IBM's client looks for its caller's source with each request
    with cloud(service_time=order) as site:
        order.requests = lambda: site.emulator.counters.requests.copy()
        gap = way.rpartition("min_poll ")[2] if "min_poll" in way else "0.5"
        with doored(directory, socket, [entry("Fez", site, QRMI_MIN_POLL=gap)]) as gateway:
            job = gateway.granted("Fez")
            account = {} if "min_poll" in way else _direct(job, site)
            done = job.run(program, directory, json.dumps([len(times), account]))
        if done.returncode:
            sys.exit(done.stderr)
        waits, loops, words = json.loads(done.stdout)
        for place, seconds in enumerate(SERVICE_TIMES):
            first = place * repetitions
            requests = order.between(1 + first, 1 + first + repetitions)
            row(way, seconds, waits[first : first + repetitions], requests, LOOKS)
    return loops, words


def _direct(job: Job, site: Any) -> dict[str, str]:
    """The account for IBM's client, which asks the vendor itself."""
    url = site.emulator.url
    job.environment = {"IAM_URL": url, "QISKIT_FUNCTIONS_EXPERIMENTAL": "1"}
    return {
        "channel": "ibm_cloud",
        "token": site.environment["QRMI_IBM_QCS_IAM_APIKEY"],
        "instance": site.environment["QRMI_IBM_QCS_SERVICE_CRN"],
        "url": f"{url}/experimental/api/v1",
    }


if __name__ == "__main__":
    main()
