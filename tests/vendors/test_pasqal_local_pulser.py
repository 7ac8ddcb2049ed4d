# SPDX-License-Identifier: Apache-2.0
"""Pulser programs on Warden, through QRMIConnection."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from munge_daemon import libraries
from pasqal_local_case import CONTEXT, start
from pulser import Pulse, QPUBackend, Register, Sequence
from pulser.backend import EmulationConfig, Occupation
from pulser.backend.remote import BatchStatus, RemoteResultsError
from pulser.devices import AnalogDevice
from pulser_agreement import assert_agreement
from vendor_site import Site

from qrmi_core import BatchResource, JobContext, UnsupportedFunction, UnsupportedPayload
from qrmi_core.environment import JobEnvironment, JobResource, write_job
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_pulser import QRMIConnection

SHOTS = 1500


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    with start() as site:
        yield site


@pytest.fixture(scope="module")
def connection(running: Site) -> QRMIConnection:
    resource = running.resource(None, CONTEXT, QRMI_MIN_POLL="0")
    resource.acquire()
    return QRMIConnection(resource)


def register(atoms: int) -> Register:
    return Register.rectangle(1, atoms, spacing=7.0, prefix="q").with_automatic_layout(AnalogDevice)


def blank(atoms: Any) -> Sequence[Any]:
    sequence = Sequence(atoms, AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    return sequence


def test_a_random_pulse_gives_the_counts_of_qutip(connection: QRMIConnection) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    duration = chance.randrange(800, 1600, 4)
    sequence = blank(register(3))
    area, detuning, phase = chance.uniform(0.5, 3.0) * math.pi, chance.uniform(-8.0, 8.0), chance.uniform(0.0, 6.0)
    sequence.add(Pulse.ConstantPulse(duration, area / duration * 1000, detuning, phase), "rydberg")
    sequence.add(Pulse.ConstantPulse(200, chance.uniform(1.0, 9.0), 0, 0), "rydberg")
    remote = QPUBackend(sequence, connection).run([{"runs": SHOTS}], wait=True)
    assert remote.get_batch_status() is BatchStatus.DONE
    (results,) = remote.results
    assert (results.atom_order, results.total_duration) == (("q0", "q1", "q2"), sequence.get_duration())
    sequence.measure("ground-rydberg")
    assert_agreement(results.final_bitstrings, sequence, f"seed {seed}")


def test_the_jobs_of_a_template_differ(connection: QRMIConnection) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    template = blank(register(2))
    omega = template.declare_variable("omega", dtype=float)
    duration = template.declare_variable("duration", dtype=int)
    template.add(Pulse.ConstantPulse(duration, omega, 0, 0), "rydberg")
    values = [{"omega": chance.uniform(1.0, 9.0), "duration": chance.randrange(200, 800, 4)} for _ in range(3)]
    params: Any = [{"runs": SHOTS, "variables": each} for each in values]
    remote = QPUBackend(template, connection).run(params, wait=True)
    for variables, results in zip(values, remote.results, strict=True):
        built = template.build(**variables)
        assert results.total_duration == built.get_duration() == variables["duration"]
        built.measure("ground-rydberg")
        assert_agreement(results.final_bitstrings, built, f"seed {seed}")


def test_atoms_of_a_mappable_register_keep_their_order(connection: QRMIConnection) -> None:
    layout = register(4).layout
    assert layout is not None
    template = blank(layout.make_mappable_register(3, prefix="atom"))
    template.add(Pulse.ConstantPulse(400, 5.0, 0, 0), "rydberg")
    chosen: Any = [{"runs": 50, "variables": {"qubits": {"atom0": 3, "atom1": 1}}}]
    (results,) = QPUBackend(template, connection).run(chosen, wait=True).results
    assert results.atom_order == ("atom0", "atom1")
    assert sum(results.final_bitstrings.values()) == 50


REATTACH = """
import json, sys
from qrmi_pulser import QRMIConnection
results = QRMIConnection("warden").get_results(sys.argv[1]).results
print(json.dumps([[each.atom_order, each.total_duration, each.final_bitstrings] for each in results]))
"""


@pytest.mark.slow
def test_another_process_gets_the_same_results(running: Site, connection: QRMIConnection) -> None:
    sequence = blank(register(2))
    sequence.add(Pulse.ConstantPulse(400, 5.0, 0, 0), "rydberg")
    remote = QPUBackend(sequence, connection).run([{"runs": 30}, {"runs": 40}], wait=True)
    job = JobEnvironment((JobResource("warden", "pasqal-local", running.environment),), uid=os.getuid(), job_id="42")
    done = subprocess.run(
        [sys.executable, "-c", REATTACH, remote.batch_id],
        env=os.environ | write_job(job) | {"LD_LIBRARY_PATH": libraries()},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    here = [[list(each.atom_order), each.total_duration, each.final_bitstrings] for each in remote.results]
    assert json.loads(done.stdout) == here


def test_counts_alone_do_not_tell_the_order_of_the_atoms(
    running: Site, connection: QRMIConnection, caplog: pytest.LogCaptureFixture
) -> None:
    sequence = blank(register(2))
    sequence.add(Pulse.ConstantPulse(400, 5.0, 0, 0), "rydberg")
    remote = QPUBackend(sequence, connection).run([{"runs": 30}], wait=True)
    (job_id,) = remote.job_ids
    elsewhere = QRMIConnection(running.resource(None, JobContext(), QRMI_MIN_POLL="0"))
    with pytest.raises(RemoteResultsError, match="Results are not available for all jobs"):
        _ = elsewhere.get_results(job_id).results
    assert "counts alone do not tell the order of the atoms" in caplog.text


def test_what_warden_cannot_do(connection: QRMIConnection) -> None:
    assert isinstance(connection.resource, BatchResource)
    assert not connection.supports_open_batch()
    sequence = blank(register(1))
    sequence.add(Pulse.ConstantPulse(400, 5.0, 0, 0), "rydberg")
    with pytest.raises(NotImplementedError, match="Unable to execute open_batch"):
        QPUBackend(sequence, connection).open_batch()
    with pytest.raises(UnsupportedPayload, match="Warden does not take open batches: give all jobs at once"):
        connection.submit(sequence, open=True)
    both: list[Any] = [{}, {"backend_configuration": EmulationConfig(observables=[Occupation()])}]
    for more in both:
        with pytest.raises(UnsupportedPayload, match="Warden does not take the device type EMU_FREE"):
            connection.submit(sequence, device_type="EMU_FREE", job_params=[{"runs": 5}], **more)
    with pytest.raises(ValueError, match="below the maximum allowed by the device"):
        QPUBackend(sequence, connection).run([{"runs": 10_000}])


def test_cancel_and_logs() -> None:
    with start(service_time=lambda: 600.0) as site:
        resource = site.resource(None, CONTEXT, QRMI_MIN_POLL="0")
        resource.acquire()
        connection = QRMIConnection(resource)
        sequence = blank(register(1))
        sequence.add(Pulse.ConstantPulse(400, 5.0, 0, 0), "rydberg")
        remote = QPUBackend(sequence, connection).run([{"runs": 5}, {"runs": 6}])
        assert remote.get_batch_status() in {BatchStatus.PENDING, BatchStatus.RUNNING}
        connection.cancel_jobs(remote.batch_id, remote.job_ids[:1])
        connection.cancel_batch(remote.batch_id)
        assert remote.get_batch_status() not in {BatchStatus.PENDING, BatchStatus.RUNNING}
        assert connection.get_batch_logs(remote.batch_id) == ""


def test_a_warden_that_can_neither_cancel_nor_tell_logs() -> None:
    options = DialectOptions(without=frozenset({"cancel", "logs"}))
    with start(options=options, service_time=lambda: 600.0) as site:
        resource = site.resource(None, CONTEXT, QRMI_MIN_POLL="0")
        resource.acquire()
        connection = QRMIConnection(resource)
        sequence = blank(register(1))
        sequence.add(Pulse.ConstantPulse(400, 5.0, 0, 0), "rydberg")
        remote = QPUBackend(sequence, connection).run([{"runs": 5}])
        with pytest.raises(
            UnsupportedFunction, match="this Warden cannot cancel job 1, which runs when its turn comes"
        ):
            connection.cancel_batch(remote.batch_id)
        with pytest.raises(UnsupportedFunction, match="this Warden keeps no logs of jobs"):
            connection.get_batch_logs(remote.batch_id)
