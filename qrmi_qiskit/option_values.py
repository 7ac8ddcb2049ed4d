# SPDX-License-Identifier: Apache-2.0
"""Checks the value of an option against its type hint, and says what was expected where it does not fit.

Hints are made of bool, int, float, str, dict, list[...], Literal[...], unions of these, and
Annotated[..., AtLeast(n) or MoreThan(n)] around them.
"""

from __future__ import annotations

import difflib
import math
import numbers
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal

import numpy as np

from qrmi_core import InputError

__all__ = ["AtLeast", "MoreThan", "fitted"]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The smallest number that an option takes, and the largest where there is one."""

    least: float
    most: float = math.inf

    def allows(self, value: float) -> bool:
        """Whether the number may be used."""
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"at least {self.least:g}" + (f" and at most {self.most:g}" if self.most < math.inf else "")


@dataclass(frozen=True, slots=True)
class MoreThan:
    """The number that an option must exceed."""

    bound: float

    def allows(self, value: float) -> bool:
        """Whether the number may be used."""
        return value > self.bound

    def __str__(self) -> str:
        return f"more than {self.bound:g}"


def fitted(value: Any, hint: Any, path: str) -> Any:
    """The value in the form that JSON can carry.

    Raises:
        InputError: it does not fit the hint; says what was expected, and which choice is nearest.
    """
    bound = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, bound = typing.get_args(hint)
    kinds = _alternatives(hint)
    for kind in kinds:
        found = _as(value, kind)
        if found is _NO:
            continue
        numbers_found = [each for each in (found if isinstance(found, list) else [found]) if not isinstance(each, str)]
        if bound is not None and not all(bound.allows(each) for each in numbers_found):
            raise InputError(f"options.{path} must be {bound}, not {value!r}")
        return found
    expected = " or ".join(dict.fromkeys(map(_described, kinds)))
    choices = dict.fromkeys(choice for kind in kinds for choice in _choices(kind))
    near = difflib.get_close_matches(str(value), choices, n=2)
    suggestion = f"; did you mean {' or '.join(near)}?" if near else ""
    raise InputError(f"options.{path} takes {expected}, not {value!r} ({type(value).__name__}){suggestion}")


_NO = object()


def _alternatives(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, UnionType):
        return [kind for kind in typing.get_args(hint) if kind is not NoneType]
    return [hint]


def _as(value: Any, kind: Any) -> Any:
    """The value as one kind of thing, ``_NO`` where it is not."""
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        return value if isinstance(value, str) and value in typing.get_args(kind) else _NO
    if origin is list:
        return _as_list(value, typing.get_args(kind)[0])
    return _LEAVES[origin](value)


def _as_list(value: Any, kind: Any) -> Any:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return _NO
    found = [_as(each, kind) for each in value]
    return _NO if any(each is _NO for each in found) else found


def _as_bool(value: Any) -> Any:
    return bool(value) if isinstance(value, bool | np.bool_) else _NO


def _as_int(value: Any) -> Any:
    return int(value) if isinstance(value, numbers.Integral) and _as_bool(value) is _NO else _NO


def _as_float(value: Any) -> Any:
    is_number = isinstance(value, numbers.Real) and _as_bool(value) is _NO
    return float(value) if is_number and math.isfinite(value) else _NO


def _as_text(value: Any) -> Any:
    return value if isinstance(value, str) else _NO


def _as_dict(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else _NO


_LEAVES: dict[Any, Callable[[Any], Any]] = {
    bool: _as_bool,
    int: _as_int,
    float: _as_float,
    str: _as_text,
    dict: _as_dict,
}


def _choices(kind: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return typing.get_args(kind)
    return _choices(typing.get_args(kind)[0]) if origin is list else ()


def _described(kind: Any) -> str:
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    if origin is list:
        return "a list of such" if typing.get_origin(typing.get_args(kind)[0]) is Literal else "a list"
    return _WORDS[origin]


_WORDS = {bool: "True or False", int: "an integer", float: "a finite number", str: "a text", dict: "a dictionary"}
