# SPDX-License-Identifier: Apache-2.0
"""JSON files checked against a model: the first mistake with file, place, and what was expected.

A model is a subclass of :class:`Strict`: its annotations say what each key holds, and keys without a default must be
there. In ``Annotated[...]`` stand functions that are given the value and return it, perhaps mended, or raise a
ValueError which says what was expected; see :func:`at_least`. Done here with the standard library alone and little of
it, for this is on the way of every start: a framework would take longer for its import than all the rest of
``qrmi_core``, and dataclasses 1 ms for each class.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from qrmi_core.errors import ConfigurationError
from qrmi_core.json_files import load_json

__all__ = ["Expected", "Mistake", "Strict", "Text", "above", "at_least", "between", "filled", "load_strict", "place"]

Location: TypeAlias = tuple[int | str, ...]
_Model = TypeVar("_Model", bound="Strict")
_Value = TypeVar("_Value")


class Mistake(ValueError):
    """The first thing that is wrong in a value, and where in it; see :func:`place`."""

    def __init__(self, text: str, location: Location) -> None:
        super().__init__(text)
        self.location = location


class Expected(str):
    """In ``Annotated``: what to say was expected, whatever it is that does not fit."""

    __slots__ = ()


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Strict:
    """No unknown keys, no conversions, no changes: the base of models. Some values are secret, so none is shown."""

    def __init__(self, **values: Any) -> None:
        known = _keys(type(self))
        if wrong := [name for name in values if name not in known]:
            raise TypeError(f"{type(self).__name__} has no {wrong[0]}")
        for name in known:
            if name not in values and not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}")
        vars(self).update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.values_by_key() == other.values_by_key()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def values_by_key(self) -> dict[str, Any]:
        """All values, also those that nobody gave."""
        return {name: getattr(self, name) for name in _keys(type(self))}

    @classmethod
    def checked(cls, value: Any) -> Self:
        """One of these from decoded JSON.

        Raises:
            Mistake: the first mistake in it.
        """
        read: Self = _object(cls, value, ())
        return read


def at_least(least: int) -> Callable[[_Value], _Value]:
    """For whole numbers."""
    return between(least, None)


def between(least: float, most: float | None) -> Callable[[_Value], _Value]:
    """For numbers; both ends are allowed."""
    text = f"at least {least} was expected" if most is None else f"a number from {least} to {most} was expected"

    def check(value: Any) -> Any:
        if not (value >= least and (most is None or value <= most)):
            raise ValueError(text)
        return value

    return check


def above(least: float) -> Callable[[_Value], _Value]:
    """For numbers; this one is too small."""

    def check(value: Any) -> Any:
        if not value > least:
            raise ValueError(f"a number above {least} was expected")
        return value

    return check


def filled(value: _Value) -> _Value:
    """For texts and lists that may not be empty."""
    if not value:
        raise ValueError(f"{'text' if isinstance(value, str) else 'at least one'} was expected, and it is empty")
    return value


Text = Annotated[str, filled]


def load_strict(path: Path, model: type[_Model], *, example: str) -> _Model:
    """Read a file; ``example`` shows what is expected where it holds no object.

    Raises:
        ConfigurationError: the first mistake.
    """
    told = load_json(path)
    if not isinstance(told, dict):
        raise ConfigurationError(f"an object was expected, as in {example}", file=str(path), place="top level")
    try:
        return model.checked(told)
    except Mistake as mistake:
        raise ConfigurationError(str(mistake), file=str(path), place=place(mistake.location)) from None


def place(location: Location) -> str:
    """Where in a file that is, as ``resources[0].name``; empty for the file as a whole."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_known: dict[type, dict[str, Any]] = {}


def _keys(model: type[Any]) -> dict[str, Any]:
    """The keys of a model and what each holds."""
    if model not in _known:
        _known[model] = get_type_hints(model, include_extras=True)
    return _known[model]


def _object(model: type[Any], value: Any, at: Location) -> Any:
    if isinstance(value, model):
        return value
    if not isinstance(value, dict):
        raise Mistake("an object was expected", at)
    known = _keys(model)
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise Mistake(f"unknown key; {hint}", (*at, key))
    read = {}
    for key, kind in known.items():
        if key in value:
            read[key] = _value(kind, value[key], (*at, key))
        elif not hasattr(model, key):
            raise Mistake("this key is missing", (*at, key))
    return model(**read)


def _value(kind: Any, value: Any, at: Location) -> Any:
    """The value, as this annotation wants it."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated(inner[0], inner[1:], value, at)
    if origin in {Union, types.UnionType}:
        return _alternative(inner, value, at)
    if origin is Literal:
        if value not in inner or isinstance(value, bool):
            raise Mistake(f"{' or '.join(map(repr, inner))} was expected".replace(" or ", ", ", len(inner) - 2), at)
        return value
    if origin in {list, tuple}:
        if not isinstance(value, list | tuple):
            raise Mistake("a list was expected", at)
        return origin(_value(inner[0], each, (*at, index)) for index, each in enumerate(value))
    if origin in {dict, Mapping}:
        if not isinstance(value, dict):
            raise Mistake("an object was expected", at)
        return {key: _value(inner[1], each, (*at, key)) for key, each in value.items()}
    return _object(kind, value, at) if issubclass(kind, Strict) else _plain(kind, value, at)


def _annotated(kind: Any, checks: tuple[Any, ...], value: Any, at: Location) -> Any:
    try:
        read = _value(kind, value, at)
        for check in checks:
            if not isinstance(check, Expected):
                read = check(read)
    except ValueError as error:
        if expected := [str(each) for each in checks if isinstance(each, Expected)]:
            raise Mistake(expected[0], at) from None
        raise Mistake(str(error), error.location if isinstance(error, Mistake) else at) from None
    return read


def _alternative(kinds: tuple[Any, ...], value: Any, at: Location) -> Any:
    """The first that fits; where none does, what is wrong with the last."""
    if value is None and types.NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not types.NoneType)
    for kind in others:
        try:
            return _value(kind, value, at)
        except Mistake:
            continue
    return _value(last, value, at)


_NAMES = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def _plain(kind: type, value: Any, at: Location) -> Any:
    fits = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, fits):
        raise Mistake(f"{_NAMES[kind]} was expected", at)
    try:
        return kind(value)
    except OverflowError:
        raise Mistake(f"{_NAMES[kind]} was expected, and this one is too large", at) from None
