# SPDX-License-Identifier: Apache-2.0
"""Clients that others wrote, unmodified, on our server of Pasqal's cloud; and Pulser on our driver of it."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pasqal_cloud import PasqalCloudConnection, RemoteEmuFreeBackend
from pasqal_cloud.authentication import TokenProvider, TokenProviderError
from pasqal_cloud.device import EmuFreeConfig
from pasqal_cloud.endpoints import AUTH_CONFIG, Endpoints, TokenProviderConf
from pasqal_cloud.errors import BatchCreationError, JobCreationError, ProjectNotFoundError
from pasqal_cloud.pasqal_cloud_client import PasqalCloudClient
from pasqal_cloud.utils.constants import BatchStatus, JobStatus
from pasqal_cloud.utils.filters import (
    BatchFilters,
    CancelJobFilters,
    JobFilters,
    PaginationParams,
    RebatchFilters,
)
from pasqal_cloud_case import CASE, FRESNEL, rabi
from pulser import Pulse, QPUBackend, Sequence
from pulser.backend import BitStrings, EmulationConfig, Occupation
from pulser.backend.remote import BatchStatus as PulserBatchStatus
from pulser.backend.remote import RemoteResultsError
from pulser_agreement import assert_agreement, random_area
from pulser_simulation import QutipBackendV2, QutipConfig
from vendor_site import Site

from qrmi_core import PulserBatch, PulserJob, TaskFailed
from qrmi_core.drivers.pasqal_cloud import PasqalCloud
from qrmi_core.environment import JobEnvironment, JobResource, child_environment, write_job
from qrmi_pulser import QRMIConnection

SHOTS = 2000
AREA, SEED = random_area()


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


def endpoints(running: Site) -> dict[str, Any]:
    """Where the SDK finds everything, and as whom."""
    url = running.emulator.url
    real = AUTH_CONFIG["fr-prod"]
    return {
        "username": "user@example.org",
        "password": running.emulator.dialect.options.key,
        "project_id": running.environment["QRMI_PASQAL_CLOUD_PROJECT_ID"],
        "endpoints": Endpoints(core=f"{url}/core-fast", account=f"{url}/account"),
        "auth_config": TokenProviderConf(
            f"{url}/oauth/token", real.public_client_id, real.audience, real.realm, real.grant_type
        ),
    }


@pytest.fixture(scope="module")
def client(server: Site) -> PasqalCloudClient:
    return PasqalCloudClient(**endpoints(server))


@pytest.fixture(scope="module")
def cloud(server: Site) -> PasqalCloudConnection:
    return PasqalCloudConnection(**endpoints(server))


@pytest.fixture(scope="module")
def driver(server: Site) -> PasqalCloud:
    return PasqalCloud.from_environment("qpu", {**server.environment, "QRMI_MIN_POLL": "0"}, CASE.context)


@pytest.fixture(scope="module")
def ours(driver: PasqalCloud) -> QRMIConnection:
    return QRMIConnection(driver)


def two_atoms(area: float = AREA) -> Sequence[Any]:
    return rabi(area, atoms=2)


def template(atoms: int = 1) -> Sequence[Any]:
    """A pulse whose area comes with the job."""
    sequence = rabi(0.0, atoms=atoms, pulses=False)
    area = sequence.declare_variable("area", dtype=float)
    sequence.add(Pulse.ConstantPulse(500, area / 0.5, 0, 0), "rydberg")
    return sequence


def measured_template() -> str:
    sequence = template()
    sequence.measure("ground-rydberg")
    return str(sequence.to_abstract_repr())


def too_strong() -> PulserBatch:
    return PulserBatch(measured_template().encode(), (PulserJob(10, b'{"area": 1000.0}'),))


def minutes() -> Sequence[Any]:
    """A sequence whose emulation takes minutes."""
    sequence = rabi(0.0, atoms=12, pulses=False)
    for _ in range(3):
        sequence.add(Pulse.ConstantPulse(2000, 6.0, 0.5, 0), "rydberg")
    sequence.measure("ground-rydberg")
    return sequence


class TestSDK:
    def test_qpu_batch(self, client: PasqalCloudClient) -> None:
        text = two_atoms().to_abstract_repr()
        batch = client.create_batch(serialized_sequence=text, jobs=[{"runs": SHOTS}, {"runs": 50}], wait=True)
        assert (batch.status, batch.device_type, batch.open) == ("DONE", "FRESNEL", False)
        assert batch.jobs_count_per_status == {"DONE": 2}
        assert_agreement(batch.ordered_jobs[0].result, two_atoms(), SEED)
        assert sum(batch.ordered_jobs[1].result.values()) == 50
        assert batch.sequence_builder == text
        assert client.get_batch_status(batch.id) is BatchStatus.DONE
        job = client.get_job(batch.ordered_jobs[0].id, wait=True)
        assert (job.status, job.runs, job.sequence) == ("DONE", SHOTS, None)

    def test_emulator_batch(self, client: PasqalCloudClient) -> None:
        configuration = EmulationConfig(observables=[BitStrings(num_shots=SHOTS), Occupation()])
        batch = client.create_batch(
            serialized_sequence=two_atoms().to_abstract_repr(),
            jobs=[{"runs": None}],
            device_type="EMU_FREE",
            backend_configuration=configuration.to_abstract_repr(),
            wait=True,
        )
        assert (batch.status, batch.device_type) == ("DONE", "EMU_FREE")
        assert_agreement(batch.ordered_jobs[0].result, two_atoms(), SEED)
        assert "occupation" in batch.ordered_jobs[0].full_result["serialised_results"]

    def test_emulator_batch_with_the_old_configuration(self, client: PasqalCloudClient) -> None:
        arguments = {
            "serialized_sequence": two_atoms().to_abstract_repr(),
            "jobs": [{"runs": 100}],
            "device_type": "EMU_FREE",
        }
        batch = client.create_batch(**arguments, configuration=EmuFreeConfig(), wait=True)
        assert sum(batch.ordered_jobs[0].result.values()) == 100
        with pytest.raises(BatchCreationError, match="send backend_configuration"):
            client.create_batch(**arguments, configuration=EmuFreeConfig(with_noise=True))

    def test_open_batch(self, client: PasqalCloudClient) -> None:
        batch = client.create_batch(serialized_sequence=measured_template(), jobs=[], open=True)
        assert (batch.open, batch.complete, batch.status) == (True, False, "PENDING")
        client.add_jobs(batch.id, [{"runs": 10, "variables": {"area": 0.0}}])
        batch.add_jobs([{"runs": 20, "variables": {"area": math.pi}}], wait=True)
        assert batch.status == "RUNNING"
        batch.close(wait=True)
        assert (batch.open, batch.status) == (False, "DONE")
        assert [job.result for job in batch.ordered_jobs] == [{"0": 10}, {"1": 20}]
        with pytest.raises(JobCreationError, match="is closed"):
            batch.add_jobs([{"runs": 10, "variables": {"area": 0.0}}])

    def test_sequences_of_their_own(self, client: PasqalCloudClient) -> None:
        jobs = [
            {"runs": 10 + turn, "serialized_sequence": rabi(turn * math.pi).to_abstract_repr()} for turn in range(2)
        ]
        batch = client.create_batch(serialized_sequence=None, jobs=jobs, wait=True)
        assert [job.result for job in batch.ordered_jobs] == [{"0": 10}, {"1": 11}]
        assert client.get_job(batch.ordered_jobs[1].id).sequence == jobs[1]["serialized_sequence"]

    def test_cancelling(self, client: PasqalCloudClient) -> None:
        batch = client.create_batch(serialized_sequence=minutes().to_abstract_repr(), jobs=[{"runs": 5}] * 4, open=True)
        first, second, *_ = batch.ordered_jobs
        assert client.cancel_job(first.id).id == first.id
        told = client.cancel_jobs(batch.id, CancelJobFilters(id=[second.id]))
        assert [job.id for job in told.jobs] == [second.id]
        batch.cancel()
        refused = str(uuid.uuid4())
        several = client.cancel_batches([refused])
        assert list(map(str, several.errors)) == [refused]
        batch._wait_for_terminal()
        batch.refresh()
        assert (batch.status, batch.jobs_count_per_status) == ("CANCELED", {"CANCELED": 4})

    def test_failed_job(self, client: PasqalCloudClient) -> None:
        batch = client.create_batch(
            serialized_sequence=measured_template(), jobs=[{"runs": 10, "variables": {"area": "wide"}}], wait=True
        )
        assert (batch.status, batch.ordered_jobs[0].status) == ("ERROR", "ERROR")
        assert "cannot be built from the job's variables" in batch.ordered_jobs[0].errors[0]
        assert batch.ordered_jobs[0].result is None

    def test_lists(self, client: PasqalCloudClient) -> None:
        tags = [f"tag-{uuid.uuid4()}"]
        text = rabi(math.pi).to_abstract_repr()
        made = [
            client.create_batch(serialized_sequence=text, jobs=[{"runs": 10 + turn}], tags=tags, wait=True)
            for turn in range(2)
        ]
        found = client.get_batches(BatchFilters(tag=tags[0]))
        assert (found.total, [batch.id for batch in found.results]) == (2, [batch.id for batch in reversed(made)])
        one = client.get_batches(BatchFilters(tag=tags[0]), PaginationParams(offset=1, limit=1))
        assert (one.total, [batch.id for batch in one.results]) == (2, [made[0].id])
        since = BatchFilters(tag=tags[0], start_date=datetime.now(UTC) + timedelta(hours=1))
        assert client.get_batches(since).results == []
        done = BatchFilters(
            id=made[0].id, status=BatchStatus.DONE, open=False, device_type="FRESNEL", project_id=client.project_id
        )
        assert [batch.id for batch in client.get_batches(done).results] == [made[0].id]
        jobs = client.get_jobs(
            JobFilters(batch_id=[batch.id for batch in made], status=[JobStatus.DONE], min_runs=11, errors=False)
        )
        assert [job.runs for job in jobs.results] == [11]
        made[0].set_tags(["other"])
        assert [batch.id for batch in client.get_batches(BatchFilters(tag=tags[0])).results] == [made[1].id]
        assert client.get_batches(BatchFilters(tag="other", status=BatchStatus.ERROR)).total == 0

    def test_again(self, client: PasqalCloudClient) -> None:
        text = rabi(math.pi).to_abstract_repr()
        batch = client.create_batch(serialized_sequence=text, jobs=[{"runs": 10}, {"runs": 20}], wait=True)
        again = client.rebatch(batch.id, RebatchFilters(status=JobStatus.DONE, min_runs=15))
        assert again.parent_id == batch.id
        again._wait_for_terminal()
        again.refresh()
        assert [(job.runs, job.parent_id) for job in again.ordered_jobs] == [(20, batch.ordered_jobs[1].id)]
        assert again.ordered_jobs[0].result == {"1": 20}

    def test_devices_and_projects(self, client: PasqalCloudClient, server: Site) -> None:
        public = PasqalCloudClient(endpoints=endpoints(server)["endpoints"])
        assert client.get_device_specs_dict() == public.get_device_specs_dict()
        assert json.loads(public.get_device_specs_dict()["FRESNEL"])["name"] == "FRESNEL"
        (project,) = client.get_all_projects()
        assert client.switch_to_project(project.id) == project.id
        with pytest.raises(ProjectNotFoundError):
            client.switch_to_project("another")

    def test_refusals(self, client: PasqalCloudClient, server: Site) -> None:
        text = two_atoms().to_abstract_repr()
        with pytest.raises(BatchCreationError, match="there is no device type EMU_QUICK; there are FRESNEL, EMU_FREE"):
            client.create_batch(serialized_sequence=text, jobs=[{"runs": 1}], device_type="EMU_QUICK")
        with pytest.raises(BatchCreationError, match="a QPU needs the number of shots"):
            client.create_batch(serialized_sequence=text, jobs=[{"runs": None}])
        with pytest.raises(TokenProviderError, match="Wrong email or password"):
            PasqalCloudClient(**{**endpoints(server), "password": "wrong"})

    def test_a_token_of_their_own(self, server: Site) -> None:
        class Given(TokenProvider):
            def get_token(self) -> str:
                return server.emulator.dialect.options.key

        known = endpoints(server)
        client = PasqalCloudClient(token_provider=Given(), project_id=known["project_id"], endpoints=known["endpoints"])
        text = rabi(math.pi).to_abstract_repr()
        batch = client.create_batch(serialized_sequence=text, jobs=[{"runs": 10}], wait=True)
        assert batch.ordered_jobs[0].result == {"1": 10}


class Both:
    """What must work through Pulser's own connection to Pasqal's cloud, and through ours."""

    def test_qpu(self, connection: Any) -> None:
        assert FRESNEL in connection.fetch_available_devices().values()
        results = QPUBackend(two_atoms(), connection).run([{"runs": SHOTS}], wait=True)
        assert_agreement(results[0].final_bitstrings, two_atoms(), SEED)
        assert results.get_batch_status() is PulserBatchStatus.DONE

    def test_variables(self, connection: Any) -> None:
        backend = QPUBackend(template(2), connection)
        areas = [np.float64(AREA), np.array([math.pi])]
        results = backend.run([{"runs": SHOTS, "variables": {"area": area}} for area in areas], wait=True)
        for result, area in zip(results, areas, strict=True):
            assert_agreement(result.final_bitstrings, two_atoms(float(np.ravel(area)[0])), SEED)

    def test_mappable_register(self, connection: Any) -> None:
        layout = FRESNEL.pre_calibrated_layouts[0]
        sequence = Sequence(layout.make_mappable_register(3), FRESNEL)
        sequence.declare_channel("rydberg", "rydberg_global")
        sequence.add(Pulse.ConstantPulse(500, math.pi / 0.5, 0, 0), "rydberg")
        sequence.measure("ground-rydberg")
        params = [{"runs": 100, "variables": {"qubits": qubits}} for qubits in ({"q0": 0}, {"q0": 0, "q1": 60})]
        results = QPUBackend(sequence, connection).run(params, wait=True)
        assert [result.final_bitstrings for result in results] == [{"1": 100}, {"11": 100}]

    def test_emulator_with_observables(self, connection: Any) -> None:
        observables = [Occupation(evaluation_times=[0.5, 1.0]), BitStrings(num_shots=SHOTS)]
        sequence = two_atoms()
        config = EmulationConfig(observables=observables)
        there = RemoteEmuFreeBackend(sequence, connection, config=config).run(wait=True)[0]
        here = QutipBackendV2(sequence, config=QutipConfig(observables=observables)).run()
        for time in (0.5, 1.0):
            assert np.allclose(there.get_result(observables[0], time), here.get_result(observables[0], time), atol=1e-6)
        assert_agreement(there.final_bitstrings, sequence, SEED)

    def test_open_batch(self, connection: Any) -> None:
        backend = QPUBackend(template(), connection)
        with backend.open_batch():
            first = backend.run([{"runs": 10, "variables": {"area": 0.0}}], wait=True)
            assert first[0].final_bitstrings == {"0": 10}
            second = backend.run([{"runs": 20, "variables": {"area": math.pi}}], wait=True)
        assert second[0].final_bitstrings == {"1": 20}
        assert first.batch_id == second.batch_id
        assert first.get_batch_status() is PulserBatchStatus.DONE

    def test_results_again(self, connection: Any) -> None:
        sent = QPUBackend(rabi(math.pi), connection).run([{"runs": 10}, {"runs": 20}], wait=True)
        again = connection.get_results(sent.batch_id)
        assert again.job_ids == sent.job_ids
        assert [result.final_bitstrings for result in again.results] == [{"1": 10}, {"1": 20}]


class TestPulserOwnConnection(Both):
    @pytest.fixture
    def connection(self, cloud: PasqalCloudConnection) -> PasqalCloudConnection:
        return cloud


class TestOurConnection(Both):
    @pytest.fixture
    def connection(self, ours: QRMIConnection) -> QRMIConnection:
        return ours

    def test_ten_jobs_take_six_requests(self, ours: QRMIConnection, server: Site) -> None:
        sequence = template()
        QPUBackend(sequence, ours).run([{"runs": 1, "variables": {"area": 0.0}}], wait=True)
        params = [{"runs": 10 + turn, "variables": {"area": (turn % 2) * math.pi}} for turn in range(10)]
        counters = server.emulator.counters
        batches, before = counters.requests["POST /core-fast/api/v1/batches"], counters.total()
        running = QPUBackend(sequence, ours).run(params)
        while not all(
            info.status.is_final
            for info in server.emulator.device.resource.batch_jobs(
                server.emulator.dialect._batches[running.batch_id].task
            )
        ):
            threading.Event().wait(0.05)
        results = running.results
        assert [result.final_bitstrings for result in results] == [{str(turn % 2): 10 + turn} for turn in range(10)]
        assert counters.requests["POST /core-fast/api/v1/batches"] == batches + 1
        assert counters.total() - before <= 6

    def test_the_reason_of_a_failed_job(self, ours: QRMIConnection, caplog: pytest.LogCaptureFixture) -> None:
        # What our connection sends is built once before, so a job that fails there has to be sent past it.
        batch = ours.resource.submit(too_strong())
        results = ours.get_results(batch.id)
        batch.wait(60)
        with caplog.at_level(logging.ERROR), pytest.raises(RemoteResultsError) as caught:
            _ = results.results
        assert "cannot be built from the job's variables" in caplog.text
        causes = []
        error: BaseException | None = caught.value
        while error is not None:
            causes.append(error)
            error = error.__cause__
        assert any(isinstance(cause, TaskFailed) for cause in causes)

    @pytest.mark.slow
    def test_from_a_new_process(self, ours: QRMIConnection, server: Site) -> None:
        sent = QPUBackend(two_atoms(), ours).run([{"runs": SHOTS}])
        job = JobEnvironment((JobResource("qpu", "pasqal-cloud", server.environment),))
        program = (
            "import json, sys\n"
            "from qrmi_pulser import QRMIConnection\n"
            "connection = QRMIConnection()\n"
            "connection.resource.task(sys.argv[1]).wait(60)\n"
            "print(json.dumps(connection.get_results(sys.argv[1])[0].final_bitstrings))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, sent.batch_id],
            env={**os.environ, **child_environment(write_job(job))},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert_agreement(json.loads(done.stdout), two_atoms(), SEED)

    def test_results_that_are_counts_only(
        self, driver: PasqalCloud, server: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A QPU may serialise no results; the order of the atoms is then that of the sequence."""
        output = server.emulator.device.batch_job_output

        async def counts_only(batch_id: str, job_id: str) -> bytes:
            counter = json.loads(await output(batch_id, job_id))["counter"]
            return json.dumps({"counter": counter, "raw": None, "serialised_results": None}).encode()

        monkeypatch.setattr(server.emulator.device, "batch_job_output", counts_only)
        connection = QRMIConnection(driver)
        sent = QPUBackend(template(2), connection).run([{"runs": SHOTS, "variables": {"area": AREA}}], wait=True)
        fresh = PasqalCloud.from_environment("qpu", server.environment, CASE.context)
        for results in (sent, QRMIConnection(fresh).get_results(sent.batch_id)):
            assert results[0].atom_order == ("q0", "q1")
            assert results[0].total_duration == 500
            assert_agreement(results[0].final_bitstrings, two_atoms(), SEED)

    def test_an_emulator_as_the_device(self, server: Site) -> None:
        emulator = PasqalCloud.from_environment(
            "emulator", {**server.environment, "QRMI_DEVICE": "EMU_FREE", "QRMI_MIN_POLL": "0"}, CASE.context
        )
        connection = QRMIConnection(emulator)
        assert connection.fetch_available_devices() == {"emulator": FRESNEL}
        results = QPUBackend(two_atoms(), connection).run([{"runs": SHOTS}], wait=True)
        assert_agreement(results[0].final_bitstrings, two_atoms(), SEED)
