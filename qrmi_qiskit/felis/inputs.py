# SPDX-License-Identifier: Apache-2.0
"""The input parameters of a Felis job, checked against what the target lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qrmi_core import InputError, LimitExceeded

__all__ = ["checked_parameters"]


def checked_parameters(input_params: bytes, described: Mapping[str, Any]) -> dict[str, Any]:
    """A job's parameters, with defaults for those that it does not name; ``described``: the target's ``inputParams``.

    Raises:
        InputError: they are no JSON object, or one is unknown or no number.
        LimitExceeded: one is not within the target's limits.
    """
    try:
        values = json.loads(input_params)
    except (ValueError, RecursionError) as error:
        raise InputError(f"input_params is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError('input_params is no JSON object: {"nbShots": 1000} was expected')
    if unknown := sorted(values.keys() - described.keys()):
        raise InputError(f"input_params has {', '.join(unknown)}; this target takes {', '.join(described)}")
    return {name: _checked(name, values.get(name, rule["default"]), rule) for name, rule in described.items()}


def _checked(name: str, value: Any, rule: Mapping[str, Any]) -> float:
    whole = rule["type"] == "int"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise InputError(f"{name} is {json.dumps(value)}: a {'whole ' if whole else ''}number was expected")
    (allowed,) = rule["constraints"]
    if not allowed["min"] <= value <= allowed["max"]:
        raise LimitExceeded(f"{name} is {value}: it must be in the range [{allowed['min']}, {allowed['max']}]")
    return float(value) if not whole else value
