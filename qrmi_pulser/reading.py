# SPDX-License-Identifier: Apache-2.0
"""Errors of Pulser in one line, without the schemas and documents that validation errors print."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from qrmi_core import InputError, QRMIError

__all__ = ["first_line", "refusing"]


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Whatever Pulser raises inside becomes an InputError that begins with ``what``."""
    try:
        yield
    except (QRMIError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{what}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of what went wrong, and where in the document if the error knows."""
    cause: Any = error.__cause__ if not str(error) and error.__cause__ is not None else error
    while context := getattr(cause, "context", None):
        # A schema with alternatives fails in each of them; the one that fits best fails deepest.
        cause = max(context, key=lambda alternative: len(alternative.absolute_path))
    place = ".".join(str(part) for part in getattr(cause, "absolute_path", ()))
    said = str(getattr(cause, "message", cause)).strip()
    if not said or isinstance(cause, LookupError):
        said = f"{type(cause).__name__}: {said}".removesuffix(": ")
    line = said.splitlines()[0]
    shown = line if len(line) <= 300 else f"{line[:300]} ..."
    return f"{place}: {shown}" if place else shown
