# SPDX-License-Identifier: Apache-2.0
"""Noise: that of the snapshot, as Aer itself models it for the whole device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Instruction, Parameter
from qiskit.transpiler import Target
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.fake_provider import FakeAthensV2, FakeFez
from scipy import stats

from qrmi_core import InputError, Limits
from qrmi_qiskit.aer.backend import Backends
from qrmi_qiskit.aer.compaction import compact
from qrmi_qiskit.aer.device import load_device
from qrmi_qiskit.aer.simulator import Simulator

Sample = Callable[..., Any]
TargetOf = Callable[[str], Target]


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def errors(model: NoiseModel) -> dict[Any, Any]:
    """(operation, qubits) -> what happens there with which probability, as plain values."""
    found = {}
    for error in model.to_dict(serializable=True)["errors"]:
        key = (error["type"], tuple(error["operations"]), tuple(map(tuple, error["gate_qubits"])))
        found[key] = (np.array(error["probabilities"]).tolist(), repr(error.get("instructions")))
    return found


def test_the_noise_of_the_qubits_in_use_is_aers_own(limits: Limits) -> None:
    circuit = QuantumCircuit(5, 3)
    circuit.sx([1, 3, 4])
    circuit.x(3)
    circuit.cx(3, 4)
    circuit.cx(4, 3)
    circuit.reset(1)
    circuit.measure([1, 3, 4], range(3))
    backends = Backends(load_device("aer_athens", "athens", limits), Simulator("aer_athens", "automatic", limits))
    backend = backends.backend(compact(circuit))

    whole = errors(NoiseModel.from_backend(FakeAthensV2()))
    number = {0: 1, 1: 3, 2: 4}
    ours = {
        (kind, names, tuple(tuple(number[q] for q in qubits) for qubits in places)): error
        for (kind, names, places), error in errors(backend.noise).items()
    }
    assert {(names[0], places[0]) for _, names, places in ours} == {
        ("sx", (1,)),
        ("sx", (3,)),
        ("sx", (4,)),
        ("x", (3,)),
        ("cx", (3, 4)),
        ("cx", (4, 3)),
        ("reset", (1,)),
        ("measure", (1,)),
        ("measure", (3,)),
        ("measure", (4,)),
    }
    assert ours == {key: whole[key] for key in ours}
    assert backends.backend(compact(circuit)) is backend


def test_counts_agree_with_the_whole_device(sample: Sample) -> None:
    """Two qubits of five, delays, a reset and a measurement in the middle: a chi-square test of two samples."""
    circuit = QuantumCircuit(5, 3)
    circuit.sx(2)
    circuit.cx(2, 3)
    circuit.delay(3000, 2, unit="ns")
    circuit.measure(3, 0)
    circuit.reset(3)
    circuit.x(3)
    circuit.delay(20_000, 3)
    circuit.measure([2, 3], [1, 2])
    shots = 40_000
    reference = AerSimulator.from_backend(FakeAthensV2(), seed_simulator=11).run(circuit, shots=shots).result()
    theirs, ours = reference.get_counts(), sample([circuit], "athens", shots=shots)[0].data.c.get_counts()
    table = [[counts.get(key, 0) for key in sorted(theirs.keys() | ours.keys())] for counts in (theirs, ours)]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_a_bell_pair_is_as_wrong_as_the_snapshot_says(sample: Sample, target_of: TargetOf) -> None:
    target = target_of("fez")
    isa = transpile(bell(), target=target, optimization_level=1, seed_transpiler=1)
    pair = next(tuple(isa.find_bit(q).index for q in op.qubits) for op in isa.data if op.name == "cz")
    readout = sum(target["measure"][(qubit,)].error for qubit in pair)
    gates = target["cz"][pair].error + sum(
        target[op.name][(isa.find_bit(op.qubits[0]).index,)].error for op in isa.data if op.name == "sx"
    )
    counts = sample([isa], "fez", shots=50_000)[0].data.meas.get_counts()
    share = (counts["01"] + counts["10"]) / 50_000
    assert (readout + gates) / 2 <= share <= 2 * (readout + gates)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bell_pair_agrees_with_the_whole_device(sample: Sample, target_of: TargetOf) -> None:
    isa = transpile(bell(), target=target_of("fez"), optimization_level=1, seed_transpiler=1)
    shots = 20_000
    reference = AerSimulator.from_backend(FakeFez(), seed_simulator=5).run(isa, shots=shots).result().get_counts()
    counts = sample([isa], "fez", shots=shots)[0].data.meas.get_counts()
    for outcome in ("00", "01", "10", "11"):
        mean = (counts.get(outcome, 0) + reference.get(outcome, 0)) / 2
        sigma = math.sqrt(2 * mean * (1 - mean / shots))
        assert abs(counts.get(outcome, 0) - reference.get(outcome, 0)) <= 5 * sigma


def test_a_qubit_relaxes_during_a_delay(sample: Sample, target_of: TargetOf) -> None:
    target = target_of("fez")
    qubit = 12
    t1, readout = target.qubit_properties[qubit].t1, target["measure"][(qubit,)].error
    results = []
    for unit, duration in (("s", t1), ("dt", round(t1 / target.dt))):
        circuit = QuantumCircuit(156, 1)
        circuit.x(qubit)
        circuit.delay(duration, qubit, unit=unit)
        circuit.measure(qubit, 0)
        results.append(sample([circuit], "fez", shots=20_000)[0].data.c.get_counts()["1"] / 20_000)
    expected = math.exp(-1) * (1 - readout) + (1 - math.exp(-1)) * readout
    assert results == pytest.approx([expected, expected], abs=5 * 0.5 / math.sqrt(20_000) + 0.002)


def test_noise_reaches_into_control_flow_and_sweeps(sample: Sample) -> None:
    circuit = QuantumCircuit(156, 2)
    circuit.rz(Parameter("t"), 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 0)):
        for _ in range(1500):
            circuit.x(1)
    circuit.measure(1, 1)
    data = sample([(circuit, [[0.0], [1.0]])], "fez", shots=200)[0].data.c
    for point in range(2):
        ones = data.slice_bits(1).get_counts(point).get("1", 0)
        assert 20 < ones < 180


def test_ibms_short_measurement_is_one_of_the_device(sample: Sample) -> None:
    circuit = QuantumCircuit(156, 2)
    circuit.x(8)
    circuit.append(Instruction("measure_2", 1, 1, []), [8], [0])
    circuit.append(Instruction("reset_2", 1, 0, []), [8])
    circuit.measure(8, 1)
    counts = sample([circuit], "boston", shots=2000)[0].data.c.get_counts()
    assert counts["01"] > 1800
    with pytest.raises(InputError, match="measure_2 on qubit 8 is no instruction of aer_fez"):
        sample([circuit], "fez")


def test_one_qubit_alone_has_noise(sample: Sample) -> None:
    circuit = QuantumCircuit(156, 1)
    circuit.x(3)
    circuit.measure(3, 0)
    counts = sample([circuit], "fez", shots=20_000)[0].data.c.get_counts()
    assert 0 < counts["0"] < 2000


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda c: c.h(7), "pub 0: h on qubit 7 is no instruction of aer_fez"),
        (lambda c: c.cz(0, 2), "pub 0: cz on qubits 0, 2 is no instruction of aer_fez: transpile the circuit"),
        (lambda c: c.measure_all(), None),
    ],
)
def test_what_the_device_lacks_is_refused(
    sample: Sample, build: Callable[[QuantumCircuit], object], said: str | None
) -> None:
    circuit = QuantumCircuit(4 if said is None else 156, 1)
    build(circuit)
    if said is None:
        assert sample([circuit], "fez", shots=10)[0].data.meas.num_shots == 10
    else:
        with pytest.raises(InputError, match=said):
            sample([circuit], "fez")


def test_a_circuit_wider_than_the_device_is_refused(sample: Sample) -> None:
    circuit = QuantumCircuit(6, 1)
    circuit.x(5)
    circuit.measure(5, 0)
    with pytest.raises(InputError, match="pub 0: the circuit uses qubit 5, and aer_athens has 5 qubits"):
        sample([circuit], "athens")
