# SPDX-License-Identifier: Apache-2.0
"""Functions that know a framework, for drivers that must not: the entry-point group ``qrmi.converters``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from qrmi_core.errors import ResourceUnavailable

__all__ = ["converter"]

CONVERTERS = "qrmi.converters"


@functools.cache
def converter(name: str, *, extra: str) -> Callable[..., Any]:
    """The converter of that name; ``extra`` is what has to be installed for it.

    Raises:
        ResourceUnavailable: it is not installed, or cannot be loaded.
    """
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    try:
        (point,) = entry_points(group=CONVERTERS, name=name)
        found: Callable[..., Any] = point.load()
    except Exception as error:
        raise ResourceUnavailable(
            f"the converter {name} cannot be loaded ({type(error).__name__}: {error}): "
            f"pip install 'qrmi-providers[{extra}]'"
        ) from error
    return found
