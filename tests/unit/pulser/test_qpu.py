# SPDX-License-Identifier: Apache-2.0
"""QPUBackend: what it runs, and what is refused before anything is sent."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pulser import NoiseModel, Pulse, QPUBackend, Register, Sequence
from pulser.backend import BackendConfig, BitStrings, EmulationConfig
from pulser.backend.remote import BatchStatus, JobStatus, RemoteResultsError
from pulser.devices import AnalogDevice, DigitalAnalogDevice, MockDevice
from pulser_programs import PI_NS, PI_OMEGA, assert_counts, engine, parametrised, rabi, register

from qrmi_core import InputError, PulserBatch, PulserJob, QRMIWarning, TaskFailed
from qrmi_pulser import QRMIConnection, building, device
from qrmi_pulser import connection as connection_module
from qrmi_pulser.submission import prepare


def test_job_params_and_default_shots(connection: QRMIConnection) -> None:
    results = QPUBackend(rabi(), connection).run([{"runs": 100}, {"runs": 30}], wait=True)
    assert [sum(result.final_bitstrings.values()) for result in results] == [100, 30]
    assert results.get_batch_status() is BatchStatus.DONE
    assert results[0].atom_order == ("q0",)
    assert results[0].total_duration == PI_NS

    configured = QPUBackend(rabi(), connection, config=BackendConfig(default_num_shots=55))
    assert sum(configured.run(wait=True)[0].final_bitstrings.values()) == 55
    assert sum(configured.run([{"runs": 7}], wait=True)[0].final_bitstrings.values()) == 7


def test_without_wait_results_come_later(connection: QRMIConnection) -> None:
    results = QPUBackend(rabi(atoms=7), connection).run([{"runs": 50}] * 3)
    with pytest.raises(RemoteResultsError, match="get_available_results") as refused:
        results.results  # noqa: B018
    assert "wait for it before asking for its result" in str(refused.value.__cause__)
    connection.resource.batch_wait(results.batch_id, results.job_ids, timeout=60)
    assert len(results.results) == 3


def test_jobs_of_one_batch_bring_their_own_variables(connection: QRMIConnection) -> None:
    shares = np.array([0.0, 0.5, 1.0])
    params = [
        {"runs": np.int64(1000), "variables": {"omega": PI_OMEGA * share, "delta": np.zeros(2)}} for share in shares
    ]
    results = QPUBackend(parametrised(), connection).run(params, wait=True)  # type: ignore[arg-type]
    for share, result in zip(shares, results, strict=True):
        excited = math.sin(math.pi / 2 * share) ** 2
        assert_counts(result.final_bitstrings, {"1": excited, "0": 1 - excited})
    assert results.job_ids == connection._get_job_ids(results.batch_id)


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_empty_variables_are_none(connection: QRMIConnection, nothing: Any) -> None:
    results = QPUBackend(rabi(), connection).run([{"runs": 10, "variables": nothing}], wait=True)
    assert results[0].final_bitstrings == {"1": 10}


def test_what_is_sent_is_the_template(connection: QRMIConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[PulserBatch] = []
    submit = connection.resource.submit
    monkeypatch.setattr(connection.resource, "submit", lambda batch: (sent.append(batch), submit(batch))[1])
    params = [{"runs": 5, "variables": {"omega": omega, "delta": (0, 0)}} for omega in (1.0, 2.0, 3.0)]
    QPUBackend(parametrised(), connection).run(params, wait=True)  # type: ignore[arg-type]
    (batch,) = sent
    template = json.loads(batch.sequence)
    assert set(template["variables"]) == {"omega", "delta"}
    assert template["measurement"] == "ground-rydberg"
    assert template["metadata"]["package_versions"].keys() >= {"qrmi_pulser"}
    assert [json.loads(job.variables or b"")["omega"] for job in batch.jobs] == [1.0, 2.0, 3.0]
    assert batch.device_type is None
    assert batch.configuration is None


def test_mappable_register_with_jobs_of_different_size(connection: QRMIConnection) -> None:
    layout = AnalogDevice.pre_calibrated_layouts[0]
    sequence = Sequence(layout.make_mappable_register(3), AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, 0, 0), "rydberg")
    params = [
        {"runs": 100, "variables": {"qubits": {"q0": 0}}},
        {"runs": 100, "variables": {"qubits": {"q0": np.int64(0), "q1": 60}}},
    ]
    results = QPUBackend(sequence, connection).run(params, wait=True)  # type: ignore[arg-type]
    assert [result.atom_order for result in results] == [("q0",), ("q0", "q1")]
    assert [result.final_bitstrings for result in results] == [{"1": 100}, {"11": 100}]


def test_atoms_named_by_numbers_come_back_as_text(connection: QRMIConnection) -> None:
    with pytest.warns(DeprecationWarning, match="Usage of `int`s"):
        atoms = Register.from_coordinates([(0, 0), (25, 0)]).with_automatic_layout(AnalogDevice)
    sequence = Sequence(atoms, AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, 0, 0), "rydberg")
    with pytest.warns(UserWarning, match="converts all qubit ID's to strings"):
        results = QPUBackend(sequence, connection).run([{"runs": 20}], wait=True)
    assert results[0].atom_order == ("0", "1")
    assert results[0].final_bitstrings == {"11": 20}


def test_a_sequence_is_moved_to_the_current_specifications(connection: QRMIConnection) -> None:
    older = json.loads(AnalogDevice.to_abstract_repr()) | {"max_sequence_duration": 5000}
    sequence = rabi(device=device(json.dumps(older)))
    assert sequence.device != AnalogDevice
    results = QPUBackend(sequence, connection).run([{"runs": 10}], wait=True)
    assert results[0].final_bitstrings == {"1": 10}

    longer = device(json.dumps(older | {"max_sequence_duration": 9000}))
    too_long = rabi(duration=7000, omega=1, device=longer)
    with pytest.raises(ValueError, match="not compatible with the latest device specs"):
        connection.submit(too_long, job_params=[{"runs": 10}])


def test_specifications_of_a_moment_ago_are_not_fetched_again(
    connection: QRMIConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, fetched = QPUBackend(rabi(), connection), []
    target = connection.resource.target
    monkeypatch.setattr(connection.resource, "target", lambda: (fetched.append(1), target())[1])
    monkeypatch.setattr(connection_module, "FRESH_SECONDS", 3600.0)
    connection._fetched = (0.0, [])  # long ago
    for _ in range(2):
        backend.run([{"runs": 10}], wait=True)
        assert len(fetched) == 1


def test_a_sequence_that_was_submitted_here_is_not_built_again_for_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = rabi()
    prepare(sequence, [{"runs": 10}], None, None, open_batch=False)
    text = sequence.to_abstract_repr(skip_validation=True).encode()
    monkeypatch.setattr(building, "_read", pytest.fail)
    assert building.build(text, None) == (text, tuple(sequence.register.qubit_ids), sequence.get_duration())


def test_a_sequence_of_another_process_is_built_for_its_results() -> None:
    sequence = Sequence(rabi().register, AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    duration = sequence.declare_variable("duration", dtype=int)
    sequence.add(Pulse.ConstantPulse(duration, PI_OMEGA, 0, 0), "rydberg")
    text = sequence.to_abstract_repr().encode()
    for asked in (b'{"duration": 100}', b'{"duration": 252}', b'{ "duration": 100 }'):
        about = (tuple(sequence.register.qubit_ids), json.loads(asked)["duration"])
        assert building.build(text, asked) == (text, *about)
    with pytest.raises(InputError, match="cannot be built from the job's variables"):
        building.build(text, None)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ([{"runs": 2001}], r"below the maximum allowed by the device \(2000\)"),
        ([{}], "must specify 'runs'"),
        (None, "'job_params' must be specified"),
        ([{"runs": 0}], "job 1: runs is 0, a whole number of at least 1"),
        ([{"runs": 10}, {"runs": 2.5}], "job 2: runs is 2.5, a whole number"),
        ([{"runs": 10, "shots": 5}], "job 1: unknown shots; a job has runs and variables"),
        ([{"runs": 10, "variables": "omega"}], "job 1: variables is a str, a dictionary was expected"),
        ([{"runs": 10, "variables": {"omega": math.nan}}], "job 1: the variables cannot be sent"),
        ([{"runs": 10, "variables": {"omega": object()}}], "job 1: the variables cannot be sent"),
    ],
)
def test_bad_jobs_are_refused_before_submission(connection: QRMIConnection, params: Any, problem: str) -> None:
    before = connection.resource.task_ids()
    with pytest.raises(ValueError, match=problem):
        QPUBackend(rabi(), connection).run(params)
    assert connection.resource.task_ids() == before


def test_submit_itself_refuses_what_backends_would(connection: QRMIConnection) -> None:
    with pytest.raises(InputError, match="job 1: 2001 runs were asked for and AnalogDevice takes 2000 at most"):
        connection.submit(rabi(), job_params=[{"runs": 2001}])
    with pytest.raises(InputError, match="job 1: a QPU needs the number of shots, give it `runs`"):
        connection.submit(rabi(), job_params=[{}])
    with pytest.raises(InputError, match="there is no job to submit: job_params is empty"):
        connection.submit(rabi(), job_params=[])
    with pytest.raises(TypeError, match="'job_params' must be a list"):
        connection.submit(rabi())
    with pytest.raises(TypeError, match=r"submit\(\) has no argument mimic_qpu"):
        connection.submit(rabi(), job_params=[{"runs": 1}], mimic_qpu=True)
    with pytest.raises(TypeError, match="'sequence' should be a `Sequence` instance"):
        connection.submit("{}", job_params=[{"runs": 1}])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="backend_configuration is for emulators, and no device_type was given"):
        connection.submit(
            rabi(), job_params=[{"runs": 1}], backend_configuration=EmulationConfig(observables=[BitStrings()])
        )
    with pytest.raises(InputError, match="backend_configuration is a BackendConfig, an EmulationConfig was expected"):
        connection.submit(rabi(), device_type="EMU_FREE", backend_configuration=BackendConfig())  # type: ignore[arg-type]


def test_a_missing_variable_names_the_job(connection: QRMIConnection) -> None:
    complete = {"omega": 1.0, "delta": [0, 0]}
    params = [{"runs": 10, "variables": complete}, {"runs": 10, "variables": {"omega": 1.0}}]
    with pytest.raises(TypeError, match="Did not receive values for variables: delta") as refused:
        QPUBackend(parametrised(), connection).run(params)  # type: ignore[arg-type]
    assert refused.value.__notes__ == ["in job 2 of 2; nothing was submitted"]


def test_values_out_of_the_device_s_range_are_refused(connection: QRMIConnection) -> None:
    params = [{"runs": 10, "variables": {"omega": 50.0, "delta": [0, 0]}}]
    with pytest.raises(ValueError, match="amplitude goes over the maximum"):
        QPUBackend(parametrised(), connection).run(params)  # type: ignore[arg-type]


def test_variables_of_a_fixed_sequence_are_pointed_out(connection: QRMIConnection) -> None:
    with pytest.warns(QRMIWarning, match="the sequence has none: they change nothing"):
        QPUBackend(rabi(), connection).run([{"runs": 10, "variables": {"omega": 1.0}}], wait=True)


def test_devices_of_others_and_virtual_ones_are_refused(connection: QRMIConnection) -> None:
    with pytest.raises(TypeError, match="must be a real device, instance of 'Device'"):
        QPUBackend(rabi(device=MockDevice), connection)
    other = QPUBackend(rabi(device=DigitalAnalogDevice), connection)
    with pytest.raises(ValueError, match=r"QRMIConnection.fetch_available_devices\(\)"):
        other.run([{"runs": 10}])


def test_what_analog_device_lacks_is_refused(connection: QRMIConnection) -> None:
    atoms = connection.fetch_available_devices()["atoms"]
    sequence = Sequence(register(2, device=atoms), atoms)
    for channel in ("mw_global", "raman_local", "rydberg_local"):
        with pytest.raises(ValueError, match=f"No channel {channel} in the device"):
            sequence.declare_channel("channel", channel)
    with pytest.raises(ValueError, match="does not have an SLM mask"):
        sequence.config_slm_mask(["q0"])
    with pytest.raises(ValueError, match="No DMM called dmm_0 is available in the device"):
        sequence.config_detuning_map(sequence.register.define_detuning_map({"q0": 1.0}), "dmm_0")


def test_a_measurement_that_cannot_be_guessed_is_asked_for(digital_connection: QRMIConnection) -> None:
    sequence = Sequence(register(2, 20.0, DigitalAnalogDevice), DigitalAnalogDevice)
    sequence.declare_channel("raman", "raman_local", initial_target="q0")
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(100, 1, 0, 0), "rydberg")
    with pytest.raises(ValueError, match="measurement basis can't be implicitly determined"):
        QPUBackend(sequence, digital_connection).run([{"runs": 10}])


def test_the_device_checks_what_reaches_it_without_a_connection(connection: QRMIConnection) -> None:
    """As from `qrmi task run` with a file that was written by hand."""
    other = rabi(device=DigitalAnalogDevice).to_abstract_repr().encode()
    task = connection.resource.submit(PulserBatch(other, (PulserJob(10),)))
    with pytest.raises(TaskFailed, match="made for the device DigitalAnalogDevice and this resource is AnalogDevice"):
        task.result(timeout=60)

    unmeasured = rabi().to_abstract_repr().encode()
    task = connection.resource.submit(PulserBatch(unmeasured, (PulserJob(10),)))
    assert json.loads(task.result(timeout=60).data)["counter"] == {"1": 10}

    task = connection.resource.submit(PulserBatch(unmeasured, (PulserJob(2001),)))
    with pytest.raises(TaskFailed, match="2001 runs were asked for and AnalogDevice takes 2000 at most"):
        task.result(timeout=60)

    two_bases = Sequence(register(2, 20.0, DigitalAnalogDevice), DigitalAnalogDevice)
    two_bases.declare_channel("raman", "raman_local", initial_target="q0")
    two_bases.declare_channel("rydberg", "rydberg_global")
    two_bases.add(Pulse.ConstantPulse(100, 1, 0, 0), "rydberg")
    task = engine("digital", QRMI_PULSER_DEVICE="DigitalAnalogDevice").submit(
        PulserBatch(two_bases.to_abstract_repr().encode(), (PulserJob(10),))
    )
    with pytest.raises(TaskFailed, match=r"the sequence addresses the bases .*: end it with measure\(basis\)"):
        task.result(timeout=60)


def test_a_site_s_own_device_brings_its_noise(tmp_path: Path) -> None:
    noise = NoiseModel(p_false_pos=0.2, p_false_neg=0.1, state_prep_error=0.5)
    described = json.loads(AnalogDevice.to_abstract_repr()) | {
        "name": "Site",
        "default_noise_model": json.loads(noise.to_abstract_repr()),
    }
    file = tmp_path / "site.json"
    file.write_text(json.dumps(described))
    connection = QRMIConnection(engine("site", QRMI_PULSER_DEVICE=str(file)))
    site = connection.fetch_available_devices()["site"]
    assert site.name == "Site"
    results = QPUBackend(rabi(device=site), connection).run([{"runs": 1999}], wait=True)
    counts = results[0].final_bitstrings
    assert sum(counts.values()) == 1999
    # Half of the 40 trajectories have no atom; their number scatters, and with it the share of ones.
    prepared = 0.5 * 0.9 + 0.5 * 0.2
    assert abs(counts["1"] / 1999 - prepared) < 5 * 0.7 * math.sqrt(0.25 / 40)


def test_progress_tells_status_and_results(connection: QRMIConnection) -> None:
    results = QPUBackend(rabi(), connection).run([{"runs": 10}], wait=True)
    ((job_id, (status, result)),) = connection._query_job_progress(results.batch_id).items()
    assert job_id == results.job_ids[0]
    assert status is JobStatus.DONE
    assert result is not None
    assert result.final_bitstrings == {"1": 10}
