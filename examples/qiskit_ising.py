# SPDX-License-Identifier: Apache-2.0
"""The ground-state energy of a transverse-field Ising chain, by an optimiser around the Estimator.

qrmi run --qpu=aer_ideal -- python examples/qiskit_ising.py
"""

import numpy as np
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from scipy.optimize import minimize

from qrmi_qiskit import EstimatorV2, QRMIProvider

SITES = 4
FIELD = 1.0

couplings = [("ZZ", [site, site + 1], -1.0) for site in range(SITES - 1)]
fields = [("X", [site], -FIELD) for site in range(SITES)]
hamiltonian = SparsePauliOp.from_sparse_list(couplings + fields, num_qubits=SITES)
exact = np.linalg.eigvalsh(hamiltonian.to_matrix())[0]

backend = QRMIProvider().backend()
ansatz = efficient_su2(SITES, reps=2, entanglement="linear", su2_gates=["ry"])
circuit = generate_preset_pass_manager(optimization_level=1, backend=backend).run(ansatz)
observable = hamiltonian.apply_layout(circuit.layout)

estimator = EstimatorV2(mode=backend, options={"default_precision": 0.02})
estimator.options.seed_estimator = 7
energies = []


def energy(parameters):
    value = float(estimator.run([(circuit, observable, parameters)]).result()[0].data.evs)
    energies.append(value)
    if len(energies) % 25 == 0:
        print(f"  {len(energies):4} evaluations  energy {value:7.3f}", flush=True)
    return value


print(f"Ising chain of {SITES} sites on {backend.name}; exact ground-state energy {exact:.3f}")
start = np.random.default_rng(7).uniform(0, np.pi, circuit.num_parameters)
found = minimize(energy, start, method="COBYLA", options={"maxiter": 150, "rhobeg": 0.6})
print(f"found {found.fun:.3f} after {len(energies)} evaluations, {abs(found.fun - exact) / abs(exact):.1%} off")
