# SPDX-License-Identifier: Apache-2.0
"""IBM's own client, unmodified, and our Qiskit side on a server of IBM's cloud."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ibm_compute_case import CASE
from qiskit import QuantumCircuit
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Statevector
from random_programs import agree, chi_square_p, random_circuit, random_observable
from significance import ALPHA
from vendor_site import Site

from qrmi_core import QiskitPrimitive, TaskFailed
from qrmi_core.gateway.dialects.iam import CRN
from qrmi_qiskit import EstimatorV2, QRMIBackend, SamplerV2

HELPERS = Path(__file__).parents[1] / "unit" / "qiskit"
OFFICIAL = Path(__file__).parent / "programs" / "ibm_official.py"
QRMI = Path(sys.executable).with_name("qrmi")
DEVIATIONS = 4.5
SHOTS = 2000
SEED = random.SystemRandom().randrange(2**31)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


@pytest.fixture(scope="module")
def backend(server: Site) -> QRMIBackend:
    return QRMIBackend(server.resource(context=CASE.context, QRMI_IBM_QCS_SESSION_MODE="none", QRMI_MIN_POLL="0"))


@pytest.fixture(scope="module")
def arguments() -> np.ndarray:
    return np.random.default_rng(SEED).uniform(0, 2 * np.pi, (2, 2, 3))


@pytest.fixture(scope="module")
def official(server: Site, arguments: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What IBM's client got from the server, with the circuits of the run's seed."""
    asked = {
        "url": server.emulator.url,
        "key": server.environment["QRMI_IBM_QCS_IAM_APIKEY"],
        "crn": CRN,
        "seed": SEED,
        "shots": SHOTS,
        "precision": 0.02,
        "arguments": arguments.tolist(),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(OFFICIAL)],
        input=json.dumps(asked),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path_factory.mktemp("home")),
            "PYTHONPATH": str(HELPERS),
            "IAM_URL": server.emulator.url,
            "QISKIT_FUNCTIONS_EXPERIMENTAL": "1",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"seed {SEED}: {done.stderr[-4000:]}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def expected() -> tuple[dict[str, float], dict[str, int]]:
    """The exact probabilities of the measured circuit, and a sample of Qiskit's reference."""
    circuit, _ = random_circuit(SEED)
    measured = circuit.measure_all(inplace=False)
    sampled = StatevectorSampler(seed=SEED).run([measured], shots=SHOTS).result()[0].data.meas.get_counts()
    return Statevector(circuit).probabilities_dict(), sampled


@pytest.mark.parametrize("way", ["sampler", "again", "session", "batch", "newer sampler"])
def test_counts_of_ibms_client(way: str, official: Any, expected: tuple[dict[str, float], dict[str, int]]) -> None:
    probabilities, sampled = expected
    for counts in official[way] if way == "batch" else [official[way]]:
        total = sum(counts.values())
        assert total >= SHOTS if way == "newer sampler" else total == SHOTS
        p = chi_square_p(counts, probabilities)
        assert p > ALPHA, f"seed {SEED}, {way}: p = {p:.2g}"
        agree(counts, sampled, ALPHA)


@pytest.mark.parametrize("way", ["estimator", "newer estimator"])
def test_expectation_values_of_ibms_client(way: str, official: Any) -> None:
    circuit, generator = random_circuit(SEED)
    observable = random_observable(circuit.num_qubits, generator)
    exact = float(StatevectorEstimator().run([(circuit, observable)]).result()[0].data.evs)
    value, deviation = official[way]
    assert abs(value - exact) <= DEVIATIONS * max(deviation, 1e-9), f"seed {SEED}, {way}: {value} for {exact}"


def test_quantum_programs_of_ibms_client(official: Any, arguments: np.ndarray) -> None:
    circuit, _ = random_circuit(SEED + 1, parameters=3)
    assert official["executor shape"] == [2, 2, SHOTS, circuit.num_qubits]
    for counts, values in zip(official["executor"], arguments.reshape(-1, 3), strict=True):
        p = chi_square_p(counts, Statevector(circuit.assign_parameters(values)).probabilities_dict())
        assert p > ALPHA, f"seed {SEED}: p = {p:.2g} at {values}"
    assert official["passthrough"] == [1, [0.0, 1.0, 2.0]]


def test_what_ibms_client_is_told_of_a_job(official: Any) -> None:
    assert (official["backend"], official["operational"], official["pending"]) == ("aer_ideal", True, 0)
    assert official["tags"] == ["of the test"]
    assert official["found by tag"] == [official["job"]]
    assert official["pending jobs"] == []
    assert official["new tags"] == ["another"]
    assert official["usage"] > 0
    assert official["finished"]
    assert isinstance(official["logs"], str)


def test_the_life_of_a_session_of_ibms_client(official: Any) -> None:
    assert official["session before"] == "Pending"
    assert official["session during"] == "In progress, accepting new jobs"
    assert official["session after"] == "Closed"
    details = official["session details"]
    assert (details["mode"], details["max_time"], details["backend_name"]) == ("dedicated", 600, "aer_ideal")
    assert [each["status"] for each in details["timestamps"]] == ["open", "active"]
    assert official["closed session"] == "IBMRuntimeError: 'The session is closed.'"
    assert official["batch mode"] == "batch"


def test_ibms_client_is_told_why_a_job_failed(official: Any) -> None:
    assert official["failure status"] == "ERROR"
    assert re.search(r"RuntimeJobFailureError: .*Error code 1517; pub 0: ", official["failure"])


def test_our_sampler(backend: QRMIBackend, expected: tuple[dict[str, float], dict[str, int]]) -> None:
    circuit, _ = random_circuit(SEED)
    job = SamplerV2(backend).run([circuit.measure_all(inplace=False)], shots=SHOTS)
    counts = job.result(timeout=100)[0].data.meas.get_counts()
    assert chi_square_p(counts, expected[0]) > ALPHA, f"seed {SEED}"
    agree(counts, expected[1], ALPHA)
    assert job.status() == "DONE"
    assert job.usage() > 0
    assert backend.retrieve_job(job.job_id()).result(timeout=100)[0].data.meas.get_counts() == counts


def test_our_estimator(backend: QRMIBackend) -> None:
    circuit, generator = random_circuit(SEED)
    observable = random_observable(circuit.num_qubits, generator)
    ours = EstimatorV2(backend).run([(circuit, observable)], precision=0.02).result(timeout=100)[0].data
    exact = float(StatevectorEstimator().run([(circuit, observable)]).result()[0].data.evs)
    assert abs(float(ours.evs) - exact) <= DEVIATIONS * max(float(ours.stds), 1e-9), f"seed {SEED}: {ours.evs}, {exact}"


def too_wide(qubits: int) -> QuantumCircuit:
    """A circuit that no simulator behind the server can hold."""
    circuit = QuantumCircuit(qubits)
    for qubit in range(qubits):
        circuit.rx(0.1 * qubit + 0.3, qubit)
    for qubit in range(qubits - 1):
        circuit.crx(0.3, qubit, qubit + 1)
    circuit.measure_all()
    return circuit


def test_reason_code_and_solution_reach_qiskit(backend: QRMIBackend) -> None:
    job = SamplerV2(backend).run([too_wide(backend.num_qubits)])
    with pytest.raises(TaskFailed, match=r"failed \(code 1517\): pub 0: .*Correct the input of the job") as caught:
        job.result(timeout=100)
    assert caught.value.code == "1517"
    assert caught.value.reason is not None
    assert caught.value.reason.startswith("pub 0: ")
    assert caught.value.solution is not None
    assert "(code 1517)" in (job.error_message() or "")


@pytest.fixture
def job_site(server: Site, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose site has the server as the QPU ``ibm_cloud``."""
    entry = {"name": "ibm_cloud", "type": CASE.type, "environment": dict(server.environment)}
    (tmp_path / "qrmi_config.json").write_text(json.dumps({"resources": [entry]}))
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "QRMI_CONFIG": str(tmp_path / "qrmi_config.json")}


PROGRAM = """
import json
from qiskit import QuantumCircuit
from qrmi_core import QRMIService
from qrmi_qiskit import QRMIProvider, SamplerV2

backend = QRMIProvider().backend()
circuit = QuantumCircuit(3)
circuit.x([0, 2])
circuit.measure_all()
jobs = [SamplerV2(backend).run([circuit], shots=70) for _ in range(2)]
counts = [job.result(timeout=60)[0].data.meas.get_counts() for job in jobs]
print(json.dumps([backend.name, counts, QRMIService().resource().metadata()["session_id"]]))
"""


def test_a_program_of_a_job_runs_in_the_session_of_its_lease(server: Site, job_site: dict[str, str]) -> None:
    done = subprocess.run(
        [str(QRMI), "run", "--qpu=ibm_cloud", "--", sys.executable, "-c", PROGRAM],
        env=job_site,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name, counts, session = json.loads(done.stdout)
    assert (name, counts) == ("ibm_cloud", [{"101": 70}] * 2)
    assert server.emulator.dialect._sessions[session].state == "closed"
    assert [job.session for job in server.emulator.dialect._jobs.values()].count(session) == 2


def test_reason_code_and_solution_reach_the_command_line(
    server: Site, backend: QRMIBackend, job_site: dict[str, str], tmp_path: Path
) -> None:
    payload = backend.language.sampler([SamplerPub.coerce(too_wide(backend.num_qubits), 10)], {}, backend)
    assert isinstance(payload, QiskitPrimitive)
    (tmp_path / "payload.json").write_text(
        json.dumps({"program_id": payload.program_id, "parameters": json.loads(payload.parameters)})
    )
    done = subprocess.run(
        [str(QRMI), "task", "run", "ibm_cloud", str(tmp_path / "payload.json")],
        env=job_site,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert re.search(r"on ibm_cloud failed \(code 1517\): pub 0: .*Correct the input of the job", done.stderr)
