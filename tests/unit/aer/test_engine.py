# SPDX-License-Identifier: Apache-2.0
"""The engine before a task runs: names, targets, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit_aer import AerSimulator as Aer
from qiskit_ibm_runtime.utils.backend_converter import convert_to_target
from qiskit_ibm_runtime.utils.backend_decoder import configuration_from_server_data, properties_from_server_data

from qrmi_core import (
    InputError,
    JobContext,
    LimitExceeded,
    PulserBatch,
    QiskitPrimitive,
    QRMIService,
    ResourceNotFound,
    ResourceUnavailable,
    UnsupportedPayload,
)
from qrmi_qiskit.aer import snapshots
from qrmi_qiskit.aer.device import METHODS
from qrmi_qiskit.aer.engine import MAX_PUBS, AerSimulator
from qrmi_qiskit.target import build_target


def engine(name: str = "mine", **settings: str) -> AerSimulator:
    block = {"QRMI_AER_SNAPSHOT": "ideal"} | {f"QRMI_{key}": value for key, value in settings.items()}
    return AerSimulator.from_environment(name, block, JobContext())


def test_every_snapshot_is_an_engine() -> None:
    names = AerSimulator.embedded()
    assert next(iter(names)) == "aer_ideal"
    assert list(names)[1:] == sorted(list(names)[1:])
    assert names["aer_fez"] == {"QRMI_AER_SNAPSHOT": "fez"}
    assert len(names) > 60


def test_listing_engines_loads_no_simulator() -> None:
    code = (
        "import sys; from qrmi_qiskit.aer.engine import AerSimulator; n = len(AerSimulator.embedded());"
        "heavy = {'qiskit', 'qiskit_aer', 'qiskit_ibm_runtime', 'numpy', 'scipy'} & sys.modules.keys();"
        "assert n > 60 and not heavy, (n, heavy)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(snapshots, "_PACKAGE", "a_package_that_nobody_has")
    snapshots._directory.cache_clear()
    snapshots.snapshot_names.cache_clear()
    yield
    snapshots._directory.cache_clear()
    snapshots.snapshot_names.cache_clear()


@pytest.mark.usefixtures("nothing_installed")
def test_without_the_package_of_snapshots_there_is_the_ideal_one() -> None:
    assert list(AerSimulator.embedded()) == ["aer_ideal"]
    with pytest.raises(ResourceUnavailable, match="mine: QRMI_AER_SNAPSHOT is 'fez', and there are no snapshots"):
        engine(AER_SNAPSHOT="fez")
    said = "no QPU named aer_fez: simulators of IBM's devices need qiskit-ibm-runtime: pip install 'qrmi-providers"
    with pytest.raises(ResourceNotFound, match=said):
        QRMIService().resource("aer_fez")
    with pytest.raises(ResourceNotFound, match="no QPU named ibm_fez: there are aer_ideal"):
        QRMIService().resource("ibm_fez")


def test_an_unknown_snapshot_is_told_with_near_ones() -> None:
    count = len(snapshots.snapshot_names())
    said = f"mine: QRMI_AER_SNAPSHOT is 'fezz', which is none of the {count} snapshots nor ideal: did you mean fez"
    with pytest.raises(ResourceUnavailable, match=said):
        engine(AER_SNAPSHOT="fezz")
    with pytest.raises(ResourceUnavailable, match="the first are aachen, algiers"):
        engine(AER_SNAPSHOT="../../secret")


def test_an_unknown_method_is_told() -> None:
    with pytest.raises(ResourceUnavailable, match="QRMI_AER_METHOD is 'quick'; Aer has automatic, density_matrix"):
        engine(AER_METHOD="quick")
    assert set(METHODS) <= set(Aer().available_methods())


def test_a_limit_that_is_no_number_is_told() -> None:
    with pytest.raises(ResourceUnavailable, match="mine: QRMI_ENGINE_MAX_SHOTS is 'many'"):
        engine(ENGINE_MAX_SHOTS="many")


def test_the_target_of_a_snapshot_is_that_of_the_device_under_the_resources_name() -> None:
    document = engine("lab", AER_SNAPSHOT="fez", ENGINE_MAX_SHOTS="777").target().json()
    configuration, properties = document["configuration"], document["properties"]
    assert configuration["backend_name"] == "lab"
    assert configuration["simulator"] is True
    assert configuration["max_shots"] == 777
    original, unchanged = (json.loads(path.read_bytes()) for path in snapshots.snapshot_files("fez"))
    assert properties == unchanged
    changed = {key for key in original if original[key] != configuration[key]}
    assert changed == {"backend_name", "simulator", "max_shots"}
    target = convert_to_target(configuration_from_server_data(configuration), properties_from_server_data(properties))
    assert target.num_qubits == 156


def test_the_target_of_the_ideal_engine_takes_every_gate_anywhere() -> None:
    document = engine("aer_ideal").target().json()
    assert document["properties"] is None
    target = build_target(document["configuration"], use_fractional_gates=False)
    assert target.num_qubits == 30
    assert target.build_coupling_map() is None
    standard = get_standard_gate_name_mapping()
    aers = set(Aer().configuration().basis_gates) & standard.keys()
    control = {"if_else", "for_loop", "while_loop", "switch_case"}
    assert set(target.operation_names) == aers | control | {"measure", "reset", "delay"}
    for gate in document["configuration"]["gates"]:
        assert len(gate["parameters"]) == len(standard[gate["name"]].params), gate
    ibm = convert_to_target(configuration_from_server_data(document["configuration"], use_fractional_gates=None))
    assert set(ibm.operation_names) == set(target.operation_names)


def test_the_ideal_engine_has_no_more_qubits_than_it_may() -> None:
    assert engine(ENGINE_MAX_QUBITS="7").target().json()["configuration"]["n_qubits"] == 7


def test_metadata_says_what_is_simulated() -> None:
    assert engine("lab", AER_SNAPSHOT="rome").metadata() == {
        "backend_name": "lab",
        "snapshot": "rome",
        "method": "automatic",
    }


def sampler(**keys: object) -> QiskitPrimitive:
    return QiskitPrimitive("sampler", json.dumps({"pubs": [["q"]], "version": 2} | keys).encode())


@pytest.mark.parametrize(
    ("payload", "error", "said"),
    [
        (
            QiskitPrimitive("noise-learner", b"{}"),
            UnsupportedPayload,
            "sampler, estimator, executor, not 'noise-learner'",
        ),
        (QiskitPrimitive("sampler", b'{"pubs":\n['), InputError, "not JSON: line 2, column 2"),
        (QiskitPrimitive("sampler", b"\xff\xfe"), InputError, "not JSON"),
        (QiskitPrimitive("sampler", b"[" * 100_000), InputError, "not JSON"),
        (QiskitPrimitive("sampler", b"[]"), InputError, "not a JSON object"),
        (QiskitPrimitive("sampler", b"{}"), InputError, 'have no "pubs"'),
        (sampler(pubs=[]), InputError, 'have no "pubs"'),
        (sampler(pubs=[["q"]] * (MAX_PUBS + 1)), LimitExceeded, "10001 pubs, and mine takes 10000"),
        (sampler(supports_qiskit=True), InputError, "unknown keys: supports_qiskit; known are .*support_qiskit"),
        (sampler(options=[]), InputError, '"options" is not an object'),
        (sampler(version=1), UnsupportedPayload, "version 2 of the primitives, not 1"),
        (sampler(support_qiskit=False), UnsupportedPayload, 'needs "support_qiskit": true'),
        (QiskitPrimitive("sampler", b" " * (2**20 + 1)), LimitExceeded, "has 1048577 bytes and mine takes 1048576"),
    ],
)
def test_what_cannot_run_is_refused_before_submission(payload: Any, error: type[Exception], said: str) -> None:
    resource = engine(ENGINE_MAX_INPUT_MB="1")
    with pytest.raises(error, match=said):
        resource.check(payload)
    with pytest.raises(error, match=said):
        resource.submit(payload)
    assert resource.task_ids() == []


def test_another_kind_of_payload_is_refused() -> None:
    with pytest.raises(UnsupportedPayload, match=r"mine .*takes QiskitPrimitive, not PulserBatch"):
        engine().check(PulserBatch(b"{}", ()))


def test_what_ibms_clients_send_passes() -> None:
    engine().check(sampler(options={"default_shots": 5}, support_qiskit=True, shots=7))


def test_the_service_has_the_engines_without_any_configuration() -> None:
    service = QRMIService()
    assert isinstance(service.resource("aer_fez"), AerSimulator)
    assert service.resource("aer_ideal").is_accessible()
