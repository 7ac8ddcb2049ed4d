# SPDX-License-Identifier: Apache-2.0
"""Targets: the same as qiskit-ibm-runtime builds from the same files, and faster."""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.converters import dag_to_circuit
from qiskit.quantum_info import Operator
from qiskit.transpiler import Target
from qiskit_ibm_runtime.utils.backend_converter import convert_to_target
from qiskit_ibm_runtime.utils.backend_decoder import configuration_from_server_data, properties_from_server_data

from qrmi_core import InputError, ResultError
from qrmi_qiskit.aer.snapshots import snapshot_files
from qrmi_qiskit.target import Properties, build_target
from qrmi_qiskit.target.angles import fold_rzz

SNAPSHOTS = [
    "almaden",
    "armonk",
    "athens",
    "boston",
    "fez",
    "fractional",
    "kingston",
    "nighthawk",
    "rome",
    "sherbrooke",
    "torino",
]


def files(snapshot: str) -> tuple[bytes, bytes]:
    configuration, properties = snapshot_files(snapshot)
    return configuration.read_bytes(), properties.read_bytes()


def loaded(snapshot: str) -> tuple[dict[str, Any], dict[str, Any]]:
    configuration, properties = files(snapshot)
    return json.loads(configuration), json.loads(properties)


def ibms(configuration: bytes, properties: bytes, fractional: bool | None) -> Target:
    return convert_to_target(
        configuration_from_server_data(json.loads(configuration), use_fractional_gates=fractional),
        properties_from_server_data(json.loads(properties), use_fractional_gates=fractional),
    )


def described(target: Target) -> dict[str, Any]:
    """All that a target says, as values that can be compared."""

    def places(name: str) -> Any:
        return target[name] and {
            qubits: properties and (properties.duration, properties.error)
            for qubits, properties in target[name].items()
        }

    def kind(name: str) -> Any:
        operation = target.operation_from_name(name)
        if isinstance(operation, type):
            return operation
        return type(operation), operation.num_qubits, operation.num_clbits, list(map(str, operation.params))

    alignment = ("granularity", "min_length", "pulse_alignment", "acquire_alignment")
    return {
        "instructions": {name: (kind(name), places(name)) for name in target.operation_names},
        "qubits": [(qubit.t1, qubit.t2, qubit.frequency) for qubit in target.qubit_properties],
        "size": (target.num_qubits, target.dt),
        "alignment": {name: getattr(target, name) for name in alignment},
        "bounds": target.has_angle_bounds(),
    }


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_targets_equal_ibms(snapshot: str) -> None:
    configuration, properties = loaded(snapshot)
    for fractional in (None, True):
        built = build_target(configuration, properties, use_fractional_gates=fractional)
        assert described(built) == described(ibms(*files(snapshot), fractional))


@pytest.mark.parametrize("snapshot", ["fractional", "fez", "athens"])
def test_fractional_gates_are_left_out_as_ibm_does(snapshot: str) -> None:
    configuration, properties = loaded(snapshot)
    built = build_target(configuration, properties, use_fractional_gates=False)
    assert described(built) == described(ibms(*files(snapshot), False))
    assert not {"rx", "rzz"} & set(built.operation_names)


def test_the_input_is_left_as_it_is() -> None:
    configuration, properties = loaded("athens")
    before = copy.deepcopy((configuration, properties))
    build_target(configuration, properties, use_fractional_gates=False)
    assert (configuration, properties) == before


def test_what_does_not_work_is_left_out() -> None:
    configuration, properties = loaded("athens")
    broken = {"date": "2026-01-01T00:00:00+00:00", "name": "operational", "unit": "", "value": 0}
    properties["qubits"][1].append(broken)
    next(gate for gate in properties["gates"] if gate["qubits"] == [3, 4])["parameters"].append(broken)

    target = build_target(configuration, properties)

    assert set(target["sx"]) == {(0,), (2,), (3,), (4,)}
    assert set(target["measure"]) == set(target["delay"]) == set(target["sx"])
    assert set(target["cx"]) == {(2, 3), (3, 2), (4, 3)}
    read = Properties.from_dict(properties)
    assert read.faulty_qubits() == [1]
    assert read.faulty_gates() == [("cx", (3, 4))]
    assert not read.is_gate_operational("cx", [3, 4])
    assert read.is_gate_operational("cx", [4, 3])
    ibm = ibms(json.dumps(configuration).encode(), json.dumps(properties).encode(), None)
    assert described(target) == described(ibm)


def test_properties_are_numbers_in_si_units() -> None:
    _, raw = loaded("fez")
    properties = Properties.from_dict(raw)
    ibm = properties_from_server_data(json.loads(files("fez")[1]))
    assert properties.backend_name == "ibm_fez"
    assert isinstance(properties.last_update_date, dt.datetime)
    for qubit in (0, 77, 155):
        assert properties.t1(qubit) == ibm.t1(qubit)
        assert properties.t2(qubit) == ibm.t2(qubit)
        assert properties.readout_error(qubit) == ibm.readout_error(qubit)
        assert properties.readout_length(qubit) == ibm.readout_length(qubit)
        assert properties.gate_error("sx", qubit) == ibm.gate_error("sx", qubit)
    assert properties.gate_length("cz", [0, 1]) == ibm.gate_length("cz", [0, 1])
    assert Properties.from_dict(loaded("athens")[1]).frequency(3) == pytest.approx(4.83e9, rel=0.01)


def test_what_is_not_reported_is_told() -> None:
    properties = Properties.from_dict(loaded("fez")[1])
    with pytest.raises(InputError, match="ibm_fez reports 156 qubits, there is no qubit 156"):
        properties.t1(156)
    with pytest.raises(InputError, match="ibm_fez does not report frequency of qubit 3"):
        properties.frequency(3)
    with pytest.raises(InputError, match=r"ibm_fez does not report gate_error of cz on \[0, 5\]"):
        properties.gate_error("cz", [0, 5])


def test_malformed_documents_are_told() -> None:
    configuration, properties = loaded("athens")
    with pytest.raises(ResultError, match="the configuration of ibmq_athens cannot be read"):
        build_target({key: value for key, value in configuration.items() if key != "n_qubits"})
    with pytest.raises(ResultError, match="the properties of the backend cannot be read"):
        build_target(configuration, {"qubits": [[{"name": "T1"}]], "gates": []})
    with pytest.raises(ResultError, match="unknown unit 'xs'"):
        build_target(configuration, properties | {"qubits": [[{"name": "T1", "unit": "xs", "value": 1}]]})


def test_without_properties_every_gate_is_there_and_perfect() -> None:
    configuration, _ = loaded("athens")
    target = build_target(configuration)
    assert set(target["cx"]) == {(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2), (3, 4), (4, 3)}
    assert set(target["cx"].values()) == {None}


@pytest.mark.parametrize("angle", np.linspace(-4 * math.pi, 4 * math.pi, 65))
def test_rzz_of_any_angle_becomes_one_that_the_device_takes(angle: float) -> None:
    wanted = QuantumCircuit(2)
    wanted.rzz(angle, 0, 1)
    folded = dag_to_circuit(fold_rzz([angle], []))
    assert np.allclose(Operator(folded).data, Operator(wanted).data)
    assert all(0 <= op.params[0] <= math.pi / 2 for op in folded.data if op.name == "rzz")


def test_the_transpiler_folds_rzz_on_its_own() -> None:
    target = build_target(*loaded("fractional"))
    circuit = QuantumCircuit(2)
    circuit.rx(1, [0, 1])
    circuit.rzz(-2.5, 0, 1)
    isa = transpile(circuit, target=target, initial_layout=[0, 1], optimization_level=1, seed_transpiler=1)
    assert [0 <= op.params[0] <= math.pi / 2 for op in isa.data if op.name == "rzz"] == [True]
    alone = QuantumCircuit(2)
    for op in isa.data:
        alone.append(op.operation, [isa.find_bit(qubit).index for qubit in op.qubits])
    assert Operator(alone).equiv(Operator(circuit))
