# SPDX-License-Identifier: Apache-2.0
"""Measures the built-in simulators for rows_simulator.py: a Bell pair, how late an end is seen, and cancelling."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from figures import Figure, Sample
from qiskit import QuantumCircuit
from taking import tell

from qrmi_core import polling
from qrmi_qiskit import QRMIJob, QRMIProvider, SamplerV2

QRMI = str(Path(sys.executable).with_name("qrmi"))
BELL = """
import time
from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
from qrmi_qiskit import QRMIProvider, SamplerV2
begun = time.perf_counter()
bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()
backend = QRMIProvider().backend()
circuit = generate_preset_pass_manager(optimization_level=1, backend=backend).run(bell)
SamplerV2(mode=backend).run([circuit]).result()
print(time.perf_counter() - begun)
"""
PATIENCE = 60.0


def bell(times: int) -> None:
    """From the backend to the result, in a program that `qrmi run` starts."""
    command = [QRMI, "run", "--qpu=aer_fez", "--", sys.executable, "-c", BELL]
    took = [float(subprocess.check_output(command, text=True, timeout=120)) for _ in range(times)]
    tell(Figure("simulator-bell", "ours", tuple(map(Sample, took))))


def layers(qubits: int, depth: int) -> QuantumCircuit:
    """A circuit that takes as long as it is wide and deep."""
    circuit = QuantumCircuit(qubits)
    for layer in range(depth):
        circuit.rx(0.1 + layer, range(qubits))
        for qubit in range(qubits - 1):
            circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


def waiting(times: int) -> None:
    """From the beginning of a task of about a second to the moment at which its end is seen."""
    backend = QRMIProvider().backend("aer_ideal")
    sampler = SamplerV2(mode=backend)
    sampler.run([layers(2, 1)], shots=1).result(timeout=PATIENCE)
    samples = []
    for _ in range(times):
        job = sampler.run([layers(20, 5)], shots=10)
        job.wait_for_final_state(timeout=PATIENCE)
        heard = time.time()
        ended, service = backend.resource.task_info(job.job_id()).ended, job.usage()
        assert ended is not None
        samples.append(Sample(service + heard - ended, service=service))
    tell(Figure("simulator-wait", "ours", tuple(samples)))


def running(job: QRMIJob) -> bool:
    return bool(job.status() == "RUNNING")


def cancelling(times: int) -> None:
    """From cancel() to its return, when the worker is gone."""
    sampler = SamplerV2(mode=QRMIProvider().backend("aer_ideal"))
    samples = []
    for _ in range(times):
        job = sampler.run([layers(28, 1000)], shots=1)
        assert polling.wait_until(partial(running, job), timeout=PATIENCE)
        begun = time.perf_counter()
        job.cancel()
        samples.append(Sample(time.perf_counter() - begun))
    tell(Figure("simulator-cancel", "ours", tuple(samples)))


if __name__ == "__main__":
    bell(3)
    waiting(5)
    cancelling(3)
