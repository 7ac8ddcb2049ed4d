# SPDX-License-Identifier: Apache-2.0
"""40 random programs on the simulator without noise agree with Qiskit's own reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.quantum_info import Statevector
from random_programs import (
    agree,
    branch_probabilities,
    chi_square_p,
    random_circuit,
    random_observable,
    two_registers,
    with_feedback,
)

from qrmi_qiskit import EstimatorV2, QRMIBackend, SamplerV2

ALPHA = 1e-4
SHOTS = 4000


def sampler(backend: QRMIBackend, seed: int) -> SamplerV2:
    return SamplerV2(backend, options={"default_shots": SHOTS, "simulator": {"seed_simulator": seed}})


@pytest.mark.parametrize("seed", range(100, 112))
def test_one_register(seed: int, ideal: QRMIBackend) -> None:
    circuit, _ = random_circuit(seed)
    exact = Statevector(circuit).probabilities_dict()
    circuit.measure_all()
    ours = sampler(ideal, seed).run([circuit]).result()[0].data.meas.get_counts()
    theirs = StatevectorSampler(seed=seed).run([circuit], shots=SHOTS).result()[0].data.meas.get_counts()
    agree(ours, theirs)
    assert chi_square_p(ours, exact) > ALPHA


@pytest.mark.parametrize("seed", range(200, 206))
def test_two_registers(seed: int, ideal: QRMIBackend) -> None:
    circuit = two_registers(seed)
    ours = sampler(ideal, seed).run([circuit]).result()[0]
    theirs = StatevectorSampler(seed=seed).run([circuit], shots=SHOTS).result()[0]
    assert list(ours.data) == list(theirs.data) == ["left", "right"]
    assert ours.data.left.num_bits == theirs.data.left.num_bits
    agree(ours.join_data().get_counts(), theirs.join_data().get_counts())
    assert chi_square_p(ours.join_data().get_counts(), joined(branch_probabilities(circuit))) > ALPHA


@pytest.mark.parametrize("seed", range(300, 306))
def test_measurements_in_the_middle_and_gates_that_depend_on_them(seed: int, ideal: QRMIBackend) -> None:
    circuit = with_feedback(seed)
    ours = sampler(ideal, seed).run([circuit]).result()[0]
    assert list(ours.data) == ["middle", "end"]
    assert chi_square_p(ours.join_data().get_counts(), joined(branch_probabilities(circuit))) > ALPHA


def joined(probabilities: dict[str, float]) -> dict[str, float]:
    return {word.replace(" ", ""): probability for word, probability in probabilities.items()}


@pytest.mark.parametrize("seed", range(400, 404))
def test_an_array_of_parameters(seed: int, ideal: QRMIBackend) -> None:
    circuit, random = random_circuit(seed, parameters=5)
    values = random.uniform(0, 2 * np.pi, (3, 4, 5))
    measured = circuit.copy()
    measured.measure_all()
    ours = sampler(ideal, seed).run([(measured, values)]).result()[0].data.meas
    theirs = StatevectorSampler(seed=seed).run([(measured, values)], shots=SHOTS).result()[0].data.meas
    assert ours.shape == theirs.shape == (3, 4)
    for index in itertools.product(range(3), range(4)):
        agree(ours.get_counts(index), theirs.get_counts(index))
        exact = Statevector(circuit.assign_parameters(values[index])).probabilities_dict()
        assert chi_square_p(ours.get_counts(index), exact) > ALPHA


@pytest.mark.parametrize("seed", [500, 510])
def test_several_pubs(seed: int, ideal: QRMIBackend) -> None:
    """Different circuits, shapes and shots in one job."""
    first, _ = random_circuit(seed)
    second, random = random_circuit(seed + 1, parameters=2)
    third = two_registers(seed + 2)
    first.measure_all()
    second.measure_all()
    pubs = [first, (second, random.uniform(0, 6, (2, 2)), 900), third]
    ours = sampler(ideal, seed).run(pubs, shots=1500).result()
    theirs = StatevectorSampler(seed=seed).run(pubs, shots=1500).result()
    assert len(ours) == 3
    agree(ours[0].data.meas.get_counts(), theirs[0].data.meas.get_counts())
    assert ours[1].data.meas.num_shots == 900
    for index in itertools.product(range(2), range(2)):
        agree(ours[1].data.meas.get_counts(index), theirs[1].data.meas.get_counts(index))
    agree(ours[2].join_data().get_counts(), theirs[2].join_data().get_counts())


def within_5_sigma(ours: object, exact: object, weight: np.ndarray, precision: float) -> None:
    """Within five times the reported error; what was seen in none of the shots adds a few of their share."""
    evs, stds = ours.data.evs, ours.data.stds  # type: ignore[attr-defined]
    truth = exact.data.evs  # type: ignore[attr-defined]
    assert evs.shape == stds.shape == truth.shape
    assert np.all(stds <= 1.2 * precision * weight)
    assert np.all(np.abs(evs - truth) <= 5 * stds + 10 * precision**2 * weight)


@pytest.mark.parametrize("seed", range(600, 606))
def test_expectation_values(seed: int, ideal: QRMIBackend) -> None:
    circuit, random = random_circuit(seed)
    observables = [random_observable(circuit.num_qubits, random) for _ in range(3)]
    weight = np.array([np.abs(observable.coeffs).sum() for observable in observables])
    estimator = EstimatorV2(ideal, options={"simulator": {"seed_simulator": seed}})
    ours = estimator.run([(circuit, observables)]).result()[0]
    exact = StatevectorEstimator().run([(circuit, observables)]).result()[0]
    within_5_sigma(ours, exact, weight, 1 / 64)


@pytest.mark.parametrize("seed", range(700, 704))
def test_expectation_values_broadcast_over_parameters(seed: int, ideal: QRMIBackend) -> None:
    """Three observables against 3 x 4 sets of parameters, and precisions of the pub and of the run."""
    circuit, random = random_circuit(seed, parameters=4)
    observables = [[random_observable(circuit.num_qubits, random)] for _ in range(3)]
    weight = np.array([[np.abs(each.coeffs).sum()] for (each,) in observables])
    values = random.uniform(0, 2 * np.pi, (3, 4, 4))
    single = random_observable(circuit.num_qubits, random)
    pubs = [(circuit, observables, values, 0.02), (circuit, single, values[0, 0])]
    estimator = EstimatorV2(ideal, options={"simulator": {"seed_simulator": seed}})
    ours = estimator.run(pubs, precision=0.05).result()
    exact = StatevectorEstimator().run([pub[:3] for pub in pubs]).result()  # without a precision it adds no noise
    assert ours[0].data.evs.shape == (3, 4)
    within_5_sigma(ours[0], exact[0], weight, 0.02)
    within_5_sigma(ours[1], exact[1], np.abs(single.coeffs).sum(), 0.05)
