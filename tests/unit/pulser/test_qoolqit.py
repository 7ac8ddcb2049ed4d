# SPDX-License-Identifier: Apache-2.0
"""Programs of qoolqit, unmodified, through our connection.

qoolqit brings torch: these tests run where `make test-all` installs the extra ``emulators``, and nowhere else.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from pasqal_cloud import RemoteEmuFreeBackend, RemoteMPSBackend, RemoteSVBackend
from pulser.backend import EmulationConfig, Occupation
from pulser_programs import assert_counts
from qoolqit import ConstantWaveform, Device, Drive, QuantumProgram, Register
from qoolqit.execution import QPU, RemoteEmulator, get_batch_id, retrieve_remote_job

from qrmi_pulser import QRMIConnection

OMEGA = 0.05  # in units of the interaction of two atoms at a distance of 1
PI_TIME = math.pi / (math.sqrt(2) * OMEGA)
ONE_EXCITATION = {"10": 0.5, "01": 0.5}


@pytest.fixture
def blockade(connection: QRMIConnection) -> QuantumProgram:
    """Two atoms that block each other, and the pulse that excites one of them."""
    program = QuantumProgram(
        register=Register({"left": (0.0, 0.0), "right": (1.0, 0.0)}),
        drive=Drive(amplitude=ConstantWaveform(PI_TIME, OMEGA)),
    )
    program.compile_to(Device.from_connection(connection, "atoms"))
    return program


def test_a_program_on_the_qpu(connection: QRMIConnection, blockade: QuantumProgram) -> None:
    results = QPU(connection=connection, num_shots=500).run(blockade).results(timeout=60)
    assert_counts(results.final_bitstrings, ONE_EXCITATION)


@pytest.mark.parametrize("backend", [RemoteEmuFreeBackend, RemoteSVBackend, RemoteMPSBackend])
def test_a_program_on_a_remote_emulator(connection: QRMIConnection, blockade: QuantumProgram, backend: Any) -> None:
    config = EmulationConfig(observables=[Occupation(evaluation_times=[1.0])])
    emulator = RemoteEmulator(backend_type=backend, connection=connection, emulation_config=config, num_shots=500)
    results = emulator.run(blockade).results(timeout=60)
    assert_counts(results.final_bitstrings, ONE_EXCITATION)
    assert [float(share) for share in results.occupation[-1]] == pytest.approx([0.5, 0.5], abs=0.01)


def test_a_job_is_retrieved_by_its_ids(blockade: QuantumProgram, connection: QRMIConnection) -> None:
    job = QPU(connection=connection, num_shots=20).run(blockade)
    again = retrieve_remote_job(QRMIConnection(connection.resource), job.job_id(), batch_id=get_batch_id(job))
    assert sum(again.results(timeout=60).final_bitstrings.values()) == 20
    assert again.has_ended()
