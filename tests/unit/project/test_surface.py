# SPDX-License-Identifier: Apache-2.0
"""What the distribution offers is what is listed here: a change of it is a change of this file."""

from __future__ import annotations

import importlib
from importlib.metadata import distribution

import pytest

PUBLIC = {
    "qrmi_core": """
        AliceBobFelis AmbiguousResource AuthenticationFailed BatchResource ConfigurationError EngineResource IQMServer
        InputError JobContext JobEnvironmentError LeaseError LeaseRefused LimitExceeded Limits ListedResource
        NoQPUError Payload PulserBatch PulserJob QRMIError QRMIService QRMIWarning QiskitPrimitive QuantumResource
        ReleaseIncomplete ResourceCapacity ResourceError ResourceNotFound ResourceStatus ResourceStatusCode
        ResourceUnavailable ResultError SubmissionUncertain Target Task TaskCancelled TaskError TaskFailed TaskInfo
        TaskNotFound TaskNotReady TaskResult TaskStatus UnsupportedFunction UnsupportedPayload Variable VendorError
        VendorUnreachable WaitTimeout Work
    """,
    "qrmi_qiskit": """
        EstimatorOptions EstimatorV2 QRMIBackend QRMICircuitJob QRMIJob QRMIProvider SamplerOptions SamplerV2
    """,
    "qrmi_pulser": "QRMIConnection QiskitPasqalBackend device",
}

ENTRY_POINTS = {
    ("console_scripts", "qrmi", "qrmi_core.cli:main"),
    ("qrmi.converters", "pulser-sequence", "qrmi_pulser.building:build"),
    ("qrmi.conformance", "PulserBatch", "qrmi_pulser.conformance:PulserPrograms"),
    ("qrmi.drivers", "alice-bob-felis", "qrmi_core.drivers.felis:AliceBobFelisDriver"),
    ("qrmi.drivers", "ibm-quantum-compute-service", "qrmi_core.drivers.ibm_compute:IBMQuantumComputeService"),
    ("qrmi.drivers", "ibm-quantum-system", "qrmi_core.drivers.ibm_system:IBMQuantumSystem"),
    ("qrmi.drivers", "iqm-server", "qrmi_core.drivers.iqm:IQMServerDriver"),
    ("qrmi.drivers", "pasqal-cloud", "qrmi_core.drivers.pasqal_cloud:PasqalCloud"),
    ("qrmi.drivers", "pasqal-local", "qrmi_core.drivers.pasqal_local:PasqalLocal"),
    ("qrmi.drivers", "qiskit-runtime-service", "qrmi_core.drivers.ibm_compute:QiskitRuntimeService"),
    ("qrmi.engines", "aer-simulator", "qrmi_qiskit.aer.engine:AerSimulator"),
    ("qrmi.engines", "felis-simulator", "qrmi_qiskit.felis.engine:FelisSimulator"),
    ("qrmi.engines", "iqm-simulator", "qrmi_qiskit.iqm.engine:IQMSimulator"),
    ("qrmi.engines", "pulser-simulator", "qrmi_pulser.engine:PulserSimulator"),
}


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_surface_is_the_one_listed(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(PUBLIC[package].split())
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))


def test_the_entry_points_are_those_listed() -> None:
    found = {(point.group, point.name, point.value) for point in distribution("qrmi-providers").entry_points}
    assert found == ENTRY_POINTS


def test_every_entry_point_loads() -> None:
    for point in distribution("qrmi-providers").entry_points:
        assert callable(point.load())
