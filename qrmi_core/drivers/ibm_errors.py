# SPDX-License-Identifier: Apache-2.0
"""How both of IBM's APIs say what went wrong."""

from __future__ import annotations

import re
from typing import Any

from qrmi_core.http import Response, Told

__all__ = ["ibm_told", "text_of"]

SIGNED = re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)(?:=|%3D))[^&\s\"'<>\\]+", re.IGNORECASE)


def ibm_told(response: Response) -> Told:
    """What an error body says: ``{"errors": [{"code", "message", "solution", "more_info"}], "trace"}``.

    Servers with FastAPI in front answer some mistakes with ``{"detail": ...}`` instead.
    """
    body = response.json()
    if not (errors := body.get("errors")):
        return Told(message=_detail(body.get("detail")) or text_of(body.get("message") or body.get("title")))
    first = errors[0]
    messages = [text_of(each.get("message")) for each in errors]
    return Told(
        message="; ".join(filter(None, messages)) or None,
        code=text_of(first.get("code")),
        solution=text_of(first.get("solution")),
    )


def text_of(value: Any) -> str | None:
    """A value as text; None where it is missing or empty. Codes come as numbers and as text.

    Presigned URLs, which reasons may quote, lose what makes them good.
    """
    return None if value is None or value == "" else SIGNED.sub(r"\1***", str(value))


def _detail(detail: Any) -> str | None:
    """What is wrong where; not the input that FastAPI echoes with it, for that holds presigned URLs."""
    if not isinstance(detail, dict | list):
        return text_of(detail)
    told = [_mistake(each) for each in (detail if isinstance(detail, list) else [detail]) if isinstance(each, dict)]
    return "; ".join(filter(None, told)) or "the request does not fit, and no more was told"


def _mistake(entry: dict[str, Any]) -> str | None:
    place, text = entry.get("loc"), text_of(entry.get("msg"))
    where = ".".join(map(str, place)) if isinstance(place, list) else None
    return ": ".join(filter(None, (where, text))) or None
