# SPDX-License-Identifier: Apache-2.0
"""A user's program for IBM's own client: it knows the name of its QPU, and no account; what it got goes to stdout."""

import json
import sys
import warnings

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Batch, EstimatorV2, Executor, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import IBMRuntimeError
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.noise_learner import NoiseLearner
from qiskit_ibm_runtime.quantum_program import QuantumProgram

warnings.filterwarnings("ignore", category=DeprecationWarning)
SHOTS = 500

service = QiskitRuntimeService()
got = {
    "backends": [each.name for each in service.backends()],
    "instances": [each["name"] for each in service.instances()],
    "own name": service.backend("aer_fez").num_qubits,
}
backend = service.backend("ibm_fez")
got["device"] = [backend.name, backend.num_qubits, backend.status().operational]

ones = QuantumCircuit(2, 2)
ones.x(0)
ones.measure([0, 1], [0, 1])
ones = transpile(ones, backend, optimization_level=0, initial_layout=[0, 1])
bare = transpile(QuantumCircuit(2), backend, optimization_level=0, initial_layout=[0, 1])


def counts(job):
    return job.result(timeout=100)[0].data.c.get_counts()


job = SamplerV2(backend).run([ones], shots=SHOTS)
got["sampler"] = counts(job)
observable = SparsePauliOp("ZZ").apply_layout(bare.layout)
value = EstimatorV2(backend).run([(bare, observable)], precision=0.05).result(timeout=100)[0].data
got["estimator"] = float(value.evs)
again = service.job(job.job_id())
got["job"] = [again.status(), again.backend().name, counts(again)]
got["jobs"] = [job.job_id() in [each.job_id() for each in service.jobs()], len(service.jobs(backend_name="ibm_fez"))]

with Session(backend) as session:
    got["session"] = [counts(SamplerV2(session).run([ones], shots=SHOTS)) for _ in range(2)]
got["session status"] = session.status()
with Batch(backend) as batch:
    jobs = [SamplerV2(batch).run([ones], shots=SHOTS) for _ in range(2)]
    got["batch"] = [counts(each) for each in jobs]
got["batch mode"] = batch.details()["mode"]

program = QuantumProgram(shots=SHOTS)
program.append_circuit_item(ones)
bits = Executor(backend).run(program).result(timeout=100)[0]["c"]
got["executor"] = [list(bits.shape), np.mean(bits.reshape(-1, bits.shape[-1]), axis=0).tolist()]
got["executor_sampler"] = counts(Sampler(backend).run([ones], shots=SHOTS))

ideal = service.backend("aer_ideal")
pair = QuantumCircuit(2, 2)
pair.h(0)
pair.cx(0, 1)
pair.measure([0, 1], [0, 1])
got["ideal"] = counts(SamplerV2(ideal).run([transpile(pair, ideal)], shots=SHOTS))
try:
    NoiseLearner(backend).run([ones]).result(timeout=100)
except IBMRuntimeError as error:
    got["noise learner"] = f"{type(error).__name__}: {error}"
json.dump(got, sys.stdout)
