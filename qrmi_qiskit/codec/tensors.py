# SPDX-License-Identifier: Apache-2.0
"""Arrays as IBM's program ``executor`` writes them: ``{"data": base64(zlib(raw)), "shape": [...], "dtype": "f64"}``.

The bytes are little-endian in C order; truth values are packed eight to a byte, the first in the lowest bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qrmi_qiskit.codec.compression import Expander, pack

__all__ = ["is_tensor", "load_tensor", "tensor_json"]

_TYPES: Mapping[str, str] = {
    **{f"f{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"i{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"c{bits}": f"<c{bits // 8}" for bits in (64, 128)},
}
_NAMES = {np.dtype(code).str: name for name, code in _TYPES.items()}


def is_tensor(value: object) -> bool:
    """Whether a decoded JSON value has the form of an array."""
    return isinstance(value, dict) and value.keys() == {"data", "shape", "dtype"}


def tensor_json(array: NDArray[Any]) -> dict[str, Any]:
    """The JSON object of an array of numbers or truth values."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if little.dtype == np.bool_:
        name, data = "bool", np.packbits(little, axis=None, bitorder="little").tobytes()
    else:
        name, data = _NAMES[little.dtype.str.replace("|", "<" if little.dtype.itemsize > 1 else "|")], little.tobytes()
    return {"data": pack(data).decode(), "shape": list(array.shape), "dtype": name}


def load_tensor(value: object, expander: Expander) -> NDArray[Any]:
    """The array that a JSON object holds.

    Raises:
        LimitExceeded: see :meth:`Expander.expand`.
        ValueError: it does not hold what it says.
    """
    if not isinstance(value, dict) or not is_tensor(value):
        raise ValueError('an array has "data", "shape" and "dtype"')
    shape, kind = value["shape"], value["dtype"]
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"the shape of an array is a list of whole numbers, not {shape!r}")
    if kind != "bool" and kind not in _TYPES:
        raise ValueError(f"the dtype of an array is bool or one of {', '.join(_TYPES)}, not {kind!r}")
    data, size = expander.expand(value["data"]), math.prod(shape)
    needed = math.ceil(size / 8) if kind == "bool" else size * np.dtype(_TYPES[kind]).itemsize
    if len(data) != needed:
        raise ValueError(f"an array of shape {shape} and type {kind} takes {needed} bytes, not {len(data)}")
    if kind == "bool":
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=size, bitorder="little")
        return bits.astype(bool).reshape(shape)
    return np.frombuffer(data, _TYPES[kind]).reshape(shape)
