# SPDX-License-Identifier: Apache-2.0
"""The sampler of the worker, against Qiskit's own StatevectorSampler and against outcomes known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter

from qrmi_core import InputError, QRMIError

Sample = Callable[..., Any]


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def test_bits_are_where_they_belong(sample: Sample) -> None:
    circuit = QuantumCircuit(QuantumRegister(12), ClassicalRegister(9, "long"), ClassicalRegister(2, "short"))
    circuit.x([0, 3, 8, 10])
    circuit.measure(range(9), circuit.cregs[0])
    circuit.measure([10, 11], circuit.cregs[1])
    result = sample([circuit], shots=5)[0]
    assert list(result.data) == ["long", "short"]
    assert result.data.long.get_bitstrings() == ["100001001"] * 5
    assert result.data.short.get_bitstrings() == ["01"] * 5
    assert result.data.long.array.shape == (5, 2)


def test_registers_may_share_and_interleave_bits(sample: Sample) -> None:
    circuit = QuantumCircuit(4, 4)
    bits = circuit.clbits
    circuit.add_register(ClassicalRegister(bits=[bits[3], bits[0]], name="ends"))
    circuit.add_register(ClassicalRegister(bits=[bits[1], bits[3]], name="odd"))
    circuit.x(3)
    circuit.measure(range(4), range(4))
    data = sample([circuit], shots=3)[0].data
    assert data.c.get_bitstrings() == ["1000"] * 3
    assert data.ends.get_bitstrings() == ["01"] * 3
    assert data.odd.get_bitstrings() == ["10"] * 3


def test_registers_of_a_shot_belong_together(sample: Sample) -> None:
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "a"), ClassicalRegister(1, "b"))
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    data = sample([circuit], shots=500)[0].data
    assert np.array_equal(data.a.array, data.b.array)
    assert 150 < data.a.get_counts()["1"] < 350


def test_shots_come_in_random_order(sample: Sample) -> None:
    ones = sample([bell()], shots=1000)[0].data.meas.array[:, 0] == 3
    assert 400 < ones.sum() < 600
    assert 400 < np.count_nonzero(ones[1:] != ones[:-1]) < 600


def test_measurement_in_the_middle(sample: Sample) -> None:
    circuit = QuantumCircuit(1, 3)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    circuit.x(0)
    circuit.measure(0, 2)
    assert sample([circuit], shots=9)[0].data.c.get_counts() == {"101": 9}


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (0,), (2, 1, 2)])
def test_parameter_arrays_of_any_shape(sample: Sample, shape: tuple[int, ...]) -> None:
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("t"), 0)
    circuit.measure_all()
    flips = np.arange(np.prod(shape, dtype=int)) % 2
    result = sample([(circuit, (flips * np.pi).reshape(*shape, 1))], shots=7)[0]
    assert result.data.shape == shape
    assert result.data.meas.shape == shape
    assert result.data.meas.array.shape == (*shape, 7, 1)
    assert result.data.meas.array[..., 0, 0].reshape(-1).tolist() == flips.tolist()


def test_each_point_of_a_sweep_draws_its_own_shots(sample: Sample) -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("t"), 0)
    circuit.measure_all()
    data = sample([(circuit, np.full((6, 1), np.pi / 2))], shots=200)[0].data.meas
    assert len({data.array[i].tobytes() for i in range(6)}) == 6
    plain = QuantumCircuit(1)
    plain.h(0)
    plain.measure_all()
    data = sample([plain, plain], shots=200)
    assert data[0].data.meas != data[1].data.meas


def test_pubs_have_their_own_shots_and_metadata(sample: Sample) -> None:
    named = bell()
    named.metadata = {"who": "me"}
    result = sample([(bell(), None, 10), (named, None, 20)])
    assert [pub.data.meas.num_shots for pub in result] == [10, 20]
    assert [pub.metadata for pub in result] == [
        {"circuit_metadata": {}, "shots": 10},
        {"circuit_metadata": {"who": "me"}, "shots": 20},
    ]
    assert result.metadata == {"version": 2}


def test_nothing_measured_is_zeros_or_nothing(sample: Sample) -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    assert sample([circuit], shots=4)[0].data.c.get_counts() == {"000": 4}
    assert list(sample([QuantumCircuit(1)], shots=4)[0].data) == []


def test_the_seed_decides(sample: Sample) -> None:
    def bits(**options: Any) -> bytes:
        return b"".join(pub.data.meas.array.tobytes() for pub in sample([bell(), bell()], shots=100, **options))

    assert bits(seed=1) == bits(seed=1)
    assert bits(seed=1) != bits(seed=2)
    of_payload = {"simulator": {"seed_simulator": 7}}
    assert bits(seed=1, options=of_payload) == bits(seed=2, options=of_payload) == bits(seed=7)
    assert bits(seed=None) != bits(seed=None)
    with pytest.raises(InputError, match="seed_simulator is -1: a whole number of at least 0"):
        bits(options={"simulator": {"seed_simulator": -1}})


@pytest.mark.parametrize("method", ["statevector", "density_matrix", "matrix_product_state", "stabilizer"])
def test_methods_agree(sample: Sample, method: str) -> None:
    result = sample([bell()], shots=2000, QRMI_AER_METHOD=method)[0].data.meas
    assert set(result.get_counts()) == {"00", "11"}
    assert 850 < result.get_counts()["00"] < 1150


def test_options_of_the_service_have_no_effect(sample: Sample) -> None:
    options = {
        "dynamical_decoupling": {"enable": True, "sequence_type": "XY4"},
        "twirling": {"enable_gates": True},
        "execution": {"init_qubits": True},
        "experimental": {},
    }
    result = sample([bell()], shots=100, options=options)
    assert result[0].data.meas == sample([bell()], shots=100)[0].data.meas


def test_a_noise_model_of_the_users_is_refused_not_ignored(sample: Sample) -> None:
    with pytest.raises(InputError, match="noise_model is not taken: the noise of aer_ideal is that of its snapshot"):
        sample([bell()], options={"simulator": {"noise_model": {"errors": []}}})


def test_what_aer_does_not_know_is_told_by_its_name(sample: Sample) -> None:
    part = QuantumCircuit(1, name="my_part")
    part.h(0)
    circuit = QuantumCircuit(1, 1)
    circuit.append(part.to_instruction(), [0])
    circuit.measure(0, 0)
    with pytest.raises(InputError, match=r"pub 1: Aer cannot run the circuit: .*my_part"):
        sample([bell(), circuit])


def test_a_method_that_cannot_is_told(sample: Sample) -> None:
    circuit = QuantumCircuit(1)
    circuit.t(0)
    circuit.measure_all()
    with pytest.raises(QRMIError, match=r'pub 0: Aer cannot run the circuit: .*invalid instructions.*"stabilizer"'):
        sample([circuit], QRMI_AER_METHOD="stabilizer")
