# SPDX-License-Identifier: Apache-2.0
"""What is too large says how large it is, what is allowed, and what to do; also through the real engine."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_core import LimitExceeded, Limits, QiskitPrimitive, QRMIService, TaskFailed
from qrmi_qiskit.codec import decode_result, encode_sampler

Sample = Callable[..., Any]


def spread(size: int, *, clifford: bool = False) -> QuantumCircuit:
    """A state that factorises nowhere; all of it is measured, or Aer would cut it to the light cone."""
    circuit = QuantumCircuit(size)
    circuit.h(range(size))
    if not clifford:
        circuit.t(range(size))
    for qubit in range(size - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


TOO_LARGE = (
    r"pub 0: the circuit uses 40 qubits, which take 16 TB as a statevector, and aer_ideal allows [\d.,]+ [MG]B: "
    r"use fewer qubits, set QRMI_AER_METHOD=matrix_product_state, or raise QRMI_ENGINE_MEMORY_MB"
)


def test_a_statevector_of_forty_qubits_is_refused_unless_it_is_clifford(sample: Sample) -> None:
    with pytest.raises(LimitExceeded, match=TOO_LARGE):
        sample([spread(40)])
    assert sample([spread(40, clifford=True)], shots=10)[0].data.meas.num_shots == 10
    assert sample([spread(40)], shots=10, QRMI_AER_METHOD="matrix_product_state")[0].data.meas.num_shots == 10


def test_more_memory_than_units_have_names_for_is_a_power_of_ten(sample: Sample) -> None:
    with pytest.raises(LimitExceeded, match=r"uses 156 qubits, which take 1e48 bytes as a statevector"):
        sample([spread(156)])


def test_a_density_matrix_needs_the_square(sample: Sample) -> None:
    with pytest.raises(LimitExceeded, match="uses 16 qubits, which take 64 GB as a density matrix"):
        sample([spread(16)], QRMI_AER_METHOD="density_matrix")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"qubits": 2}, "pub 0: the circuit uses 3 qubits and aer_ideal allows 2: use fewer, or raise QRMI_ENGINE_MAX"),
        ({"shots": 99}, "pub 0: 100 shots and aer_ideal allows 99: ask for fewer, or raise QRMI_ENGINE_MAX_SHOTS"),
    ],
)
def test_qubits_and_shots_are_limited(sample: Sample, limits: Limits, changed: dict[str, int], said: str) -> None:
    sample([spread(2)], shots=99)
    with pytest.raises(LimitExceeded, match=said):
        sample([spread(3)], shots=100, limits=dataclasses.replace(limits, **changed))


def test_the_second_pub_is_named(sample: Sample, limits: Limits) -> None:
    with pytest.raises(LimitExceeded, match="pub 1: 200 shots"):
        sample([(spread(2), None, 5), (spread(2), None, 200)], limits=dataclasses.replace(limits, shots=100))


def test_results_that_would_not_fit_are_refused_before_they_are_made(sample: Sample) -> None:
    circuit = QuantumCircuit(1, 64)
    circuit.rx(Parameter("t"), 0)
    circuit.measure(0, 0)
    said = "pub 0: 1000 points of 1000000 shots give 7629 MB of results, and aer_ideal allows 512 MB: send fewer"
    with pytest.raises(LimitExceeded, match=said):
        sample([(circuit, np.zeros((1000, 1)))], shots=1_000_000)


def bomb() -> bytes:
    packed = base64.b64encode(zlib.compress(b"\0" * (2**28 + 1), 1)).decode()
    circuit = {"__type__": "QuantumCircuit", "__value__": packed}
    return json.dumps({"pubs": [[circuit, None, 1]], "version": 2}).encode()


def test_a_bomb_is_refused_by_the_worker(run_payload: Callable[..., bytes]) -> None:
    with pytest.raises(LimitExceeded, match="pub 0: it expands to more than 1000000 bytes"):
        run_payload("sampler", bomb(), decompressed=1_000_000)


def test_through_the_engine_the_reason_reaches_the_caller() -> None:
    resource = QRMIService().resource("aer_ideal")
    tasks = [
        resource.submit(QiskitPrimitive("sampler", encode_sampler([SamplerPub.coerce((spread(40), None, 10))]))),
        resource.submit(QiskitPrimitive("sampler", bomb())),
        resource.submit(QiskitPrimitive("sampler", encode_sampler([SamplerPub.coerce((spread(3), None, 10))]))),
    ]
    with pytest.raises(TaskFailed, match=TOO_LARGE):
        tasks[0].result(timeout=60)
    with pytest.raises(TaskFailed, match="pub 0: it expands to more than 268435456 bytes"):
        tasks[1].result(timeout=60)
    assert decode_result(tasks[2].result(timeout=60).data)[0].data.meas.num_shots == 10
    for task in tasks:
        assert "Traceback" not in task.logs()
