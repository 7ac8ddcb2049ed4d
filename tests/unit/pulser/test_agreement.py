# SPDX-License-Identifier: Apache-2.0
"""What comes back equals what pulser-simulation's own backend gives in this process."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pasqal_cloud import RemoteEmuFreeBackend
from pulser import NoiseModel, Pulse, QPUBackend, Register, Sequence
from pulser.backend import BitStrings, CorrelationMatrix, EmulationConfig, Energy, Occupation, StateResult
from pulser.devices import AnalogDevice, DigitalAnalogDevice, MockDevice
from pulser.waveforms import BlackmanWaveform, ConstantWaveform, InterpolatedWaveform, RampWaveform
from pulser_programs import SEED, assert_counts, rabi, register
from pulser_simulation import QutipBackendV2, QutipConfig

from qrmi_pulser import QRMIConnection
from qrmi_pulser.seeds import job_seed, seeded

TIMES = [0.3, 0.7, 1.0]


def sweep(device: Any = AnalogDevice) -> Sequence[Any]:
    sequence = Sequence(register(5, 6.5, device), device)
    sequence.declare_channel("rydberg", "rydberg_global")
    amplitude = InterpolatedWaveform(1000, [1e-9, 7.0, 1e-9])
    sequence.add(Pulse(amplitude, RampWaveform(1000, -9, 6), 0.3), "rydberg")
    sequence.measure("ground-rydberg")
    return sequence


def detuning_map() -> Sequence[Any]:
    atoms = Register.triangular_lattice(2, 2, spacing=8.0, prefix="q")
    sequence = Sequence(atoms, MockDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.config_detuning_map(atoms.define_detuning_map({"q0": 0.2, "q1": 1.0, "q3": 0.7}), "dmm_0")
    sequence.add(Pulse(BlackmanWaveform(600, 5.0), ConstantWaveform(600, 2.0), 0), "rydberg")
    sequence.add_dmm_detuning(RampWaveform(600, 0, -8.0), "dmm_0")
    sequence.measure("ground-rydberg")
    return sequence


def exchange() -> Sequence[Any]:
    sequence = Sequence(Register.rectangle(2, 2, spacing=15.0, prefix="q"), MockDevice)
    sequence.declare_channel("microwave", "mw_global")
    sequence.set_magnetic_field(5.0, 0.0, 20.0)
    sequence.config_slm_mask(["q2"])
    sequence.add(Pulse(BlackmanWaveform(300, math.pi), ConstantWaveform(300, 1.0), 0.4), "microwave")
    sequence.add(Pulse.ConstantPulse(400, 2.0, 0.0, 0.0), "microwave")
    sequence.measure("XY")
    return sequence


def local_pulses() -> Sequence[Any]:
    sequence = Sequence(register(3, 5.5, DigitalAnalogDevice), DigitalAnalogDevice)
    sequence.declare_channel("local", "rydberg_local", initial_target="q0")
    sequence.add(Pulse.ConstantPulse(160, 9.0, 0, 0), "local")
    sequence.target("q2", "local")
    sequence.add(Pulse.ConstantPulse(200, 6.0, 1.5, 0.5), "local")
    sequence.measure("ground-rydberg")
    return sequence


def eom() -> Sequence[Any]:
    sequence = Sequence(register(2, 6.0), AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.enable_eom_mode("rydberg", amp_on=5.0, detuning_on=0.0)
    sequence.add_eom_pulse("rydberg", duration=200, phase=0.0)
    sequence.delay(100, "rydberg")
    sequence.add_eom_pulse("rydberg", duration=120, phase=math.pi / 2)
    sequence.disable_eom_mode("rydberg")
    sequence.measure("ground-rydberg")
    return sequence


@pytest.mark.parametrize("build", [sweep, detuning_map, exchange, local_pulses, eom])
def test_counts_and_observables(connection: QRMIConnection, build: Callable[[], Sequence[Any]]) -> None:
    sequence = build()
    observables = [
        Occupation(evaluation_times=TIMES),
        Energy(evaluation_times=TIMES),
        CorrelationMatrix(evaluation_times=[1.0]),
    ]
    there = RemoteEmuFreeBackend(
        sequence, connection, config=EmulationConfig(observables=[*observables, BitStrings(num_shots=2000)])
    ).run(wait=True)[0]
    here = QutipBackendV2(sequence, config=QutipConfig(observables=[*observables, StateResult()])).run()
    for observable in observables:
        for time in there.get_result_times(observable):
            assert np.allclose(there.get_result(observable, time), here.get_result(observable, time), atol=1e-6)
    assert there.atom_order == here.atom_order
    assert there.total_duration == here.total_duration
    assert_counts(there.final_bitstrings, here.final_state.bitstring_probabilities())


def test_counts_of_a_qpu(connection: QRMIConnection) -> None:
    counts = QPUBackend(sweep(), connection).run([{"runs": 2000}], wait=True)[0].final_bitstrings
    here = QutipBackendV2(sweep(), config=QutipConfig(observables=[StateResult()])).run()
    assert_counts(counts, here.final_state.bitstring_probabilities())


def test_modulated_output(connection: QRMIConnection) -> None:
    sequence, observables = rabi(duration=100, omega=8.0), [Occupation()]
    config = EmulationConfig(observables=observables, with_modulation=True)
    there = RemoteEmuFreeBackend(sequence, connection, config=config).run(wait=True)[0]
    here = QutipBackendV2(sequence, config=QutipConfig(observables=observables, with_modulation=True)).run()
    plain = QutipBackendV2(sequence, config=QutipConfig(observables=observables)).run()
    assert np.allclose(there.occupation, here.occupation, atol=1e-6)
    assert there.total_duration == here.total_duration > plain.total_duration


def test_losses(connection: QRMIConnection) -> None:
    noise = NoiseModel(dephasing_rate=0.8, relaxation_rate=0.5)
    observables = [Occupation(evaluation_times=TIMES)]
    there = RemoteEmuFreeBackend(
        local_pulses(), connection, config=EmulationConfig(observables=observables, noise_model=noise)
    ).run(wait=True)[0]
    here = QutipBackendV2(local_pulses(), config=QutipConfig(observables=observables, noise_model=noise)).run()
    assert np.allclose(there.occupation, here.occupation, atol=1e-5)


def test_noise_that_changes_from_shot_to_shot(connection: QRMIConnection) -> None:
    """The engine draws from qutip's generators alone: with the same seed this process draws the same noise."""
    options: dict[str, Any] = {
        "observables": [Occupation(), BitStrings(num_shots=100)],
        "noise_model": NoiseModel(temperature=1000.0, amp_sigma=0.2, p_false_pos=0.05),
        "n_trajectories": 4,
    }
    sequence = rabi(duration=200, omega=6.0, atoms=2)
    results = RemoteEmuFreeBackend(sequence, connection, config=EmulationConfig(**options)).run(wait=True)
    with seeded(job_seed(int(SEED), results.batch_id, results.job_ids[0])):
        here = QutipBackendV2(sequence, config=QutipConfig(**options)).run()
    ideal = QutipBackendV2(sequence, config=QutipConfig(observables=[Occupation()])).run()
    assert np.allclose(results[0].occupation, here.occupation, atol=1e-6)
    assert not np.allclose(results[0].occupation, ideal.occupation, atol=1e-3)
    assert results[0].final_bitstrings == here.final_bitstrings
    assert sum(here.final_bitstrings.values()) == 400
