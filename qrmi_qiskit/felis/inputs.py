# SPDX-License-Identifier: Apache-2.0
"""The input parameters of a Felis job, checked against what the target lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qrmi_core import InputError, LimitExceeded

__all__ = ["shots_of"]


def shots_of(input_params: bytes, described: Mapping[str, Any]) -> int:
    """How many shots a job asks for; ``described`` is the target's ``inputParams``.

    Raises:
        InputError: the parameters are no JSON object, one is unknown, or the number of shots is no whole number.
        LimitExceeded: the shots are not within the target's limits.
    """
    try:
        values = json.loads(input_params)
    except (ValueError, RecursionError) as error:
        raise InputError(f"input_params is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError('input_params is no JSON object: {"nbShots": 1000} was expected')
    if unknown := sorted(values.keys() - described.keys()):
        raise InputError(f"input_params has {', '.join(unknown)}; this target takes {', '.join(described)}")
    shots = values.get("nbShots", described["nbShots"]["default"])
    if not isinstance(shots, int) or isinstance(shots, bool):
        raise InputError(f"nbShots is {json.dumps(shots)}: a whole number was expected")
    (allowed,) = described["nbShots"]["constraints"]
    if not allowed["min"] <= shots <= allowed["max"]:
        raise LimitExceeded(f"nbShots is {shots}: it must be in the range [{allowed['min']}, {allowed['max']}]")
    return shots
