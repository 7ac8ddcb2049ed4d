# SPDX-License-Identifier: Apache-2.0
"""A job's program with what the extra ``qiskit-qpu`` brings: without qiskit-aer and qiskit-ibm-runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ibm_compute_case import CASE

NAME = "ibm_here"
pytestmark = pytest.mark.slow
PROGRAM = """
import importlib.abc, json, sys

HIDDEN = {"qiskit_aer", "qiskit_ibm_runtime", "aiohttp", "msgspec"}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from qiskit import QuantumCircuit, qasm3
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qrmi_qiskit import EstimatorV2, QRMIProvider, SamplerV2

provider = QRMIProvider()
backend = provider.backend()
passes = generate_preset_pass_manager(optimization_level=1, backend=backend)
bell = qasm3.loads('OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; h q[0]; cx q[0], q[1];')
circuit, measured = passes.run(bell), passes.run(bell.measure_all(inplace=False))
sampled = SamplerV2(mode=backend).run([measured], shots=100)
estimated = EstimatorV2(mode=backend).run([(circuit, SparsePauliOp("ZZ").apply_layout(circuit.layout))])
print(json.dumps({
    "backends": [each.name for each in provider.backends()],
    "operational": backend.status().operational,
    "qubits": backend.target.num_qubits,
    "counts": sampled.result()[0].data.meas.get_counts(),
    "again": provider.job(sampled.job_id()).result()[0].data.meas.num_shots,
    "value": float(estimated.result()[0].data.evs),
    "loaded": sorted(HIDDEN & sys.modules.keys()),
}))
"""


@pytest.fixture(scope="module")
def got(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with CASE.start() as site:
        block = {f"{NAME}_{key}": value for key, value in site.environment.items()}
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path_factory.mktemp("home")),
            "QRMI_JOB_QPU_RESOURCES": NAME,
            "QRMI_JOB_QPU_TYPES": CASE.type,
            f"{NAME}_QRMI_IBM_QCS_SESSION_MODE": "none",
            f"{NAME}_QRMI_MIN_POLL": "0",
            **block,
        }
        qrmi = Path(sys.executable).with_name("qrmi")
        done = subprocess.run(
            [qrmi, "run", "--", sys.executable, "-W", "error", "-c", PROGRAM],
            env=own, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_samples_estimates_and_finds_its_job_again(got: Any) -> None:
    assert got["backends"] == [NAME]
    assert got["operational"] is True
    assert got["counts"].keys() == {"00", "11"}
    assert got["again"] == 100
    assert got["value"] == pytest.approx(1)
    assert got["loaded"] == []
