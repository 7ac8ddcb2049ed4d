# SPDX-License-Identifier: Apache-2.0
"""QRMIBackend: what it knows of its target, and when it asks."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from paper_device import PaperDevice
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler import generate_preset_pass_manager

from qrmi_core import (
    ConfigurationError,
    InputError,
    ResourceStatus,
    ResourceStatusCode,
    ResourceUnavailable,
    ResultError,
)
from qrmi_qiskit import QRMIBackend


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def test_making_a_backend_asks_nothing_and_the_target_is_fetched_once(device: PaperDevice) -> None:
    backend = QRMIBackend(device)
    assert backend.name == "paper"
    assert device.calls == []
    threads = [threading.Thread(target=lambda: backend.target) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert backend.num_qubits == 156
    assert device.calls == ["target"]


def test_what_users_read(device: PaperDevice) -> None:
    backend = QRMIBackend(device)
    assert backend.num_qubits == backend.target.num_qubits == 156
    assert backend.dt == 4e-9
    assert backend.max_circuits is None
    assert backend.max_shots == 100_000
    assert backend.simulator is False
    assert (0, 1) in backend.coupling_map.get_edges()
    assert {"cz", "rz", "sx", "measure", "if_else"} <= set(backend.operation_names)
    assert backend.configuration().basis_gates == ["cz", "id", "rz", "sx", "x"]
    assert backend.configuration().n_qubits == backend.configuration().num_qubits == 156
    assert "n_qubits" in dir(backend.configuration())
    assert backend.configuration().to_dict()["backend_name"] == "ibm_fez"
    properties = backend.properties()
    assert properties is not None
    assert 1e-6 < properties.t1(0) < 1e-2
    assert backend.target["cz"][(0, 1)].error == properties.gate_error("cz", (0, 1))


def test_an_unknown_key_of_the_configuration(paper: QRMIBackend) -> None:
    with pytest.raises(AttributeError, match="the configuration has no max_shot; did you mean max_shots"):
        _ = paper.configuration().max_shot


def test_status(device: PaperDevice) -> None:
    backend = QRMIBackend(device)
    status = backend.status()
    assert (status.operational, status.pending_jobs, status.status_msg) == (True, 3, "active")
    device.told = ResourceStatus(ResourceStatusCode.PAUSED, status_reason="maintenance until noon")
    assert backend.status().to_dict() == {
        "backend_name": "paper",
        "backend_version": "",
        "operational": False,
        "pending_jobs": 0,
        "status_msg": "maintenance until noon",
    }


def test_refresh_fetches_again(device: PaperDevice, fez: dict[str, Any]) -> None:
    backend = QRMIBackend(device)
    assert backend.target.num_qubits == 156
    device.target_json = json.dumps({"configuration": {**fez["configuration"], "max_shots": 7}, "properties": None})
    assert backend.max_shots == 100_000
    backend.refresh()
    assert backend.max_shots == 7
    assert backend.properties() is None


def test_a_failed_refresh_keeps_what_there_was(device: PaperDevice) -> None:
    backend = QRMIBackend(device)
    assert backend.num_qubits == 156
    device.target_json = '{"configuration": null, "properties": null}'
    with pytest.raises(ResourceUnavailable, match="paper gives no configuration now: ask again later") as caught:
        backend.refresh()
    assert caught.value.transient
    assert backend.num_qubits == 156


def test_targets_of_another_kind(device: PaperDevice) -> None:
    device.target_json = '{"dimensions": 2}'
    with pytest.raises(ResourceUnavailable, match=r"paper \(ibm-quantum-compute-service\) has no target for circuits"):
        _ = QRMIBackend(device).target
    device.target_json = '{"configuration": {"n_qubits'
    with pytest.raises(ResultError, match="the target is not JSON"):
        _ = QRMIBackend(device).target
    device.target_json = '{"configuration": {"n_qubits": 2}}'
    with pytest.raises(ResultError, match="it needs n_qubits, basis_gates and gates"):
        _ = QRMIBackend(device).target


def test_fractional_gates_are_kept_when_asked_for(fez: dict[str, Any]) -> None:
    rx = {"name": "rx", "parameters": ["theta"], "qasm_def": "", "coupling_map": [[0], [1]]}
    configuration = dict(fez["configuration"])
    configuration["basis_gates"] = [*configuration["basis_gates"], "rx"]
    configuration["gates"] = [*configuration["gates"], rx]
    assert "rx" not in QRMIBackend.from_target({"configuration": configuration}).operation_names
    kept = QRMIBackend.from_target({"configuration": configuration}, use_fractional_gates=True)
    assert "rx" in kept.operation_names


@pytest.mark.parametrize("form", ["path", "name of the file", "text", "bytes", "object"])
def test_a_backend_without_a_resource_transpiles(form: str, fez: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "fez.json"
    file.write_text(json.dumps(fez, indent=1))
    sources = {
        "path": file,
        "name of the file": str(file),
        "text": file.read_text(),
        "bytes": file.read_bytes(),
        "object": fez,
    }
    backend = QRMIBackend.from_target(sources[form])
    assert backend.name == "ibm_fez"
    circuit = generate_preset_pass_manager(optimization_level=1, backend=backend).run(bell())
    assert circuit.num_qubits == 156
    assert set(circuit.count_ops()) <= {"cz", "rz", "sx", "x", "measure", "barrier"}


def test_a_backend_without_a_resource_runs_nothing(paper: QRMIBackend) -> None:
    circuit = generate_preset_pass_manager(optimization_level=1, backend=paper).run(bell())
    message = r"paper was made from a target and has no QPU behind it: use QRMIProvider\(\).backend\(...\) in a job"
    for ask in (lambda: paper.run(circuit), paper.refresh, paper.status, lambda: paper.retrieve_job("1")):
        with pytest.raises(ResourceUnavailable, match=message):
            ask()


def test_a_name_of_ones_own(fez: dict[str, Any]) -> None:
    assert repr(QRMIBackend.from_target(fez, name="mine")) == "<QRMIBackend('mine')>"


FILES: list[tuple[str, str]] = [
    ('{"configuration": {\n  "n_qubits": 3,,\n}}', ": line 2, column 17: it is not JSON: Expecting property name"),
    ("[]", ': a target for Qiskit is {"configuration": {...}, "properties": {...}}, as `qrmi target NAME` prints it'),
    ('{"dimensions": 2, "name": "AnalogDevice"}', "this is a Pulser device: qrmi_pulser.device(file) reads it"),
    ('{"configuration": {"n_qubits": 5}}', "it needs n_qubits, basis_gates and gates as IBM's backends give them"),
    ('{"configuration": {"n_qubits": 1, "basis_gates": [], "gates": []}, "properties": {"qubits": 1}}', "properties"),
    ("", ": line 1, column 1: it is not JSON: Expecting value"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_a_malformed_file(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "device.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        QRMIBackend.from_target(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert caught.value.file == str(file)


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "device.json"
    with pytest.raises(ConfigurationError, match=r"device\.json: it cannot be read: No such file or directory"):
        QRMIBackend.from_target(file)
    file.write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigurationError, match=r"device\.json: it is not JSON"):
        QRMIBackend.from_target(file)
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        QRMIBackend.from_target(tmp_path)


def test_text_that_is_not_json_has_its_place_too() -> None:
    with pytest.raises(ConfigurationError, match=r"^line 1, column 3: it is not JSON"):
        QRMIBackend.from_target("{ configuration: {} }")


def test_options_of_run(device: PaperDevice) -> None:
    backend = QRMIBackend(device)
    circuit = generate_preset_pass_manager(optimization_level=1, backend=backend).run(bell())
    with pytest.raises(InputError, match=r"backend\.run has no option 'shot'; did you mean shots\?"):
        backend.run(circuit, shot=3)
    with pytest.raises(InputError, match=r"there are shots, memory, seed_simulator"):
        backend.run(circuit, parameter_binds=[])
    with pytest.raises(InputError, match="gives classified bits only"):
        backend.run(circuit, meas_level=1)
    with pytest.raises(InputError, match="0 shots were asked for"):
        backend.run(circuit, shots=0)
    with pytest.raises(InputError, match="an empty list"):
        backend.run([])
    with pytest.raises(InputError, match="not a str"):
        backend.run(["circuit"])
    unbound = QuantumCircuit(1)
    unbound.rz(Parameter("angle"), 0)
    with pytest.raises(InputError, match=r"unbound parameters \(angle\)"):
        backend.run(unbound)
    assert "task_start" not in device.calls


def test_options_of_run_that_are_sent(device: PaperDevice) -> None:
    backend = QRMIBackend(device)
    circuit = generate_preset_pass_manager(optimization_level=1, backend=backend).run(bell())
    job = backend.run(circuit, shots=12, seed_simulator=4, rep_delay=1e-4, meas_level=2)
    sent = json.loads(device.payloads[job.job_id()].parameters)
    assert sent["options"] == {"simulator": {"seed_simulator": 4}, "execution": {"rep_delay": 1e-4}}
    assert sent["pubs"][0][2] == 12
    backend.set_options(shots=77)
    sent = json.loads(device.payloads[backend.run(circuit).job_id()].parameters)
    assert sent["options"] == {}
    assert sent["pubs"][0][2] == 77
