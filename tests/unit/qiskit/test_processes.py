# SPDX-License-Identifier: Apache-2.0
"""One process submits and ends, another one takes the job up by its id."""

from __future__ import annotations

import subprocess
import sys

from qiskit import QuantumCircuit

from qrmi_qiskit import QRMIProvider

SUBMIT = """
from qiskit import QuantumCircuit
from qrmi_qiskit import EstimatorV2, QRMIProvider, SamplerV2

backend = QRMIProvider().backend("aer_ideal")
circuit = QuantumCircuit(3)
circuit.x([0, 2])
sampled = circuit.measure_all(inplace=False)
print(SamplerV2(backend).run([sampled], shots=70).job_id(), EstimatorV2(backend).run([(circuit, "ZIZ")]).job_id())
"""

FETCH = """
import sys
from qrmi_qiskit import QRMIProvider

sampled = QRMIProvider().backend("aer_ideal").retrieve_job(sys.argv[1])
estimated = QRMIProvider().job(sys.argv[2])
print(sampled.primitive_id, sampled.result(timeout=60)[0].data.meas.get_counts())
print(estimated.primitive_id, estimated.result(timeout=60)[0].data.evs, estimated.status())
"""


def python(program: str, *arguments: str) -> str:
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_another_process_prints_the_result() -> None:
    ids = python(SUBMIT).split()
    assert python(FETCH, *ids).splitlines() == ["sampler {'101': 70}", "estimator 1.0 DONE"]


def test_a_job_survives_that_its_object_is_dropped() -> None:
    backend = QRMIProvider().backend("aer_ideal")
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    job_id = backend.run(circuit, shots=2).job_id()
    assert backend.retrieve_job(job_id).result(timeout=60)[0].data.meas.get_counts() == {"0": 2}
