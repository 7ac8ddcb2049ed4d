# SPDX-License-Identifier: Apache-2.0
"""What a Felis server checks of a request to create a job, and the words of its refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qrmi_core.gateway.dialects.dialect import Refused

__all__ = ["checked_job", "checked_parameters", "page_of"]

FORMATS = {"inputDataFormat": "HUMAN_QIR", "outputDataFormat": "HISTOGRAM"}
_KINDS: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}


def checked_job(body: Any) -> tuple[str, dict[str, Any]]:
    """The target and the input parameters of a job that is to be created.

    Raises:
        Refused: 422, a field is missing, of the wrong kind, or unknown.
    """
    if not isinstance(body, dict):
        raise _mistake("body", "Input should be a valid dictionary", "dict_type")
    for name, kind, spoken in (
        ("inputDataFormat", str, "string"),
        ("outputDataFormat", str, "string"),
        ("target", str, "string"),
        ("inputParams", dict, "dictionary"),
    ):
        if name not in body:
            raise _mistake(f"body.{name}", "Field required", "missing")
        if not isinstance(body[name], kind):
            raise _mistake(f"body.{name}", f"Input should be a valid {spoken}", f"{kind.__name__}_type")
        if name in FORMATS and body[name] != FORMATS[name]:
            raise _mistake(f"body.{name}", f"Input should be '{FORMATS[name]}'", "enum")
    if unknown := sorted(body.keys() - {*FORMATS, "target", "inputParams"}):
        raise _mistake(f"body.{unknown[0]}", "Extra inputs are not permitted", "extra_forbidden")
    return body["target"], body["inputParams"]


def checked_parameters(values: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Hold a job's input parameters against what its target lists.

    Raises:
        Refused: 400, one is missing, unknown, of the wrong kind, or out of its range.
    """
    for name in values:
        if name not in described:
            raise Refused(400, f'Input param "{name}" is not supported by this target.', code="400")
    for name, rule in described.items():
        if name not in values:
            if rule["required"]:
                raise Refused(400, f'Input param "{name}" is required.', code="400")
            continue
        value = values[name]
        if not isinstance(value, _KINDS[rule["type"]]) or (rule["type"] != "bool" and isinstance(value, bool)):
            raise Refused(400, f'Input param "{name}" must be of type {rule["type"]}, not {json.dumps(value)}.')
        for constraint in rule["constraints"]:
            if not constraint["min"] <= value <= constraint["max"]:
                text = f'Input param "{name}" must be in the range [{constraint["min"]}, {constraint["max"]}].'
                raise Refused(400, text, code="400")


def page_of(query: Mapping[str, str], name: str, default: int, least: int) -> int:
    """A whole number of the query.

    Raises:
        Refused: 422, it is none, or out of range.
    """
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not least <= int(text) <= 10**6:
        raise _mistake(f"query.{name}", f"Input should be a valid integer, at least {least}", "int_parsing")
    return int(text)


def _mistake(where: str, problem: str, kind: str) -> Refused:
    return Refused(422, f"{where}: {problem}", code=kind)
