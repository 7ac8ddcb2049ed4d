# SPDX-License-Identifier: Apache-2.0
"""Alice & Bob's own provider, as a user writes it; what to do comes on stdin, what came out goes to stdout."""

import json
import sys

from qiskit import QuantumCircuit, qasm2, transpile
from qiskit.providers import JobStatus
from qiskit_alice_bob_provider import AliceBobRemoteProvider
from qiskit_alice_bob_provider.remote.api.client import AliceBobApiException

WAIT = 0.05


def sampled(backend, text, shots):
    circuit = transpile(qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS), backend)
    result = backend.run(circuit, shots=shots).result(wait=WAIT)
    data = result.results[0].data
    return {
        "success": result.success,
        "counts": result.get_counts(),
        "input": data.input_qir,
        "transpiled": data.transpiled_qir,
        "gates": sorted(circuit.count_ops()),
    }


def axes(backend):
    """What is prepared along an axis is measured along it, and what is decided by a result follows it."""
    circuit = QuantumCircuit(4, 4)
    circuit.initialize("-", 0)
    circuit.initialize("l", 1)
    circuit.initialize("1", 2)
    circuit.measure_x(0, 0)
    circuit.measure_y(1, 1)
    circuit.measure(2, 2)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(3)
    circuit.delay(2.5, 3, unit="us")
    circuit.measure(3, 3)
    return backend.run(circuit, shots=20).result(wait=WAIT).get_counts()


def cancelled(backend):
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    job = backend.run(circuit, shots=1)
    before = job.status()
    job.cancel()
    try:
        job.cancel()
        again = None
    except AliceBobApiException as error:
        again = error.status_code
    result = job.result(wait=WAIT)
    return {
        "before": before.name,
        "after": job.status().name,
        "is": job.status() is JobStatus.CANCELLED,
        "again": again,
        "success": result.success,
    }


def cats(backend, photons, shots):
    """Two cats in the state + and a CX, transpiled for the gates that cats have."""
    circuit = QuantumCircuit(2, 1)
    circuit.initialize("+", 0)
    circuit.initialize("+", 1)
    circuit.cx(0, 1)
    circuit.measure_x(0, 0)
    job = backend.run(transpile(circuit, backend), shots=shots, average_nb_photons=photons)
    return job.result(wait=WAIT).get_counts()


def refused(url):
    try:
        AliceBobRemoteProvider("bm9ib2R5OndpdGhvdXQ=", url=url)
    except AliceBobApiException as error:
        return error.status_code
    return None


def main():
    asked = json.load(sys.stdin)
    provider = AliceBobRemoteProvider(asked["key"], url=asked["url"])
    backend = provider.get_backend(asked["target"], verbose=False)
    told = {"backends": [found.name for found in provider.backends()], "refused": refused(asked["url"])}
    if asked["do"] == "cancel":
        told["cancelled"] = cancelled(backend)
    elif asked["do"] == "cats":
        told["cats"] = cats(backend, asked["photons"], asked["shots"])
    else:
        told["sampled"] = sampled(backend, asked["circuit"], asked["shots"])
        told["axes"] = axes(backend)
    sys.stdout.write(json.dumps(told))


main()
