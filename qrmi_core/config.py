# SPDX-License-Identifier: Apache-2.0
"""qrmi_config.json: the resources of a site, in upstream's form with a few optional keys.

    {"resources": [{"name": "ibm_fez", "type": "ibm-quantum-compute-service", "environment": {
        "QRMI_IBM_QCS_ENDPOINT": "https://...", "QRMI_IBM_QCS_IAM_APIKEY": {"file": "/etc/..."}}}]}

Optional ``"pools": [{"name": "fez_or_kyiv", "members": ["ibm_fez", "ibm_kyiv"]}]``: a pool is a name for several
resources of the same type; the member with the shortest queue gets the job when its lease is granted.
A value may be text, or ``{"file": path}`` or ``{"env": variable}`` for what should not stand in the file.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

from qrmi_core.environment import expand
from qrmi_core.errors import ConfigurationError
from qrmi_core.names import clash, did_you_mean, is_valid_name, name_rule
from qrmi_core.strict_files import Expected, Strict, Text, at_least, filled, load_strict

__all__ = ["Configuration", "ConfiguredPool", "ConfiguredResource", "load", "load_site"]

DEVICE = "QRMI_DEVICE"


class SecretFile(Strict):
    """A value that is kept in a file of its own."""

    file: Text

    def read(self) -> str:
        try:
            text = Path(self.file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text, or no path"
            raise ConfigurationError(f"{self.file} cannot be read: {reason}") from error
        if not text:
            raise ConfigurationError(f"{self.file} is empty: the value was expected in it")
        return text


class SecretVariable(Strict):
    """A value that is kept in a variable of the environment."""

    env: Text

    def read(self) -> str:
        value = expand(self.env)
        if value is None:
            raise ConfigurationError(f"the variable {self.env} is not set")
        return value


_Value = Annotated[
    str | SecretFile | SecretVariable,
    Expected('text in quotes, {"file": "path"} or {"env": "variable"} was expected'),
]
_Lanes = Annotated[int, at_least(1)]


class ConfiguredResource(Strict):
    """One entry of ``resources``; ``max_lease`` is in seconds."""

    name: Text
    type: Text
    environment: dict[str, _Value]
    is_dynamic: bool = False
    device: Text | None = None
    lanes: _Lanes = 1
    access: Literal["gateway", "direct", "local"] | None = None
    users: tuple[Text, ...] = ()
    groups: tuple[Text, ...] = ()
    accounts: tuple[Text, ...] = ()
    max_lease: Annotated[int, at_least(1)] | None = None
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


class ConfiguredPool(Strict):
    """One entry of ``pools``; without ``lanes`` it has as many as its members together."""

    name: Text
    members: Annotated[tuple[Text, ...], filled]
    lanes: _Lanes | None = None
    description: str = ""


class Configuration(Strict):
    """All of a file."""

    resources: list[ConfiguredResource]
    pools: tuple[ConfiguredPool, ...] = ()

    def pool_lanes(self, pool: ConfiguredPool) -> int:
        """How many lanes of a pool may be in use at the same time."""
        return pool.lanes or sum(each.lanes for each in self.resources if each.name in pool.members)


def load(path: Path) -> list[ConfiguredResource]:
    """Read and check a configuration file; its resources.

    Raises:
        ConfigurationError: the first mistake, with its place in the file and what was expected.
    """
    return load_site(path).resources


def load_site(path: Path) -> Configuration:
    """Read and check a configuration file; everything in it.

    Raises:
        ConfigurationError: the first mistake, with its place in the file and what was expected.
    """
    example = '{"resources": [{"name": ..., "type": ..., "environment": {}}]}'
    document = load_strict(path, Configuration, example=example)
    named = [(f"resources[{index}].name", each.name) for index, each in enumerate(document.resources)]
    named += [(f"pools[{index}].name", each.name) for index, each in enumerate(document.pools)]
    for place, name in named:
        if not is_valid_name(name):
            what = "pool" if place.startswith("pools") else "resource"
            raise ConfigurationError(f"{name!r} cannot name a {what}: {name_rule}", file=str(path), place=place)
    if twins := clash(name for _, name in named):
        place = next(place for place, name in reversed(named) if name == twins[1])
        same = "is there already" if twins[0] == twins[1] else f"is the same name as {twins[0]}, case ignored"
        raise ConfigurationError(f"{twins[1]} {same}: names are unique", file=str(path), place=place)
    for index, pool in enumerate(document.pools):
        _check_pool(str(path), f"pools[{index}]", pool, document)
    return document


def _check_pool(file: str, place: str, pool: ConfiguredPool, document: Configuration) -> None:
    known = {each.name: each for each in document.resources}
    for index, member in enumerate(pool.members):
        if member not in known:
            near = difflib.get_close_matches(member, known, n=1, cutoff=0.7)
            there = f"did you mean {near[0]}?" if near else did_you_mean(member, list(known), command="qrmi resources")
            raise ConfigurationError(
                f"no resource is named {member}: {there}", file=file, place=f"{place}.members[{index}]"
            )
    if twins := clash(pool.members):
        raise ConfigurationError(f"{twins[1]} stands in it twice", file=file, place=f"{place}.members")
    members = [known[member] for member in pool.members]
    if len({each.type for each in members}) > 1:
        types = ", ".join(f"{each.name} is of type {each.type}" for each in members)
        text = f"the members of a pool are of one type, so that a job runs on each: {types}"
        raise ConfigurationError(text, file=file, place=f"{place}.members")
    if pool.lanes is not None and pool.lanes > (most := sum(each.lanes for each in members)):
        text = f"the members of {pool.name} have {most} lanes together: at most {most} was expected"
        raise ConfigurationError(text, file=file, place=f"{place}.lanes")
