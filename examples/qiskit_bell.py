# SPDX-License-Identifier: Apache-2.0
"""A Bell state, and its angle turned in five steps, on the QPU of this job.

qrmi run --qpu=aer_fez -- python examples/qiskit_bell.py
"""

import math

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler import generate_preset_pass_manager

from qrmi_qiskit import QRMIProvider, SamplerV2

backend = QRMIProvider().backend()
to_backend = generate_preset_pass_manager(optimization_level=1, backend=backend)

bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()

angle = Parameter("angle")
turned = QuantumCircuit(2)
turned.ry(angle, 0)
turned.cx(0, 1)
turned.measure_all()
angles = [[step * math.pi / 4] for step in range(5)]

sampler = SamplerV2(mode=backend)
job = sampler.run([to_backend.run(bell), (to_backend.run(turned), angles)], shots=2000)
print(f"job {job.job_id()} on {backend.name}, {backend.num_qubits} qubits")
bell_result, sweep_result = job.result()

print("\nBell state")
for outcome, count in sorted(bell_result.data.meas.get_counts().items()):
    print(f"  {outcome} {count:5}  {'#' * round(count / 40)}")

print("\nShare of 11 as the angle is turned from 0 to pi; sin^2(angle / 2) without noise")
for index, (value,) in enumerate(angles):
    share = sweep_result.data.meas[index].get_counts().get("11", 0) / 2000
    print(f"  {value:4.2f} {share:5.3f} ({math.sin(value / 2) ** 2:5.3f})  {'#' * round(50 * share)}")
