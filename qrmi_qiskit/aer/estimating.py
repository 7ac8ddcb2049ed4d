# SPDX-License-Identifier: Apache-2.0
"""The estimator: Qiskit's own BackendEstimatorV2 on the qubits in use, with real shots."""

from __future__ import annotations

import math

import numpy as np
from qiskit.primitives import BackendEstimatorV2, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparseObservable

from qrmi_core import LimitExceeded
from qrmi_qiskit.aer.backend import Backends
from qrmi_qiskit.aer.compaction import compact
from qrmi_qiskit.aer.seeds import aer_seed
from qrmi_qiskit.observables import in_paulis

__all__ = ["estimate"]


def estimate(backends: Backends, pub: EstimatorPub, seed: np.random.SeedSequence) -> PubResult:
    """Estimate a pub's observables to its precision.

    Observables are cut to the qubits that the circuit or they themselves act on: they are the identity elsewhere.

    Raises:
        LimitExceeded: the precision needs too many shots, an observable has too many terms, or see
            :meth:`Simulator.run`.
        InputError: the circuit does not fit the device, or Aer does not take it.
    """
    _check_precision(backends, pub.precision)
    observables = pub.observables.sparse_observables_array()
    paulis = [in_paulis(observable) for observable in observables.reshape(-1)]
    compacted = compact(pub.circuit, {qubit for terms in paulis for _, qubits, _ in terms for qubit in qubits})
    backend = backends.backend(compacted, all_single=True)
    index = {qubit: i for i, qubit in enumerate(compacted.qubits)}
    reduced = np.empty(len(paulis), dtype=object)
    for i, terms in enumerate(paulis):
        numbered = [
            (letters, [index[qubit] for qubit in qubits], coefficient) for letters, qubits, coefficient in terms
        ]
        reduced[i] = SparseObservable.from_sparse_list(numbered, num_qubits=len(index))
    array = ObservablesArray(reduced.reshape(pub.observables.shape))
    estimator = BackendEstimatorV2(backend=backend, options={"seed_simulator": aer_seed(seed)})
    result = estimator.run([EstimatorPub(compacted.circuit, array, pub.parameter_values, pub.precision)]).result()[0]
    return PubResult(
        result.data,
        metadata={
            "target_precision": pub.precision,
            "shots": result.metadata["shots"],
            "circuit_metadata": pub.circuit.metadata or {},
        },
    )


def _check_precision(backends: Backends, precision: float) -> None:
    shots, most = math.ceil(1 / precision**2), backends.simulator.limits.shots
    if shots > most:
        raise LimitExceeded(
            f"a precision of {precision:g} takes {shots} shots and {backends.simulator.resource} allows {most}: "
            f"ask for at least {most**-0.5:.2g}, or raise QRMI_ENGINE_MAX_SHOTS"
        )
