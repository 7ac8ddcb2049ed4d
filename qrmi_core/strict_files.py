# SPDX-License-Identifier: Apache-2.0
"""JSON files checked against a model: the first mistake with file, place, and what was expected.

Import this module only where a file is read: pydantic costs more than all the rest of ``qrmi_core``.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qrmi_core.errors import ConfigurationError
from qrmi_core.json_files import load_json

__all__ = ["Strict", "Text", "load_strict", "place", "wrong"]

Text = Annotated[str, Field(min_length=1)]
_Model = TypeVar("_Model", bound=BaseModel)


class Strict(BaseModel):
    """No unknown keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def load_strict(path: Path, model: type[_Model], *, example: str) -> _Model:
    """Read a file; ``example`` shows what is expected where it holds no object.

    Raises:
        ConfigurationError: the first mistake.
    """
    try:
        return model.model_validate(load_json(path))
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(
            wrong(first, model, example), file=str(path), place=place(first["loc"]) or "top level"
        ) from None


def place(location: tuple[int | str, ...]) -> str:
    """Where in a file that is, as ``resources[0].name``; empty for the file as a whole."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def wrong(error: Any, model: type[BaseModel], example: str) -> str:
    """What is wrong, of one of pydantic's errors of this model."""
    kind, location = error["type"], error["loc"]
    if kind == "missing":
        return "this key is missing"
    if kind == "model_type" and not location:
        return f"an object was expected, as in {example}"
    if kind == "extra_forbidden":
        known = _keys(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        return f"unknown key; {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(known)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys of the object at this place."""
    inner: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, str) and inner is not None and part in inner.model_fields:
            inner = _model_in(inner.model_fields[part].annotation)
    return list((inner or model).model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((each for each in found if each is not None), None)
