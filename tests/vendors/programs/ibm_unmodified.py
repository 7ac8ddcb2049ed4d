# SPDX-License-Identifier: Apache-2.0
"""A user's program for IBM's own client: it knows the name of its QPU, and no account; what it got goes to stdout.

Each function is something that users do; one that fails leaves its error and does not keep the others from running.
"""

import json
import sys
import warnings

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Batch, EstimatorV2, Executor, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.noise_learner import NoiseLearner
from qiskit_ibm_runtime.quantum_program import QuantumProgram

warnings.filterwarnings("ignore", category=DeprecationWarning)
SHOTS = 500
DEVICE = sys.argv[1] if len(sys.argv) > 1 else "ibm_fez"

service = QiskitRuntimeService()
backend = service.backend(DEVICE)
got = {"device": [backend.name, backend.num_qubits, backend.status().operational]}

ones = QuantumCircuit(2, 2)
ones.x(0)
ones.measure([0, 1], [0, 1])
ones = transpile(ones, backend, optimization_level=0, initial_layout=[0, 1])
bare = transpile(QuantumCircuit(2), backend, optimization_level=0, initial_layout=[0, 1])


def tried(work):
    try:
        got[work.__name__] = work()
    except Exception as error:  # noqa: BLE001  whatever it is, it is told
        got[work.__name__] = {"error": f"{type(error).__name__}: {error}"}


def counts(job):
    return job.result(timeout=100)[0].data.c.get_counts()


@tried
def names():
    return [[each.name for each in service.backends()], [each["name"] for each in service.instances()]]


@tried
def sampler():
    job = SamplerV2(backend).run([ones], shots=SHOTS)
    return [job.job_id(), counts(job)]


@tried
def estimator():
    observable = SparsePauliOp("ZZ").apply_layout(bare.layout)
    job = EstimatorV2(backend).run([(bare, observable)], precision=0.05)
    return [job.job_id(), float(job.result(timeout=100)[0].data.evs)]


@tried
def job_again():
    job = service.job(got["sampler"][0])
    return [job.status(), job.backend().name, counts(job)]


@tried
def jobs():
    return [[each.job_id() for each in service.jobs(limit=None, **of)] for of in ({}, {"backend_name": DEVICE})]


@tried
def session():
    with Session(backend) as opened:
        found = [counts(SamplerV2(opened).run([ones], shots=SHOTS)) for _ in range(2)]
    return [found, opened.status()]


@tried
def batch():
    with Batch(backend) as opened:
        submitted = [SamplerV2(opened).run([ones], shots=SHOTS) for _ in range(2)]
        return [[counts(each) for each in submitted], opened.details()["mode"]]


@tried
def executor():
    program = QuantumProgram(shots=SHOTS)
    program.append_circuit_item(ones)
    bits = Executor(backend).run(program).result(timeout=100)[0]["c"]
    return [list(bits.shape), np.mean(bits.reshape(-1, bits.shape[-1]), axis=0).tolist()]


@tried
def executor_sampler():
    return counts(Sampler(backend).run([ones], shots=SHOTS))


@tried
def noise_learner():
    (layer,) = NoiseLearner(backend).run([ones]).result(timeout=100)
    return [layer.qubits, layer.error.rates.tolist()]


@tried
def second_simulator():
    ideal = service.backend("aer_ideal")
    pair = QuantumCircuit(2, 2)
    pair.h(0)
    pair.cx(0, 1)
    pair.measure([0, 1], [0, 1])
    return counts(SamplerV2(ideal).run([transpile(pair, ideal)], shots=SHOTS))


@tried
def own_name():
    return service.backend("aer_fez").num_qubits


json.dump(got, sys.stdout)
