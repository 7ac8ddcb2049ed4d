# SPDX-License-Identifier: Apache-2.0
"""Qiskit programs on resources that take IQM's circuits."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, generate_preset_pass_manager
from qiskit.circuit import Parameter
from qiskit.circuit.classical import expr
from qiskit.circuit.library import RGate
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2, StatevectorEstimator
from qiskit.quantum_info import Operator, SparseObservable, SparsePauliOp, Statevector
from random_programs import (
    add_gates,
    branch_probabilities,
    chi_square_p,
    random_circuit,
    random_observable,
    two_registers,
)
from significance import ALPHA
from vendor_site import site

from qrmi_core import (
    ConfigurationError,
    InputError,
    IQMServer,
    JobContext,
    QRMIService,
    QRMIWarning,
    ResultError,
    TaskFailed,
    UnsupportedFunction,
)
from qrmi_qiskit import EstimatorV2, QRMIBackend, QRMIProvider, SamplerV2
from qrmi_qiskit.iqm.circuits import circuit_json
from qrmi_qiskit.iqm.engine import IQMSimulator
from qrmi_qiskit.iqm.language import IQMLanguage
from qrmi_qiskit.iqm.target import configuration_of

SHOTS = 3000
QUBITS = [f"QB{number}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def backend() -> QRMIBackend:
    return QRMIProvider().backend("iqm_crystal")


@pytest.fixture
def seed() -> int:
    return random.SystemRandom().randrange(2**32)


def transpiled(circuit: QuantumCircuit, backend: QRMIBackend, level: int = 1) -> QuantumCircuit:
    return generate_preset_pass_manager(optimization_level=level, backend=backend).run(circuit)


def target(rows: int = 2, columns: int = 2) -> dict[str, Any]:
    block = {"QRMI_IQM_LATTICE": f"{rows}x{columns}"}
    told: dict[str, Any] = IQMSimulator.from_environment("mine", block, JobContext()).target().json()
    return told


def test_the_gate_of_iqm_is_the_gate_of_qiskit(seed: int) -> None:
    x, y = (SparsePauliOp(pauli).to_matrix() for pauli in "XY")
    for angle, phase in np.random.default_rng(seed).uniform(-7, 7, (10, 2)):
        axis = x * np.cos(phase) + y * np.sin(phase)
        prx = np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * axis
        assert np.allclose(Operator(RGate(angle, phase)).data, prx)


def test_random_circuits_with_several_registers(backend: QRMIBackend, seed: int) -> None:
    circuits = [two_registers(seed + number) for number in range(2)]
    job = SamplerV2(backend).run([transpiled(circuit, backend) for circuit in circuits], shots=SHOTS)
    for circuit, result in zip(circuits, job.result(60), strict=True):
        assert list(result.data) == ["left", "right"]
        assert (result.data.left.num_bits, result.data.right.num_bits) == tuple(one.size for one in circuit.cregs)
        exact = {word.replace(" ", ""): p for word, p in branch_probabilities(circuit).items()}
        assert chi_square_p(result.join_data().get_counts(), exact) > ALPHA / 2, f"seed {seed}"


def test_arrays_of_values(backend: QRMIBackend, seed: int) -> None:
    circuit, generator = random_circuit(seed, parameters=4)
    values = generator.uniform(0, 2 * np.pi, (2, 3, 4))
    measured = circuit.copy()
    measured.measure_all()
    result = SamplerV2(backend).run([(transpiled(measured, backend), values)], shots=SHOTS).result(60)[0]
    assert result.data.meas.shape == (2, 3)
    assert result.metadata["shots"] == SHOTS
    for index in np.ndindex(2, 3):
        exact = Statevector(circuit.assign_parameters(values[index])).probabilities_dict()
        assert chi_square_p(result.data.meas.get_counts(index), exact) > ALPHA / 6, f"seed {seed}, {index}"


def test_gates_that_depend_on_a_measurement(backend: QRMIBackend, seed: int) -> None:
    generator = np.random.default_rng(seed)
    circuit = QuantumCircuit(QuantumRegister(3, "q"), ClassicalRegister(2, "middle"), ClassicalRegister(3, "end"))
    add_gates(circuit, 15, generator)
    circuit.measure([0, 1], circuit.cregs[0])
    with circuit.if_test((circuit.cregs[0][0], 1)):
        circuit.r(0.9, 0.3, 1)
        circuit.r(1.1, 2.3, 2)
    with circuit.if_test((circuit.cregs[0][1], 1)):
        circuit.r(2.1, -0.7, 0)
    add_gates(circuit, 10, generator)
    circuit.measure([0, 1, 2], circuit.cregs[1])
    result = SamplerV2(backend).run([transpiled(circuit, backend)], shots=SHOTS).result(60)[0]
    exact = {word.replace(" ", ""): p for word, p in branch_probabilities(circuit).items()}
    assert chi_square_p(result.join_data().get_counts(), exact) > ALPHA, f"seed {seed}"


def test_a_bit_that_is_measured_twice_has_the_last_value(backend: QRMIBackend) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 0)
    circuit.r(np.pi, 0, 0)
    circuit.measure(0, 0)
    assert SamplerV2(backend).run([circuit], shots=7).result(60)[0].data.c.get_counts() == {"01": 7}


def test_expectation_values(backend: QRMIBackend, seed: int) -> None:
    circuit, generator = random_circuit(seed, parameters=3)
    values = generator.uniform(0, 2 * np.pi, (2, 1, 3))
    observables = [random_observable(circuit.num_qubits, generator) for _ in range(3)]
    isa = transpiled(circuit, backend)
    pub = (isa, [one.apply_layout(isa.layout) for one in observables], values)
    job = EstimatorV2(backend).run([pub], precision=0.02)
    result = job.result(60)[0]
    exact = StatevectorEstimator().run([(circuit, observables, values)]).result()[0].data.evs
    assert result.data.evs.shape == exact.shape == (2, 3)
    assert np.all(np.abs(result.data.evs - exact) <= 5 * np.maximum(result.data.stds, 1e-9)), f"seed {seed}"
    assert result.metadata["shots"] == 2500
    with pytest.raises(UnsupportedFunction, match="in the process that submitted it only"):
        IQMLanguage().result(job._task.result().data, "estimator", None, backend)


def test_projectors_are_observables_too(backend: QRMIBackend) -> None:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.x(1)
    isa = transpiled(circuit, backend)
    observables = [SparseObservable(label).apply_layout(isa.layout) for label in ("I1+", "II0", "0-I")]
    evs = EstimatorV2(backend).run([(isa, observables)], precision=0.02).result(60)[0].data.evs
    assert np.allclose(evs, [1.0, 0.5, 0.5], atol=0.1)


def test_backend_run_and_the_primitives_of_qiskit_over_it(backend: QRMIBackend, seed: int) -> None:
    circuit, generator = random_circuit(seed)
    exact = Statevector(circuit).probabilities_dict()
    measured = circuit.copy()
    measured.measure_all()
    isa = transpiled(measured, backend)
    job = backend.run([isa, isa], shots=SHOTS, memory=True)
    for index in (0, 1):
        assert chi_square_p(job.result(60).get_counts(index), exact) > ALPHA / 4, f"seed {seed}"
    assert len(job.result().get_memory(1)) == SHOTS
    counts = BackendSamplerV2(backend=backend).run([isa], shots=SHOTS).result()[0].data.meas.get_counts()
    assert chi_square_p(counts, exact) > ALPHA / 4, f"seed {seed}"
    observable = random_observable(circuit.num_qubits, generator)
    bare = transpiled(circuit, backend)
    pub = (bare, observable.apply_layout(bare.layout))
    theirs = BackendEstimatorV2(backend=backend).run([pub], precision=0.02).result()[0].data
    expected = float(StatevectorEstimator().run([(circuit, observable)]).result()[0].data.evs)
    assert abs(float(theirs.evs) - expected) <= 5 * max(float(theirs.stds), 1e-9), f"seed {seed}"


def test_the_job_can_be_had_in_another_process(backend: QRMIBackend) -> None:
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(1, "a_1"), ClassicalRegister(2, "b"))
    circuit.r(np.pi, 0, 0)
    circuit.measure([0, 1, 2], range(3))
    job = SamplerV2(backend).run([circuit, circuit], shots=4)
    job.result(60)
    code = (
        "import sys; from qrmi_qiskit import QRMIProvider\n"
        "result = QRMIProvider().job(sys.argv[1]).result(60)\n"
        "print(len(result), result[1].data.a_1.get_counts(), result[1].data.b.get_counts())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, job.job_id()], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.strip() == "2 {'1': 4} {'00': 4}"


def test_the_same_programs_run_through_a_server(seed: int) -> None:
    circuit, _ = random_circuit(seed)
    exact = Statevector(circuit).probabilities_dict()
    circuit.measure_all()
    with site("iqm-server") as running:
        remote = QRMIBackend(running.resource(name="remote"))
        assert (remote.name, remote.simulator, remote.num_qubits) == ("remote", False, 20)
        job = SamplerV2(remote).run([transpiled(circuit, remote)], shots=SHOTS)
        assert chi_square_p(job.result(60)[0].data.meas.get_counts(), exact) > ALPHA, f"seed {seed}"
        again = remote.retrieve_job(job.job_id())
        assert again.result()[0].data.meas.get_counts() == job.result()[0].data.meas.get_counts()
        unknown = IQMServer(b'{"circuits": ["qir"], "shots": 1}', "circuit")
        failed = remote.retrieve_job(remote.submit(unknown).id)
        with pytest.raises(TaskFailed, match="QIR string"):
            failed.result(60)
        assert "QIR string" in (failed.error_message() or "")


def test_pubs_of_one_job_have_the_same_shots(backend: QRMIBackend) -> None:
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    with pytest.raises(InputError, match=r"pub 1 has shots=20 and pub 0 has shots=10: a job of IQM's has one number"):
        SamplerV2(backend).run([(circuit, None, 10), (circuit, None, 20)])
    bare = QuantumCircuit(20)
    with pytest.raises(InputError, match=r"pub 1 has precision=0\.2 and pub 0 has precision=0\.1"):
        EstimatorV2(backend).run([(bare, "Z" * 20, None, 0.1), (bare, "Z" * 20, None, 0.2)])


def test_options_that_change_nothing_are_named(backend: QRMIBackend) -> None:
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    options = {"default_shots": 3, "dynamical_decoupling": {"enable": True}, "simulator": {"seed_simulator": 1}}
    with pytest.warns(QRMIWarning, match="dynamical_decoupling.enable, simulator.seed_simulator"):
        job = SamplerV2(backend, options=options).run([circuit])
    assert job.result(60)[0].data.meas.num_shots == 3
    with pytest.warns(QRMIWarning, match="no effect on iqm_crystal.*: seed_simulator"):
        backend.run(circuit, shots=3, seed_simulator=7).result()


def refused_circuits() -> dict[str, QuantumCircuit]:
    foreign, ticks, late, other, whole, gate = (QuantumCircuit(2, 2) for _ in range(6))
    foreign.h(0)
    ticks.delay(100, 0, unit="dt")
    with late.if_test((late.clbits[0], 1)):
        late.r(1, 1, 0)
    other.measure(0, 0)
    with other.if_test((other.clbits[0], 0)):
        other.r(1, 1, 0)
    whole.measure([0, 1], [0, 1])
    with whole.if_test(expr.bit_and(whole.clbits[0], whole.clbits[1])):
        whole.r(1, 1, 0)
    gate.measure(0, 0)
    with gate.if_test((gate.clbits[0], 1)):
        gate.cz(0, 1)
    return {
        r"instruction 0 \(h\): IQM has no h": foreign,
        "a delay has no unit 'dt': use seconds": ticks,
        "has not been measured": late,
        "depend on a bit that is 1, without an else": other,
        "not on an expression or a register": whole,
        "r alone can depend on a measurement, not cz": gate,
    }


@pytest.mark.parametrize("text", refused_circuits())
def test_what_has_no_form_in_iqms_json_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"pub 0, instruction .*{text}|{text}"):
        circuit_json(refused_circuits()[text], QUBITS, "pub 0")


def test_delays_are_in_seconds() -> None:
    circuit = QuantumCircuit(1)
    circuit.delay(200, 0, unit="ns")
    (written,) = circuit_json(circuit, QUBITS, "pub 0")["instructions"]
    assert written == {"name": "delay", "locus": ["QB1"], "args": {"duration": pytest.approx(2e-7)}}


def test_a_circuit_that_does_not_fit_is_refused_before_it_is_sent(backend: QRMIBackend) -> None:
    circuit = QuantumCircuit(20)
    circuit.cz(0, 19)
    circuit.measure_all()
    with pytest.raises(InputError, match=r"these qubits are not coupled, qubit 0 has cz with 1, 5"):
        SamplerV2(backend).run([circuit])


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"measurements": null}',
        b'{"measurements": [{}]}',
        b'{"measurements": [{"a_1_0_0": [0]}]}',
        b'{"measurements": [{"a_1_0_0": [[0, 1]]}]}',
        b'{"measurements": [{"a_1_0_0": [[999]]}]}',
        b'{"measurements": [{"a_1_0_0": [[0]], "b_1_1_0": [[0], [1]]}]}',
        b'{"measurements": [{"a_1_0_0": null}]}',
    ],
)
def test_a_damaged_result_is_told(backend: QRMIBackend, data: bytes) -> None:
    with pytest.raises(ResultError):
        IQMLanguage().result(data, "sampler", None, backend)


def test_a_result_of_other_circuits_is_told(backend: QRMIBackend) -> None:
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    data = b'{"measurements": [{"meas_1_0_0": [[0]]}, {"meas_1_0_0": [[0]]}]}'
    job = SamplerV2(backend).run([circuit], shots=1)
    with pytest.raises(ResultError, match="2 circuits came back of 1"):
        IQMLanguage().result(data, "sampler", job.inputs, backend)
    with pytest.raises(ResultError, match="'m' was not written by Qiskit"):
        IQMLanguage().result(b'{"measurements": [{"m": [[0]]}]}', "sampler", None, backend)


def test_a_target_in_a_file_is_one_to_transpile_for(tmp_path: Path) -> None:
    file = tmp_path / "target.json"
    file.write_text(json.dumps(target()))
    read = QRMIBackend.from_target(file)
    assert (read.name, read.num_qubits, read.simulator) == ("mine", 4, False)
    assert set(read.target.operation_names) == {"cz", "delay", "if_else", "measure", "r", "reset"}
    assert sorted(read.target["cz"]) == [(0, 1), (0, 2), (1, 0), (1, 3), (2, 0), (2, 3), (3, 1), (3, 2)]
    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.cx(0, 3)
    isa = transpiled(circuit, read)
    assert set(isa.count_ops()) <= {"r", "cz"}
    assert read.configuration().qubits == ["QB1", "QB2", "QB3", "QB4"]


def test_resonators_are_left_out_of_the_target() -> None:
    told = target()
    architecture = told["dynamic_quantum_architecture"]
    architecture["computational_resonators"] = ["CR1"]
    del architecture["gates"]["cc_prx"]
    architecture["gates"]["cz"]["implementations"]["star"] = {"loci": [["QB1", "CR1"], ["QB2", "QB1"]]}
    architecture["gates"]["move"] = {"implementations": {"m": {"loci": [["QB1", "CR1"]]}}}
    read = QRMIBackend.from_target(told)
    assert set(read.target.operation_names) == {"cz", "delay", "measure", "r"}
    assert (0, 1) in read.target["cz"]


def test_a_target_that_is_malformed_is_told() -> None:
    told = target()
    del told["dynamic_quantum_architecture"]["gates"]
    with pytest.raises(ResultError, match=r"the architecture of mine cannot be read \(KeyError: 'gates'\)"):
        configuration_of(told, name="mine")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        QRMIBackend.from_target(told)


def test_the_provider_lists_it_with_the_others() -> None:
    provider = QRMIProvider()
    assert {"iqm_crystal", "aer_ideal"} <= {backend.name for backend in provider.backends()}
    assert provider.backends("iqm_crystal", n_qubits=20, simulator=True, min_num_qubits=20, operational=True)
    assert QRMIService().resource("iqm_crystal").takes == (IQMServer,)


def test_a_sweep_of_one_parameter_in_one_job(backend: QRMIBackend) -> None:
    angle = Parameter("angle")
    circuit = QuantumCircuit(1)
    circuit.r(angle, 0, 0)
    circuit.measure_all()
    values = np.array([[0.0], [np.pi]])
    result = SamplerV2(backend).run([(circuit, values), (circuit, values[1])], shots=5).result(60)
    assert [result[0].data.meas.get_counts(index) for index in (0, 1)] == [{"0": 5}, {"1": 5}]
    assert result[1].data.meas.get_counts() == {"1": 5}
