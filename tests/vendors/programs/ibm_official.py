# SPDX-License-Identifier: Apache-2.0
"""IBM's own client against a server: what is asked comes as JSON on stdin, what it got goes to stdout."""

import json
import sys

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime import Batch, EstimatorV2, Executor, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import IBMRuntimeError, RuntimeJobFailureError
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.quantum_program import QuantumProgram
from random_programs import random_circuit, random_observable

asked = json.load(sys.stdin)
SHOTS = asked["shots"]
service = QiskitRuntimeService(
    channel="ibm_cloud", token=asked["key"], instance=asked["crn"], url=f"{asked['url']}/experimental/api/v1"
)
(backend,) = service.backends()
bare, generator = random_circuit(asked["seed"])
observable = random_observable(bare.num_qubits, generator)
measured = bare.measure_all(inplace=False)
swept, _ = random_circuit(asked["seed"] + 1, parameters=3)
got = {"backend": backend.name, "pending": backend.status().pending_jobs, "operational": backend.status().operational}


def isa(circuit, **options):
    return transpile(circuit, backend, optimization_level=0, seed_transpiler=1, **options)


def counts(job):
    return job.result(timeout=100)[0].data.meas.get_counts()


sampler = SamplerV2(backend)
sampler.options.environment.job_tags = ["of the test"]
sampler.options.max_execution_time = 300
job = sampler.run([isa(measured)], shots=SHOTS)
got["sampler"] = counts(job)
got["tags"] = job.tags
got["job"] = job.job_id()
got["usage"] = job.usage()
got["finished"] = job.metrics()["timestamps"]["finished"]
got["logs"] = job.logs()
got["found by tag"] = [each.job_id() for each in service.jobs(job_tags=["of the test"])]
got["pending jobs"] = [each.job_id() for each in service.jobs(pending=True)]
got["new tags"] = job.update_tags(["another"])
got["again"] = counts(service.job(job.job_id()))
laid_out = isa(bare)
pub = (laid_out, observable.apply_layout(laid_out.layout))
value = EstimatorV2(backend).run([pub], precision=asked["precision"]).result(timeout=100)[0].data
got["estimator"] = [float(value.evs), float(value.stds)]

with Session(backend, max_time=600) as session:
    got["session before"] = session.status()
    got["session"] = counts(SamplerV2(session).run([isa(measured)], shots=SHOTS))
    got["session during"] = session.status()
    got["session details"] = session.details()
got["session after"] = session.status()
try:
    SamplerV2(Session.from_id(session.session_id, service)).run([isa(measured)])
except IBMRuntimeError as error:
    got["closed session"] = f"{type(error).__name__}: {error}"

with Batch(backend) as batch:
    jobs = [SamplerV2(batch).run([isa(measured)], shots=SHOTS) for _ in range(3)]
    got["batch"] = [counts(each) for each in jobs]
    got["batch mode"] = batch.details()["mode"]

program = QuantumProgram(shots=SHOTS, passthrough_data={"mine": [1, np.arange(3.0)]})
program.append_circuit_item(isa(swept.measure_all(inplace=False)), circuit_arguments=np.array(asked["arguments"]))
result = Executor(backend).run(program).result(timeout=100)
bits = result[0]["meas"]
got["executor shape"] = list(bits.shape)
got["executor"] = [
    {
        "".join("01"[int(bit)] for bit in reversed(word)): int(number)
        for word, number in zip(*np.unique(point, axis=0, return_counts=True), strict=True)
    }
    for point in bits.reshape(-1, *bits.shape[-2:])
]
got["passthrough"] = [result.passthrough_data["mine"][0], result.passthrough_data["mine"][1].tolist()]

basic = ["rz", "sx", "x", "cx"]
newer = Sampler(backend)
newer.options.twirling.enable_gates = True
newer.options.twirling.enable_measure = True
got["newer sampler"] = counts(newer.run([isa(measured, basis_gates=basic)], shots=SHOTS))
narrow = isa(bare, basis_gates=basic)
value = Estimator(backend).run([(narrow, observable.apply_layout(narrow.layout))]).result(timeout=100)[0].data
got["newer estimator"] = [float(value.evs), float(value.stds)]

wide = QuantumCircuit(backend.num_qubits)
for qubit in range(wide.num_qubits):
    wide.rx(0.1 * qubit + 0.3, qubit)
for qubit in range(wide.num_qubits - 1):
    wide.crx(0.3, qubit, qubit + 1)
wide.measure_all()
failing = SamplerV2(backend).run([isa(wide)])
try:
    failing.result(timeout=100)
except RuntimeJobFailureError as error:
    got["failure"] = f"{type(error).__name__}: {error}"
got["failure status"] = failing.status()
json.dump(got, sys.stdout)
