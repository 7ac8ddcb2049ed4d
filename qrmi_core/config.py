# SPDX-License-Identifier: Apache-2.0
"""qrmi_config.json: the resources of a site, in upstream's form with a few optional keys.

    {"resources": [{"name": "ibm_fez", "type": "ibm-quantum-compute-service", "environment": {
        "QRMI_IBM_QCS_ENDPOINT": "https://...", "QRMI_IBM_QCS_IAM_APIKEY": {"file": "/etc/..."}}}]}

A value may be text, or ``{"file": path}`` or ``{"env": variable}`` for what should not stand in the file.
Import this module only where a file is read: pydantic costs more than all the rest of ``qrmi_core``.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qrmi_core.environment import expand
from qrmi_core.errors import ConfigurationError
from qrmi_core.json_files import load_json
from qrmi_core.names import clash, is_valid_name, name_rule

__all__ = ["ConfiguredResource", "load"]

DEVICE = "QRMI_DEVICE"

_Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SecretFile(_Strict):
    """A value that is kept in a file of its own."""

    file: _Text

    def read(self) -> str:
        try:
            return Path(self.file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text, or no path"
            raise ConfigurationError(f"{self.file} cannot be read: {reason}") from error


class SecretVariable(_Strict):
    """A value that is kept in a variable of the environment."""

    env: _Text

    def read(self) -> str:
        value = expand(self.env)
        if value is None:
            raise ConfigurationError(f"the variable {self.env} is not set")
        return value


class ConfiguredResource(_Strict):
    """One entry of ``resources``; ``max_lease`` is in seconds."""

    name: _Text
    type: _Text
    environment: dict[str, str | SecretFile | SecretVariable] = Field(repr=False)
    is_dynamic: bool = False
    device: _Text | None = None
    lanes: int = Field(default=1, ge=1)
    access: Literal["gateway", "direct", "local"] | None = None
    users: tuple[_Text, ...] = Field(default=(), strict=False)
    groups: tuple[_Text, ...] = Field(default=(), strict=False)
    accounts: tuple[_Text, ...] = Field(default=(), strict=False)
    max_lease: int | None = Field(default=None, ge=1)
    description: str = ""

    def values(self) -> dict[str, str]:
        """The environment block with every secret read, and the device's name for the driver.

        Raises:
            ConfigurationError: a secret is not there.
        """
        read = {} if self.device is None else {DEVICE: self.device}
        for name, value in self.environment.items():
            try:
                read[name] = value if isinstance(value, str) else value.read()
            except ConfigurationError as error:
                raise ConfigurationError(str(error), place=f"{self.name}.environment.{name}") from error
        return read


class _Document(_Strict):
    resources: list[ConfiguredResource]


def load(path: Path) -> list[ConfiguredResource]:
    """Read and check a configuration file.

    Raises:
        ConfigurationError: the first mistake, with its place in the file and what was expected.
    """
    try:
        resources = _Document.model_validate(load_json(path)).resources
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(_text(first), file=str(path), place=_place(first["loc"]) or "top level") from None
    for index, resource in enumerate(resources):
        if not is_valid_name(resource.name):
            raise ConfigurationError(
                f"{resource.name!r} cannot name a resource: {name_rule}",
                file=str(path),
                place=f"resources[{index}].name",
            )
    if twins := clash(resource.name for resource in resources):
        index = max(index for index, resource in enumerate(resources) if resource.name == twins[1])
        same = "is there already" if twins[0] == twins[1] else f"is the same name as {twins[0]}, case ignored"
        raise ConfigurationError(
            f"{twins[1]} {same}: names are unique", file=str(path), place=f"resources[{index}].name"
        )
    return resources


def _place(location: tuple[int | str, ...]) -> str:
    """``resources[0].environment.QRMI_X``; the names of alternatives that pydantic tried are left out."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in {"str", SecretFile.__name__, SecretVariable.__name__}:
            text += f".{part}" if text else part
    return text


def _text(error: Any) -> str:
    kind, location = error["type"], error["loc"]
    if kind == "missing":
        return "this key is missing"
    if "environment" in location:
        return 'text in quotes, {"file": "path"} or {"env": "variable"} was expected'
    if kind == "model_type":
        return 'an object was expected, as in {"resources": [{"name": ..., "type": ..., "environment": {}}]}'
    if kind == "extra_forbidden":
        known = list((ConfiguredResource if len(location) > 1 else _Document).model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        return f"unknown key; {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(known)}"
    message = str(error["msg"])
    return message[0].lower() + message[1:]
