# SPDX-License-Identifier: Apache-2.0
"""Lists of hosts as Slurm writes them: ``n1``, ``n[1-3,5]``, ``n[01-10]-ib``, ``r[1-2]n[1-4],login``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from qrmi_core.errors import InputError

__all__ = ["expand_hostlist"]

MOST_HOSTS = 100_000
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\],]+)")
_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")


def expand_hostlist(text: str) -> tuple[str, ...]:
    """The names of the hosts, in the order that the list has them.

    Raises:
        InputError: it is no list of hosts.
    """
    hosts: list[str] = []
    for entry in _entries(text):
        parts = [_numbers(text, each[1]) if each[2] is None else [each[2]] for each in _PART.finditer(entry)]
        for host in itertools.product(*parts):
            hosts.append("".join(host))
            if len(hosts) > MOST_HOSTS:
                raise InputError(f"a list of more than {MOST_HOSTS} hosts")
    return tuple(hosts)


def _entries(text: str) -> Iterator[str]:
    """What stands between the commas that are in no bracket."""
    start = depth = 0
    for position, character in enumerate(f"{text},"):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth not in {0, 1}:
            break
        if character == "," and depth == 0:
            if entry := text[start:position]:
                yield entry
            start = position + 1
    if depth:
        raise InputError(f"{text[:200]!r} is no list of hosts: its brackets do not match")


def _numbers(text: str, ranges: str) -> list[str]:
    found: list[str] = []
    for each in ranges.split(","):
        match = _RANGE.fullmatch(each)
        if match is None:
            raise InputError(f"{text[:200]!r} is no list of hosts: {each[:40]!r} is no range of numbers")
        first, last = match[1], match[2] or match[1]
        if not 0 <= int(last) - int(first) < MOST_HOSTS:
            raise InputError(f"{text[:200]!r} is no list of hosts: the range {each[:40]} is empty or too long")
        width = len(first)
        found.extend(f"{number:0{width}d}" for number in range(int(first), int(last) + 1))
    return found
