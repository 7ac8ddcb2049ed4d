# SPDX-License-Identifier: Apache-2.0
"""The second of two jobs: run on the QPU what the first transpiled for it.

qrmi run --qpu=aer_fez -- python examples/run_transpiled.py circuits.qpy
"""

import sys
from pathlib import Path

from qiskit import qpy

from qrmi_qiskit import QRMIProvider, SamplerV2

SHOTS = 1000

(source,) = sys.argv[1:] or ("circuits.qpy",)
with Path(source).open("rb") as file:
    circuits = qpy.load(file)

backend = QRMIProvider().backend()
print(f"{len(circuits)} circuits on {backend.name}, {SHOTS} shots each")
results = SamplerV2(mode=backend).run(circuits, shots=SHOTS).result()
for circuit, result in zip(circuits, results, strict=True):
    counts = result.data.meas.get_counts()
    together = sum(count for outcome, count in counts.items() if len(set(outcome)) == 1)
    print(f"  {circuit.name}: {together / SHOTS:.1%} all zero or all one")
