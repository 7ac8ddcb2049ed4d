# SPDX-License-Identifier: Apache-2.0
"""One class per client of IBM's cloud: what its user writes. Each imports its own packages only."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from typing import Any

__all__ = ["Floor", "Ours", "Upstream", "Vendor", "client"]

DEVICE = "ibm_emu"
SHOTS = 1024
GAP = 0.002
"""Seconds between two looks of the floor."""


def circuit() -> Any:
    """Two qubits, in the device's own gates."""
    from qiskit import QuantumCircuit

    made = QuantumCircuit(2)
    made.sx(0)
    made.rz(0.1, 0)
    made.cz(0, 1)
    made.measure_all()
    return made


class Floor:
    """The standard library, one connection, and the result's route in place of the status."""

    BODY = json.dumps(
        {
            "program_id": "sampler", "backend": DEVICE,
            "params": {"pubs": [["OPENQASM 3.0;" + "x" * 300, None, SHOTS]], "version": 2, "support_qiskit": True},
        }
    )  # fmt: skip

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = {"Content-Type": "application/json"}
        token = json.loads(self._ask("POST", "/identity/token", "grant_type=x&apikey=k")[1])
        self._headers |= {"Authorization": f"Bearer {token['access_token']}", "Service-CRN": "crn"}

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def submit(self, shots: int = SHOTS) -> Any:
        return json.loads(self._ask("POST", "/api/v1/jobs", self.BODY)[1])["id"]

    def result(self, job: Any) -> Any:
        while True:
            status, body = self._ask("GET", f"/api/v1/jobs/{job}/results")
            if status == 200:
                return body
            time.sleep(GAP)

    def name(self, job: Any) -> str:
        return str(job)

    def drop(self, job: Any) -> None:
        """Nothing happens when a job is dropped."""


class _Qiskit:
    """A sampler as Qiskit knows them, and the jobs that it gives."""

    _sampler: Any
    _circuit: Any

    def submit(self, shots: int = SHOTS) -> Any:
        return self._sampler.run([self._circuit], shots=shots)

    def result(self, job: Any) -> Any:
        return job.result()

    def name(self, job: Any) -> str:
        return str(job.job_id())

    def drop(self, job: Any) -> None:
        """Nothing happens when a job is dropped."""


class Upstream(_Qiskit):
    """QRMI's wheel."""

    def __init__(self, url: str) -> None:
        from qrmi.primitives import QRMIService  # type: ignore[import-not-found]
        from qrmi.primitives.ibm import SamplerV2  # type: ignore[import-not-found]

        resources = QRMIService().resources()
        self.resource = next(each for each in resources if each.resource_id() == DEVICE)
        self._sampler = SamplerV2(self.resource)
        self._circuit = circuit()

    def drop(self, job: Any) -> None:
        job.__del__()  # asks for its status
        job._delete_job = False


class Vendor(_Qiskit):
    """qiskit-ibm-runtime."""

    def __init__(self, url: str) -> None:
        from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

        service = QiskitRuntimeService(
            channel="ibm_quantum_platform",
            token="fakekey",
            instance=os.environ[f"{DEVICE}_QRMI_IBM_QCS_SERVICE_CRN"],
            url=url,
            url_resolver=lambda *given, **named: f"{url}/api/v1",
        )
        self.backend = service.backend(DEVICE)
        self._sampler = SamplerV2(mode=self.backend)
        self._circuit = circuit()


class Ours(_Qiskit):
    """This project."""

    def __init__(self, url: str) -> None:
        from qrmi_qiskit import QRMIProvider, SamplerV2

        self.backend = QRMIProvider().backend(DEVICE)
        self._sampler = SamplerV2(mode=self.backend)
        self._circuit = circuit()

    def all_of(self, jobs: list[Any]) -> None:
        """Wait for all."""
        self.backend.resource.task_wait([job.job_id() for job in jobs])


def client(who: str, url: str) -> Any:
    """The client of that name."""
    return {"floor": Floor, "upstream": Upstream, "vendor": Vendor, "ours": Ours}[who](url)
