# SPDX-License-Identifier: Apache-2.0
"""The whole way: primitives and backend.run on the embedded simulators."""

from __future__ import annotations

import math
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Parameter, Qubit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2, BitArray
from qiskit.providers import JobStatus
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler import generate_preset_pass_manager
from random_programs import chi_square_p, random_circuit

from qrmi_core import (
    AmbiguousResource,
    InputError,
    QRMIService,
    QRMIWarning,
    ResourceNotFound,
    ResourceUnavailable,
    TaskCancelled,
    TaskNotFound,
)
from qrmi_qiskit import EstimatorV2, QRMIBackend, QRMIProvider, SamplerV2


def bell(*, measure: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    if measure:
        circuit.measure_all()
    return circuit


def number(value: int, bits: int = 8) -> QuantumCircuit:
    """A circuit that gives this number in every shot."""
    circuit = QuantumCircuit(bits)
    for bit in range(bits):
        if value >> bit & 1:
            circuit.x(bit)
    circuit.measure_all()
    return circuit


def endless() -> QuantumCircuit:
    """A circuit that takes minutes."""
    circuit = QuantumCircuit(24)
    for layer in range(2000):
        for qubit in range(23):
            circuit.rx(0.1 + layer, qubit)
            circuit.crx(0.2, qubit, qubit + 1)
    circuit.measure_all()
    return circuit


@pytest.fixture(scope="module")
def fez_simulator() -> QRMIBackend:
    return QRMIProvider().backend("aer_fez")


def test_all_simulators_are_listed_and_can_be_chosen() -> None:
    provider = QRMIProvider()
    names = [backend.name for backend in provider.backends()]
    assert {"aer_ideal", "aer_fez", "aer_sherbrooke"} <= set(names)
    assert "pulser_analog" not in names
    wide = provider.backends(min_num_qubits=150, simulator=True, operational=True, dynamic_circuits=True)
    assert "aer_fez" in [backend.name for backend in wide]
    assert all(backend.num_qubits >= 150 for backend in wide)
    assert provider.backends(simulator=False) == []


def test_pulsers_simulator_is_refused_with_the_package_to_use() -> None:
    with pytest.raises(ResourceUnavailable, match=r"pulser_analog runs no circuits but Pulser .* qrmi_pulser\.QRMICo"):
        QRMIProvider().backend("pulser_analog")


def test_a_name_that_is_nearly_right() -> None:
    with pytest.raises(ResourceNotFound, match="no QPU named aer_fezz: did you mean aer_fez"):
        SamplerV2("aer_fezz")


def test_outside_of_a_job_a_qpu_must_be_named() -> None:
    with pytest.raises(AmbiguousResource, match="qrmi run --qpu=NAME"):
        SamplerV2()


def test_in_a_job_its_only_qpu_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QRMI_JOB_QPU_RESOURCES", "my_qpu")
    monkeypatch.setenv("QRMI_JOB_QPU_TYPES", "aer-simulator")
    monkeypatch.setenv("my_qpu_QRMI_AER_SNAPSHOT", "ideal")
    result = SamplerV2().run([number(5)], shots=3).result()
    assert result[0].data.meas.get_counts() == {"00000101": 3}
    assert float(EstimatorV2().run([(bell(measure=False), "ZZ")]).result()[0].data.evs) == 1.0


def test_modes_that_mean_the_same() -> None:
    resource = QRMIService().resource("aer_ideal")
    for mode in (resource, "aer_ideal", QRMIBackend(resource)):
        assert SamplerV2(mode).backend().name == EstimatorV2(mode).backend().name == "aer_ideal"


def test_the_types_of_a_result(ideal: QRMIBackend) -> None:
    angle = Parameter("angle")
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "left"), ClassicalRegister(1, "right"))
    circuit.rx(angle, 0)
    circuit.measure([0, 1], [0, 1])
    circuit.metadata = {"trial": 3}
    result = SamplerV2(ideal).run([(circuit, np.linspace(0, 3, 6).reshape(2, 3, 1), 50)]).result()
    assert result[0].data.shape == (2, 3)
    assert isinstance(result[0].data.left, BitArray)
    assert (result[0].data.left.shape, result[0].data.left.num_shots, result[0].data.left.num_bits) == ((2, 3), 50, 1)
    assert result[0].metadata["circuit_metadata"] == {"trial": 3}
    estimated = EstimatorV2(ideal).run([(bell(measure=False), ["ZZ", "XX", "ZI"])]).result()[0].data
    assert (estimated.evs.shape, estimated.stds.shape, estimated.evs.dtype) == ((3,), (3,), np.float64)


PARAMETRISED = ["cp", "crx", "cry", "crz", "cu1", "cu3", "p", "r", "rx", "rxx", "ry", "ryy", "rz", "rzx", "rzz", "u"]


@pytest.mark.parametrize("name", PARAMETRISED)
def test_every_gate_with_parameters_can_be_swept(name: str, ideal: QRMIBackend) -> None:
    gate = get_standard_gate_name_mapping()[name]
    parameters = [Parameter(f"t{index}") for index in range(len(gate.params))]
    circuit = QuantumCircuit(2)
    for qubit in range(2):
        circuit.ry(0.7 + qubit, qubit)
        circuit.rx(0.4, qubit)
    circuit.append(gate.base_class(*parameters), range(gate.num_qubits))
    for qubit in range(2):
        circuit.ry(1.1 + qubit, qubit)
        circuit.rx(0.3, qubit)
    values = np.random.default_rng(2).uniform(0.5, 6, (3, len(parameters)))
    sampler = SamplerV2(ideal, options={"simulator": {"seed_simulator": 7}})
    counts = sampler.run([(circuit.measure_all(inplace=False), values)], shots=10_000).result()[0].data.meas
    for index, point in enumerate(values):
        bound = circuit.assign_parameters(dict(zip(parameters, point, strict=True)))
        assert chi_square_p(counts.get_counts(index), Statevector(bound).probabilities_dict()) > 1e-4


def test_seeds_make_results_the_same(ideal: QRMIBackend) -> None:
    circuit, _ = random_circuit(1)
    observable = "Z" * circuit.num_qubits
    estimator = EstimatorV2(ideal, options={"seed_estimator": 5})
    evs = [float(estimator.run([(circuit, observable)]).result()[0].data.evs) for _ in range(2)]
    assert evs[0] == evs[1]
    circuit.measure_all()
    sampler = SamplerV2(ideal, options={"simulator": {"seed_simulator": 5}})
    first, second = (sampler.run([circuit]).result()[0].data.meas.array for _ in range(2))
    assert np.array_equal(first, second)
    sampler.options.simulator.seed_simulator = 6
    assert not np.array_equal(first, sampler.run([circuit]).result()[0].data.meas.array)


def test_options_without_effect_on_a_simulator_are_named_in_one_warning(ideal: QRMIBackend) -> None:
    estimator = EstimatorV2(ideal, options={"resilience_level": 2, "default_shots": 100, "seed_estimator": 3})
    estimator.options.dynamical_decoupling.enable = True
    estimator.options.twirling.enable_gates = False
    with pytest.warns(QRMIWarning) as caught:
        estimator.run([(bell(measure=False), "ZZ")])
    assert [str(each.message) for each in caught] == [
        "these options have no effect on aer_ideal, a simulator: dynamical_decoupling.enable, resilience_level"
    ]
    with warnings.catch_warnings(action="error"):
        EstimatorV2(ideal, options={"resilience_level": 0}).run([(bell(measure=False), "ZZ")])


def test_another_noise_model_is_refused(ideal: QRMIBackend) -> None:
    sampler = SamplerV2(ideal, options={"simulator": {"noise_model": {"errors": []}}})
    with pytest.raises(InputError, match=r"options\.simulator\.noise_model: aer_ideal has its own noise"):
        sampler.run([bell()])


def test_a_gate_that_the_simulator_does_not_have(ideal: QRMIBackend) -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.unitary(np.eye(4), [0, 1])
    circuit.measure(0, 0)
    with pytest.raises(InputError, match=r"pub 0, instruction 0 \(unitary on qubits 0, 1\): aer_ideal has no unitary"):
        SamplerV2(ideal).run([circuit])


def test_more_shots_than_the_simulator_takes(ideal: QRMIBackend) -> None:
    assert ideal.max_shots == 1_000_000
    with pytest.raises(InputError, match="1000001 shots were asked for; at most 1000000 are run at once"):
        SamplerV2(ideal).run([bell()], shots=1_000_001)


def test_bell_on_a_device_with_noise(fez_simulator: QRMIBackend) -> None:
    assert fez_simulator.num_qubits == 156
    assert fez_simulator.simulator
    to_backend = generate_preset_pass_manager(optimization_level=1, backend=fez_simulator, seed_transpiler=3)
    sampler = SamplerV2(fez_simulator, options={"simulator": {"seed_simulator": 11}})
    counts = sampler.run([to_backend.run(bell())]).result()[0].data.meas.get_counts()
    assert 0.001 < (counts.get("01", 0) + counts.get("10", 0)) / 4096 < 0.1
    circuit = to_backend.run(bell(measure=False))
    observables = [SparsePauliOp(pauli).apply_layout(circuit.layout) for pauli in ("ZZ", "XX", "ZI")]
    estimator = EstimatorV2(fez_simulator, options={"simulator": {"seed_simulator": 11}})
    values = estimator.run([(circuit, observables)]).result()[0].data.evs
    assert 0.8 < values[0] < 0.999
    assert 0.8 < values[1] < 0.999
    assert abs(values[2]) < 0.1


def test_qiskits_own_sampler_on_the_backend(ideal: QRMIBackend) -> None:
    angle = Parameter("angle")
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "left"), ClassicalRegister(1, "right"))
    circuit.rx(angle, 0)
    circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    sampler = BackendSamplerV2(backend=ideal, options={"seed_simulator": 3})
    result = sampler.run([(circuit, [[0], [math.pi]]), (number(9), None, 30)], shots=20).result()
    assert result[0].data.left.get_counts(0) == {"0": 20}
    assert result[0].data.left.get_counts(1) == {"1": 20}
    assert result[0].data.right.get_counts() == {"1": 40}
    assert result[1].data.meas.get_counts() == {"00001001": 30}


def test_qiskits_own_estimator_on_the_backend(ideal: QRMIBackend) -> None:
    estimator = BackendEstimatorV2(backend=ideal, options={"seed_simulator": 3})
    observables = ["ZZ", "XX", "YY", "II", SparsePauliOp(["ZI", "IX"], [0.5, 2.0])]
    data = estimator.run([(bell(measure=False), observables)], precision=0.02).result()[0].data
    assert data.evs[:4].tolist() == [1.0, 1.0, -1.0, 1.0]
    assert abs(data.evs[4]) <= 5 * data.stds[4]


def test_counts_and_memory_of_run(ideal: QRMIBackend) -> None:
    circuit = QuantumCircuit(
        [Qubit(), Qubit(), Qubit()], ClassicalRegister(2, "low"), ClassicalRegister(1, "__c_XI"), [Clbit()]
    )
    circuit.x([0, 2])
    circuit.measure([0, 1, 2], [0, 1, 2])
    circuit.measure(0, 3)
    job = ideal.run(circuit, shots=4, memory=True)
    result = job.result()
    assert result.get_counts() == {"1 1 01": 4}
    assert result.get_memory() == ["1 1 01"] * 4
    assert job.status() is JobStatus.DONE
    counts = ideal.run([number(1), number(2), bell()], shots=100, seed_simulator=1).result().get_counts()
    assert counts[:2] == [{"00000001": 100}, {"00000010": 100}]
    assert sum(counts[2].values()) == 100
    assert set(counts[2]) == {"00", "11"}


def test_a_job_of_run_can_be_had_as_a_samplers_job(ideal: QRMIBackend) -> None:
    job = ideal.run(number(3), shots=10)
    found = ideal.retrieve_job(job.job_id())
    assert found.result(timeout=60)[0].data.meas.get_counts() == {"00000011": 10}


def test_a_hundred_bits_and_large_arrays_come_back_whole(ideal: QRMIBackend) -> None:
    circuit = QuantumCircuit(3, 100)
    circuit.x(1)
    for bit in range(100):
        circuit.measure(bit % 3, bit)
    data = SamplerV2(ideal).run([circuit], shots=20_000).result()[0].data.c
    assert data.get_counts() == {"".join("1" if bit % 3 == 1 else "0" for bit in reversed(range(100))): 20_000}
    assert ideal.run(circuit, shots=3).result().get_counts() == {next(iter(data.get_counts())): 3}


def test_what_a_job_tells_of_itself(ideal: QRMIBackend) -> None:
    job = SamplerV2(ideal).run([bell()])
    assert job.status() in ("QUEUED", "RUNNING", "DONE")
    job.wait_for_final_state(timeout=60)
    assert job.status() == "DONE"
    metrics = job.metrics()
    stamps = metrics["timestamps"]
    assert stamps["created"] <= stamps["running"] <= stamps["finished"]
    assert metrics["usage"]["seconds"] > 0
    assert job.creation_date is not None
    assert job.logs() == ""
    provider = QRMIProvider()
    assert job.job_id() in [found.job_id() for found in provider.jobs(limit=None, backend_name="aer_ideal")]
    assert provider.job(job.job_id()).result()[0].data.meas.num_shots == 4096
    with pytest.raises(TaskNotFound, match="no backend here has a job"):
        provider.job("0" * 32)


def test_a_running_job_is_cancelled(ideal: QRMIBackend) -> None:
    job = SamplerV2(ideal).run([endless()])
    with pytest.raises(TimeoutError, match="it goes on"):
        job.result(timeout=2)
    assert job.status() == "RUNNING"
    job.cancel()
    assert job.status() == "CANCELLED"
    with pytest.raises(TaskCancelled, match="was cancelled"):
        job.result(timeout=5)


def test_eight_threads_share_a_backend(ideal: QRMIBackend) -> None:
    start = threading.Barrier(8, timeout=60)

    def run(index: int) -> list[dict[str, int]]:
        start.wait()
        sampler = SamplerV2(ideal)
        return [
            sampler.run([number(16 * index + turn)], shots=5).result(60)[0].data.meas.get_counts() for turn in (1, 2)
        ]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(run, range(8)))
    assert found == [[{f"{16 * index + turn:08b}": 5} for turn in (1, 2)] for index in range(8)]


def test_a_loop_may_be_the_last_instruction() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.x(0)
        circuit.measure(0, 0)
    assert SamplerV2("aer_ideal").run([circuit], shots=20).result(timeout=60)[0].data.c.get_counts() == {"0": 20}


def test_qiskits_own_estimator_runs_on_a_device_of_many_qubits() -> None:
    backend = QRMIProvider().backend("aer_fez")
    circuit = QuantumCircuit(2)
    circuit.x(0)
    laid_out = generate_preset_pass_manager(optimization_level=1, backend=backend).run(circuit)
    observable = SparsePauliOp("IZ").apply_layout(laid_out.layout)
    value = BackendEstimatorV2(backend=backend).run([(laid_out, observable)]).result()[0].data.evs
    assert value == pytest.approx(-1, abs=0.1)
