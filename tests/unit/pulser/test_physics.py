# SPDX-License-Identifier: Apache-2.0
"""What textbooks say of one and two atoms, against what the QPU measures; no simulator is the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pasqal_cloud import RemoteEmuFreeBackend
from pulser import Pulse, QPUBackend, Register, Sequence
from pulser.backend import BitStrings, EmulationConfig, Occupation, StateRepr
from pulser.devices import AnalogDevice, DigitalAnalogDevice, MockDevice
from pulser.register.weight_maps import DetuningMap
from pulser.waveforms import ConstantWaveform
from pulser_programs import PI_NS, PI_OMEGA, assert_counts, rabi, register

from qrmi_pulser import QRMIConnection

RUNS = 2000


def test_a_pi_pulse_excites_the_atom(connection: QRMIConnection) -> None:
    results = QPUBackend(rabi(), connection).run([{"runs": RUNS}], wait=True)
    assert_counts(results[0].final_bitstrings, {"1": 1.0})


@pytest.mark.parametrize("share", [0.5, 1 / 3])
def test_part_of_a_pi_pulse_excites_it_with_the_probability_of_rabi(connection: QRMIConnection, share: float) -> None:
    omega = PI_OMEGA * share
    results = QPUBackend(rabi(omega=omega), connection).run([{"runs": RUNS}], wait=True)
    excited = math.sin(omega * PI_NS / 2000) ** 2
    assert_counts(results[0].final_bitstrings, {"1": excited, "0": 1 - excited})


def test_two_atoms_in_blockade_share_one_excitation_and_oscillate_faster(connection: QRMIConnection) -> None:
    omega, distance = 1.5, 5.0
    interaction = AnalogDevice.interaction_coeff / distance**6
    assert omega / interaction < 0.03
    period = 2 * math.pi / (math.sqrt(2) * omega) * 1000
    sequence = rabi(omega=omega, duration=4 * round(period / 4), atoms=2, spacing=distance)
    times = [0.125, 0.25, 0.375, 0.5, 0.75, 1.0]
    config = EmulationConfig(observables=[Occupation(evaluation_times=times)])
    results = RemoteEmuFreeBackend(sequence, connection, config=config).run(wait=True)[0]
    expected = [math.sin(math.pi * time) ** 2 / 2 for time in times]
    assert np.allclose(results.occupation, np.transpose([expected, expected]), atol=0.02)

    half = rabi(omega=omega, duration=4 * round(period / 8), atoms=2, spacing=distance)
    counts = QPUBackend(half, connection).run([{"runs": RUNS}], wait=True)[0].final_bitstrings
    assert_counts(counts, {"10": 0.5, "01": 0.5})
    far = rabi(omega=omega, duration=4 * round(period / 8), atoms=2, spacing=25.0)
    counts = QPUBackend(far, connection).run([{"runs": RUNS}], wait=True)[0].final_bitstrings
    alone = math.sin(math.pi / math.sqrt(2) / 2) ** 2
    assert_counts(
        counts, {"11": alone**2, "10": alone * (1 - alone), "01": alone * (1 - alone), "00": (1 - alone) ** 2}
    )


def test_an_excitation_is_exchanged_with_the_period_of_c3(connection: QRMIConnection) -> None:
    distance = 20.0
    coupling = MockDevice.interaction_coeff_xy / distance**3
    period = round(math.pi / coupling * 1000)
    sequence = Sequence(register(2, distance, MockDevice), MockDevice)
    sequence.declare_channel("microwave", "mw_global")
    sequence.delay(period, "microwave")
    times = [0.0, 0.25, 0.5, 0.75, 1.0]
    config = EmulationConfig(
        observables=[Occupation(evaluation_times=times)],
        initial_state=StateRepr.from_state_amplitudes(eigenstates=("u", "d"), amplitudes={"du": 1.0}),
    )
    results = RemoteEmuFreeBackend(sequence, connection, config=config).run(wait=True)[0]
    moved = [math.sin(coupling * period / 1000 * time) ** 2 for time in times]
    assert moved == pytest.approx([0, 0.5, 1, 0.5, 0], abs=0.01)
    assert np.allclose(results.occupation, np.transpose([[1 - share for share in moved], moved]), atol=1e-3)


def test_an_slm_mask_keeps_an_atom_out_of_the_first_microwave_pulse(connection: QRMIConnection) -> None:
    distance = 12.0
    coupling = MockDevice.interaction_coeff_xy / distance**3
    sequence = Sequence(register(2, distance, MockDevice), MockDevice)
    sequence.declare_channel("microwave", "mw_global")
    sequence.config_slm_mask(["q1"])
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, 0, 0), "microwave")
    exchange = round(math.pi / coupling / 4 * 1000)
    sequence.delay(exchange, "microwave")
    config = EmulationConfig(observables=[BitStrings(num_shots=RUNS)])
    counts = RemoteEmuFreeBackend(sequence, connection, config=config).run(wait=True)[0].final_bitstrings
    assert_counts(counts, {"10": 0.5, "01": 0.5})


def test_a_detuning_map_brings_one_atom_into_resonance(digital_connection: QRMIConnection) -> None:
    detuning, weights = 6.0, [1.0, 0.5, 0.0]
    places = [(-30.0, 0.0), (0.0, 0.0), (30.0, 0.0)]
    atoms = Register.from_coordinates(places, prefix="q").with_automatic_layout(DigitalAnalogDevice)
    sequence = Sequence(atoms, DigitalAnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.config_detuning_map(DetuningMap(places, weights), "dmm_0")
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, detuning, 0), "rydberg")
    sequence.add_dmm_detuning(ConstantWaveform(PI_NS, -detuning), "dmm_0")
    assert sequence.get_duration() == PI_NS
    counts = QPUBackend(sequence, digital_connection).run([{"runs": RUNS}], wait=True)[0].final_bitstrings

    for atom, weight in enumerate(weights):
        left = detuning * (1 - weight)
        generalised = math.hypot(PI_OMEGA, left)
        excited = (PI_OMEGA / generalised) ** 2 * math.sin(generalised * PI_NS / 2000) ** 2
        ones = sum(count for bits, count in counts.items() if bits[atom] == "1")
        assert_counts({"1": ones, "0": RUNS - ones}, {"1": excited, "0": 1 - excited})


def test_an_slm_mask_shifts_an_atom_out_of_resonance(digital_connection: QRMIConnection) -> None:
    places = [(-15.0, 0.0), (15.0, 0.0)]
    atoms = Register.from_coordinates(places, prefix="q").with_automatic_layout(DigitalAnalogDevice)
    sequence = Sequence(atoms, DigitalAnalogDevice)
    sequence.config_slm_mask(["q0"], "dmm_0")
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, 0, 0), "rydberg")
    counts = QPUBackend(sequence, digital_connection).run([{"runs": RUNS}], wait=True)[0].final_bitstrings
    assert_counts(counts, {"01": 1.0})


def test_a_raman_pulse_moves_one_atom_to_the_other_ground_state(digital_connection: QRMIConnection) -> None:
    sequence = Sequence(register(2, 10.0, DigitalAnalogDevice), DigitalAnalogDevice)
    sequence.declare_channel("raman", "raman_local", initial_target="q1")
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, 0, 0), "raman")
    sequence.measure("digital")
    counts = QPUBackend(sequence, digital_connection).run([{"runs": RUNS}], wait=True)[0].final_bitstrings
    assert_counts(counts, {"01": 1.0})


def test_digital_and_rydberg_channels_together(digital_connection: QRMIConnection) -> None:
    """An atom in h does not see the Rydberg laser: the global pi pulse excites only the other one."""
    sequence = Sequence(register(2, 30.0, DigitalAnalogDevice), DigitalAnalogDevice)
    sequence.declare_channel("raman", "raman_local", initial_target="q0")
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, 0, 0), "raman")
    sequence.align("raman", "rydberg")
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, 0, 0), "rydberg")
    sequence.measure("ground-rydberg")
    counts = QPUBackend(sequence, digital_connection).run([{"runs": RUNS}], wait=True)[0].final_bitstrings
    assert_counts(counts, {"01": 1.0})
    emulated = RemoteEmuFreeBackend(sequence, digital_connection).run([{"runs": RUNS}], wait=True)[0]
    assert_counts(emulated.final_bitstrings, {"01": 1.0})


def test_eom_mode(connection: QRMIConnection) -> None:
    omega = 2 * math.pi
    sequence = Sequence(register(1), AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.enable_eom_mode("rydberg", amp_on=omega, detuning_on=0, optimal_detuning_off=0)
    sequence.add_eom_pulse("rydberg", duration=252, phase=0)
    sequence.disable_eom_mode("rydberg")
    counts = QPUBackend(sequence, connection).run([{"runs": RUNS}], wait=True)[0].final_bitstrings
    excited = math.sin(omega * 0.252 / 2) ** 2
    assert_counts(counts, {"1": excited, "0": 1 - excited})
