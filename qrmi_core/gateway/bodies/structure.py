# SPDX-License-Identifier: Apache-2.0
"""Where strings and brackets are in a part of a JSON text, found with bytes' own methods at memory speed.

A *mask* is the text with its escaped backslashes and quotes blanked, of the same length: each quote in it begins or
ends a string. That holds unless a backslash stands outside of strings, which is no JSON and which whoever checks the
syntax will find, at the latest where the mask begins to be wrong.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["DEEPEST", "Brackets", "Unbalanced", "find_close", "last_comma", "marks_of", "mask_of"]

DEEPEST: Final = 500
"""How deeply values may be nested: half of what stops Python's own decoder."""

PATIENCE: Final = 1_000_000
_ROUNDS: Final = 12
_LEAF: Final = 1024
_NOT_MARKS: Final = bytes(set(range(256)) - set(b'[]{},"'))
_OPENERS: Final = b"[{"  # two below their partners in ASCII
_SIGNS: Final = re.compile(rb'["\[\]{}]')


class Unbalanced(ValueError):
    """Brackets that do not match, or too many of them within each other."""


def mask_of(text: bytes) -> bytes:
    r"""The text with ``\\`` and ``\\"`` blanked."""
    if b"\\" not in text:
        return text
    return text.replace(b"\\\\", b"__").replace(b'\\"', b"__")


def marks_of(mask: bytes, in_string: bool) -> tuple[bytes, bool]:
    """The brackets and commas outside of strings, and whether the mask ends within a string.

    Of several commas in a row one may stand for all.
    """
    if b'"' not in mask:
        if in_string:
            return b"", True
        if not _has_brackets(mask):
            return (b"," if b"," in mask else b""), False
    # two quotes without a mark between them hide none, and all others stay on their side
    parts = mask.translate(None, _NOT_MARKS).replace(b'""', b"").split(b'"')
    return b"".join(parts[in_string::2]), in_string ^ (len(parts) % 2 == 0)


class Brackets:
    """Pairs the brackets of one body: values that are nested a few levels deep fast, others one by one.

    Of those it takes a million per body, so that nobody can keep the gateway busy with a body of brackets.
    """

    def __init__(self) -> None:
        self._patience = PATIENCE

    def unmatched(self, marks: bytes, before: bytes = b"", *, depth: int) -> bytes:
        """The brackets without partners in ``before`` (a result of this function) and ``marks``.

        The result is closing brackets, then opening ones. ``depth`` is how many are open before.

        Raises:
            Unbalanced: an opening bracket met the wrong partner, more than 500 are open, or patience is at its end.
        """
        if not _has_brackets(marks):
            return before
        brackets = left = before + marks.translate(None, b",")
        levels = 0
        for _ in range(_ROUNDS):
            shorter = left.replace(b"[]", b"").replace(b"{}", b"")
            removed = len(left) - len(shorter)
            left = shorter
            levels += 2
            if removed * 16 <= len(left):
                break
        opened = left.lstrip(b"]}")
        if b"]" in opened or b"}" in opened or depth + len(opened) + levels > DEEPEST:
            return self._one_by_one(brackets, depth)
        return left

    def _one_by_one(self, brackets: bytes, depth: int) -> bytes:
        self._patience -= len(brackets)
        if self._patience < 0:
            raise Unbalanced("too much of it is nested deep")
        closed, opened = bytearray(), bytearray()
        room = DEEPEST - depth
        for bracket in brackets:
            if bracket in _OPENERS:
                opened.append(bracket)
                if len(opened) > room:
                    raise Unbalanced(f"nested more than {DEEPEST} deep")
            elif not opened:
                closed.append(bracket)
                room += 1
            elif opened.pop() != bracket - 2:
                raise Unbalanced("brackets that do not match")
        return bytes(closed + opened)


def _has_brackets(text: bytes) -> bool:
    return b"[" in text or b"]" in text or b"{" in text or b"}" in text


def find_close(mask: bytes, in_string: bool, depth: int, brackets: Brackets) -> int:
    """Where the bracket stands that closes the outermost of ``depth`` open ones; it must be there.

    Halving looks at each byte about twice.
    """
    low, high = 0, len(mask)
    while high - low > _LEAF:
        middle = (low + high) // 2
        marks, ends_in_string = marks_of(mask[low:middle], in_string)
        left = brackets.unmatched(marks, depth=depth)
        opened = len(left.lstrip(b"]}"))
        closed = len(left) - opened
        if closed >= depth:
            high = middle
        else:
            depth, in_string, low = depth - closed + opened, ends_in_string, middle
    for found in _SIGNS.finditer(mask, low, high):
        sign = mask[found.start()]
        if sign == ord('"'):
            in_string = not in_string
        elif not in_string:
            depth += 1 if sign in _OPENERS else -1
            if depth == 0:
                return found.start()
    raise Unbalanced("brackets that do not match")


def last_comma(mask: bytes) -> int:
    """Where the last comma outside of strings stands in a mask that ends outside of them and holds one."""
    end = len(mask)
    while True:
        closing = mask.rfind(b'"', 0, end)
        if (comma := mask.rfind(b",", closing + 1, end)) >= 0:
            return comma
        if closing < 0:
            raise ValueError("no comma outside of strings")
        end = max(0, mask.rfind(b'"', 0, closing))
