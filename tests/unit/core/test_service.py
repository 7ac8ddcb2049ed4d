# SPDX-License-Identifier: Apache-2.0
"""QRMIService: which resources there are, and why one cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from tiny_engine import Device, TinyEngine

from qrmi_core import (
    AmbiguousResource,
    ConfigurationError,
    JobEnvironmentError,
    NoQPUError,
    QRMIService,
    QRMIWarning,
    ResourceNotFound,
    ResourceUnavailable,
    Target,
    discovery,
)

POINTS = [
    EntryPoint("tiny-simulator", "tiny_engine:TinyEngine", "qrmi.engines"),
    EntryPoint("device", "tiny_engine:Device", "qrmi.drivers"),
    EntryPoint("broken", "no_such_module:Driver", "qrmi.drivers"),
    EntryPoint("wrong", "json:JSONDecoder", "qrmi.drivers"),
    EntryPoint("broken-engine", "no_such_engine:Engine", "qrmi.engines"),
]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Exactly these plug-ins, loaded as real entry points are."""
    monkeypatch.setattr(discovery, "_points", lambda: tuple(POINTS))
    discovery._found.cache_clear()
    discovery._loaded.cache_clear()
    yield
    discovery._found.cache_clear()
    discovery._loaded.cache_clear()


def in_job(monkeypatch: pytest.MonkeyPatch, names: str, types: str, **variables: str) -> None:
    for name, value in {"QRMI_JOB_QPU_RESOURCES": names, "QRMI_JOB_QPU_TYPES": types, **variables}.items():
        monkeypatch.setenv(name, value)


def test_a_job_with_one_qpu_needs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch, "mine", "tiny-simulator", mine_QRMI_ENGINE_SEED="3", mine_QRMI_JOB_ACQUISITION_TOKEN="t")
    resource = QRMIService().resource()
    assert (resource.resource_id(), resource.resource_type()) == ("mine", "tiny-simulator")
    assert isinstance(resource, TinyEngine)
    assert resource.seed == 3
    assert resource.context.acquisition_token == "t"


def test_a_job_with_several_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch, "a,b", "tiny-simulator,tiny-simulator")
    service = QRMIService()
    assert [resource.name for resource in service.resources()] == ["a", "b"]
    with pytest.raises(AmbiguousResource, match="this job has several QPUs, name one: a, b"):
        service.resource()
    with pytest.raises(ResourceNotFound, match="this job has no QPU named c: there are a, b"):
        service.resource("c")


def test_one_bad_resource_hides_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "good,unknown,gone,odd,seedless"
    in_job(monkeypatch, names, "tiny-simulator,nobodys,broken,wrong,tiny-simulator", seedless_QRMI_ENGINE_SEED="x")
    service = QRMIService()
    assert [resource.name for resource in service.resources()] == ["good"]
    listed = {entry.name: str(entry.problem) for entry in service.listing() if entry.problem}
    assert set(listed) == {"unknown", "gone", "odd", "seedless"}
    for name, message in {
        "unknown": "unknown cannot be used: no driver is installed for the type nobodys",
        "gone": r"the driver for broken cannot be loaded \(no_such_module:Driver .*ModuleNotFoundError",
        "odd": "the driver for wrong cannot be loaded .*not a subclass of QuantumResource",
        "seedless": "seedless: QRMI_ENGINE_SEED is 'x': a whole number",
    }.items():
        with pytest.raises(ResourceUnavailable, match=message):
            service.resource(name)


def test_a_job_without_qpu_raises_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QRMI_PLUGIN_ERROR", "the lane is still in use")
    with pytest.raises(NoQPUError, match="this job has no QPU: the lane is still in use"):
        QRMIService()
    monkeypatch.delenv("QRMI_PLUGIN_ERROR")
    in_job(monkeypatch, "", "")
    with pytest.raises(JobEnvironmentError, match="QRMI_JOB_QPU_RESOURCES is empty"):
        QRMIService()


def test_outside_a_job_the_engines_are_there_and_a_broken_one_is_reported() -> None:
    service = QRMIService()
    assert service.names() == ["tiny"]
    assert service.resource().name == "tiny"
    (problem,) = service.problems
    assert "the driver for broken-engine cannot be loaded" in str(problem)


def written(path: Path, *entries: dict[str, Any]) -> Path:
    file = path / "qrmi_config.json"
    file.write_text(json.dumps({"resources": list(entries)}))
    return file


def entry(name: str, kind: str = "device", **environment: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "environment": environment}


def test_a_configuration_adds_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, entry("device_5"), entry("TINY", "tiny-simulator"))
    assert QRMIService(file).names() == ["device_5", "TINY"]
    monkeypatch.setenv("QRMI_CONFIG", str(file))
    service = QRMIService()
    assert service.names() == ["device_5", "TINY"]
    with pytest.raises(AmbiguousResource, match="no QPU was chosen, and there are 2: name one"):
        service.resource()


def test_the_option_counts_even_inside_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch, "mine", "tiny-simulator")
    assert QRMIService(written(tmp_path, entry("device_5"))).names() == ["device_5", "tiny"]


def test_a_block_that_does_not_fit_the_type_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, entry("a", "tiny-simulator", QRMI_ENGINE_SED="1"), entry("device_5"))
    service = QRMIService(file)
    message = r"qrmi_config\.json: a\.environment: .* has no variable QRMI_ENGINE_SED; did you mean QRMI_ENGINE_SEED"
    with pytest.raises(ResourceUnavailable, match=message):
        service.resource("a")
    assert service.resource("device_5").name == "device_5"


def test_a_missing_secret_makes_only_its_resource_unusable(tmp_path: Path) -> None:
    file = written(tmp_path, {**entry("a"), "environment": {"QRMI_ENGINE_SEED": {"env": "NOT_SET"}}}, entry("device_5"))
    service = QRMIService(file)
    with pytest.raises(ConfigurationError, match=r"a\.environment\.QRMI_ENGINE_SEED: the variable NOT_SET is not set"):
        service.resource("a")
    assert [resource.name for resource in service.resources()] == ["device_5", "tiny"]


@pytest.fixture
def service(tmp_path: Path) -> QRMIService:
    return QRMIService(written(tmp_path, entry("device_5"), entry("device_20"), entry("device_100")))


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        ({"type": "device"}, ["device_5", "device_20", "device_100"]),
        ({"name": "*_?0"}, ["device_20"]),
        ({"min_qubits": 20}, ["device_20", "device_100"]),
        ({"simulator": False, "max_two_qubit_error": 0.005}, ["device_100"]),
        ({"simulator": True}, ["device_5", "tiny"]),
        ({"min_shots": 20_000}, ["device_20", "device_100"]),
        ({"max_two_qubit_error": 0.04}, ["device_5", "device_20", "device_100"]),
        ({"max_readout_error": 0.02, "min_qubits": 100}, ["device_100"]),
        ({"max_readout_error": 0.019}, []),
        ({"online": True, "min_qubits": 100}, ["device_100"]),
    ],
)
def test_resources_are_selected_by_criteria(service: QRMIService, criteria: dict[str, Any], found: list[str]) -> None:
    assert [resource.name for resource in service.select(**criteria)] == found


def test_the_least_busy_is_online_and_meets_the_criteria(service: QRMIService, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.least_busy(min_qubits=20).name == "device_20"
    with pytest.raises(ResourceNotFound, match=r"no QPU is online and meets the criteria \(min_qubits=500\)"):
        service.least_busy(min_qubits=500)
    monkeypatch.setattr(Device, "requires", ("no_such_package",))
    with pytest.raises(ResourceNotFound, match="no QPU is online"):
        service.least_busy(min_qubits=20)


def test_many_names_are_answered_with_the_near_ones(tmp_path: Path) -> None:
    many = QRMIService(written(tmp_path, *(entry(f"device_{size}") for size in range(5, 25))))
    with pytest.raises(ResourceNotFound, match=r"no QPU named devise_12: did you mean device_12.*lists all 21"):
        many.resource("devise_12")


def test_a_job_of_the_workload_manager_without_qpu_is_given_no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with pytest.raises(NoQPUError, match=r"Slurm job 12 was given no QPU: ask for one with --qpu=NAME"):
        QRMIService().resource()
    assert QRMIService().resource("tiny").name == "tiny"


SALLOC = {"SLURM_JOB_ID": "12", "SLURM_SPANK_QPU": "ibm_fez:2,other"}


def test_in_the_shell_of_salloc_srun_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SALLOC.items():
        monkeypatch.setenv(name, value)
    wanted = r"Slurm job 12 was submitted with --qpu=ibm_fez:2,other, and only its steps .* start the program with srun"
    with pytest.raises(NoQPUError, match=wanted):
        QRMIService().resource()
    wanted = "no QPU named ibm_fez: only the steps of Slurm job 12 have it: start the program with srun"
    with pytest.raises(ResourceNotFound, match=wanted):
        QRMIService().resource("ibm_fez")
    with pytest.raises(ResourceNotFound, match="no QPU named ibm: there is tiny"):
        QRMIService().resource("ibm")


@pytest.mark.parametrize("own", ["SLURM_STEP_ID", "SLURMD_NODENAME"])
def test_on_a_node_what_another_job_asked_for_is_not_believed(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    for name, value in {**SALLOC, own: "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoQPUError, match="Slurm job 12 was given no QPU: ask for one with --qpu=NAME"):
        QRMIService().resource()


def test_a_qpu_of_the_site_is_told_outside_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "client.json"
    known = [{"name": "fresnel", "type": "pasqal-local"}]
    file.write_text(json.dumps({"url": "https://gateway.example:7811", "resources": known}))
    monkeypatch.setenv("QRMI_CLIENT_CONFIG", str(file))
    wanted = "fresnel is a QPU of this site, which jobs get: sbatch --qpu=fresnel or srun --qpu=fresnel"
    with pytest.raises(ResourceNotFound, match=f"this configuration has no QPU named fresnel: {wanted}"):
        QRMIService().resource("fresnel")
    for text in (file.read_text(), "{", '{"url": "https://gateway.example:7811"}'):
        file.write_text(text)
        with pytest.raises(ResourceNotFound, match="this configuration has no QPU named kyiv: there is tiny"):
            QRMIService().resource("kyiv")
    in_job(monkeypatch, "mine", "tiny-simulator")
    with pytest.raises(ResourceNotFound, match="this job has no QPU named fresnel: there is mine"):
        QRMIService().resource("fresnel")


def test_variables_without_a_name_in_front_are_for_the_embedded_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QRMI_ENGINE_SEED", "5")
    service = QRMIService(written(tmp_path, entry("mine", "tiny-simulator")))
    assert service.resource("tiny").seed == 5  # type: ignore[attr-defined]
    assert service.resource("mine").seed is None  # type: ignore[attr-defined]


def test_a_resource_that_does_not_answer_is_left_out_with_a_warning(
    service: QRMIService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(device: Device) -> Target:
        if device.name == "device_20":
            raise ResourceUnavailable("the vendor is away", transient=True)
        return target(device)

    target = Device.target
    monkeypatch.setattr(Device, "target", away)
    with pytest.warns(QRMIWarning, match="device_20 is left out: the vendor is away"):
        assert [resource.name for resource in service.select(min_qubits=10)] == ["device_100"]


def test_a_driver_that_raises_anything_hides_none_of_the_others(
    service: QRMIService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str, values: dict[str, str], context: object) -> TinyEngine:
        raise KeyError(name)

    monkeypatch.setattr(Device, "from_environment", broken)
    assert [resource.name for resource in service.resources()] == ["tiny"]
    with pytest.raises(ResourceUnavailable, match="device_5 cannot be used: the driver of device raised KeyError"):
        service.resource("device_5")
