# SPDX-License-Identifier: Apache-2.0
"""QRMIProvider: QiskitRuntimeService's names and filters over the resources of the job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from paper_device import PaperDevice
from qiskit import QuantumCircuit

from qrmi_core import (
    AliceBobFelis,
    AmbiguousResource,
    InputError,
    ListedResource,
    PulserBatch,
    QRMIWarning,
    QuantumResource,
    ResourceNotFound,
    ResourceStatus,
    ResourceStatusCode,
    ResourceUnavailable,
    Target,
    TaskInfo,
    TaskNotFound,
    TaskStatus,
    UnsupportedFunction,
)
from qrmi_qiskit import EstimatorV2, QRMIBackend, QRMIProvider, SamplerV2


class Shelf:
    """A service with these resources, or the errors that stand for them."""

    def refuse_to_choose_for_a_job(self) -> None:
        """It is in no job."""

    def __init__(self, **resources: QuantumResource | Exception) -> None:
        def make(found: QuantumResource | Exception) -> QuantumResource:
            if isinstance(found, Exception):
                raise found
            return found

        self.entries = {
            name: ListedResource(name, "some-type", "test", dict, lambda values, found=found: make(found))
            for name, found in resources.items()
        }

    def listing(self) -> list[ListedResource]:
        return list(self.entries.values())

    def resource(self, name: str | None = None) -> QuantumResource:
        if name is None:
            raise AmbiguousResource(f"this job has several QPUs, name one: {', '.join(self.entries)}")
        return self.entries[name].resource


class ListingDevice(PaperDevice):
    def task_ids(self) -> list[str]:
        return list(reversed(self.payloads))


class AtomArray(PaperDevice):
    takes = (PulserBatch,)


class Cat(PaperDevice):
    takes = (AliceBobFelis,)


@pytest.fixture
def shelf(fez: dict[str, Any]) -> dict[str, Any]:
    small = {
        "configuration": {
            **fez["configuration"],
            "n_qubits": 2,
            "gates": [{"name": "rz", "parameters": ["phi"], "qasm_def": "", "coupling_map": [[0], [1]]}],
            "basis_gates": ["rz"],
            "coupling_map": [[0, 1]],
            "simulator": True,
            "supported_instructions": ["rz", "measure"],
        },
        "properties": None,
    }
    big, tiny = ListingDevice("big", fez), ListingDevice("tiny", small)
    tiny.told = ResourceStatus(ResourceStatusCode.ONLINE, pending_job_count=1)
    return {
        "big": big,
        "atoms": AtomArray("atoms", {}),
        "tiny": tiny,
        "broken": ResourceUnavailable("broken: QRMI_X is missing"),
        "felis": Cat("felis", {}),
    }


def provider_of(resources: Mapping[str, Any]) -> QRMIProvider:
    return QRMIProvider(Shelf(**resources))  # type: ignore[arg-type]


def names(backends: list[QRMIBackend]) -> list[str]:
    return [backend.name for backend in backends]


def test_resources_that_run_circuits_are_listed_and_nothing_is_asked(shelf: dict[str, Any]) -> None:
    assert names(provider_of(shelf).backends()) == ["big", "tiny"]
    assert shelf["big"].calls == shelf["tiny"].calls == shelf["atoms"].calls == []


def test_filters(shelf: dict[str, Any]) -> None:
    provider = provider_of(shelf)
    assert names(provider.backends(min_num_qubits=100)) == ["big"]
    assert names(provider.backends(simulator=True)) == ["tiny"]
    assert names(provider.backends(simulator=False)) == ["big"]
    assert names(provider.backends("tiny", min_num_qubits=2)) == ["tiny"]
    assert names(provider.backends(filters=lambda backend: backend.max_shots == 100_000)) == ["big", "tiny"]
    assert "status" not in shelf["big"].calls
    shelf["tiny"].told = ResourceStatus(ResourceStatusCode.OFFLINE)
    assert names(provider.backends(operational=True)) == ["big"]
    assert names(provider.backends(operational=False)) == ["tiny"]
    assert names(provider.backends(n_qubits=2)) == ["tiny"]
    assert names(provider.backends(status_msg="active", n_qubits=156)) == ["big"]
    with pytest.raises(InputError, match=r"no backend says anything of 'n_qubit' in .* status; did you mean n_qubits"):
        provider.backends(n_qubit=2)


def test_dynamic_circuits(shelf: dict[str, Any]) -> None:
    provider = provider_of(shelf)
    assert names(provider.backends(dynamic_circuits=True)) == ["big"]
    assert names(provider.backends(dynamic_circuits=False)) == ["tiny"]


def test_least_busy(shelf: dict[str, Any]) -> None:
    provider = provider_of(shelf)
    assert provider.least_busy().name == "tiny"
    assert provider.least_busy(min_num_qubits=3).name == "big"
    shelf["big"].told = ResourceStatus(ResourceStatusCode.PAUSED)
    message = r"no backend is operational and meets the criteria \(not operational: big\); `qrmi status` tells why"
    with pytest.raises(ResourceNotFound, match=message):
        provider.least_busy(simulator=False)
    with pytest.raises(ResourceNotFound, match=message):
        provider.least_busy(simulator=False, operational=True)


def test_the_least_busy_of_none_names_the_criteria_and_the_backends(shelf: dict[str, Any]) -> None:
    provider = provider_of(shelf)
    message = r"no backend that answers meets the criteria \(min_num_qubits=500, simulator=True\): there are big, tiny$"
    with pytest.raises(ResourceNotFound, match=message):
        provider.least_busy(min_num_qubits=500, simulator=True, operational=True)
    with pytest.raises(ResourceNotFound, match=r"\(filters, name='tiny'\): there is tiny$"):
        provider.least_busy(name="tiny", filters=lambda backend: False)
    many = provider_of({f"tiny_{number}": shelf["tiny"] for number in range(9)})
    with pytest.raises(ResourceNotFound, match=r"\(min_num_qubits=3\): there are 9, which `qrmi resources` lists$"):
        many.least_busy(min_num_qubits=3)
    with pytest.raises(ResourceNotFound, match="there is no QPU here that runs circuits; `qrmi resources` lists"):
        provider_of({"atoms": shelf["atoms"]}).least_busy()


def test_a_backend_by_name(shelf: dict[str, Any]) -> None:
    provider = provider_of(shelf)
    assert provider.backend("big").num_qubits == 156
    with pytest.raises(AmbiguousResource, match="several QPUs, name one"):
        provider.backend()
    with pytest.raises(ResourceUnavailable, match="broken: QRMI_X is missing"):
        provider.backend("broken")
    message = "atoms runs no circuits but Pulser sequences: use qrmi_pulser.QRMIConnection"
    with pytest.raises(ResourceUnavailable, match=message.replace(".", r"\.")):
        provider.backend("atoms")
    with pytest.raises(ResourceUnavailable, match="felis runs no circuits but Alice & Bob's HumanQIR: use qrmi_core"):
        provider.backend("felis")


def test_without_a_name_it_is_the_only_one_that_runs_circuits(shelf: dict[str, Any]) -> None:
    assert provider_of({name: shelf[name] for name in ("atoms", "tiny", "felis")}).backend().name == "tiny"


def circuit() -> QuantumCircuit:
    turned = QuantumCircuit(1, 1)
    turned.rz(0.1, 0)
    turned.measure(0, 0)
    return turned


def test_jobs_of_all_backends(shelf: dict[str, Any]) -> None:
    provider = provider_of(shelf)
    jobs = [SamplerV2(shelf["big"]).run([circuit()]), EstimatorV2(shelf["tiny"]).run([(circuit(), "Z")])]
    jobs.append(SamplerV2(shelf["big"]).run([circuit()]))
    for index, job in enumerate(jobs):
        device = job.backend().resource
        device.ends(job.job_id(), TaskStatus.RUNNING, created=1.8e9 + index)
    shelf["big"].ends(jobs[0].job_id(), TaskStatus.COMPLETED)
    first, second, third = (job.job_id() for job in jobs)

    def ids(**criteria: Any) -> list[str]:
        return [job.job_id() for job in provider.jobs(**criteria)]

    assert ids() == [third, second, first]
    assert ids(descending=False) == [first, second, third]
    assert ids(limit=1) == [third]
    assert ids(limit=1, skip=1) == [second]
    assert ids(limit=None, skip=2) == [first]
    assert ids(pending=True) == [third, second]
    assert ids(pending=False) == [first]
    assert ids(program_id="estimator") == [second]
    assert ids(backend_name="big") == [third, first]
    middle = datetime.fromtimestamp(1.8e9 + 1)
    assert ids(created_after=middle) == [third]
    assert ids(created_before=middle + timedelta(seconds=0.5)) == [second, first]
    found = provider.job(second)
    assert (found.backend().name, found.primitive_id) == ("tiny", "estimator")


def test_a_job_that_nobody_knows(shelf: dict[str, Any]) -> None:
    with pytest.raises(TaskNotFound, match="no backend here has a job 'x'; asked: big, tiny"):
        provider_of(shelf).job("x")


def test_a_backend_that_lists_no_jobs(shelf: dict[str, Any], device: PaperDevice) -> None:
    shelf["big"] = device
    provider = provider_of(shelf)
    job = SamplerV2(shelf["tiny"]).run([circuit()])
    assert [found.job_id() for found in provider.jobs()] == [job.job_id()]
    with pytest.raises(UnsupportedFunction, match="cannot list tasks"):
        provider.jobs(backend_name="big")


class Unreachable(PaperDevice):
    def status(self) -> ResourceStatus:
        raise ResourceUnavailable(f"{self.name} does not answer", resource=self.name, transient=True)

    def target(self) -> Target:
        raise ResourceUnavailable(f"{self.name} does not answer", resource=self.name, transient=True)

    def task_info(self, task_id: str) -> TaskInfo:
        raise ResourceUnavailable(f"{self.name} does not answer", resource=self.name, transient=True)

    def task_ids(self) -> list[str]:
        raise ResourceUnavailable(f"{self.name} does not answer", resource=self.name, transient=True)


def test_a_backend_that_does_not_answer_hides_none_of_the_others(shelf: dict[str, Any]) -> None:
    shelf["big"] = Unreachable("big", {})
    provider = provider_of(shelf)
    job = SamplerV2(shelf["tiny"]).run([circuit()])
    message = "big is left out: big does not answer"
    with pytest.warns(QRMIWarning, match=message):
        assert names(provider.backends(min_num_qubits=1)) == ["tiny"]
    with pytest.warns(QRMIWarning, match=message):
        assert provider.least_busy().name == "tiny"
    with pytest.warns(QRMIWarning, match=message):
        assert [found.job_id() for found in provider.jobs()] == [job.job_id()]
    assert provider.job(job.job_id()).backend().name == "tiny"
    with pytest.raises(TaskNotFound, match=r"asked: big \(no answer: big does not answer\), tiny"):
        provider.job("x")
    with pytest.raises(ResourceUnavailable, match="big does not answer"):
        provider.backends("big", min_num_qubits=1)
    with pytest.raises(ResourceUnavailable, match="big does not answer"):
        provider.jobs(backend_name="big")
