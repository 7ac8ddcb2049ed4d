# SPDX-License-Identifier: Apache-2.0
"""Results of primitives in typed JSON: ``PrimitiveResult`` of ``SamplerPubResult`` or ``PubResult``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, PubResult, SamplerPubResult

from qrmi_core import LimitExceeded, ResultError
from qrmi_qiskit.codec.arrays import array_json, load_array
from qrmi_qiskit.codec.compression import Expander
from qrmi_qiskit.codec.values import plain_json, read_value

__all__ = ["decode_result", "encode_result"]

_PUB_RESULTS = {"SamplerPubResult": SamplerPubResult, "PubResult": PubResult, "EstimatorPubResult": PubResult}


def encode_result(result: PrimitiveResult[PubResult]) -> bytes:
    """Return the JSON text of a result, readable by qiskit-ibm-runtime's ``ResultDecoder`` too.

    Raises:
        TypeError, ValueError: a field or some metadata has no JSON form.
    """
    pubs = b",".join(_pub_json(pub) for pub in result)
    return _typed(
        b"PrimitiveResult", b'{"pub_results":[' + pubs + b'],"metadata":' + plain_json(result.metadata) + b"}"
    )


def _typed(name: bytes, value: bytes) -> bytes:
    return b'{"__type__":"' + name + b'","__value__":' + value + b"}"


def _pub_json(pub: PubResult) -> bytes:
    names = list(pub.data)
    fields = b",".join(plain_json(name) + b":" + _field_json(field) for name, field in pub.data.items())
    described = {
        "field_names": names,
        "field_types": [type(pub.data[name]).__name__ for name in names],
        "shape": list(pub.data.shape),
    }
    data = _typed(b"DataBin", plain_json(described)[:-1] + b',"fields":{' + fields + b"}}")
    kind = b"SamplerPubResult" if isinstance(pub, SamplerPubResult) else b"PubResult"
    return _typed(kind, b'{"data":' + data + b',"metadata":' + plain_json(pub.metadata) + b"}")


def _field_json(field: Any) -> bytes:
    if isinstance(field, BitArray):
        return _typed(b"BitArray", b'{"array":' + array_json(field.array) + b',"num_bits":%d}' % field.num_bits)
    return array_json(np.asarray(field))


def decode_result(data: bytes, *, max_decompressed: int = 4 * 2**30) -> PrimitiveResult[PubResult]:
    """Return the result that ``data`` holds. Nothing in it is executed or unpickled.

    Raises:
        ResultError: it is not such a result, is truncated, or expands to more than ``max_decompressed`` bytes.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        beginning = bytes(data[:60]).decode(errors="replace")
        raise ResultError(f"the result is not complete JSON ({error}); it begins with {beginning!r}") from error
    expander = Expander(max_decompressed)
    try:
        content = _content(value, "PrimitiveResult")
        pubs = content.get("pub_results")
        if not isinstance(pubs, list):
            raise ValueError('it has no list "pub_results"')
        results = [_pub_result(pub, index, expander) for index, pub in enumerate(pubs)]
        return PrimitiveResult(results, metadata=_metadata(content, expander))
    except LimitExceeded as error:
        raise ResultError(f"the result cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ResultError(f"the result cannot be read: {error}") from error


def _content(value: Any, *types: str) -> dict[str, Any]:
    mark = value.get("__type__") if isinstance(value, dict) else type(value).__name__
    if mark not in types:
        raise ValueError(f"a typed {types[0]} was expected, not {mark or 'an untyped object'}")
    content = value.get("__value__")
    if not isinstance(content, dict):
        raise ValueError(f"the value of a {mark} is not an object")
    return content


def _metadata(content: Mapping[str, Any], expander: Expander) -> dict[str, Any]:
    metadata = read_value(content.get("metadata") or {}, expander)
    return metadata if isinstance(metadata, dict) else {"metadata": metadata}


def _pub_result(value: Any, index: int, expander: Expander) -> PubResult:
    try:
        content = _content(value, *_PUB_RESULTS)
        kind = _PUB_RESULTS[value["__type__"]]
        return kind(_data_bin(content.get("data"), expander), metadata=_metadata(content, expander))
    except LimitExceeded:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"pub {index}: {error}") from error


def _data_bin(value: Any, expander: Expander) -> DataBin:
    content = _content(value, "DataBin")
    fields, shape = content.get("fields"), content.get("shape")
    if not isinstance(fields, dict):
        raise ValueError('its data has no object "fields"')
    if not isinstance(shape, list | None):
        raise ValueError('the "shape" of its data is not a list')
    read = {}
    for name, field in fields.items():
        try:
            read[name] = _field(field, expander)
        except LimitExceeded:
            raise
        except (ValueError, TypeError) as error:
            raise ValueError(f"field {name}: {error}") from error
    return DataBin(shape=tuple(shape or ()), **read)


def _field(value: Any, expander: Expander) -> Any:
    if isinstance(value, dict) and value.get("__type__") == "BitArray":
        content = _content(value, "BitArray")
        array = load_array(_content_of_array(content.get("array")), expander)
        bits = content.get("num_bits")
        if not isinstance(bits, int):
            raise ValueError("its number of bits is missing")
        return BitArray(array, bits)
    return read_value(value, expander)


def _content_of_array(value: Any) -> Any:
    if not isinstance(value, dict) or value.get("__type__") != "ndarray":
        raise ValueError("a typed ndarray was expected")
    return value.get("__value__")
