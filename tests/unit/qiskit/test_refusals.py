# SPDX-License-Identifier: Apache-2.0
"""What cannot be run is refused before submission, with the instruction or pub that is to blame."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from paper_device import PaperDevice
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Parameter, Qubit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager

from qrmi_core import InputError
from qrmi_qiskit import EstimatorV2, QRMIBackend, SamplerV2
from qrmi_qiskit.pubs import precision_of
from qrmi_qiskit.validation import check_circuit

theta, phi = Parameter("theta"), Parameter("phi")
TRANSPILE = (
    "transpile the circuit for this backend: generate_preset_pass_manager(optimization_level=1, backend=backend)"
)


def measured(width: int = 2, **parts: Any) -> QuantumCircuit:
    return QuantumCircuit(
        QuantumRegister(width, "q"), ClassicalRegister(parts.get("bits", width), parts.get("name", "c"))
    )


def native(*angles: Any) -> QuantumCircuit:
    """A circuit that the device can run."""
    circuit = measured(2)
    for angle in angles or (0.5,):
        circuit.rz(angle, 0)
        circuit.sx(0)
    circuit.cz(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def edited(edit: Callable[[QuantumCircuit], Any], width: int = 8) -> QuantumCircuit:
    circuit = measured(width)
    circuit.sx(0)
    edit(circuit)
    circuit.measure(0, 0)
    return circuit


def with_if(circuit: QuantumCircuit) -> None:
    circuit.measure(3, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(3)
        circuit.h(4)


def with_nested_loop(circuit: QuantumCircuit) -> None:
    circuit.measure(3, 0)
    with circuit.for_loop(range(3)):
        with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
            circuit.x(5)
        with otherwise:
            circuit.cz(5, 7)


CIRCUITS: list[tuple[Callable[[QuantumCircuit], Any], str]] = [
    (
        lambda c: c.h(3),
        "pub 0, instruction 1 (h on qubit 3): paper has no h, it has cz, delay, for_loop, id, if_else, measure, reset, "
        "rz, switch_case, sx, x; " + TRANSPILE,
    ),
    (lambda c: c.rzz(0.2, 0, 1), "pub 0, instruction 1 (rzz on qubits 0, 1): paper has no rzz"),
    (lambda c: c.ccx(0, 1, 2), "pub 0, instruction 1 (ccx on qubits 0, 1, 2): paper has no ccx"),
    (
        lambda c: c.cz(0, 2),
        "pub 0, instruction 1 (cz on qubits 0, 2): these qubits are not coupled, qubit 0 has cz with 1; " + TRANSPILE,
    ),
    (with_if, "pub 0, instruction 2 (if_else on qubits 3, 4), body 0, instruction 1 (h on qubit 4): paper has no h"),
    (
        with_nested_loop,
        (
            "pub 0, instruction 2 (for_loop on qubits 5, 7), body 0, instruction 0 (if_else on qubits 5, 7), body 1, "
            "instruction 0 (cz on qubits 5, 7): these qubits are not coupled, qubit 5 has cz with 4, 6"
        ),
    ),
]


@pytest.mark.parametrize(("edit", "message"), CIRCUITS)
def test_an_instruction_that_the_target_does_not_have(
    edit: Callable[[QuantumCircuit], Any], message: str, device: PaperDevice
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        SamplerV2(device).run([edited(edit)])
    with pytest.raises(InputError, match=re.escape(message)):
        EstimatorV2(device).run([(edited(edit), "I" * 8)])
    with pytest.raises(InputError, match=re.escape(message.replace("pub", "circuit"))):
        QRMIBackend(device).run(edited(edit))
    assert "task_start" not in device.calls


def test_a_gate_that_exists_in_the_other_direction(fez: dict[str, Any]) -> None:
    configuration = dict(fez["configuration"])
    configuration["basis_gates"] = ["ecr", "rz"]
    configuration["gates"] = [{"name": "ecr", "parameters": [], "qasm_def": "", "coupling_map": [[1, 0]]}]
    backend = QRMIBackend.from_target({"configuration": configuration}, name="one_way")
    circuit = measured(2)
    circuit.ecr(0, 1)
    with pytest.raises(InputError, match=r"ecr on qubits 0, 1\): one_way has ecr in the other direction only \(1, 0\)"):
        check_circuit(circuit, backend.target, backend.name, "pub 0")


def test_a_qubit_that_does_not_work(fez: dict[str, Any]) -> None:
    properties = dict(fez["properties"])
    properties["qubits"] = [list(qubit) for qubit in properties["qubits"]]
    properties["qubits"][4].append({"name": "operational", "unit": "", "value": 0, "date": "2026-01-01"})
    backend = QRMIBackend.from_target({**fez, "properties": properties}, name="broken")
    circuit = measured(5)
    circuit.sx(4)
    with pytest.raises(InputError, match=r"sx on qubit 4\): broken has no sx on this qubit"):
        check_circuit(circuit, backend.target, backend.name, "pub 0")


def test_an_angle_out_of_bounds(fez: dict[str, Any]) -> None:
    rzz = {"name": "rzz", "parameters": ["theta"], "qasm_def": "", "coupling_map": [[0, 1], [1, 0]]}
    configuration = dict(fez["configuration"])
    configuration["basis_gates"] = [*configuration["basis_gates"], "rzz"]
    configuration["gates"] = [*configuration["gates"], rzz]
    backend = QRMIBackend.from_target({"configuration": configuration}, use_fractional_gates=True)
    circuit = measured(2)
    circuit.rzz(theta, 0, 1)
    check_circuit(circuit, backend.target, "paper", "pub 0")
    circuit.rzz(2.0, 0, 1)
    with pytest.raises(InputError, match=r"instruction 1 \(rzz on qubits 0, 1\): the angle 2 is outside of what paper"):
        check_circuit(circuit, backend.target, "paper", "pub 0")


def test_too_many_qubits(device: PaperDevice) -> None:
    wide = measured(157)
    wide.measure(0, 0)
    with pytest.raises(InputError, match="pub 1: the circuit has 157 qubits and paper has 156"):
        SamplerV2(device).run([native(), wide])


def test_what_needs_no_hardware_passes(paper: QRMIBackend) -> None:
    circuit = measured(4)
    flag = circuit.add_var("flag", True)
    circuit.store(flag, False)
    circuit.barrier()
    circuit.delay(100, 2)
    circuit.reset(1)
    circuit.rz(theta, 3)
    with circuit.for_loop(range(2)):
        circuit.x(0)
        circuit.break_loop()
    with circuit.switch(circuit.clbits[0]) as case, case(1):
        circuit.cz(2, 3)
    circuit.measure_all()
    check_circuit(circuit, paper.target, "paper", "pub 0")


NOTHING_COMES_BACK: list[tuple[QuantumCircuit, str]] = [
    (QuantumCircuit(2), "the circuit has no classical register, so nothing comes back: add measure_all()"),
    (QuantumCircuit([Qubit()], [Clbit()]), "the circuit has no classical register"),
    (measured(2), "the circuit has no measurement, so every bit stays 0: add measure_all()"),
    (measured(1, name="class"), "the classical register 'class' must be named like a Python variable"),
    (measured(1, name="c-0"), "the classical register 'c-0' must be named like a Python variable"),
    (measured(1, name="shape"), "a classical register cannot be named 'shape': DataBin uses that name"),
    (measured(1, name="none", bits=0), "the classical register 'none' has no bits: leave it out"),
]


@pytest.mark.parametrize(("circuit", "message"), NOTHING_COMES_BACK)
def test_a_circuit_whose_samples_would_be_empty(circuit: QuantumCircuit, message: str, device: PaperDevice) -> None:
    with pytest.raises(InputError, match=re.escape(f"pub 0: {message}")):
        SamplerV2(device).run([circuit])
    assert "task_start" not in device.calls


def test_a_measurement_in_a_body_is_a_measurement(device: PaperDevice) -> None:
    circuit = measured(2)
    with circuit.for_loop(range(2)):
        circuit.measure(0, 0)
    SamplerV2(device).run([circuit])
    assert "task_start" in device.calls


SAMPLER_PUBS: list[tuple[Any, str]] = [
    ([], "run() was given an empty list: there is nothing to run"),
    (native(), "run() takes a list of pubs, not a QuantumCircuit: write run([circuit]) or run([(circuit, values)])"),
    (
        (native(theta), [0.1]),
        "run() takes a list of pubs, not one pub: write run([circuit]) or run([(circuit, values)])",
    ),
    (7, "run() takes a list of pubs, not an int"),
    ("OPENQASM 3.0;", "run() takes a list of pubs, not a str"),
    (["OPENQASM 3.0;"], "pub 0: a pub is (circuit, parameter values, shots), not a str: read it with qiskit.qasm3"),
    ([native(), None], "pub 1: a pub is (circuit, parameter values, shots), not a NoneType"),
    ([("x", [1])], "pub 0: its first part must be a QuantumCircuit, not a str"),
    ([(native(), None, 10, 3)], "pub 0: a pub is (circuit, parameter values, shots), not 4 things"),
    (
        [native(), native(theta, phi)],
        "pub 1: the circuit has unbound parameters (phi, theta) and no values were given: write (circuit, values)",
    ),
    ([(native(theta, phi), [0.1])], "The parameters are phi, theta."),
    ([(native(theta, phi), {"theta": 0.1})], "The parameters are phi, theta."),
    ([(native(theta), {"thet": 0.1})], "The parameters are theta."),
    ([(native(theta), [["a"]])], "pub 0:"),
    ([(native(), [0.1])], "pub 0:"),
    ([(native(theta), [[0.1], [float("nan")]])], "pub 0: the value of theta at index (1,) is not finite"),
    ([(native(theta), np.zeros((0, 1)))], "pub 0: it has the shape (0,), so there is nothing to run"),
    ([(native(), None, 0)], "pub 0: 0 shots were asked for; at least 1 is needed"),
    ([(native(), None, -5)], "pub 0: -5 shots were asked for; at least 1 is needed"),
    ([(native(), None, 10.0)], "pub 0: shots are a whole number, not 10.0 (float)"),
    ([(native(), None, True)], "pub 0: shots are a whole number, not True (bool)"),
    (
        [(native(), None, 10**6)],
        "pub 0: 1000000 shots were asked for; at most 100000 are run at once, use several pubs",
    ),
]


@pytest.mark.parametrize(("pubs", "message"), SAMPLER_PUBS)
def test_a_samplers_pub_that_is_not_complete(pubs: Any, message: str, device: PaperDevice) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        SamplerV2(device).run(pubs)
    assert "task_start" not in device.calls


def test_the_shots_of_a_run_and_of_the_options(device: PaperDevice) -> None:
    sampler = SamplerV2(device, options={"default_shots": 200_000})
    with pytest.raises(InputError, match=r"options\.default_shots: 200000 shots were asked for; at most 100000"):
        sampler.run([native()])
    with pytest.raises(InputError, match=r"run\(shots=...\): 0 shots were asked for"):
        sampler.run([native()], shots=0)
    with pytest.raises(InputError, match=r"run\(shots=...\): shots are a whole number, not '9' \(str\)"):
        sampler.run([native()], shots="9")  # type: ignore[arg-type]
    assert "task_start" not in device.calls


WIDE = SparsePauliOp("ZZZ")
ESTIMATOR_PUBS: list[tuple[Any, str]] = [
    ([], "run() was given an empty list"),
    ([native()], "pub 0: a pub is (circuit, observables, parameter values, precision), not 1 things: its observables"),
    ((native(), "ZZ"), "run() takes a list of pubs, not one pub: write run([(circuit, observables)])"),
    (
        [(native(), WIDE)],
        (
            "pub 0: the observables have 3 qubits and the circuit has 2; once a circuit is transpiled, adapt them to "
            "it: observable.apply_layout(circuit.layout)"
        ),
    ),
    ([(native(), [])], "pub 0: its observables are empty"),
    ([(native(), "ZW")], "pub 0:"),
    ([(native(), SparsePauliOp("ZZ", 1j))], "pub 0:"),
    ([(native(theta), "ZZ")], "pub 0: the circuit has unbound parameters (theta) and no values were given"),
    ([(native(theta), ["ZZ", "XX"], [[0.1], [0.2], [0.3]])], "pub 0:"),
    ([(native(), "ZZ", None, 0)], "pub 0: the precision is 0; a standard error above 0 is needed, such as 0.02"),
    ([(native(), "ZZ", None, -0.1)], "pub 0: the precision is -0.1"),
    ([(native(), "ZZ", None, "fine")], "pub 0: a precision is a number, not 'fine' (str)"),
]


@pytest.mark.parametrize(("pubs", "message"), ESTIMATOR_PUBS)
def test_an_estimators_pub_that_is_not_complete(pubs: Any, message: str, device: PaperDevice) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        EstimatorV2(device).run(pubs)
    assert "task_start" not in device.calls


def test_the_precision_of_a_run(device: PaperDevice) -> None:
    with pytest.raises(InputError, match=r"run\(precision=...\): the precision is nan"):
        EstimatorV2(device).run([(native(), "ZZ")], precision=float("nan"))


def test_a_transpiled_circuit_and_its_observable_pass(device: PaperDevice, paper: QRMIBackend) -> None:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.ccx(0, 1, 2)
    isa = generate_preset_pass_manager(optimization_level=1, backend=paper, seed_transpiler=5).run(circuit)
    EstimatorV2(device).run([(isa, WIDE.apply_layout(isa.layout))])
    assert device.calls.count("task_start") == 1


@pytest.mark.parametrize("shots", [1, 2, 3, 10, 49, 1000, 4096, 99_999])
def test_a_precision_for_shots_takes_just_so_many(shots: int) -> None:
    assert int(np.ceil(1 / precision_of(shots) ** 2)) == shots
