# SPDX-License-Identifier: Apache-2.0
"""Drivers and engines, found through entry points.

A distribution adds a resource type with one line: in the group ``qrmi.drivers`` (or ``qrmi.engines``, for
subclasses of :class:`~qrmi_core.engines.EngineResource`) the name is the type and the value the class. A
class that cannot be loaded makes only its own type unusable.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from qrmi_core.errors import QRMIError, ResourceUnavailable
from qrmi_core.names import did_you_mean
from qrmi_core.resource import QuantumResource

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from qrmi_core.engines.resource import EngineResource

__all__ = ["driver", "embedded", "engine_types"]

OURS = "qrmi."
DRIVERS = "qrmi.drivers"
ENGINES = "qrmi.engines"


@functools.cache
def _found() -> Mapping[str, EntryPoint]:
    points = _points()
    return {point.name: point for group in (DRIVERS, ENGINES) for point in points if point.group == group}


def _points() -> tuple[EntryPoint, ...]:
    """Those of ours. ``entry_points()`` would parse the files of all distributions for it, each time that it is asked.

    Where a distribution is found twice, the first is the one that is imported.
    """
    from importlib.metadata import distributions  # costs a third of importing this package

    found: dict[tuple[str, str], EntryPoint] = {}
    for each in distributions():
        if f"[{OURS}" in (each.read_text("entry_points.txt") or ""):
            for point in each.entry_points:
                found.setdefault((point.group, point.name), point)
    return tuple(found.values())


def _base(point: EntryPoint) -> type[QuantumResource]:
    if point.group != ENGINES:
        return QuantumResource
    from qrmi_core.engines.resource import EngineResource  # not every site has simulators

    return EngineResource


@functools.cache
def _loaded(resource_type: str) -> type[QuantumResource] | QRMIError:
    point = _found()[resource_type]
    base = _base(point)
    try:
        loaded = point.load()
    except Exception as error:  # noqa: BLE001  a plug-in may raise anything; it must not take the others along
        why = f"{type(error).__name__}: {error}"
    else:
        if isinstance(loaded, type) and issubclass(loaded, base):
            return loaded
        why = f"it is not a subclass of {base.__name__}"
    origin = point.dist.name if point.dist else "an unknown distribution"
    return ResourceUnavailable(
        f"the driver for {resource_type} cannot be loaded ({point.value} of {origin}): {why}; "
        f"reinstall or remove {origin}"
    )


def driver(resource_type: str) -> type[QuantumResource]:
    """The class for a resource type.

    Raises:
        ResourceUnavailable: none is installed, or it cannot be loaded.
    """
    if resource_type not in _found():
        known = did_you_mean(resource_type, list(_found()), command="qrmi check")
        raise ResourceUnavailable(f"no driver is installed for the type {resource_type}: {known}")
    loaded = _loaded(resource_type)
    if isinstance(loaded, QRMIError):
        raise loaded
    return loaded


def engine_types() -> frozenset[str]:
    """The resource types that are simulators; none of them is imported for it."""
    return frozenset(name for name, point in _found().items() if point.group == ENGINES)


def lacking(name: str) -> str | None:
    """What an embedded engine of that name needs that is not installed; None where there would be none of that name."""
    for kind in engine_types():
        loaded = _loaded(kind)
        if not isinstance(loaded, QRMIError):
            for beginning, needs in cast("type[EngineResource]", loaded).lacking().items():
                if name.startswith(beginning):
                    return needs
    return None


def embedded() -> tuple[dict[str, tuple[str, Mapping[str, str]]], list[QRMIError]]:
    """The engines that need no configuration, name -> (type, environment block), and what could not be loaded."""
    found: dict[str, tuple[str, Mapping[str, str]]] = {}
    broken = []
    for name, point in _found().items():
        if point.group != ENGINES:
            continue
        loaded = _loaded(name)
        if isinstance(loaded, QRMIError):
            broken.append(loaded)
        else:
            engine = cast("type[EngineResource]", loaded)  # as _loaded has seen
            try:
                found |= {resource: (name, block) for resource, block in engine.embedded().items()}
            except Exception as error:  # noqa: BLE001  see _loaded
                why = f"{type(error).__name__}: {error}"
                broken.append(ResourceUnavailable(f"the engine {name} cannot be listed: {why}"))
    return found, broken
