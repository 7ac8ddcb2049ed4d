# SPDX-License-Identifier: Apache-2.0
"""Results: the same as qiskit-ibm-runtime's own encoder and decoder make of them, fast, and never trusted."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, PubResult, SamplerPubResult
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder
from qiskit_ibm_runtime.execution_span import DoubleSliceSpan, ExecutionSpans

from qrmi_core import ResultError
from qrmi_qiskit.codec import decode_result, encode_result


def random_bits(shape: tuple[int, ...], shots: int, bits: int, seed: int = 1) -> BitArray:
    rng = np.random.default_rng(seed)
    return BitArray.from_bool_array(rng.integers(0, 2, (*shape, shots, bits), dtype=np.uint8).astype(bool))


def sampled(**metadata: Any) -> PrimitiveResult[Any]:
    data = DataBin(shape=(2,), meas=random_bits((2,), 20, 11), other=random_bits((2,), 20, 1))
    return PrimitiveResult([SamplerPubResult(data, metadata={"circuit_metadata": {"n": 1}})], metadata=metadata)


def estimated() -> PrimitiveResult[Any]:
    values = np.arange(6.0).reshape(2, 3)
    pubs = [
        PubResult(DataBin(shape=(2, 3), evs=values, stds=values / 10), metadata={"shots": 4096}),
        PubResult(DataBin(shape=(), evs=np.array(0.5), stds=np.array(0.1))),
    ]
    return PrimitiveResult(pubs, metadata={"version": 2})


def assert_same(one: PrimitiveResult[Any], other: PrimitiveResult[Any]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert isinstance(right, SamplerPubResult) == isinstance(left, SamplerPubResult)
        assert left.metadata == right.metadata
        assert left.data.shape == right.data.shape
        assert list(left.data) == list(right.data)
        for name in left.data:
            if isinstance(left.data[name], BitArray):
                assert left.data[name] == right.data[name]
            else:
                assert right.data[name].dtype == left.data[name].dtype
                assert np.array_equal(left.data[name], right.data[name])


@pytest.mark.parametrize("result", [sampled(version=2), estimated()])
def test_results_pass_between_ours_and_ibms(result: PrimitiveResult[Any]) -> None:
    ours, ibms = encode_result(result), json.dumps(result, cls=RuntimeEncoder)
    assert_same(result, json.loads(ours, cls=RuntimeDecoder))
    assert_same(result, decode_result(ibms.encode()))
    assert_same(result, decode_result(ours))
    assert decode_result(ours).metadata == {"version": 2}


def test_the_services_field_types_are_written() -> None:
    data = json.loads(encode_result(sampled()))["__value__"]["pub_results"][0]["__value__"]["data"]["__value__"]
    assert data["field_names"] == ["meas", "other"]
    assert data["field_types"] == ["BitArray", "BitArray"]
    assert data["shape"] == [2]


def test_metadata_of_every_kind_is_read() -> None:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    span = DoubleSliceSpan(start, start, {0: ((20,), slice(0, 1), slice(0, 20))})
    result = sampled(
        execution={"execution_spans": ExecutionSpans([span])},
        when=start,
        factors=np.array([1, 2]),
        nested=[{"a": (1, 2.5, None, True)}],
        amplitude=1 + 2j,
    )
    metadata = decode_result(json.dumps(result, cls=RuntimeEncoder).encode()).metadata
    assert metadata["execution"]["execution_spans"]["spans"][0]["start"] == start
    assert metadata["when"] == start
    assert metadata["factors"].tolist() == [1, 2]
    assert metadata["nested"] == [{"a": [1, 2.5, None, True]}]
    assert metadata["amplitude"] == 1 + 2j
    again = json.loads(
        encode_result(sampled(when=start, factors=np.array([1, 2]), amplitude=1 + 2j)), cls=RuntimeDecoder
    )
    assert again.metadata["when"] == start
    assert again.metadata["factors"].tolist() == [1, 2]
    assert again.metadata["amplitude"] == 1 + 2j


@settings(max_examples=50, deadline=None)
@given(
    shape=st.lists(st.integers(0, 3), max_size=2).map(tuple),
    shots=st.integers(0, 40),
    bits=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_bits_come_back(shape: tuple[int, ...], shots: int, bits: int, seed: int) -> None:
    data = DataBin(shape=shape, c=random_bits(shape, shots, bits, seed))
    result = PrimitiveResult([SamplerPubResult(data)])
    assert_same(result, decode_result(encode_result(result)))


def test_arrays_of_a_result_can_be_written_to() -> None:
    decode_result(encode_result(estimated()))[0].data.evs[0, 0] = 5


def test_every_truncation_is_told() -> None:
    data = encode_result(estimated())
    for end in range(len(data)):
        with pytest.raises(ResultError, match="not complete JSON"):
            decode_result(data[:end])


def altered(path: list[Any], value: Any) -> bytes:
    document = json.loads(encode_result(sampled(version=2)))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document).encode()


PUB = ["__value__", "pub_results", 0]
FIELD = [*PUB, "__value__", "data", "__value__", "fields", "meas"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"Traceback (most recent call last)", "not complete JSON .* it begins with 'Traceback"),
        (b"[" * 100_000, "not complete JSON"),
        (b"{}", "a typed PrimitiveResult was expected, not an untyped object"),
        (b"[1]", "a typed PrimitiveResult was expected, not list"),
        (altered(["__value__"], 5), "the value of a PrimitiveResult is not an object"),
        (altered(["__value__", "pub_results"], None), 'no list "pub_results"'),
        (altered([*PUB, "__type__"], "Surprise"), "pub 0: a typed SamplerPubResult was expected, not Surprise"),
        (altered([*PUB, "__value__", "data"], None), "pub 0: a typed DataBin was expected, not NoneType"),
        (altered(FIELD[:-1], []), 'pub 0: its data has no object "fields"'),
        (altered([*FIELD[:-2], "shape"], 3), 'the "shape" of its data is not a list'),
        (altered([*FIELD[:-2], "shape"], [9]), "pub 0: .*does not lead with the shape"),
        (altered([*FIELD, "__value__", "num_bits"], None), "field meas: its number of bits is missing"),
        (altered([*FIELD, "__value__", "num_bits"], 99), "field meas: .*bytes per shot"),
        (altered([*FIELD, "__value__", "array"], [1]), "field meas: a typed ndarray was expected"),
        (altered([*FIELD, "__value__", "array", "__value__"], [[1]]), "field meas: .*uint8"),
        (altered([*FIELD, "__value__", "array", "__value__"], "eJw="), "field meas: its zlib stream is truncated"),
        (altered(["__value__", "metadata"], {"d": {"__type__": "datetime", "__value__": "soon"}}), "isoformat"),
    ],
)
def test_a_malformed_result_is_told(data: bytes, said: str) -> None:
    with pytest.raises(ResultError, match=said):
        decode_result(data)


def test_a_result_that_expands_too_far_is_told() -> None:
    zeros = BitArray(np.zeros((2**20, 1), dtype=np.uint8), 8)
    data = encode_result(PrimitiveResult([SamplerPubResult(DataBin(shape=(), c=zeros))]))
    assert len(data) < 10_000
    with pytest.raises(ResultError, match="it expands to more than 1000 bytes"):
        decode_result(data, max_decompressed=1000)
