# SPDX-License-Identifier: Apache-2.0
"""What every group of options can do: check each value when it is set, and know which were set.

An option's type hint is its rule, so a new option is one line in :mod:`qrmi_qiskit.options`. Pydantic would
do the same, at a good part of the cost of importing Qiskit.
"""

from __future__ import annotations

import copy
import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from qrmi_core import InputError
from qrmi_qiskit.option_values import fitted

__all__ = ["OptionGroup", "option_group"]


class OptionGroup:
    """Options that belong together.

    Reading an option gives its value, or its default where it was not set. Setting it to None takes it
    back, except where None says something of its own. What was set lies in the instance's ``__dict__``,
    the defaults on the class.
    """

    _path: ClassVar[str] = ""
    """Where the group stands among the options, with a dot at its end."""

    _nullable: ClassVar[frozenset[str]] = frozenset()
    """Options to which None says something; it is sent as null."""

    def __init__(self, **options: Any) -> None:
        for name, hint in _hints(type(self)).items():
            if _is_group(hint):
                self.__dict__[name] = hint()
        for name, value in options.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        hints = _hints(type(self))
        if name not in hints:
            raise InputError(_unknown(self._path, name, hints))
        if _is_group(hints[name]):
            self.__dict__[name] = hints[name].from_value(value)
        elif value is not None:
            self.__dict__[name] = fitted(value, hints[name], self._path + name)
        elif name in self._nullable:
            self.__dict__[name] = None
        else:
            self.__dict__.pop(name, None)

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """A copy of a group, or the group that a dictionary or None (nothing set) describes."""
        if isinstance(value, cls):
            return copy.deepcopy(value)
        if value is None:
            return cls()
        if isinstance(value, Mapping):
            return cls(**value)
        where = f"options.{cls._path}".rstrip(".")
        raise InputError(f"{where} takes {cls.__name__} or a dictionary, not {value!r} ({type(value).__name__})")

    def update(self, **options: Any) -> None:
        """Set several options; of a group given as a dictionary, the others stay as they are.

        Raises:
            InputError: an option does not exist, or a value does not fit it.
        """
        for name, value in options.items():
            present = self.__dict__.get(name)
            if isinstance(present, OptionGroup) and isinstance(value, Mapping):
                present.update(**value)
            else:
                setattr(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """The options that were set, nested; groups without any are left out."""
        found: dict[str, Any] = {}
        for name, value in self.__dict__.items():
            if not isinstance(value, OptionGroup):
                found[name] = copy.deepcopy(value)
            elif inner := value.to_dict():
                found[name] = inner
        return found

    def __repr__(self) -> str:
        shown = [
            f"{name}={value!r}"
            for name, value in self.__dict__.items()
            if not isinstance(value, OptionGroup) or value.to_dict()
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


G = TypeVar("G", bound=OptionGroup)


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def option_group(cls: type[G]) -> type[G]:
    """Make a group a dataclass whose constructor, equality and text are those of :class:`OptionGroup`."""
    return dataclass(init=False, repr=False, eq=False)(cls)


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(cls: type[OptionGroup]) -> dict[str, Any]:
    if cls not in _HINTS:
        hints = typing.get_type_hints(cls, include_extras=True)
        _HINTS[cls] = {each.name: hints[each.name] for each in fields(cls)}  # type: ignore[arg-type]
    return _HINTS[cls]


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, OptionGroup)


def _unknown(path: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    told = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    where = f"options.{path.rstrip('.')} has" if path else "the options have"
    return f"{where} no {name!r}; {told}"
