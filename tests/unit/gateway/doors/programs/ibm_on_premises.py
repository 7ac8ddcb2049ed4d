# SPDX-License-Identifier: Apache-2.0
"""IBM's own client, as a user writes it: what runs on a machine on premises, and what it says of the rest."""

import json
import sys

from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Batch, EstimatorV2, Executor, NoiseLearner, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import IBMRuntimeError
from qiskit_ibm_runtime.quantum_program import QuantumProgram

SHOTS = 50
service = QiskitRuntimeService()
backend = service.backend("onsite")
circuit = QuantumCircuit(2)
circuit.x([0, 1])
measured = transpile(circuit.measure_all(inplace=False), backend)
told = {"backends": sorted(each.name for each in service.backends())}


def counts(job):
    return job.result(timeout=100)[0].data.meas.get_counts()


def refusal(submit):
    try:
        submit()
    except IBMRuntimeError as error:
        return str(error)


job = SamplerV2(backend).run([measured], shots=SHOTS)
told["sampler"] = counts(job)
told["again"] = counts(service.job(job.job_id()))
observable = SparsePauliOp("ZZ").apply_layout(transpile(circuit, backend).layout)
told["estimator"] = float(EstimatorV2(backend).run([(transpile(circuit, backend), observable)]).result()[0].data.evs)
with Session(backend) as session:
    told["session"] = counts(SamplerV2(session).run([measured], shots=SHOTS))
with Batch(backend) as batch:
    told["batch"] = counts(SamplerV2(batch).run([measured], shots=SHOTS))
told["listed"] = len(service.jobs())
program = QuantumProgram(shots=SHOTS)
program.append_circuit_item(measured)
told["executor"] = refusal(lambda: Executor(backend).run(program))
told["noise-learner"] = refusal(lambda: NoiseLearner(backend).run([transpile(circuit, backend)]))
json.dump(told, sys.stdout)
