# SPDX-License-Identifier: Apache-2.0
"""IQM's own client and its Qiskit provider, unmodified and in an environment of their own, run on our server.

They cannot be installed beside the Qiskit that we use, so their programs are in `programs`, and what they say is judged
here.
"""

from __future__ import annotations

import base64
import io
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from iqm_case import CASE
from iqm_programs import RandomProgram
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qpy
from qiskit.quantum_info import Statevector
from random_programs import add_gates, branch_probabilities, chi_square_p, random_circuit
from significance import ALPHA
from vendor_environment import python_with
from vendor_site import Site

from qrmi_core import TaskStatus
from qrmi_qiskit.iqm.lattice import Lattice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IQM_CLIENT = "iqm-client[qiskit]==36.0.0"
QPY_OF_THEIRS = 13
"""A version of QPY that the Qiskit of iqm-client reads."""

Run = Callable[[str, Any, Site], Any]

PROGRAM_SECONDS = 300.0
SHOTS = 3000
LATTICE = Lattice(4, 5)


@pytest.fixture(scope="module")
def theirs() -> Run:
    python = python_with(IQM_CLIENT)

    def run(program: str, told: Any, running: Site) -> Any:
        """Run a program, which sees the server and nothing of this environment."""
        done = subprocess.run(
            [python, "-P", "-W", "ignore", Path(__file__).parent / "programs" / program],
            input=json.dumps(told),
            env={
                "PATH": os.defpath,
                "IQM_SERVER_URL": running.environment["QRMI_IQM_ISA_ENDPOINT"],
                "IQM_TOKEN": running.environment["QRMI_IQM_ISA_TOKEN"],
            },
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{program} with {told}:\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


def as_qiskit_writes(measurements: dict[str, list[list[int]]]) -> Counter[str]:
    shots = zip(*measurements.values(), strict=True)
    return Counter(" ".join("".join(map(str, bits[::-1])) for bits in shot[::-1]) for shot in shots)


def conditional(seed: int) -> QuantumCircuit:
    """A gate that depends on a measurement between others, of the kind that IQM's devices have."""
    random = np.random.default_rng(seed)
    middle, end = ClassicalRegister(1, "middle"), ClassicalRegister(3, "end")
    circuit = QuantumCircuit(QuantumRegister(3, "q"), middle, end)
    add_gates(circuit, 15, random)
    circuit.measure(0, middle[0])
    with circuit.if_test((middle[0], 1)):
        circuit.r(1.3, 0.4, 1)
    add_gates(circuit, 10, random)
    circuit.measure([0, 1, 2], end)
    return circuit


def test_iqm_client(theirs: Run, server: Site) -> None:
    seed = random.SystemRandom().randrange(2**32)
    programs = [RandomProgram(seed, LATTICE), RandomProgram(seed + 1, LATTICE, feedback=True)]
    asked = {"circuits": [one.instructions for one in programs], "shots": SHOTS}
    told = theirs("iqm_client_jobs.py", asked, server)
    assert told["name"] == server.emulator.dialect.alias
    assert told["health"]["healthy"] is True
    assert told["qubits"] == LATTICE.qubits
    assert [tuple(pair) for pair in told["connectivity"]] == LATTICE.couplings
    assert told["calibration_set"] == told["architecture_of"] == LATTICE.calibration_set_id
    assert told["status"] == "completed"
    for program, measured, counted in zip(programs, told["measurements"], told["counts"], strict=True):
        counts = as_qiskit_writes(measured)
        assert sum(counts.values()) == sum(counted["counts"].values()) == SHOTS
        assert counted["measurement_keys"] == list(measured)
        assert chi_square_p(counts, branch_probabilities(program.circuit)) > ALPHA / 2, f"seed {seed}"
    assert told["again"] is True
    assert told["payload_shots"] == SHOTS
    assert told["mapped"] == [{"m": [[0, 1]] * 3}]
    assert told["failed"][0] == "failed"
    assert "circuit 0 is a QIR string" in told["failed"][1][0]
    assert told["timeslot"][0] == "ForbiddenError"
    assert "has no timeslots" in told["timeslot"][1]
    assert told["cancelled_late"][0] == "ForbiddenError"
    for missing in ("unknown", "metrics", "calibration"):
        assert told[missing][0] == "NotFoundError", told[missing]
    assert told["deleted"][1][0] == "NotFoundError"
    ours = server.resource().task(told["job"])
    assert json.loads(ours.result().value)["measurements"] == told["measurements"]


def test_iqm_client_cancels_a_job(theirs: Run) -> None:
    with CASE.start(service_time=lambda: 600.0) as slow:
        told = theirs("iqm_client_cancels.py", None, slow)
    assert told["before"] in ("waiting", "processing")
    assert told["after"] == "cancelled"


def test_the_qiskit_provider_of_iqm(theirs: Run, server: Site) -> None:
    seed = random.SystemRandom().randrange(2**32)
    plain, _ = random_circuit(seed)
    exact: list[dict[str, float]] = [Statevector(plain).probabilities_dict()]
    plain.measure_all()
    feedback = conditional(seed)
    exact.append(branch_probabilities(feedback))
    file = io.BytesIO()
    qpy.dump([plain, feedback], file, version=QPY_OF_THEIRS)
    asked = {"circuits": base64.b64encode(file.getvalue()).decode(), "shots": SHOTS}
    told = theirs("iqm_qiskit.py", asked, server)
    for counts, probabilities in zip(told["counts"], exact, strict=True):
        assert sum(counts.values()) == SHOTS
        assert chi_square_p(counts, probabilities) > ALPHA / 2, f"seed {seed}"
    assert told["again"] == told["counts"]
    assert told["qubits"] == len(LATTICE.qubits)
    assert server.resource().task(told["job"]).status() is TaskStatus.COMPLETED
