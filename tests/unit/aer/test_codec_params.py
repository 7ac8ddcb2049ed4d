# SPDX-License-Identifier: Apache-2.0
"""What is sent: against qiskit-ibm-runtime's own encoder and decoder, and against hostile bytes."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder

from qrmi_core import InputError, LimitExceeded
from qrmi_qiskit.codec import decode_params, encode_estimator, encode_sampler

BELL_QASM = """OPENQASM 3.0; include "stdgates.inc";
input float[64] th; bit[2] meas; qubit[2] q;
rx(th) q[0]; cx q[0], q[1]; meas[0] = measure q[0]; meas[1] = measure q[1];"""


def parametrised() -> QuantumCircuit:
    """Two parameters, whose names are not in the order of their appearance; control flow; two registers."""
    second, first = Parameter("zeta"), Parameter("alpha")
    circuit = QuantumCircuit(3, name="sent", metadata={"note": "kept"})
    circuit.rx(second, 0)
    circuit.rz(2 * first + 1, 1)
    circuit.cx(0, 1)
    circuit.measure_all()
    with circuit.if_test((circuit.clbits[0], True)):
        circuit.x(2)
    return circuit


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def typed(kind: str, data: bytes) -> dict[str, str]:
    return {"__type__": kind, "__value__": packed(data)}


def qpy_of(*circuits: QuantumCircuit) -> bytes:
    stream = io.BytesIO()
    qpy.dump(list(circuits), stream, version=17)
    return stream.getvalue()


def sampler_params(*pubs: object, **keys: object) -> bytes:
    return json.dumps({"pubs": pubs, "options": {}, "version": 2, "support_qiskit": True} | keys).encode()


def decoded(program: str, data: bytes, most: int = 2**24) -> Any:
    return decode_params(program, data, max_decompressed=most)


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (1,), (2, 1)])
def test_sampler_pubs_are_read_by_ibms_decoder(shape: tuple[int, ...]) -> None:
    circuit = parametrised()
    values = np.arange(2 * np.prod(shape, dtype=int)).reshape(*shape, 2) / 7
    pub = SamplerPub.coerce((circuit, {("zeta", "alpha"): values}, 123))

    params = json.loads(encode_sampler([pub], options={"default_shots": 5}), cls=RuntimeDecoder)

    assert params["version"] == 2
    assert params["support_qiskit"] is True
    assert params["options"] == {"default_shots": 5}
    (sent, array, shots) = params["pubs"][0]
    assert sent == circuit
    assert sent.metadata == {"note": "kept"}
    assert np.array_equal(array, values[..., ::-1])  # like circuit.parameters: alpha, zeta
    assert shots == 123


def test_what_ibms_encoder_writes_is_read() -> None:
    circuit = parametrised()
    sampler = SamplerPub.coerce((circuit, np.linspace(0, 1, 8).reshape(4, 2), 77))
    estimator = EstimatorPub.coerce((circuit, [[SparsePauliOp(["ZZI", "IIX"], [1.5, -2])], ["YYY"]], [0.5, 0.25], 0.1))
    for program, pub in (("sampler", sampler), ("estimator", estimator)):
        text = json.dumps({"pubs": [pub], "options": {"x": [1]}, "version": 2}, cls=RuntimeEncoder)
        (read,), options = decoded(program, text.encode())
        assert options == {"x": [1]}
        assert read.circuit == circuit
        assert read.shape == pub.shape
        parameters = circuit.parameters
        assert np.array_equal(read.parameter_values.as_array(parameters), pub.parameter_values.as_array(parameters))
        if program == "sampler":
            assert read.shots == 77
        else:
            assert read.precision == 0.1
            assert read.observables.tolist() == pub.observables.tolist()


def test_estimator_pubs_are_read_by_ibms_decoder_and_by_ours() -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("t"), 0)
    pub = EstimatorPub.coerce((circuit, [["ZZ"], [{"XX": 2.0, "IZ": -1.0}]], np.array([[0.1], [0.2], [0.3]])))
    data = encode_estimator([pub], precision=0.03)

    _, observables, array, precision = json.loads(data, cls=RuntimeDecoder)["pubs"][0]
    assert observables == [[{"ZZ": 1.0}], [{"XX": 2.0, "IZ": -1.0}]] or observables == pub.observables.tolist()
    assert array.shape == (3, 1)
    assert precision == 0.03
    (read,), _ = decoded("estimator", data)
    assert read.shape == (2, 3)
    assert read.observables.tolist() == pub.observables.tolist()


def test_shots_and_precision_are_always_said() -> None:
    circuit = QuantumCircuit(1, 1)
    pubs = [SamplerPub.coerce((circuit, None, 9)), SamplerPub.coerce(circuit)]
    assert [pub[2] for pub in json.loads(encode_sampler(pubs, shots=50))["pubs"]] == [9, 50]
    assert json.loads(encode_sampler(pubs))["pubs"][1][2] == 4096
    estimator = [EstimatorPub.coerce((circuit, "Z", None, 0.5)), EstimatorPub.coerce((circuit, "Z"))]
    assert [pub[3] for pub in json.loads(encode_estimator(estimator))["pubs"]] == [0.5, 0.015625]


def test_a_circuit_in_several_pubs_is_written_once() -> None:
    class Counted(frozenset[int]):
        written = 0

        def __iter__(self) -> Iterator[int]:
            Counted.written += 1
            return super().__iter__()

    circuit = QuantumCircuit(1, 1, metadata={"seen": Counted({1})})
    data = encode_sampler([SamplerPub.coerce((circuit, None, shots)) for shots in (1, 2, 3)])
    assert Counted.written == 1
    assert [pub.shots for pub in decoded("sampler", data)[0]] == [1, 2, 3]


@pytest.mark.parametrize("values", [None, [], [[]], typed("ndarray", npy(np.zeros((0,))))])
def test_a_circuit_without_parameters_takes_no_values(values: object) -> None:
    pub = [typed("QuantumCircuit", qpy_of(QuantumCircuit(1, 1))), values, 5]
    (read,), _ = decoded("sampler", sampler_params(pub))
    assert read.parameter_values.num_parameters == 0
    assert read.shots == 5


def test_qasm_and_plain_lists_are_read() -> None:
    observables = [{"ZZ": 1.0, "XI": 0.5}, {"IZ": 2.0}]
    data = json.dumps({"pubs": [[BELL_QASM, observables, [[0.1], [0.2]], 0.1], [BELL_QASM, observables, [0.3]]]})
    (first, second), _ = decoded("estimator", data.encode())
    assert first.shape == (2,)
    assert first.circuit.count_ops() == {"rx": 1, "cx": 1, "measure": 2}
    assert first.parameter_values.as_array().tolist() == [[0.1], [0.2]]
    assert second.precision == 0.015625
    assert second.circuit is first.circuit


def test_defaults_come_from_the_pub_then_the_job_then_the_options() -> None:
    pub = [BELL_QASM, [0.1]]
    shots = [
        decoded("sampler", sampler_params(*pubs, **keys))[0][0].shots
        for pubs, keys in [
            ([[*pub, 3]], {"shots": 4, "options": {"default_shots": 5}}),
            ([pub], {"shots": 4, "options": {"default_shots": 5}}),
            ([pub], {"options": {"default_shots": 5}}),
            ([pub], {}),
        ]
    ]
    assert shots == [3, 4, 5, 4096]
    estimator = [BELL_QASM, {"ZZ": 1}, [0.1]]
    precisions = [
        decoded("estimator", sampler_params(estimator, **keys))[0][0].precision
        for keys in ({"precision": 0.5}, {"options": {"default_precision": 0.25}}, {"options": {"default_shots": 16}})
    ]
    assert precisions == [0.5, 0.25, 0.25]


def test_physical_qubits_get_the_width_of_the_observables() -> None:
    text = 'OPENQASM 3.0; include "stdgates.inc"; sx $3; cx $3, $5;'
    (pub,), _ = decoded("estimator", sampler_params([text, {"ZIIIIIIII": 1.0}, None]))
    assert pub.circuit.num_qubits == 9
    assert [pub.circuit.find_bit(qubit).index for qubit in pub.circuit.data[1].qubits] == [3, 5]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda: typed("QuantumCircuit", b"\0" * 2**25), "pub 0: it expands to more than 16777216 bytes"),
        (
            lambda: typed("QuantumCircuit", qpy_of(QuantumCircuit(1, 1))) | {"__value__": packed(b"\0" * 2**28)},
            "expands to",
        ),
    ],
    ids=["a circuit", "what stands for one"],
)
def test_a_bomb_is_refused(value: Callable[[], object], said: str) -> None:
    with pytest.raises(LimitExceeded, match=said):
        decoded("sampler", sampler_params([value(), None, 5]))


def test_the_cap_is_on_all_values_together() -> None:
    circuit = typed("QuantumCircuit", qpy_of(QuantumCircuit(1, 1)))
    array = typed("ndarray", npy(np.zeros((0, 1))) + b"\0" * 0)
    room = 4 * (len(qpy_of(QuantumCircuit(1, 1))) + 128)
    decoded("sampler", sampler_params([circuit, array, 5]), room)
    with pytest.raises(LimitExceeded, match=r"pub \d+: it expands to more than"):
        decoded("sampler", sampler_params(*[[circuit, array, 5]] * 20), room)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (npy(np.zeros(3))[:-1], r"pub 0: an array of shape \(3,\) and type float64 does not take 23 bytes"),
        (npy(np.zeros(1)).replace(b"(1,)", b"(9,)"), r"shape \(9,\) and type float64 does not take 8 bytes"),
        (npy(np.zeros(1)).replace(b"(1,), ", b"(99999999999,), "), r"shape \(99999999999,\)"),
        (npy(np.array([{}]), allow_pickle=True), "its elements are object"),
        (npy(np.array(["a"])), "its elements are <U1"),
        (b"\x93NUMPY\x01\x00\xff\xff", "npy format"),
        (b"\x93NUMPY\x01\x00\x0a\x00((((((((((", "npy format"),
        (b"PK\x03\x04", "npy format"),
    ],
)
def test_a_malformed_array_is_refused(array: bytes, said: str) -> None:
    circuit = typed("QuantumCircuit", qpy_of(parametrised()))
    with pytest.raises(InputError, match=said):
        decoded("sampler", sampler_params([circuit, typed("ndarray", array), 5]))


@pytest.mark.parametrize(
    ("circuit", "said"),
    [
        (typed("QuantumCircuit", b"something else"), "pub 0: what it holds is not QPY"),
        (typed("QuantumCircuit", b"QISKIT\x63" + b"\0" * 40), "QPY version 99, and this Qiskit reads up to"),
        (typed("QuantumCircuit", qpy_of(QuantumCircuit(1))[:-3]), "its QPY cannot be read"),
        (typed("QuantumCircuit", qpy_of(QuantumCircuit(1), QuantumCircuit(1))), "holds 2 programs instead of one"),
        ({"__type__": "QuantumCircuit", "__value__": "$$$"}, "it is not base64"),
        ({"__type__": "QuantumCircuit", "__value__": "aGVsbG8="}, "it is not a zlib stream"),
        ({"__type__": "QuantumCircuit", "__value__": packed(b"x" * 1000)[:12]}, "truncated"),
        ({"__type__": "QuantumCircuit", "__value__": 5}, "base64 text was expected, not int"),
        ({"__type__": "NoiseModel", "__value__": {}}, "OpenQASM 3 text or a typed QuantumCircuit"),
        ("OPENQASM 3.0; nonsense q;", "its OpenQASM 3 cannot be read: 1,14: gate 'nonsense' is not defined"),
        ("OPENQASM 3.0;\nqubit q;\nint", "cannot be read: line 3:3 no viable alternative at input 'int'"),
        ("OPENQASM 3.0;\nqubit[2 q;", "cannot be read: line 2:8 unexpected 'q'"),
        ("OPENQASM 3.0;\n$$", r"cannot be read: line 2:0 token recognition error at: '\$\$'"),
        ("", "its OpenQASM 3 cannot be read: AttributeError: "),
    ],
)
def test_a_malformed_circuit_is_refused(circuit: object, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=said):
        decoded("sampler", sampler_params([circuit, None, 5]))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"pubs": [1,\n 2', "line 2, column 3"),
        (b"[]", "not a JSON object"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", '"pubs" is missing or empty'),
        (sampler_params([BELL_QASM, [0.1], 0]), "pub 0: 0 shots were asked for"),
        (sampler_params([BELL_QASM, [0.1], 1.5]), "1.5 shots were asked for"),
        (sampler_params([BELL_QASM, [0.1], True]), "True shots were asked for"),
        (sampler_params([BELL_QASM, [0.1], 5], [BELL_QASM, None, 5]), "pub 1: it has no values for the parameters th"),
        (sampler_params([BELL_QASM, ["x"], 5]), "pub 0: "),
        (sampler_params([BELL_QASM, {"th": 1}, 5]), "null, a list or a typed array"),
        (sampler_params([BELL_QASM, [[0.1, 0.2]], 5, 6]), "a pub is a list of 1 to 3 values"),
        (sampler_params([BELL_QASM, [0.1], 5], options=[1]), "the options: an object was expected"),
        (sampler_params(["OPENQASM 3.0; qubit q; bit c;", [1.0], 5]), "1 parameter values for a circuit without"),
    ],
)
def test_malformed_parameters_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        decoded("sampler", data)


@pytest.mark.parametrize(
    ("pub", "said"),
    [
        ([BELL_QASM, {"ZZ": 1}, [0.1], -1], "the precision is -1"),
        ([BELL_QASM, {"ZZ": 1}, [0.1], "x"], "the precision is 'x'"),
        ([BELL_QASM, {"Q": 1}, [0.1]], "pub 0: "),
        ([BELL_QASM, {"ZZZ": 1}, [0.1]], "number of qubits"),
        ([BELL_QASM, None, [0.1]], "pub 0: "),
    ],
)
def test_malformed_estimator_pubs_are_refused(pub: list[object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        decoded("estimator", sampler_params(pub))


def test_an_unknown_program_is_refused() -> None:
    with pytest.raises(InputError, match="'executor' is not known; there are sampler and estimator"):
        decoded("executor", sampler_params([BELL_QASM]))


def test_what_has_no_json_form_is_refused_before_it_is_sent() -> None:
    circuit = QuantumCircuit(1, metadata={"x": object()})
    with pytest.raises(InputError, match=r"'circuit-\d+' cannot be written as QPY version 17: .*object"):
        encode_sampler([SamplerPub.coerce(circuit)])
    with pytest.raises(InputError, match="the options cannot be sent: a value of type object"):
        encode_sampler([SamplerPub.coerce(QuantumCircuit(1))], options={"x": object()})
    with pytest.raises(InputError, match="the observables cannot be sent"):
        encode_estimator([EstimatorPub.coerce((QuantumCircuit(1), {"Z": float("inf")}))])
