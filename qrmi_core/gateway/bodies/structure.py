# SPDX-License-Identifier: Apache-2.0
"""Where strings and brackets are in a part of a JSON text, found with bytes' own methods at memory speed.

A *mask* is the text with its escaped backslashes and quotes blanked, of the same length: each quote in it begins or
ends a string. That holds unless a backslash stands outside of strings, which is no JSON and which whoever checks the
syntax will find, at the latest where the mask begins to be wrong.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["DEEPEST", "Unbalanced", "find_close", "last_comma", "marks_of", "mask_of", "unmatched_brackets"]

DEEPEST: Final = 500
"""How deeply values may be nested: half of what stops Python's own decoder."""

_ROUNDS: Final = 12
_LEAF: Final = 1024
_NOT_MARKS: Final = bytes(set(range(256)) - set(b'[]{},"'))
_PARTNER: Final = {ord("]"): ord("["), ord("}"): ord("{")}
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


def unmatched_brackets(marks: bytes, before: bytes = b"", *, depth: int) -> bytes:
    """The brackets without partners in ``before`` (a result of this function) and ``marks``.

    The result is closing brackets, then opening ones. ``depth`` is how many are open before.

    Raises:
        Unbalanced: an opening bracket met the wrong partner, or more than 500 are open.
    """
    return _unmatched(before + marks.translate(None, b","), depth) if _has_brackets(marks) else before


def _has_brackets(text: bytes) -> bool:
    return b"[" in text or b"]" in text or b"{" in text or b"}" in text


def _unmatched(brackets: bytes, depth: int) -> bytes:
    left, rounds = brackets, 0
    while rounds < _ROUNDS:
        shorter = left.replace(b"[]", b"").replace(b"{}", b"")
        rounds += 1
        if len(shorter) == len(left):
            break
        left = shorter
    opened = len(left.lstrip(b"]}"))
    if depth + opened + 2 * rounds > DEEPEST or b"]" in left[-opened:] or b"}" in left[-opened:]:
        return _unmatched_one_by_one(brackets, depth) if opened else left
    return left


def _unmatched_one_by_one(brackets: bytes, depth: int) -> bytes:
    closed, opened = bytearray(), bytearray()
    for bracket in brackets:
        partner = _PARTNER.get(bracket)
        if partner is None:
            opened.append(bracket)
            if depth - len(closed) + len(opened) > DEEPEST:
                raise Unbalanced(f"nested more than {DEEPEST} deep")
        elif not opened:
            closed.append(bracket)
        elif opened.pop() != partner:
            raise Unbalanced("brackets that do not match")
    return bytes(closed + opened)


def find_close(mask: bytes, in_string: bool, depth: int) -> int:
    """Where the bracket stands that closes the outermost of ``depth`` open ones; it must be there.

    Halving looks at each byte about twice.
    """
    low, high = 0, len(mask)
    while high - low > _LEAF:
        middle = (low + high) // 2
        marks, ends_in_string = marks_of(mask[low:middle], in_string)
        left = unmatched_brackets(marks, depth=depth)
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
            depth += -1 if sign in _PARTNER else 1
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
