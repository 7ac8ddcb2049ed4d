# SPDX-License-Identifier: Apache-2.0
"""How both of IBM's APIs say what went wrong."""

from __future__ import annotations

from typing import Any

from qrmi_core.http import Response, Told

__all__ = ["ibm_told", "text_of"]


def ibm_told(response: Response) -> Told:
    """What an error body says: ``{"errors": [{"code", "message", "solution", "more_info"}], "trace"}``.

    Servers with FastAPI in front answer some mistakes with ``{"detail": ...}`` instead.
    """
    body = response.json()
    if not (errors := body.get("errors")):
        return Told(message=text_of(body.get("detail") or body.get("message") or body.get("title")))
    first = errors[0]
    messages = [text_of(each.get("message")) for each in errors]
    return Told(
        message="; ".join(filter(None, messages)) or None,
        code=text_of(first.get("code")),
        solution=text_of(first.get("solution")),
    )


def text_of(value: Any) -> str | None:
    """A value as text; None where it is missing or empty. Codes come as numbers and as text."""
    return None if value is None or value == "" else str(value)
