# SPDX-License-Identifier: Apache-2.0
"""Tasks of Pulser on Pasqal's cloud. Every client has its token and the device, and has run a task, when they begin."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["one_by_one", "sweep"]

FRESNEL = "FRESNEL"
RUNS = 100
GAP = 0.002
"""Seconds between two looks of the floor."""


class Floor:
    """The standard library, one connection, and a sequence that somebody else wrote."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        token = self._ask("POST", "/oauth/token", "x=y", {})["access_token"]
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Any:
        self._connection.request(method, path, body, dict(headers))
        return json.loads(self._connection.getresponse().read())

    def run(self, jobs: int) -> Any:
        asked = {
            "sequence_builder": "x" * 2000, "jobs": [{"runs": RUNS}] * jobs, "device_type": FRESNEL, "project_id": "p",
        }  # fmt: skip
        batches = "/core-fast/api/v1/batches"
        batch = self._ask("POST", batches, json.dumps(asked), self._headers)["data"]["id"]
        while not (results := self._ask("GET", f"{batches}/{batch}/full_results", None, self._headers)["data"]):
            time.sleep(GAP)
        return results


class Connected:
    """Pulser's ``QPUBackend`` over a connection, as its user writes it."""

    def __init__(self, connection: Any) -> None:
        from pulser import QPUBackend

        self._connection = connection
        self._sequence = sequence(self._device(), parametrised=False)
        self._backend = QPUBackend(self._sequence, connection)
        self._swept = QPUBackend(sequence(self._device(), parametrised=True), connection)

    def _device(self) -> Any:
        return self._connection.fetch_available_devices()[FRESNEL]

    def run(self, jobs: int) -> Any:
        return self._backend.run([{"runs": RUNS}] * jobs, wait=True).results

    def sweep(self, points: int) -> Any:
        jobs: list[Any] = [{"runs": RUNS, "variables": {"area": 1.0 + number / points}} for number in range(points)]
        return self._swept.run(jobs, wait=False)


class Upstream(Connected):
    """QRMI's wheel."""

    def __init__(self, url: str) -> None:
        from qrmi import QRMIService
        from qrmi.pulser import PulserQRMIConnection

        found = [each for each in QRMIService().resources() if each.resource_id() == FRESNEL]
        super().__init__(PulserQRMIConnection(qrmi=found[0]))


class Ours(Connected):
    """This project."""

    def __init__(self, url: str) -> None:
        from qrmi_pulser import QRMIConnection

        super().__init__(QRMIConnection(FRESNEL))


class Vendor:
    """pasqal-cloud, which takes sequences as text."""

    def __init__(self, url: str) -> None:
        from pasqal_cloud.endpoints import Endpoints, TokenProviderConf
        from pasqal_cloud.pasqal_cloud_client import PasqalCloudClient
        from pulser.devices import AnalogDevice

        self._client = PasqalCloudClient(
            username="u",
            password="p",
            project_id=os.environ[f"{FRESNEL}_QRMI_PASQAL_CLOUD_PROJECT_ID"],
            endpoints=Endpoints(core=f"{url}/core-fast", account=f"{url}/account"),
            auth_config=TokenProviderConf(
                token_endpoint=f"{url}/oauth/token", public_client_id="x", audience="y", realm="z",
                grant_type="password",
            ),
        )  # fmt: skip
        self._text = sequence(AnalogDevice, parametrised=False).to_abstract_repr()
        self._template = sequence(AnalogDevice, parametrised=True).to_abstract_repr()

    def run(self, jobs: int) -> Any:
        batch = self._client.create_batch(self._text, [{"runs": RUNS}] * jobs, wait=True)
        return [job.result for job in batch.ordered_jobs]

    def sweep(self, points: int) -> Any:
        jobs: list[Any] = [{"runs": RUNS, "variables": {"area": 1.0 + number / points}} for number in range(points)]
        return self._client.create_batch(self._template, jobs)


def sequence(device: Any, *, parametrised: bool) -> Any:
    """Four atoms and a pulse, whose area may be a variable."""
    from pulser import Pulse, Register, Sequence
    from pulser.waveforms import BlackmanWaveform

    register = Register.rectangle(2, 2, spacing=6, prefix="q").with_automatic_layout(device)
    made = Sequence(register, device)
    made.declare_channel("rydberg", "rydberg_global")
    area = made.declare_variable("area", dtype=float) if parametrised else 1.0
    made.add(Pulse.ConstantDetuning(BlackmanWaveform(1000, area), 0.0, 0.0), "rydberg")
    made.measure("ground-rydberg")
    return made


def _client(who: str, url: str) -> Any:
    return {"floor": Floor, "upstream": Upstream, "vendor": Vendor, "ours": Ours}[who](url)


def one_by_one(bench: Any, who: str, times: int, jobs: int, knobs: Mapping[str, Any]) -> None:
    """A run of so many jobs, from run() to its results."""
    using = _client(who, bench.url)
    using.run(jobs)
    for _ in range(times):
        bench.emulator.use(**knobs)
        with bench.sample() as taken:
            results = using.run(jobs)
        assert len(results) == jobs, results
        taken.values["batches"] = bench.emulator.counts()["works"]


def sweep(bench: Any, who: str, times: int, points: int) -> None:
    """A sequence with so many values for its variable: until it is submitted."""
    using = _client(who, bench.url)
    using.sweep(1)
    for _ in range(times):
        bench.emulator.use()
        with bench.sample() as taken:
            using.sweep(points)
        taken.values["batches"] = bench.emulator.counts()["works"]
