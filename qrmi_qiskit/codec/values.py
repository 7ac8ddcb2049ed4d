# SPDX-License-Identifier: Apache-2.0
"""Values of metadata and options: plain JSON plus the few types that IBM marks with ``__type__``."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

import numpy as np

from qrmi_qiskit.codec.arrays import array_json, load_array
from qrmi_qiskit.codec.compression import Expander

__all__ = ["ValueEncoder", "plain_json", "read_value"]


class ValueEncoder(json.JSONEncoder):
    """Writes NumPy scalars and arrays, dates, complex numbers and sets beside plain JSON values."""

    def default(self, o: Any) -> Any:
        """Return what stands for ``o``."""
        if isinstance(o, np.generic):
            return o.item()
        if isinstance(o, np.ndarray):
            return json.loads(array_json(o))
        if isinstance(o, date):
            return {"__type__": "datetime", "__value__": o.isoformat()}
        if isinstance(o, complex):
            return {"__type__": "complex", "__value__": [o.real, o.imag]}
        if isinstance(o, set | frozenset):
            return {"__type__": "set", "__value__": sorted(o, key=repr)}
        raise TypeError(f"a value of type {type(o).__name__} cannot be written as JSON")


def plain_json(value: Any) -> bytes:
    """Return the JSON text of ``value``.

    Raises:
        TypeError: something in it has no JSON form.
        ValueError: a number in it is not finite, or it contains itself.
    """
    return json.dumps(value, cls=ValueEncoder, allow_nan=False, separators=(",", ":")).encode()


def read_value(value: Any, expander: Expander) -> Any:
    """Return decoded JSON with its marked values restored.

    A mark that is not known here (``ExecutionSpans``, say) is dropped and what it marks is kept as plain values.

    Raises:
        LimitExceeded, ValueError: a marked value cannot be read.
    """
    if isinstance(value, list):
        return [read_value(item, expander) for item in value]
    if not isinstance(value, dict):
        return value
    if "__type__" not in value or "__value__" not in value:
        return {key: read_value(item, expander) for key, item in value.items()}
    marked = value["__value__"]
    match value["__type__"]:
        case "ndarray":
            return load_array(marked, expander)
        case "datetime":
            return datetime.fromisoformat(str(marked))
        case "complex" if isinstance(marked, list) and len(marked) == 2:
            return complex(*marked)
        case "set" if isinstance(marked, list):
            return set(marked)
        case _:
            return read_value(marked, expander)
