# SPDX-License-Identifier: Apache-2.0
"""Jobs, and the way of options to the resource, on a device that answers what the test writes down."""

from __future__ import annotations

import gc
import json
import threading
import warnings
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from paper_device import PaperDevice
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Parameter, Qubit
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.providers import JobStatus
from qiskit.providers.fake_provider import GenericBackendV2

from qrmi_core import (
    InputError,
    QiskitPrimitive,
    ResultError,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskStatus,
    UnsupportedFunction,
    WaitTimeout,
)
from qrmi_qiskit import EstimatorOptions, EstimatorV2, QRMIBackend, QRMIJob, SamplerOptions, SamplerV2
from qrmi_qiskit.codec import encode_result


def flip(*, name: str = "meas") -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(1, "q"), ClassicalRegister(1, name))
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def result_of(*shots: list[int], bits: int = 1, **registers: list[int]) -> bytes:
    pubs = [{"meas": each} for each in shots] or [registers]
    return encode_result(
        PrimitiveResult(
            [
                SamplerPubResult(
                    DataBin(
                        **{name: BitArray(np.array(values, np.uint8)[:, None], bits) for name, values in pub.items()}
                    )
                )
                for pub in pubs
            ]
        )
    )


@pytest.fixture
def job(device: PaperDevice) -> QRMIJob:
    return SamplerV2(device).run([flip()], shots=3)


def test_the_life_of_a_job(device: PaperDevice, job: QRMIJob) -> None:
    assert job.status() == "QUEUED"
    assert (job.done(), job.running(), job.cancelled(), job.errored(), job.in_final_state()) == (False,) * 5
    device.ends(job.job_id(), TaskStatus.RUNNING)
    assert job.running()
    device.ends(
        job.job_id(), TaskStatus.COMPLETED, result_of([1, 1, 0]), started=1.8e9 + 1, ended=1.8e9 + 3, qpu_seconds=1.5
    )
    assert job.status() == "DONE"
    assert job.done()
    assert job.in_final_state()
    assert job.result()[0].data.meas.get_counts() == {"1": 2, "0": 1}
    assert job.usage() == 1.5
    assert job.metrics() == {
        "timestamps": {
            "created": "2027-01-15T08:00:00.000000Z",
            "running": "2027-01-15T08:00:01.000000Z",
            "finished": "2027-01-15T08:00:03.000000Z",
        },
        "usage": {"quantum_seconds": 1.5, "seconds": 2.0},
        "position_in_queue": 2,
    }
    assert job.creation_date == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert job.primitive_id == "sampler"
    assert job.backend().name == "paper"
    assert job.error_message() is None
    assert repr(job) == f"<QRMIJob('{job.job_id()}', 'sampler') on paper>"


def test_a_result_is_fetched_once_and_an_ended_job_is_not_asked_again(device: PaperDevice, job: QRMIJob) -> None:
    device.ends(job.job_id(), TaskStatus.COMPLETED, result_of([1]))
    first = job.result()
    seen = list(device.calls)
    assert job.result() is first
    assert job.status() == "DONE"
    assert device.calls == seen


def test_result_waits(device: PaperDevice, job: QRMIJob) -> None:
    ending = threading.Timer(0.2, lambda: device.ends(job.job_id(), TaskStatus.COMPLETED, result_of([1])))
    ending.start()
    assert job.result(timeout=20)[0].data.meas.num_shots == 1
    ending.join()


def test_a_timeout_leaves_the_job_alone(device: PaperDevice, job: QRMIJob) -> None:
    message = f"task {job.job_id()} on paper has not ended after 0.05 s; it goes on"
    with pytest.raises(WaitTimeout, match=message):
        job.result(timeout=0.05)
    with pytest.raises(TimeoutError, match=message):
        job.wait_for_final_state(timeout=0.05)
    assert job.status() == "QUEUED"


def test_a_failed_job_says_why(device: PaperDevice, job: QRMIJob) -> None:
    device.ends(
        job.job_id(), TaskStatus.FAILED, reason="The circuit is too deep.", code="1517", solution="Make it shorter."
    )
    assert job.errored()
    assert job.error_message() == "The circuit is too deep. Make it shorter (code 1517)"
    with pytest.raises(TaskFailed, match=r"failed \(code 1517\): The circuit is too deep. Make it shorter"):
        job.result()


def test_a_cancelled_job(device: PaperDevice, job: QRMIJob) -> None:
    job.cancel()
    assert job.cancelled()
    job.wait_for_final_state(timeout=1)
    with pytest.raises(TaskCancelled, match=f"task {job.job_id()} on paper was cancelled"):
        job.result()
    job.cancel()


def test_a_result_that_arrives_damaged_is_fetched_again(device: PaperDevice, job: QRMIJob) -> None:
    whole = result_of([1, 0])
    device.ends(job.job_id(), TaskStatus.COMPLETED, whole[:-40], whole)
    assert job.result()[0].data.meas.num_shots == 2


def test_a_result_that_stays_damaged_is_an_error(device: PaperDevice, job: QRMIJob) -> None:
    device.ends(job.job_id(), TaskStatus.COMPLETED, result_of([1, 0])[:-40])
    with pytest.raises(ResultError, match="the result is not complete JSON"):
        job.result()


def test_dropping_a_job_does_nothing(device: PaperDevice) -> None:
    job = SamplerV2(device).run([flip()])
    seen = list(device.calls)
    del job
    gc.collect()
    assert device.calls == seen


def test_logs_where_there_are_none(job: QRMIJob) -> None:
    with pytest.raises(UnsupportedFunction, match=r"paper \(ibm-quantum-compute-service\) keeps no logs of tasks"):
        job.logs()


def test_a_job_by_its_id(device: PaperDevice) -> None:
    submitted = EstimatorV2(device).run([(flip(), "Z")])
    found = QRMIBackend(device).retrieve_job(submitted.job_id())
    assert (found.job_id(), found.primitive_id, found.status()) == (submitted.job_id(), "estimator", "QUEUED")
    assert submitted.inputs["pubs"][0].circuit.num_qubits == 1
    with pytest.raises(UnsupportedFunction, match="is known to the program that submitted it only"):
        _ = found.inputs
    with pytest.raises(TaskNotFound, match="paper has no task 'other'"):
        QRMIBackend(device).retrieve_job("other")


def sent(device: PaperDevice, job: QRMIJob) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads(device.payloads[job.job_id()].parameters)
    return parameters


def test_only_options_that_were_set_are_sent(device: PaperDevice) -> None:
    assert sent(device, SamplerV2(device).run([flip()]))["options"] == {}
    sampler = SamplerV2(device, options={"dynamical_decoupling": {"enable": True}})
    sampler.options.twirling.enable_gates = False
    assert sent(device, sampler.run([flip()]))["options"] == {
        "dynamical_decoupling": {"enable": True},
        "twirling": {"enable_gates": False},
    }
    estimator = EstimatorV2(device, options=EstimatorOptions(resilience_level=0))
    parameters = sent(device, estimator.run([(flip(), "Z")]))
    assert (parameters["options"], parameters["resilience_level"]) == ({}, 0)


def test_shots_are_those_of_the_pub_or_the_run_or_the_options(device: PaperDevice) -> None:
    sampler = SamplerV2(device, options={"default_shots": 100})
    pubs = [flip(), (flip(), None, 7)]
    assert [pub[2] for pub in sent(device, sampler.run(pubs, shots=50))["pubs"]] == [50, 7]
    assert [pub[2] for pub in sent(device, sampler.run(pubs))["pubs"]] == [100, 7]
    assert sent(device, SamplerV2(device).run([flip()]))["pubs"][0][2] == 4096


def test_precision_is_that_of_the_pub_or_the_run_or_the_options(device: PaperDevice) -> None:
    estimator = EstimatorV2(device, options={"default_precision": 0.1})
    pubs = [(flip(), "Z"), (flip(), "Z", None, 0.2)]
    assert [pub[3] for pub in sent(device, estimator.run(pubs, precision=0.3))["pubs"]] == [0.3, 0.2]
    assert [pub[3] for pub in sent(device, estimator.run(pubs))["pubs"]] == [0.1, 0.2]
    estimator.options.default_shots = 400
    assert [pub[3] for pub in sent(device, estimator.run(pubs))["pubs"]] == pytest.approx([0.05, 0.2])


def test_a_primitives_options_are_its_own(device: PaperDevice) -> None:
    given = SamplerOptions(default_shots=10)
    sampler = SamplerV2(device, options=given)
    sampler.options.default_shots = 20
    assert given.default_shots == 10
    assert sampler.mode is None
    assert sampler.backend().name == "paper"
    with pytest.raises(InputError, match=r"options are a SamplerOptions or a dictionary, not EstimatorOptions\(\)"):
        SamplerV2(device, options=EstimatorOptions())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="did you mean default_shots"):
        SamplerV2(device, options={"default_shot": 10})


@pytest.mark.parametrize("primitive", [SamplerV2, EstimatorV2])
def test_modes_that_are_none(primitive: Any) -> None:
    with pytest.raises(InputError, match=r"mode cannot be 3 \(int\): a QRMIBackend, a QuantumResource, the name of a"):
        primitive(3)
    with pytest.raises(InputError, match=r"for a backend of another package use qiskit.primitives.BackendSamplerV2"):
        primitive(GenericBackendV2(2))


@pytest.mark.parametrize(("primitive", "pub"), [(SamplerV2, flip()), (EstimatorV2, (QuantumCircuit(1), "Z"))])
def test_options_of_the_task_stand_beside_the_program(primitive: Any, pub: Any, device: PaperDevice) -> None:
    environment = {"job_tags": ["a", "b"], "log_level": "DEBUG", "private": True}
    options = {"environment": environment, "max_execution_time": 9, "twirling": {"enable_gates": True}}
    with warnings.catch_warnings(action="error"):
        job = primitive(device, options=options).run([pub])
    sent = device.payloads[job.job_id()]
    assert isinstance(sent, QiskitPrimitive)
    assert (sent.tags, sent.log_level, sent.private, sent.max_execution_time) == (("a", "b"), "DEBUG", True, 9)
    assert json.loads(sent.parameters)["options"]["twirling"] == {"enable_gates": True}
    assert "environment" not in json.loads(sent.parameters)["options"]


def test_counts_and_memory_of_several_registers_and_loose_bits(device: PaperDevice) -> None:
    """The order of bits is Qiskit's: the last register on the left, and of one register the last bit."""
    first, second, loose = ClassicalRegister(1, "first"), ClassicalRegister(2, "__c_ZZ"), Clbit()
    circuit = QuantumCircuit([Qubit()], first, second, [loose])
    circuit.x(0)
    circuit.measure(0, loose)
    job = QRMIBackend(device).run(circuit, shots=3, memory=True)
    answer = encode_result(
        PrimitiveResult(
            [
                SamplerPubResult(
                    DataBin(
                        first=BitArray(np.array([[0], [1], [1]], np.uint8), 1),
                        __c_ZZ=BitArray(np.array([[2], [0], [0]], np.uint8), 2),
                        loose_bits=BitArray(np.array([[1], [1], [1]], np.uint8), 1),
                    )
                )
            ]
        )
    )
    assert job.status() is JobStatus.QUEUED
    device.ends(job.job_id(), TaskStatus.COMPLETED, answer)
    result = job.result()
    assert result.get_memory() == ["1 10 0", "1 00 1", "1 00 1"]
    assert result.get_counts() == {"1 10 0": 1, "1 00 1": 2}
    assert result.results[0].data.memory == ["0xc", "0x9", "0x9"]
    assert (result.success, result.job_id, result.backend_name) == (True, job.job_id(), "paper")
    assert job.result() is result
    assert job.done()


def test_counts_of_several_circuits_are_found_by_their_names(device: PaperDevice) -> None:
    circuits = [flip(), flip()]
    circuits[0].name, circuits[1].name = "up", "down"
    circuits[1].metadata = {"turn": 2}
    job = QRMIBackend(device).run(circuits, shots=4)
    device.ends(job.job_id(), TaskStatus.COMPLETED, result_of([1, 1, 1, 0], [0, 0, 0, 0]))
    result = job.result()
    assert result.get_counts() == [{"1": 3, "0": 1}, {"0": 4}]
    assert result.get_counts("up") == {"1": 3, "0": 1}
    assert result.results[1].header["metadata"] == {"turn": 2}
    assert result.results[0].shots == 4


def test_a_job_of_run_that_does_not_end_or_fails(device: PaperDevice) -> None:
    job = QRMIBackend(device).run(flip())
    seen: list[Any] = []
    with pytest.raises(WaitTimeout, match="has not ended"):
        job.wait_for_final_state(timeout=0.1, wait=0.03, callback=lambda *told: seen.append(told))
    assert seen[0] == (job.job_id(), JobStatus.QUEUED, job)
    with pytest.raises(WaitTimeout, match=r"has not ended after 0.05 s"):
        job.result(timeout=0.05)
    with pytest.raises(UnsupportedFunction, match=r"the job was submitted by backend.run\(\)"):
        job.submit()
    job.cancel()
    assert job.cancelled()
    job.wait_for_final_state(callback=lambda *told: None)
    with pytest.raises(TaskCancelled, match="was cancelled"):
        job.result()


def test_a_swept_circuit_is_sent_once_with_its_values(device: PaperDevice) -> None:
    angle = Parameter("angle")
    circuit = QuantumCircuit(1)
    circuit.rz(angle, 0)
    circuit.measure_all()
    job = SamplerV2(device).run([(circuit, [[0.1], [0.2]]), (circuit, [0.3])])
    pubs = sent(device, job)["pubs"]
    assert pubs[0][0] == pubs[1][0]
    assert job.inputs["pubs"][0].shape == (2,)
