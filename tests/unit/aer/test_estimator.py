# SPDX-License-Identifier: Apache-2.0
"""The estimator of the worker: values known beforehand, shapes, precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import Target

from qrmi_core import InputError, LimitExceeded

Estimate = Callable[..., Any]


def rotated() -> QuantumCircuit:
    """cos(t)|00> on ZI: <ZI> = <IZ> = cos t, <ZZ> = 1."""
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("t"), 0)
    circuit.cx(0, 1)
    return circuit


def test_values_are_within_their_standard_errors(estimate: Estimate) -> None:
    angles = np.array([0.0, 0.7, 1.9, np.pi])
    data = estimate([(rotated(), [["IZ"], ["ZZ"], ["XX"], ["YX"]], angles)])[0].data
    known = np.array([np.cos(angles), np.ones(4), np.zeros(4), -np.sin(angles)])
    assert data.evs.shape == data.stds.shape == (4, 4)
    assert np.all(np.abs(data.evs - known) <= 5 * data.stds + 1e-9)
    assert np.all(data.stds <= 0.02)


def test_sums_and_identities(estimate: Estimate) -> None:
    operator = SparsePauliOp(["II", "ZZ", "IZ"], [3.0, 2.0, -1.0])
    data = estimate([(rotated(), [operator, "II", {"II": 0.5}], [0.0])])[0].data
    assert data.evs == pytest.approx([4.0, 1.0, 0.5])


def test_projectors_are_observables_too(estimate: Estimate) -> None:
    data = estimate([(rotated(), ["00", "11", "0I", "+I", {"1I": 2.0, "ZZ": 1.0}], [np.pi])])[0].data
    assert np.all(np.abs(data.evs - [0, 1, 0, 0.5, 3]) <= 5 * data.stds + 1e-9)


def test_precision_decides_the_shots(estimate: Estimate) -> None:
    result = estimate([(rotated(), "IZ", [1.0], 0.1), (rotated(), "IZ", [1.0])], precision=0.01)
    assert [pub.metadata["shots"] for pub in result] == [100, 10_000]
    assert [pub.metadata["target_precision"] for pub in result] == [0.1, 0.01]
    assert result[0].data.evs.shape == ()
    assert result[0].data.stds > 4 * result[1].data.stds


def test_an_idle_qubit_of_an_observable_is_there(estimate: Estimate) -> None:
    circuit = QuantumCircuit(156)
    circuit.x(40)
    labels = ["".join("Z" if q in chosen else "I" for q in reversed(range(156))) for chosen in ({40}, {3}, {3, 40})]
    assert estimate([(circuit, labels)])[0].data.evs.tolist() == [-1.0, 1.0, -1.0]
    assert estimate([(QuantumCircuit(5), ["ZZZZZ", "IIIII"])])[0].data.evs.tolist() == [1.0, 1.0]


def test_a_measured_circuit_can_be_estimated(estimate: Estimate) -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    assert estimate([(circuit, ["IZ", "ZI", "ZZ"])])[0].data.evs.tolist() == [-1.0, -1.0, 1.0]


def test_on_a_device_the_transpiled_circuit_is_estimated_with_its_noise(
    estimate: Estimate, target_of: Callable[[str], Target]
) -> None:
    isa = transpile(rotated(), target=target_of("fez"), optimization_level=1, seed_transpiler=1)
    observable = SparsePauliOp("ZZ").apply_layout(isa.layout)
    data = estimate([(isa, [observable], [1.0])], "fez")[0].data
    assert 0.85 < data.evs[0] < 0.995


def test_the_seed_decides(estimate: Estimate) -> None:
    def evs(**options: Any) -> list[float]:
        return [float(pub.data.evs) for pub in estimate([(rotated(), "IZ", [1.0])] * 2, **options)]

    assert evs(seed=3) == evs(seed=3)
    assert evs(seed=3)[0] != evs(seed=3)[1]
    assert evs(seed=3) != evs(seed=4)
    assert evs(options={"simulator": {"seed_simulator": 3}}) == evs(options={"seed_estimator": 3}) == evs(seed=3)


def test_options_of_the_service_have_no_effect(estimate: Estimate) -> None:
    options = {"resilience": {"zne_mitigation": True}, "resilience_level": 2}
    one, other = (estimate([(rotated(), "IZ", [1.0])], options=chosen) for chosen in (options, None))
    assert one[0].data.evs == other[0].data.evs


def test_a_precision_that_takes_too_many_shots_is_told(estimate: Estimate) -> None:
    said = "pub 0: a precision of 0.0001 takes 100000000 shots and aer_ideal allows 1000000: ask for at least 0.001"
    with pytest.raises(LimitExceeded, match=said):
        estimate([(rotated(), "IZ", [1.0])], precision=0.0001)


def test_too_many_projectors_are_told(estimate: Estimate) -> None:
    with pytest.raises(LimitExceeded, match="1048576 terms in Paulis, and 100000 are allowed"):
        estimate([(QuantumCircuit(20), "0" * 20)])


def test_an_instruction_that_the_device_lacks_is_told(estimate: Estimate) -> None:
    circuit = QuantumCircuit(156)
    circuit.h(5)
    with pytest.raises(InputError, match="pub 0: h on qubit 5 is no instruction of aer_fez: transpile the circuit"):
        estimate([(circuit, "I" * 156)], "fez")
