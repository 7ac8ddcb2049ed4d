# SPDX-License-Identifier: Apache-2.0
"""The remote emulator backends of pasqal_cloud, unmodified, through our connection.

``EMU_SV`` and ``EMU_MPS`` run here, too, where emu-sv and emu-mps are installed.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest
from pasqal_cloud import RemoteEmuFreeBackend, RemoteMPSBackend, RemoteSVBackend
from pulser import NoiseModel, Pulse, QPUBackend, Sequence
from pulser.backend import (
    BitStrings,
    CorrelationMatrix,
    EmulationConfig,
    Energy,
    Expectation,
    Fidelity,
    Occupation,
    OperatorRepr,
    StateRepr,
    StateResult,
)
from pulser.backend.remote import RemoteResultsError
from pulser.devices import AnalogDevice, MockDevice
from pulser.exceptions.serialization import AbstractReprError
from pulser_programs import PI_OMEGA, assert_counts, five_sigma, rabi, register
from pulser_simulation import QutipConfig
from pulser_simulation.simulation import Solver

from qrmi_core import InputError, UnsupportedPayload
from qrmi_pulser import QRMIConnection

BACKENDS = {RemoteSVBackend: "emu_sv", RemoteMPSBackend: "emu_mps"}
INSTALLED = [backend for backend, module in BACKENDS.items() if importlib.util.find_spec(module)]
EVERY_BACKEND = [RemoteEmuFreeBackend, *INSTALLED]


def two_atoms() -> Sequence:
    return rabi(omega=2 * math.pi, duration=400, atoms=2, spacing=7.0, device=MockDevice)


def far_apart(omega: float) -> Sequence:
    """Two atoms that do not see each other; emu-mps takes no single one."""
    return rabi(omega=omega, atoms=2, spacing=60.0, device=MockDevice)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_the_default_configuration_gives_bitstrings(connection: QRMIConnection, backend: Any) -> None:
    results = backend(far_apart(PI_OMEGA / 2), connection).run(wait=True)
    (result,) = results
    assert sum(result.final_bitstrings.values()) == 1000
    assert_counts(result.final_bitstrings, {"00": 0.25, "01": 0.25, "10": 0.25, "11": 0.25})


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_observables_at_several_times_found_by_the_user_s_own_instances(
    connection: QRMIConnection, backend: Any
) -> None:
    occupation = Occupation(evaluation_times=[0.25, 0.5, 1.0])
    twin = Occupation(evaluation_times=[0.5], tag_suffix="twin")
    energy, correlation = Energy(), CorrelationMatrix(evaluation_times=[1.0])
    bits = BitStrings(evaluation_times=[0.5, 1.0], num_shots=200)
    config = EmulationConfig(
        observables=[occupation, twin, energy, correlation, bits], default_evaluation_times=[0.5, 1.0]
    )
    result = backend(two_atoms(), connection, config=config).run(wait=True)[0]
    assert result.get_result_times(occupation) == [0.25, 0.5, 1.0]
    assert result.get_result_times(energy) == [0.5, 1.0]
    middle = result.get_result(occupation, 0.5)
    assert middle == pytest.approx(result.get_result(twin, 0.5))
    assert middle == pytest.approx(result.get_result("occupation_twin", 0.5))
    matrix = result.get_result(correlation, 1.0)
    assert np.allclose(np.diag(np.real(matrix)), result.get_result("occupation", 1.0), atol=1e-6)
    sampled = result.get_result(bits, 0.5)
    ones = sum(count for string, count in sampled.items() if string[0] == "1")
    assert abs(ones - 200 * middle[0]) <= five_sigma(200, middle[0])
    assert result.final_bitstrings == result.get_result(bits, 1.0)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_expectation_fidelity_and_an_initial_state(connection: QRMIConnection, backend: Any) -> None:
    excited = StateRepr.from_state_amplitudes(eigenstates=("r", "g"), amplitudes={"rg": 1.0})
    swapped = StateRepr.from_state_amplitudes(
        eigenstates=("r", "g"), amplitudes={"gr": math.sqrt(0.5), "gg": math.sqrt(0.5)}
    )
    number = OperatorRepr.from_operator_repr(
        eigenstates=("r", "g"), n_qudits=2, operations=[(2.5, [({"rr": 1.0}, [0])])]
    )
    fidelity, expectation = Fidelity(excited, tag_suffix="rg"), Expectation(number, tag_suffix="n")
    other = Fidelity(swapped, tag_suffix="other")
    config = EmulationConfig(
        observables=[fidelity, expectation, other], initial_state=excited, default_evaluation_times=[0.0, 1.0]
    )
    result = backend(far_apart(PI_OMEGA), connection, config=config).run(wait=True)[0]
    if 0.0 in result.get_result_times(fidelity):
        assert result.get_result(fidelity, 0.0) == pytest.approx(1.0)
    assert abs(result.get_result(fidelity, 1.0)) == pytest.approx(0.0, abs=1e-3)
    assert np.real(result.get_result(expectation, 1.0)) == pytest.approx(0.0, abs=1e-2)
    assert abs(result.get_result(other, 1.0)) == pytest.approx(0.5, abs=1e-2)


@pytest.mark.parametrize("backend", [backend for backend in EVERY_BACKEND if backend is not RemoteMPSBackend])
def test_noise_is_averaged_over_trajectories(connection: QRMIConnection, backend: Any) -> None:
    """Atoms are missing with probability 0.4, alike for all shots of a trajectory; emu-mps needs two that are there."""
    config = EmulationConfig(
        observables=[BitStrings(num_shots=50), Occupation()],
        noise_model=NoiseModel(state_prep_error=0.4),
        n_trajectories=20,
    )
    result = backend(far_apart(PI_OMEGA), connection, config=config).run(wait=True)[0]
    counts = result.final_bitstrings
    assert sum(counts.values()) == 20 * 50
    there = result.get_result("occupation", 1.0)[0]
    assert there == pytest.approx(round(there * 20) / 20, abs=1e-3)
    assert abs(there - 0.6) < 5 * math.sqrt(0.24 / 20)
    assert 0 < there < 1
    ones = sum(count for bits, count in counts.items() if bits[0] == "1")
    assert ones == pytest.approx(1000 * there, abs=5)


def test_readout_errors_flip_bits_as_often_as_told(connection: QRMIConnection) -> None:
    config = EmulationConfig(
        observables=[BitStrings(num_shots=2000)], noise_model=NoiseModel(p_false_pos=0.05, p_false_neg=0.2)
    )
    result = RemoteEmuFreeBackend(rabi(device=MockDevice), connection, config=config).run(wait=True)[0]
    assert_counts(result.final_bitstrings, {"1": 0.8, "0": 0.2})


def test_jobs_with_variables_and_runs(connection: QRMIConnection) -> None:
    """``runs`` is the number of shots where the observable names none, and only there."""
    sequence = Sequence(register(1, device=MockDevice), MockDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    duration = sequence.declare_variable("duration", dtype=int)
    sequence.add(Pulse.ConstantPulse(duration, PI_OMEGA, 0, 0), "rydberg")
    config = EmulationConfig(
        observables=[BitStrings(), BitStrings(num_shots=20, tag_suffix="few")], default_num_shots=300
    )
    params = [
        {"runs": 1500, "variables": {"duration": 500}},
        {"variables": {"duration": 250}},
    ]
    first, second = RemoteEmuFreeBackend(sequence, connection, config=config).run(params, wait=True)  # type: ignore[arg-type]
    assert first.final_bitstrings == {"1": 1500}
    assert first.get_result("bitstrings_few", 1.0) == {"1": 20}
    assert sum(second.final_bitstrings.values()) == 300
    assert (first.total_duration, second.total_duration) == (500, 250)


def test_results_without_bitstrings(connection: QRMIConnection) -> None:
    config = EmulationConfig(observables=[Occupation()])
    result = RemoteEmuFreeBackend(rabi(device=MockDevice), connection, config=config).run(wait=True)[0]
    assert result.get_result_tags() == ["occupation"]
    with pytest.raises(RuntimeError, match="final bitstrings are not available"):
        result.final_bitstrings  # noqa: B018


def test_qutip_s_own_configuration_with_monte_carlo(connection: QRMIConnection) -> None:
    config = QutipConfig(
        observables=[Occupation(evaluation_times=[1.0])],
        noise_model=NoiseModel(relaxation_rate=3.0),
        solver=Solver.MCSOLVER,
        n_trajectories=200,
        sampling_rate=0.5,
    )
    sequence = Sequence(register(1, device=MockDevice), MockDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(50, math.pi / 0.05, 0, 0), "rydberg")
    sequence.delay(200, "rydberg")
    result = RemoteEmuFreeBackend(sequence, connection, config=config).run(wait=True)[0]
    decayed = math.exp(-3.0 * 0.2)
    assert result.occupation[-1][0] == pytest.approx(decayed, abs=5 * math.sqrt(decayed * (1 - decayed) / 200))


def test_mimic_qpu_checks_as_a_qpu_does(connection: QRMIConnection) -> None:
    backend = RemoteEmuFreeBackend(rabi(device=AnalogDevice), connection, mimic_qpu=True)
    with pytest.raises(ValueError, match="must specify 'runs'"):
        backend.run(wait=True)
    assert backend.run([{"runs": 40}], wait=True)[0].final_bitstrings == {"1": 40}
    with pytest.raises(TypeError, match="must be a real device"):
        RemoteEmuFreeBackend(rabi(device=MockDevice), connection, mimic_qpu=True)


def test_states_are_refused_by_pulser_itself(connection: QRMIConnection) -> None:
    config = EmulationConfig(observables=[StateResult()])
    with pytest.raises(AbstractReprError, match="not supported in any remote backend"):
        RemoteEmuFreeBackend(rabi(device=MockDevice), connection, config=config).run()


@pytest.mark.parametrize(("backend", "module"), BACKENDS.items())
def test_an_emulator_that_is_not_installed_is_refused(
    connection: QRMIConnection, monkeypatch: pytest.MonkeyPatch, backend: Any, module: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else found(name))
    problem = rf"{module.replace('_', '-')}, which is not installed: pip install 'qrmi-providers\[emulators\]'"
    with pytest.raises(UnsupportedPayload, match=problem):
        backend(rabi(device=MockDevice), connection).run()


@pytest.mark.parametrize(
    ("device_type", "problem"),
    [
        ("FRESNEL", "has no device type FRESNEL: it takes EMU_FREE, EMU_SV, EMU_MPS, or none for the device"),
        ("EMU_TN", "EMU_TN was replaced by EMU_MPS"),
    ],
)
def test_unknown_device_types_are_refused(connection: QRMIConnection, device_type: str, problem: str) -> None:
    with pytest.raises(UnsupportedPayload, match=problem):
        connection.submit(rabi(), device_type=device_type)


def test_options_of_another_emulator_are_left_out_and_logged(connection: QRMIConnection) -> None:
    config = EmulationConfig(observables=[BitStrings(num_shots=10)], max_bond_dim=50, autosave_dt=math.inf)
    results = RemoteEmuFreeBackend(rabi(device=MockDevice), connection, config=config).run(wait=True)
    assert results[0].final_bitstrings == {"1": 10}
    logs = connection.get_batch_logs(results.batch_id)
    assert "option max_bond_dim=50 has no effect with EMU_FREE here" in logs


def test_options_of_no_emulator_fail_with_their_name(
    connection: QRMIConnection, caplog: pytest.LogCaptureFixture
) -> None:
    config = EmulationConfig(observables=[BitStrings(num_shots=10)], sampling_rat=0.1)
    results = RemoteEmuFreeBackend(rabi(device=MockDevice), connection, config=config).run(wait=True)
    with pytest.raises(RemoteResultsError):
        results.results  # noqa: B018
    assert "the emulation configuration cannot be used by EMU_FREE" in caplog.text
    assert "sampling_rat" in caplog.text


def test_an_unmeasured_sequence_of_two_bases_gives_observables(connection: QRMIConnection) -> None:
    sequence = Sequence(register(1, device=MockDevice), MockDevice)
    sequence.declare_channel("raman", "raman_local", initial_target="q0")
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(500, PI_OMEGA, 0, 0), "raman")
    config = EmulationConfig(observables=[Occupation(one_state="h")])
    result = RemoteEmuFreeBackend(sequence, connection, config=config).run(wait=True)[0]
    assert result.get_result("occupation", 1.0)[0] == pytest.approx(1.0, abs=1e-3)


def test_a_batch_has_one_sequence_and_one_configuration(connection: QRMIConnection) -> None:
    backend = RemoteEmuFreeBackend(rabi(device=MockDevice), connection)
    with backend.open_batch():
        results = backend.run(wait=True)
        with pytest.raises(InputError, match="opened with another sequence, device type or configuration"):
            connection.submit(
                rabi(omega=1.0, device=MockDevice),
                batch_id=results.batch_id,
                device_type="EMU_FREE",
                backend_configuration=backend._config,
            )


def test_the_qpu_path_and_the_emulator_agree(connection: QRMIConnection) -> None:
    sequence = rabi(omega=3.0, duration=800, atoms=3, spacing=8.0)
    emulated = RemoteEmuFreeBackend(
        sequence, connection, config=EmulationConfig(observables=[Occupation(), CorrelationMatrix()])
    ).run(wait=True)[0]
    counts = QPUBackend(sequence, connection).run([{"runs": 2000}], wait=True)[0].final_bitstrings
    for atom, share in enumerate(emulated.get_result("occupation", 1.0)):
        ones = sum(count for bits, count in counts.items() if bits[atom] == "1")
        assert abs(ones - 2000 * share) <= five_sigma(2000, share)
