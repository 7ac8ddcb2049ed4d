# SPDX-License-Identifier: Apache-2.0
"""A program for IBM's own client with nothing of this project in it; what it got goes to stdout as JSON."""

import json
import sys
import time

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Batch, EstimatorV2, Executor, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import IBMRuntimeError, RuntimeInvalidStateError
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.quantum_program import QuantumProgram

service = QiskitRuntimeService()
backend = service.backend("aer_ideal")
(only,) = service.backends()
by_own_name = service.backend("Fez")
got = {"names": [only.name, service.least_busy().name, by_own_name.name], "pending": backend.status().pending_jobs}
circuit = QuantumCircuit(3)
circuit.x([0, 2])
measured = transpile(circuit.measure_all(inplace=False), backend, optimization_level=0)
bare = transpile(circuit, backend, optimization_level=0)


def counts(job):
    return job.result(timeout=100)[0].data.meas.get_counts()


sampler = SamplerV2(backend)
sampler.options.environment.job_tags = ["of the test"]
job = sampler.run([measured], shots=70)
got["sampler"] = counts(job)
got["again"] = counts(service.job(job.job_id()))
got["tags"] = service.job(job.job_id()).tags
got["by tag"] = [each.job_id() for each in service.jobs(job_tags=["of the test"])] == [job.job_id()]
got["new tags"] = job.update_tags(["another"])
got["usage"] = job.usage()
got["metrics"] = bool(job.metrics()["timestamps"]["finished"])
got["logs"] = job.logs()
got["instance usage"] = service.usage()["usage_limit_reached"]
observable = SparsePauliOp("ZIZ").apply_layout(bare.layout)
got["estimator"] = float(EstimatorV2(backend).run([(bare, observable)]).result(timeout=100)[0].data.evs)

with Session(backend, max_time=7200) as session:
    got["session"] = counts(SamplerV2(session).run([measured], shots=70))
    got["max_time"] = session.details()["max_time"]
got["session after"] = session.status()
got["session again"] = Session.from_id(session.session_id, service).session_id == session.session_id
try:
    Session.from_id("0123456789abcdef", service)
except IBMRuntimeError as error:
    got["no session"] = f"{error}"
except Exception as error:  # noqa: BLE001  the client's own error of requests
    got["no session"] = f"{error}"

with Batch(backend) as batch:
    jobs = [SamplerV2(batch).run([measured], shots=70) for _ in range(2)]
    got["batch"] = [counts(each) for each in jobs]

program = QuantumProgram(shots=50)
program.append_circuit_item(measured)
bits = Executor(backend).run(program).result(timeout=100)[0]["meas"]
got["executor"] = ["".join("01"[int(bit)] for bit in reversed(word)) for word in np.unique(bits, axis=0)]
narrow = transpile(circuit.measure_all(inplace=False), backend, basis_gates=["rz", "sx", "x", "cx"])
got["newer sampler"] = counts(Sampler(backend).run([narrow], shots=70))

try:
    job.cancel()
except RuntimeInvalidStateError as error:
    got["cancel"] = "409" in str(error)
got["by own name"] = counts(SamplerV2(by_own_name).run([measured], shots=70))
got["jobs"] = len(service.jobs(limit=None))
service.delete_job(job.job_id())
got["jobs left"] = len(service.jobs(limit=None))
times = []
for _ in range(5):
    job = sampler.run([measured], shots=70)
    begun = time.perf_counter()
    job.result()
    times.append(time.perf_counter() - begun)
got["seconds"] = sorted(times)[2]
json.dump(got, sys.stdout)
