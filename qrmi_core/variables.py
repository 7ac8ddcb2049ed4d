# SPDX-License-Identifier: Apache-2.0
"""The variables of a resource's environment block, and the check of values against them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Variable", "mistakes"]


@dataclass(frozen=True)
class Variable:
    """One variable that a driver reads, without the resource's name in front.

    Of a resource that jobs reach directly, the user's own value counts before the site's where it says who asks
    (``secret``, ``account``), and never where it says what is asked (``endpoint``).
    """

    name: str
    meaning: str
    required: bool = False
    secret: bool = False
    account: bool = False
    endpoint: bool = False

    @property
    def is_credential(self) -> bool:
        """Whether it says who asks; what is both, such as a proxy's URL with a password, is an endpoint."""
        return (self.secret or self.account) and not self.endpoint


def mistakes(resource_type: str, known: Sequence[Variable], values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Every variable that does not fit the type, as (variable, what is wrong), missing ones included."""
    names = [variable.name for variable in known]
    found = []
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            takes = f" (it takes {', '.join(names)})" if names else " (it takes none)"
            found.append((name, f"the type {resource_type} has no variable {name}{hint or takes}"))
    missing = [variable for variable in known if variable.required and not values.get(variable.name)]
    return found + [(each.name, f"the type {resource_type} needs {each.name}: {each.meaning}") for each in missing]
