# SPDX-License-Identifier: Apache-2.0
"""A program for IBM's own client, with nothing of this project in it; it runs without an account on a simulator:

    qrmi run --qpu=aer_fez -- python examples/ibm_tutorial.py

It takes counts and an expectation value of a Bell pair in a session, and finds its job again.
"""

import warnings

from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import EstimatorV2, QiskitRuntimeService, SamplerV2, Session

warnings.filterwarnings("ignore", category=DeprecationWarning)  # IBM is moving the primitives to other modules
service = QiskitRuntimeService()
backend = service.least_busy(operational=True, simulator=False)
print(f"{backend.name}, {backend.num_qubits} qubits")

bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
measured = bell.measure_all(inplace=False)
passes = generate_preset_pass_manager(optimization_level=1, backend=backend, seed_transpiler=7)
correlation = SparsePauliOp("ZZ")

with Session(backend) as session:
    sampled = SamplerV2(session).run([passes.run(measured)], shots=1000)
    laid_out = passes.run(bell)
    estimated = EstimatorV2(session).run([(laid_out, correlation.apply_layout(laid_out.layout))], precision=0.03)

    counts = sampled.result()[0].data.meas.get_counts()
    print("counts:", {bits: counts[bits] for bits in sorted(counts)})
    print(f"<ZZ> = {float(estimated.result()[0].data.evs):.2f}")

again = service.job(sampled.job_id())
print("the sampler's job again:", again.status(), again.result()[0].data.meas.get_counts() == counts)
print("jobs of this run:", len(service.jobs()))
