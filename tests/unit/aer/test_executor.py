# SPDX-License-Identifier: Apache-2.0
"""Quantum programs as IBM's client writes them, run by the worker, and read by IBM's client again."""

from __future__ import annotations

import base64
import json
import random
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ibm_quantum_schemas.common import CompressedTensorModel
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit_ibm_runtime.decoders.executor.decoder import ExecutorResultDecoder
from qiskit_ibm_runtime.options_models.executor import ExecutorOptions
from qiskit_ibm_runtime.quantum_program import QuantumProgram
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS
from samplomatic import Twirl, build

from qrmi_core import InputError, LimitExceeded, QiskitPrimitive, QRMIService, TaskFailed
from qrmi_qiskit.codec.compression import Expander
from qrmi_qiskit.codec.tensors import load_tensor, tensor_json

sys.path.insert(0, str(Path(__file__).parents[1] / "qiskit"))

from random_programs import chi_square_p

ALPHA = 1e-4
SHOTS = 3000
SEED = random.SystemRandom().randrange(2**31)

Run = Callable[..., bytes]


def written(program: QuantumProgram) -> dict[str, Any]:
    params: dict[str, Any] = json.loads(
        QUANTUM_PROGRAM_PARAMS_CONVERTERS["v2.0"].encoder(program, ExecutorOptions()).model_dump_json()
    )
    return params


def ran(run_payload: Run, program: QuantumProgram, snapshot: str = "ideal", **limits: int) -> Any:
    data = run_payload("executor", json.dumps(written(program)).encode(), snapshot, **limits)
    return ExecutorResultDecoder.decode(data.decode())


def turned() -> QuantumCircuit:
    """Two registers, the first of which holds the turned qubit."""
    circuit = QuantumCircuit(QuantumRegister(3, "q"), ClassicalRegister(1, "turned"), ClassicalRegister(2, "rest"))
    circuit.ry(Parameter("a"), 0)
    circuit.x(2)
    circuit.measure([0, 1, 2], range(3))
    return circuit


def flip() -> QuantumProgram:
    program = QuantumProgram(shots=7)
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    program.append_circuit_item(circuit)
    return program


def test_items_registers_and_shapes(run_payload: Run) -> None:
    program = QuantumProgram(shots=SHOTS, passthrough_data={"mine": [1, "a", np.array([1.5])]})
    angles = np.random.default_rng(SEED).uniform(0, np.pi, (2, 3, 1))
    program.append_circuit_item(turned(), circuit_arguments=angles)
    program.append_circuit_item(turned(), circuit_arguments=np.array([np.pi]))
    program._semantic_role = "a role"
    result = ran(run_payload, program)
    swept, single = result
    assert {name: (bits.shape, bits.dtype) for name, bits in swept.items()} == {
        "turned": ((2, 3, SHOTS, 1), np.dtype(bool)),
        "rest": ((2, 3, SHOTS, 2), np.dtype(bool)),
    }
    assert not swept["rest"][..., 0].any()  # the first bit of a register comes first
    assert swept["rest"][..., 1].all()
    for ones, angle in zip(swept["turned"].sum(axis=(2, 3)).flat, angles.flat, strict=True):
        p = np.sin(angle / 2) ** 2
        assert chi_square_p({"1": int(ones), "0": SHOTS - int(ones)}, {"1": p, "0": 1 - p}) > ALPHA, f"seed {SEED}"
    assert single["turned"].shape == (SHOTS, 1)
    assert single["turned"].all()
    assert result.passthrough_data["mine"][:2] == [1, "a"]
    assert result.passthrough_data["mine"][2].tolist() == [1.5]
    assert result._semantic_role == "a role"
    assert [part.idx_item for span in result.metadata.chunk_timing for part in span.parts] == [0, 1]
    assert [part.size for span in result.metadata.chunk_timing for part in span.parts] == [6, 1]
    assert all(span.start <= span.stop for span in result.metadata.chunk_timing)


def test_a_samplex_is_drawn_anew_on_each_axis_that_it_is_not_swept_along(run_payload: Run) -> None:
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(2, "c"))
    angle = Parameter("a")
    with circuit.box([Twirl()]):
        circuit.rx(angle, 0)
        circuit.cx(0, 1)
    with circuit.box([Twirl()]):
        circuit.measure([0, 1], [0, 1])
    template, samplex = build(circuit)
    angles = np.random.default_rng(SEED).uniform(0, np.pi, (3, 1))
    program = QuantumProgram(shots=200)
    program.append_samplex_item(
        template, samplex=samplex, samplex_arguments={"parameter_values": angles}, shape=(20, 3)
    )
    (item,) = ran(run_payload, program)
    assert item["c"].shape == (20, 3, 200, 2)
    flips = item["measurement_flips.c"]
    assert flips.shape == (20, 3, 1, 2)
    assert flips.any()
    assert not flips.all()
    assert len(np.unique(flips.reshape(20, -1), axis=0)) > 5
    bits = item["c"] ^ flips
    assert (bits[..., 0] == bits[..., 1]).all()
    for point, value in enumerate(angles[:, 0]):
        ones = int(bits[:, point, :, 0].sum())
        p = np.sin(value / 2) ** 2
        assert chi_square_p({"1": ones, "0": 4000 - ones}, {"1": p, "0": 1 - p}) > ALPHA, f"seed {SEED}"


def test_a_device_has_its_noise(run_payload: Run) -> None:
    program = QuantumProgram(shots=4000)
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    program.append_circuit_item(circuit)
    (item,) = ran(run_payload, program, "manila")
    assert 0.8 < item["c"].mean() < 1.0


def test_a_program_in_openqasm(run_payload: Run) -> None:
    params = written(flip())
    text = 'OPENQASM 3.0; include "stdgates.inc"; bit[1] c; qubit[1] q; x q[0]; c[0] = measure q[0];'
    params["quantum_program"]["circuits"] = {"data": [text]}
    result = ExecutorResultDecoder.decode(run_payload("executor", json.dumps(params).encode()).decode())
    assert result[0]["c"].tolist() == [[True]] * 7


def packed_zeros(size: int) -> str:
    return base64.b64encode(zlib.compress(b"\0" * size)).decode()


ITEM = {"item_type": "circuit", "shape": [], "chunk_size": "auto"}
BOMB = {"data": packed_zeros(8_000_000), "shape": [1_000_000], "dtype": "f64"}


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda p: p.update(schema_version="v1.0"), InputError, "schema of the program is 'v1.0'; v2.0 is read"),
        (lambda p: p["quantum_program"].update(meas_level="kerneled"), InputError, "meas_level is 'kerneled'"),
        (lambda p: p["quantum_program"].update(shots=0), InputError, "shots are a whole number of at least 1, not 0"),
        (lambda p: p["quantum_program"].update(items=[]), InputError, "1 circuits and 0 items"),
        (lambda p: p["quantum_program"]["items"][0].update(circuit_arguments=BOMB), LimitExceeded, "1000000 bytes"),
        (lambda p: p["quantum_program"]["circuits"].update(b64_data=packed_zeros(2_000_000)), LimitExceeded, "1000000"),
        (lambda p: p["quantum_program"]["circuits"].update(b64_data=packed_zeros(20)), InputError, "cannot be read"),
        (lambda p: p["quantum_program"]["circuits"].update(b64_data="?"), InputError, "it is not base64"),
        (lambda p: p["quantum_program"]["items"][0].update(shape="x"), InputError, "cannot be read"),
        (
            lambda p: p["quantum_program"]["items"][0].update(
                item_type="samplex", samplex={"samplex_json": "{}"}, samplex_arguments={}
            ),
            InputError,
            "cannot be read",
        ),
        (lambda p: p["quantum_program"].pop("circuits"), InputError, r"cannot be read \(KeyError: 'circuits'\)"),
    ],
)
def test_programs_that_cannot_be_run(
    run_payload: Run, change: Callable[[Any], Any], kind: type[Exception], message: str
) -> None:
    params = written(flip())
    change(params)
    with pytest.raises(kind, match=message):
        run_payload("executor", json.dumps(params).encode(), decompressed=1_000_000)


def test_limits_of_shots_and_of_what_is_large_are_those_of_the_engine(run_payload: Run) -> None:
    program = QuantumProgram(shots=2_000_000)
    program.append_circuit_item(turned(), circuit_arguments=np.array([0.1]))
    with pytest.raises(LimitExceeded, match="item 0: "):
        ran(run_payload, program)


@pytest.mark.parametrize("parameters", [b"{}", b'{"quantum_program": []}', b'{"quantum_program": {"items": 3}}'])
def test_the_engine_refuses_what_is_no_program(parameters: bytes) -> None:
    with pytest.raises(InputError, match='no "quantum_program" with a list of items'):
        QRMIService().resource("aer_ideal").submit(QiskitPrimitive("executor", parameters))


def test_through_the_engine() -> None:
    resource = QRMIService().resource("aer_ideal")
    good = resource.submit(QiskitPrimitive("executor", json.dumps(written(flip())).encode()))
    wrong = resource.submit(
        QiskitPrimitive("executor", json.dumps(written(flip()) | {"schema_version": "v9"}).encode())
    )
    assert ExecutorResultDecoder.decode(good.result(timeout=60).value)[0]["c"].tolist() == [[True]] * 7
    with pytest.raises(TaskFailed, match="schema of the program is 'v9'"):
        wrong.result(timeout=60)


@pytest.mark.parametrize("dtype", ["?", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "c16"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (3, 5)])
def test_arrays_are_those_of_ibms_schema(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(SEED).integers(0, 100, shape).astype(dtype)
    array = array > 50 if dtype == "?" else array
    array = np.asarray(array)
    theirs = CompressedTensorModel.from_numpy(array).model_dump(mode="json")
    for read in (
        CompressedTensorModel.model_validate(tensor_json(array)).to_numpy(),
        load_tensor(theirs, Expander(10_000)),
        load_tensor(tensor_json(array), Expander(10_000)),
    ):
        assert read.shape == array.shape
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ([1.0], 'an array has "data", "shape" and "dtype"'),
        ({"data": "", "shape": [-1], "dtype": "f64"}, "is a list of whole numbers"),
        ({"data": "", "shape": [True], "dtype": "f64"}, "is a list of whole numbers"),
        ({"data": "", "shape": [], "dtype": "object"}, "bool or one of f16"),
        ({"data": packed_zeros(7), "shape": [], "dtype": "f64"}, "takes 8 bytes, not 7"),
    ],
)
def test_arrays_that_are_none(tensor: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_tensor(tensor, Expander(10_000))
