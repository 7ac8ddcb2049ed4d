# SPDX-License-Identifier: Apache-2.0
"""The first of two jobs: transpile without a QPU, so that no QPU waits for the transpiler.

qrmi target aer_fez > target.json
python examples/transpile_first.py target.json circuits.qpy
"""

import sys
from pathlib import Path

from qiskit import QuantumCircuit, qpy
from qiskit.transpiler import generate_preset_pass_manager

from qrmi_qiskit import QRMIBackend

QUBITS = (3, 5, 7)

target, output = sys.argv[1:] or ("target.json", "circuits.qpy")
backend = QRMIBackend.from_target(target)
passes = generate_preset_pass_manager(optimization_level=3, backend=backend, seed_transpiler=7)

circuits = []
for qubits in QUBITS:
    ghz = QuantumCircuit(qubits, name=f"ghz{qubits}")
    ghz.h(0)
    for qubit in range(1, qubits):
        ghz.cx(qubit - 1, qubit)
    ghz.measure_all()
    circuits.append(passes.run(ghz))
    print(f"{ghz.name}: depth {circuits[-1].depth()}, {circuits[-1].num_nonlocal_gates()} gates on two qubits")

with Path(output).open("wb") as file:
    qpy.dump(circuits, file)
print(f"{len(circuits)} circuits for {backend.num_qubits} qubits are in {output}")
