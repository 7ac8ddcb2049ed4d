# SPDX-License-Identifier: Apache-2.0
"""Jobs that nobody can run are sent through the gateway: they fail where they run, and cost the gateway nothing."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from doored import Job
from ibm_site import ROOT, cloud, entry, job_body, shows
from mortal_gateway import mortal_gateway
from munge_daemon import Munged
from qiskit import QuantumCircuit, qpy

from qrmi_core import polling

MOST_GROWN = 20_000
"""Kilobytes by which the gateway may grow for what it only passes on."""


def circuit_of(data: bytes) -> dict[str, str]:
    """What stands for a circuit in a pub."""
    return {"__type__": "QuantumCircuit", "__value__": base64.b64encode(zlib.compress(data, 1)).decode()}


def spread(qubits: int) -> bytes:
    """A circuit that is no Clifford circuit, in QPY."""
    circuit = QuantumCircuit(qubits)
    for qubit in range(qubits):
        circuit.rx(0.3 + qubit / 100, qubit)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    file = io.BytesIO()
    qpy.dump(circuit, file)
    return file.getvalue()


def outcome(job: Job, pub: Any) -> str:
    """How a job of one pub ends, or that it was refused."""
    params = {"pubs": [[pub, None, 10]], "version": 2, "options": {}}
    status, told = job.ask("POST", f"{ROOT}/jobs", job_body() | {"params": params})
    if 400 <= status < 500:
        return "refused"
    assert status == 200, told
    seen: list[dict[str, Any]] = []

    def has_ended() -> bool:
        seen.append(job.ask("GET", f"{ROOT}/jobs/{told['id']}?exclude_params=true")[1]["state"])
        return seen[-1]["status"] not in {"Queued", "Running"}

    assert polling.wait_until(has_ended, timeout=60)
    assert "Traceback" not in json.dumps(seen[-1])
    return str(seen[-1]["status"])


def peak(pid: int) -> int:
    """The most kilobytes that a process has had resident since it was forgotten last."""
    (found,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_what_cannot_be_run_fails_where_it_runs(daemons: Munged, tmp_path: Path) -> None:
    with cloud() as site, mortal_gateway(tmp_path, daemons, [entry("Fez", site)], "Fez") as (job, gateway):
        good = job.ask("POST", f"{ROOT}/jobs", job_body(5))[1]["id"]
        answered = polling.wait_until(lambda: job.ask("GET", f"{ROOT}/jobs/{good}/results")[0] == 200, timeout=60)
        assert answered
        Path(f"/proc/{gateway}/clear_refs").write_text("5")
        before = peak(gateway)
        assert outcome(job, circuit_of(spread(40))) in {"Failed", "refused"}
        assert outcome(job, circuit_of(b"QISKIT" + bytes(range(256)) * 40)) in {"Failed", "refused"}
        assert outcome(job, circuit_of(b"\0" * (2**28 + 1))) in {"Failed", "refused"}
        assert outcome(job, {"__type__": "QuantumCircuit", "__value__": "no base64!"}) in {"Failed", "refused"}
        assert peak(gateway) - before < MOST_GROWN
        shows(job.ask("GET", f"{ROOT}/jobs/{good}/results")[1], 5)
