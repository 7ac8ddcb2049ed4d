# SPDX-License-Identifier: Apache-2.0
"""Qiskit on Pasqal's cloud: qiskit-pasqal-provider on our server, and its primitive through our connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pasqal_cloud.authentication import TokenProvider
from pasqal_cloud.endpoints import Endpoints
from pasqal_cloud_case import CASE, FRESNEL
from pulser import Pulse, Sequence
from pulser.waveforms import InterpolatedWaveform
from pulser_agreement import assert_agreement, random_area
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers.jobstatus import JobStatus
from qiskit_pasqal_provider.providers.gate import HamiltonianGate, InterpolatePoints
from qiskit_pasqal_provider.providers.provider import PasqalProvider
from qiskit_pasqal_provider.providers.sampler import SamplerV2
from qiskit_pasqal_provider.utils import RemoteConfig
from vendor_site import Site

from qrmi_core import InputError, TaskCancelled
from qrmi_core.drivers.pasqal_cloud import PasqalCloud
from qrmi_pulser import QiskitPasqalBackend

SHOTS = 2000
DURATION = 600
AREA, SEED = random_area()
PEAK = AREA / DURATION * 1000
LAYOUT = FRESNEL.pre_calibrated_layouts[0]
TRAPS = (0, 1)


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


@pytest.fixture(scope="module")
def driver(server: Site) -> PasqalCloud:
    return PasqalCloud.from_environment("atoms", {**server.environment, "QRMI_MIN_POLL": "0"}, CASE.context)


@pytest.fixture(scope="module")
def backend(driver: PasqalCloud) -> QiskitPasqalBackend:
    return QiskitPasqalBackend(driver)


def circuit(peak: Any = PEAK, duration: int = DURATION, traps: tuple[int, ...] = TRAPS) -> QuantumCircuit:
    """A pulse on atoms side by side."""
    gate = HamiltonianGate(
        InterpolatePoints(values=[peak] * 3, duration=duration),
        InterpolatePoints(values=[0.0] * 3, duration=duration),
        0.0,
        LAYOUT.coords[list(traps)].tolist(),
    )
    made = QuantumCircuit(len(traps))
    made.append(gate, made.qubits)
    return made


def sequence() -> Sequence[Any]:
    """The same in Pulser's own words."""
    made = Sequence(LAYOUT.define_register(*TRAPS, qubit_ids=["q0", "q1"]), FRESNEL)
    made.declare_channel("rydberg", "rydberg_global")
    peak, rest = (InterpolatedWaveform(DURATION, [level] * 3) for level in (PEAK, 0.0))
    made.add(Pulse(peak, rest, 0.0), "rydberg")
    made.measure("ground-rydberg")
    return made


def test_the_provider_on_our_server(server: Site) -> None:
    class Given(TokenProvider):
        def get_token(self) -> str:
            return server.emulator.dialect.options.key

    url = server.emulator.url
    config = RemoteConfig(
        token_provider=Given(),
        project_id=server.environment["QRMI_PASQAL_CLOUD_PROJECT_ID"],
        endpoints=Endpoints(core=f"{url}/core-fast", account=f"{url}/account"),
    )
    fresnel = PasqalProvider(config).get_backend("fresnel")
    result = SamplerV2(fresnel).run([circuit()], shots=SHOTS).result()
    assert_agreement(result[0].data.counts, sequence(), SEED)


@pytest.mark.parametrize("device_type", [None, "EMU_FREE"])
def test_the_sampler_through_our_connection(driver: PasqalCloud, device_type: str | None) -> None:
    backend = QiskitPasqalBackend(driver, device_type=device_type)
    job = SamplerV2(backend).run([circuit()], shots=SHOTS)
    result = job.result()
    assert_agreement(result[0].data.counts, sequence(), SEED)
    assert (result.metadata["job_id"], result.metadata["shots"]) == (job.job_id(), SHOTS)
    assert (job.status(), job.done(), job.in_final_state()) == (JobStatus.DONE, True, True)


def test_parameters(backend: QiskitPasqalBackend) -> None:
    peak = Parameter("peak")
    job = SamplerV2(backend).run([(circuit(peak), {peak: [PEAK] * 3})], shots=SHOTS)
    assert_agreement(job.result()[0].data.counts, sequence(), SEED)


def test_cancelling(backend: QiskitPasqalBackend) -> None:
    job = SamplerV2(backend).run([circuit(6.0, 4000, tuple(range(12)))], shots=10)
    job.cancel()
    with pytest.raises(TaskCancelled):
        job.result()
    assert job.cancelled()


def test_without_shots(backend: QiskitPasqalBackend) -> None:
    with pytest.raises(InputError, match="needs the number of shots"):
        SamplerV2(backend).run([circuit()])


def test_what_does_not_fit_the_device_is_not_sent(backend: QiskitPasqalBackend, server: Site) -> None:
    before = server.emulator.device.runs
    with pytest.raises(ValueError, match="maximum"):
        SamplerV2(backend).run([circuit(1e4)], shots=10)
    assert server.emulator.device.runs == before
