# SPDX-License-Identifier: Apache-2.0
"""How long a 50 ms task takes through IBM's own client: by the gateway, and directly.

python tests/benchmarks/ibm_door.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / each) for each in ("unit/gateway/doors", "unit/gateway", "vendors", "unit/qiskit")]

from doored import doored  # noqa: E402
from ibm_site import cloud, entry  # noqa: E402
from munge_daemon import libraries, munged  # noqa: E402

SECONDS = 0.05
PROGRAM = """
import json, statistics, sys, time
from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

backend = QiskitRuntimeService(**json.loads(sys.argv[1])).backends()[0]
circuit = QuantumCircuit(2)
circuit.h(0)
circuit.measure_all()
circuit = transpile(circuit, backend, optimization_level=0)
sampler = SamplerV2(backend)
sampler.run([circuit], shots=10).result()
waits = []
for _ in range(10):
    job = sampler.run([circuit], shots=10)
    begun = time.perf_counter()
    job.result()
    waits.append(time.perf_counter() - begun)
print(f"{statistics.median(waits):.3f} s, from {min(waits):.3f} to {max(waits):.3f} s")
"""


def main() -> None:
    """From run() to result(): median of ten."""
    libraries()
    with munged() as daemons, cloud(service_time=lambda: SECONDS) as site:
        for gap in ("0", "0.5"):
            directory = Path(tempfile.mkdtemp())
            with doored(directory, daemons.socket, [entry("Fez", site, QRMI_MIN_POLL=gap)]) as gateway:
                done = gateway.granted("Fez").run(PROGRAM, directory, "{}")
            print(f"by the gateway, the vendor's min_poll {gap} s: {done.stdout or done.stderr}", end="")
        url = site.emulator.url
        account = {
            "channel": "ibm_cloud",
            "token": site.environment["QRMI_IBM_QCS_IAM_APIKEY"],
            "instance": site.environment["QRMI_IBM_QCS_SERVICE_CRN"],
            "url": f"{url}/experimental/api/v1",
        }
        with doored(directory, daemons.socket, [entry("Fez", site)]) as gateway:
            job = gateway.granted("Fez")
            job.environment = {"IAM_URL": url, "QISKIT_FUNCTIONS_EXPERIMENTAL": "1"}
            done = job.run(PROGRAM, directory, json.dumps(account))
        print(f"directly: {done.stdout or done.stderr}", end="")


if __name__ == "__main__":
    main()
