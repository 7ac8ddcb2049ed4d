# SPDX-License-Identifier: Apache-2.0
"""Delays keep their length on the way, although QPY forgets their unit."""

from __future__ import annotations

import io
from typing import Any

import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_core import InputError
from qrmi_qiskit.codec import decode_params, encode_estimator, encode_sampler

DT = 4e-9


def delays(circuit: QuantumCircuit) -> list[tuple[Any, str]]:
    found = [(op.operation.duration, op.operation.unit) for op in circuit.data if op.name == "delay"]
    for op in circuit.data:
        for block in op.operation.blocks if op.is_control_flow() else ():
            found += delays(block)
    return found


def delayed(duration: Any = 3000, unit: str = "ns") -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.delay(duration, 0, unit=unit)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.delay(40e-9, 0, unit="s")
        circuit.delay(7, 0)
    return circuit


def test_qpy_forgets_the_unit() -> None:
    """What this guards against; when it fails, Qiskit keeps units and the conversion can go."""
    stream = io.BytesIO()
    qpy.dump(delayed(), stream, version=17)
    stream.seek(0)
    with pytest.raises(Exception, match="Integer duration is expected"):
        delays(qpy.load(stream)[0])


@pytest.mark.parametrize(("duration", "unit"), [(3000, "ns"), (3.0, "us"), (3e-6, "s"), (0.003, "ms"), (750, "dt")])
def test_delays_are_sent_in_dt(duration: Any, unit: str) -> None:
    circuit = delayed(duration, unit)
    (sampled,), _ = decode_params(
        "sampler", encode_sampler([SamplerPub.coerce(circuit)], dt=DT), max_decompressed=2**20
    )
    (estimated,), _ = decode_params(
        "estimator", encode_estimator([EstimatorPub.coerce((circuit, "Z"))], dt=DT), max_decompressed=2**20
    )
    for read in (sampled, estimated):
        assert delays(read.circuit) == [(750, "dt"), (10, "dt"), (7, "dt")]
    assert delays(circuit)[0] == (duration, unit)


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(InputError, match=r"a delay of 3000.* ns would lose its unit .*has no dt to convert it to"):
        encode_sampler([SamplerPub.coerce(delayed())])
    duration = Parameter("t")
    with pytest.raises(InputError, match=r"a delay of t ns would lose its unit .*give its duration in dt"):
        encode_sampler([SamplerPub.coerce((delayed(duration), [1.0]))], dt=DT)
