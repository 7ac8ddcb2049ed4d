# SPDX-License-Identifier: Apache-2.0
"""Alice & Bob's provider, unmodified and in its own environment: on our server, and translating for our driver."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from felis_case import CASE
from qiskit import QuantumCircuit, qasm2, qpy
from qiskit.primitives import StatevectorSampler
from random_programs import agree, random_circuit
from scipy.stats import binomtest
from significance import ALPHA
from vendor_environment import python_with
from vendor_site import Site

from qrmi_core import AliceBobFelis
from qrmi_core.payload_files import read_payload

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

REQUIREMENT = "qiskit-alice-bob-provider==3.0.0"
PROGRAM = Path(__file__).parent / "programs" / "alice_bob_provider.py"
TRANSLATOR = Path(__file__).parents[2] / "examples" / "alice_bob_translate.py"
SHOTS = 4000
SECONDS = 300.0


@pytest.fixture(scope="module")
def provider() -> Path:
    return python_with(REQUIREMENT)


def vendors(python: Path, *arguments: str | Path, given: str = "") -> str:
    """What a program of the vendor's environment prints; it reaches this machine and no other."""
    unreachable = "http://127.0.0.1:9"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "no_proxy": "127.0.0.1",
        "http_proxy": unreachable,
        "https_proxy": unreachable,
    }
    done = subprocess.run(
        [python, *arguments],
        input=given,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def on(running: Site, python: Path, **asked: Any) -> dict[str, Any]:
    values = running.environment
    asked |= {
        "key": values["QRMI_AB_FELIS_API_KEY"],
        "url": values["QRMI_AB_FELIS_BASE_ENDPOINT"],
        "target": values["QRMI_DEVICE"],
    }
    told: dict[str, Any] = json.loads(vendors(python, PROGRAM, given=json.dumps(asked)))
    return told


def measured(seed: int) -> QuantumCircuit:
    circuit, _ = random_circuit(seed)
    circuit.measure_all()
    return circuit


def check(counts: Mapping[str, int], circuit: QuantumCircuit, seed: int) -> None:
    reference = StatevectorSampler(seed=seed).run([circuit], shots=SHOTS).result()[0].data.meas.get_counts()
    assert sum(counts.values()) == SHOTS
    try:
        agree(counts, reference, ALPHA)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: the two samples differ: {error}") from error


def test_a_random_circuit_on_our_server(provider: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    circuit = measured(seed)
    with CASE.start() as running:
        told = on(running, provider, do="sample", circuit=qasm2.dumps(circuit), shots=SHOTS)
        assert running.emulator.device.runs == 2
    assert (told["backends"], told["refused"]) == (["EMU:30Q:IDEAL"], 401)
    assert told["sampled"]["success"]
    assert told["sampled"]["input"] == told["sampled"]["transpiled"]
    assert "__quantum__rt__result_record_output" in told["sampled"]["input"]
    check(told["sampled"]["counts"], circuit, seed)
    assert told["axes"] == {"1111": 20}


def test_cancelling_on_our_server(provider: Path) -> None:
    with CASE.start(service_time=lambda: 60.0) as running:
        told = on(running, provider, do="cancel")["cancelled"]
    assert told.pop("before") in {"QUEUED", "VALIDATING", "RUNNING"}
    assert told == {"after": "CANCELLED", "is": True, "again": 409, "success": False}


def test_noisy_cats_on_our_server(provider: Path) -> None:
    """The parameters of the target are options of its backend."""
    photons = random.SystemRandom().uniform(2.0, 20.0)
    with CASE.start(engine="felis_cats") as running:
        flips = on(running, provider, do="cats", photons=photons, shots=SHOTS)["cats"].get("1", 0)
    # Four steps of 1 us at photons x 1000/s, and what a CX does to its control.
    expected = (1 - math.exp(-2 * photons * 1e3 * 4e-6) * (1 - 2 * math.pi**2 / (64 * photons))) / 2
    assert binomtest(flips, SHOTS, expected).pvalue > ALPHA, f"{photons} photons: {flips} flips"


@pytest.mark.parametrize("form", ["qpy", "qasm"])
def test_a_translated_circuit_through_our_driver(provider: Path, tmp_path: Path, form: str) -> None:
    seed = random.SystemRandom().randrange(2**32)
    circuit = measured(seed)
    file, payload_file = tmp_path / f"circuit.{form}", tmp_path / "payload.json"
    if form == "qasm":
        qasm2.dump(circuit, file)
    else:
        with file.open("wb") as stream:
            qpy.dump(circuit, stream)
    with CASE.start() as running:
        resource = running.resource(QRMI_MIN_POLL="0")
        (tmp_path / "target.json").write_text(resource.target().value)
        payload_file.write_text(vendors(provider, TRANSLATOR, tmp_path / "target.json", file, "--shots", str(SHOTS)))
        payload = read_payload(payload_file)
        assert isinstance(payload, AliceBobFelis)
        output = resource.submit(payload).result(SECONDS).value
    check({bits: int(count) for bits, count in (line.split(",") for line in output.splitlines())}, circuit, seed)
