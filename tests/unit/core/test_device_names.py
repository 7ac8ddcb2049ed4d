# SPDX-License-Identifier: Apache-2.0
"""A resource answers to the name of its device too, and in a job a simulator to that of the device that it imitates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrmi_core import AmbiguousResource, QRMIService, ResourceNotFound, ResourceUnavailable
from qrmi_core.names import answering


def in_job(monkeypatch: pytest.MonkeyPatch, types: dict[str, str], **variables: str) -> QRMIService:
    lists = {"QRMI_JOB_QPU_RESOURCES": ",".join(types), "QRMI_JOB_QPU_TYPES": ",".join(types.values())}
    for name, value in {**lists, **variables}.items():
        monkeypatch.setenv(name, value)
    return QRMIService()


def test_a_simulator_of_a_job_answers_to_the_device_that_it_imitates(monkeypatch: pytest.MonkeyPatch) -> None:
    types = {"fez": "aer-simulator", "perfect": "aer-simulator", "atoms": "pulser-simulator"}
    service = in_job(monkeypatch, types, fez_QRMI_AER_SNAPSHOT="fez", perfect_QRMI_AER_SNAPSHOT="ideal")
    assert service.resource("ibm_fez").name == "fez"
    assert service.resource("FRESNEL").name == service.resource("AnalogDevice").name == "atoms"
    with pytest.raises(ResourceNotFound, match="this job has no QPU named ibm_torino: there are atoms, fez, perfect"):
        service.resource("ibm_torino")


def test_a_simulator_whose_entry_says_nothing_is_the_one_of_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    block = {"type": "aer-simulator", "environment": {"QRMI_ENGINE_MAX_SHOTS": "7"}}
    file = tmp_path / "qrmi_config.json"
    file.write_text(json.dumps({"resources": [{"name": name, **block} for name in ("aer_manila", "mine")]}))
    configured = QRMIService(config=file)
    assert configured.resource("aer_manila").metadata()["snapshot"] == "manila"
    with pytest.raises(ResourceUnavailable, match=r"mine\.environment: the type aer-simulator needs QRMI_AER_SNAPSHOT"):
        configured.resource("mine")
    of_job = in_job(monkeypatch, {"aer_manila": "aer-simulator"}).resource("aer_manila")
    assert of_job.metadata()["snapshot"] == "manila"


def test_a_device_that_several_have_is_refused_with_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    service = in_job(monkeypatch, {"left": "pulser-simulator", "right": "pulser-simulator"})
    with pytest.raises(AmbiguousResource, match="several QPUs whose device is FRESNEL, name one: left, right"):
        service.resource("FRESNEL")


def test_names_come_before_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    service = in_job(monkeypatch, {"FRESNEL": "pasqal-cloud", "atoms": "pulser-simulator"})
    assert service.listed("FRESNEL").type == "pasqal-cloud"


def test_a_resource_of_a_job_answers_to_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    service = in_job(monkeypatch, {"cloud": "pasqal-cloud"}, cloud_QRMI_DEVICE="EMU_MPS")
    assert service.listed("EMU_MPS").name == "cloud"


def test_outside_a_job_nobody_who_asks_for_a_device_is_handed_a_simulator(tmp_path: Path) -> None:
    entry = {"name": "cloud", "type": "pasqal-cloud", "device": "FRESNEL", "environment": {}}
    (tmp_path / "qrmi_config.json").write_text(json.dumps({"resources": [entry]}))
    service = QRMIService(tmp_path / "qrmi_config.json")
    assert service.listed("FRESNEL").name == "cloud"
    with pytest.raises(ResourceNotFound, match="no QPU named ibm_fez: aer_fez simulates that device; "):
        service.resource("ibm_fez")


def test_a_device_that_cannot_be_told_is_no_obstacle(tmp_path: Path) -> None:
    block = {"QRMI_PASQAL_CLOUD_CLIENT_SECRET": {"file": str(tmp_path / "missing")}}
    entries = [
        {"name": "secretive", "type": "pasqal-cloud", "device": "FRESNEL", "environment": block},
        {"name": "cloud", "type": "pasqal-cloud", "device": "FRESNEL", "environment": {}},
    ]
    (tmp_path / "qrmi_config.json").write_text(json.dumps({"resources": entries}))
    assert QRMIService(tmp_path / "qrmi_config.json").listed("FRESNEL").name == "cloud"


def test_who_answers() -> None:
    devices = {"a": ("x",), "b": ("x", "y"), "x_of_c": ("a",)}
    assert answering("a", devices) == ["a"]
    assert answering("x", devices) == ["a", "b"]
    assert answering("y", devices) == ["b"]
    assert answering("z", devices) == []
