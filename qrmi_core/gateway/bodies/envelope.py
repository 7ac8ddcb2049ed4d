# SPDX-License-Identifier: Apache-2.0
"""The top level of a JSON body: its keys, its small values, and the same body with some of them replaced."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from qrmi_core import polling
from qrmi_core.gateway.bodies.nested import check_syntax
from qrmi_core.gateway.bodies.reading import Reading
from qrmi_core.gateway.bodies.scanner import Member, Scanner
from qrmi_core.gateway.bodies.small import members_of
from qrmi_core.gateway.bodies.spooled import PIECE, Spooled
from qrmi_core.gateway.request_rules import BadRequest

__all__ = ["SMALL", "Envelope", "Rebuilt", "top_level"]

SMALL: Final = 64 * 1024
"""How long a value may be that is handed out, in bytes."""


async def top_level(body: Spooled, span: tuple[int, int] | None = None) -> Envelope:
    """Find the members of the JSON object that a body, or a span of it, is; the event loop has its turn in between.

    Raises:
        BadRequest: 400, it is none, or one of those that :class:`.Scanner` refuses.
    """
    start, end = span or (0, body.size)
    if end - start <= PIECE:
        members = members_of(body.read(start, end))
    else:
        scanner = Scanner()
        async for piece in body.pieces(start, end):
            scanner.feed(piece)
            await polling.pause_async(0)
        scanner.end()
        members = scanner.members
    if start:
        members = [Member(each.name, start + each.key, start + each.start, start + each.end) for each in members]
    return Envelope(body, members)


class Envelope:
    """The members of a body; good until the body is closed."""

    def __init__(self, body: Spooled, members: Iterable[Member]) -> None:
        self._body = body
        self._members = {each.name: each for each in members}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> tuple[str, ...]:
        """The top-level keys, in their order."""
        return tuple(self._members)

    def span(self, name: str) -> tuple[int, int] | None:
        """Where the value of a key is in the body: its first byte and the one after its last."""
        member = self._members.get(name)
        return None if member is None else (member.start, member.end)

    def get(self, name: str) -> bytes | None:
        """The value of a key as it was written; nothing where there is no such key.

        Raises:
            BadRequest: 400, it has more than 64 kB.
        """
        member = self._members.get(name)
        if member is None:
            return None
        if member.end - member.start > SMALL:
            raise BadRequest(400, f"the value of {name} is longer than {SMALL // 1024} kB")
        return self._body.read(member.start, member.end)

    def is_object(self, name: str) -> bool:
        """Whether the value of a key is a JSON object; False where there is no such key."""
        span = self.span(name)
        return span is not None and self._body.read(span[0], span[0] + 1) == b"{"

    def reading(self, name: str) -> Reading:
        """The value of a key as it was written, however long it is, as a file; empty where there is no such key."""
        return Reading(self._body, *(self.span(name) or (0, 0)))

    def value(self, name: str) -> Any:
        """The decoded value of a key; None where there is no such key.

        Raises:
            BadRequest: 400, it has more than 64 kB, or a key in it stands twice.
        """
        raw = self.get(name)
        if raw is None:
            return None
        try:
            if b"{" not in raw:  # nor is any key then
                return msgspec.json.decode(raw)
            return json.loads(raw, object_pairs_hook=_each_once)
        except (ValueError, RecursionError):
            raise BadRequest(400, f"a key in the value of {name} stands twice") from None

    def rebuilt(self, replace: Mapping[str, bytes], remove: Collection[str] = ()) -> Rebuilt:
        """The object with these top-level values (JSON texts), without these keys; all the rest as it was written.

        Raises:
            ValueError: a value is no JSON, or a key is in both.
        """
        if both := set(replace) & set(remove):
            raise ValueError(f"{', '.join(sorted(both))} cannot be both replaced and removed")
        for value in replace.values():
            check_syntax(value)
        parts: list[bytes | tuple[int, int]] = []
        left = dict(replace)
        for member in self._members.values():
            if member.name in remove:
                continue
            parts.append(b"," if parts else b"{")
            if member.name in left:
                parts.append(_member(member.name, left.pop(member.name)))
            else:
                parts.append((member.key, member.end))
        for name, value in left.items():
            parts.append(b"," if parts else b"{")
            parts.append(_member(name, value))
        parts.append(b"}" if parts else b"{}")
        return Rebuilt(self._body, parts)


class Rebuilt:
    """An object made of new members and of ranges of a body; its ``length`` is in bytes."""

    def __init__(self, body: Spooled, parts: list[bytes | tuple[int, int]]) -> None:
        self._body = body
        self._parts = parts
        self.length = sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in parts)

    def data(self) -> bytes | AsyncIterator[bytes]:
        """What an HTTP client sends: bytes of a body that is in memory, else pieces (give it the length besides)."""
        if not self._body.in_memory:
            return self.pieces()
        return b"".join(part if isinstance(part, bytes) else self._body.read(*part) for part in self._parts)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The whole, small parts together in pieces; can be asked for again."""
        held: list[bytes] = []
        size = 0
        async for part in self._all_parts():
            if size + len(part) > PIECE:
                yield b"".join(held)
                held, size = [], 0
            held.append(part)
            size += len(part)
        yield b"".join(held)

    async def _all_parts(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                async for piece in self._body.pieces(*part):
                    yield piece


def _member(name: str, value: bytes) -> bytes:
    return json.dumps(name).encode() + b":" + value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made
