# SPDX-License-Identifier: Apache-2.0
"""The worker in its own process, as users meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import Target

from qrmi_core import JobContext, QiskitPrimitive, QRMIService, TaskFailed
from qrmi_qiskit.aer.engine import AerSimulator
from qrmi_qiskit.codec import decode_result, encode_estimator, encode_sampler


def bell(target: Target) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return transpile(circuit, target=target, optimization_level=1, seed_transpiler=1)


def test_sampler_and_estimator_run_on_a_device(target_of: Callable[[str], Target]) -> None:
    resource = QRMIService().resource("aer_fez")
    isa = bell(target_of("fez"))
    unmeasured = isa.remove_final_measurements(inplace=False)
    observable = SparsePauliOp("ZZ").apply_layout(isa.layout)
    sampled = resource.submit(QiskitPrimitive("sampler", encode_sampler([SamplerPub.coerce((isa, None, 4000))])))
    estimated = resource.submit(
        QiskitPrimitive("estimator", encode_estimator([EstimatorPub.coerce((unmeasured, observable, None, 0.02))]))
    )
    counts = decode_result(sampled.result(timeout=60).data)[0].data.meas.get_counts()
    assert set(counts) == {"00", "01", "10", "11"}
    parity = (counts["00"] + counts["11"] - counts["01"] - counts["10"]) / 4000
    evs = decode_result(estimated.result(timeout=60).data)[0].data
    assert evs.evs == pytest.approx(parity, abs=5 * (evs.stds + 0.01))
    assert sampled.logs() == estimated.logs() == ""


def test_the_engines_seed_makes_results_reproducible() -> None:
    def bits(**settings: str) -> Any:
        resource = AerSimulator.from_environment("seeded", {"QRMI_AER_SNAPSHOT": "ideal", **settings}, JobContext())
        circuit = QuantumCircuit(8)
        circuit.h(range(8))
        circuit.measure_all()
        task = resource.submit(QiskitPrimitive("sampler", encode_sampler([SamplerPub.coerce((circuit, None, 100))])))
        return decode_result(task.result(timeout=60).data)[0].data.meas

    assert bits(QRMI_ENGINE_SEED="5") == bits(QRMI_ENGINE_SEED="5")
    assert bits(QRMI_ENGINE_SEED="5") != bits(QRMI_ENGINE_SEED="6")
    assert bits() != bits()


@pytest.mark.parametrize(
    ("pub", "said"),
    [
        (["OPENQASM 3.0; nonsense;"], "pub 0: its OpenQASM 3 cannot be read"),
        ([{"__type__": "QuantumCircuit", "__value__": "eJwDAAAAAAE="}], "pub 0: what it holds is not QPY"),
    ],
)
def test_what_cannot_be_read_fails_with_its_reason(pub: list[Any], said: str) -> None:
    data = json.dumps({"pubs": [pub], "version": 2}).encode()
    with pytest.raises(TaskFailed, match=said):
        QRMIService().resource("aer_ideal").submit(QiskitPrimitive("sampler", data)).result(timeout=60)
