# SPDX-License-Identifier: Apache-2.0
"""The public surface, with and without Pulser, and which resource a connection chooses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pulser_programs import engine

import qrmi_pulser
from qrmi_core import (
    AmbiguousResource,
    JobContext,
    QRMIService,
    ResourceNotFound,
    ResourceUnavailable,
    UnsupportedPayload,
)
from qrmi_pulser import QRMIConnection

WITHOUT_PULSER = """
import sys
for name in ("pulser", "pulser_simulation", "numpy", "pasqal_cloud"):
    sys.modules[name] = None
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_the_public_surface_is_what_is_listed() -> None:
    assert qrmi_pulser.__all__ == sorted(qrmi_pulser.__all__)
    assert set(qrmi_pulser.__all__) <= set(dir(qrmi_pulser))
    for name in qrmi_pulser.__all__:
        assert getattr(qrmi_pulser, name) is not None
    with pytest.raises(AttributeError, match="module 'qrmi_pulser' has no attribute 'Connection'"):
        qrmi_pulser.Connection  # noqa: B018


def test_it_imports_without_pulser_and_says_what_to_install() -> None:
    assert python(WITHOUT_PULSER + "import qrmi_pulser; print(qrmi_pulser.__all__)").startswith("['QRMIConnection'")
    for name in qrmi_pulser.__all__:
        extra = "qiskit-pasqal" if "Qiskit" in name else "pulser"
        said = python(WITHOUT_PULSER + f"import qrmi_pulser; qrmi_pulser.{name}").splitlines()
        assert said[-1] == (
            f"ImportError: qrmi_pulser.{name} needs pulser, which is not installed: "
            f"pip install 'qrmi-providers[{extra}]'"
        )
        assert not any("ModuleNotFoundError" in line for line in said)


def test_the_engine_says_so_too() -> None:
    code = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name.startswith("pulser") else found(name)
from qrmi_core import QRMIService
resource = QRMIService().resource("pulser_analog")
print(resource.status().status_reason)
try:
    resource.target()
except Exception as error:
    print(error)
"""
    lines = python(code).splitlines()
    assert lines == ["pulser_analog needs pulser, pulser_simulation: pip install 'qrmi-providers[pulser]'"] * 2


def test_importing_it_is_cheap() -> None:
    code = "import sys, qrmi_pulser; print(*{'pulser', 'numpy', 'qrmi_core.engines.resource'} & set(sys.modules))"
    assert python(code).strip() == ""


def in_job(monkeypatch: pytest.MonkeyPatch, **resources: str) -> None:
    monkeypatch.setenv("QRMI_JOB_QPU_RESOURCES", ",".join(resources))
    monkeypatch.setenv("QRMI_JOB_QPU_TYPES", ",".join(resources.values()))


def test_without_a_name_it_takes_the_only_pulser_qpu(monkeypatch: pytest.MonkeyPatch, spool: Path) -> None:
    assert QRMIConnection().resource.name == "pulser_analog"
    in_job(monkeypatch, gates="aer-simulator", atoms="pulser-simulator")
    assert QRMIConnection().resource.name == "atoms"


def test_several_pulser_qpus_want_a_name(monkeypatch: pytest.MonkeyPatch, spool: Path) -> None:
    in_job(monkeypatch, left="pulser-simulator", right="pulser-simulator")
    with pytest.raises(
        AmbiguousResource, match=r"this job has several Pulser QPUs.*QRMIConnection\(name\): left, right"
    ):
        QRMIConnection()
    assert QRMIConnection("right").resource.name == "right"
    with pytest.raises(ResourceNotFound, match="this job has no QPU named middle"):
        QRMIConnection("middle")


def test_no_pulser_qpu_says_what_there_is(monkeypatch: pytest.MonkeyPatch, spool: Path) -> None:
    in_job(monkeypatch, atoms="pulser-simulator", other="nothing-known")
    monkeypatch.setenv("atoms_QRMI_ENGINE_LANES", "none")
    with pytest.raises(ResourceNotFound) as refused:
        QRMIConnection()
    assert "this job has no Pulser QPU: atoms cannot be used: atoms: QRMI_ENGINE_LANES is 'none'" in str(refused.value)
    assert "other cannot be used: " in str(refused.value)
    assert "no driver is installed for the type nothing-known" in str(refused.value)
    with pytest.raises(ResourceUnavailable, match="QRMI_ENGINE_LANES is 'none'"):
        QRMIConnection("atoms")


def test_other_qpus_run_no_pulser_programs(spool: Path) -> None:
    with pytest.raises(UnsupportedPayload, match=r"aer_ideal \(aer-simulator\) runs no Pulser programs"):
        QRMIConnection("aer_ideal")
    with pytest.raises(UnsupportedPayload, match=r"aer_ideal \(aer-simulator\) runs no Pulser programs"):
        QRMIConnection(QRMIService().resource("aer_ideal"))
    with pytest.raises(TypeError, match="takes the name of a resource, a QuantumResource or nothing, not int"):
        QRMIConnection(5)  # type: ignore[arg-type]


def test_a_resource_object_is_taken_as_it_is() -> None:
    resource = engine("mine")
    assert resource.context == JobContext()
    assert QRMIConnection(resource).resource is resource
