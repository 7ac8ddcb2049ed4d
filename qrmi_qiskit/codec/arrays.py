# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays in typed JSON: ``{"__type__": "ndarray", "__value__": base64(zlib(npy))}``.

The npy format is NumPy's own: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from qrmi_qiskit.codec.compression import Expander, pack

__all__ = ["array_json", "load_array"]

_KINDS = "biufc"


def array_json(array: NDArray[Any]) -> bytes:
    """Return the JSON text of an array of numbers or truth values."""
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"an array of {array.dtype} cannot be sent: only numbers and truth values can")
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return b'{"__type__":"ndarray","__value__":"' + pack(stream.getvalue()) + b'"}'


def load_array(value: object, expander: Expander) -> NDArray[Any]:
    """Return the array that a typed ``ndarray`` holds: packed npy, or plain (nested) lists of numbers.

    Raises:
        LimitExceeded: see :meth:`Expander.expand`.
        ValueError: it is neither, or the file does not hold what its header says.
    """
    if isinstance(value, list | int | float):
        return _numbers(value)
    data = expander.expand(value)
    stream = io.BytesIO(data)
    try:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
        shape, fortran, dtype = read_header(stream)
    except Exception as error:  # NumPy evaluates the header as Python and passes on what that raises
        raise ValueError(f"it is not a file in npy format 1.0 or 2.0 ({type(error).__name__}: {error})") from error
    if dtype.kind not in _KINDS:
        raise ValueError(f"its elements are {dtype}; only numbers and truth values are read")
    there = len(data) - stream.tell()
    if math.prod(shape) * dtype.itemsize != there:
        raise ValueError(f"an array of shape {shape} and type {dtype} does not take {there} bytes")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def _numbers(value: list[Any] | float) -> NDArray[Any]:
    array = np.array(value, dtype=float if value == [] else None)
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"numbers were expected, not {array.dtype}")
    return array
