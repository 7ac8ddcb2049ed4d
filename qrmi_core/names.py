# SPDX-License-Identifier: Apache-2.0
"""Names of resources: they become parts of environment variables and of licence names, so their form is fixed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

__all__ = ["LICENCE", "answering", "clash", "did_you_mean", "is_valid_name", "licence", "name_rule"]

LICENCE = "qpu_"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")

name_rule = "a name begins with a letter or _, goes on with letters, digits and _, and has at most 40 characters"


def is_valid_name(name: str) -> bool:
    """True when ``name`` can name a resource."""
    return _NAME.fullmatch(name) is not None


def licence(name: str) -> str:
    """The licence that stands for a resource, or a pool, in Slurm."""
    return f"{LICENCE}{name.lower()}"


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that are the same, case ignored; None when all differ."""
    seen: dict[str, str] = {}
    for name in names:
        key = name.lower()
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None


def answering(name: str, devices: Mapping[str, Collection[str]]) -> list[str]:
    """Which resources answer to a name: the one that has it, else all whose devices have it.

    ``devices`` are the vendors' names of what each resource is, or imitates.
    """
    return [name] if name in devices else [each for each, known in devices.items() if name in known]


def did_you_mean(name: str, known: Collection[str], *, command: str = "qrmi resources") -> str:
    """What to add to "there is no ...": all known names when they are few, else the near ones and how to list all."""
    if not known:
        return "there are none"
    if len(known) <= 8:
        return f"there is {', '.join(sorted(known))}" if len(known) == 1 else f"there are {', '.join(sorted(known))}"
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=2, cutoff=0.7)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}`{command}` lists all {len(known)}"
