# SPDX-License-Identifier: Apache-2.0
"""Checks an array or object of any length piece by piece, with the memory and time of one piece.

Each piece is cut after a comma or within a string, completed to a JSON text of its own (with the brackets and the
string that were open before it, and the ends of those that are open after it), and handed to msgspec, which skips over
it without building anything. So the syntax is checked wholly: numbers, literals, escapes, surrogates, commas, brackets.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from qrmi_core.gateway.bodies.structure import (
    Brackets,
    Unbalanced,
    find_close,
    last_comma,
    marks_of,
    mask_of,
)

__all__ = ["LONGEST_NUMBER", "Nested", "check_numbers", "check_syntax", "cut_in_string"]

LONGEST_NUMBER: Final = 4300
"""How many digits in a row are taken: as many as Python makes a number of."""

UNCUT_MOST: Final = 4 * 64 * 1024
"""How many bytes may pass without a comma and outside of strings; only white space makes so many."""

_STRIDE: Final = 2000  # any run that is too long holds a whole probe
_PROBE: Final = 32
_DIGITS: Final = b"0123456789"
_BLANK: Final = b" \t\n\r"
_OPENERS_OF: Final = bytes.maketrans(b"]}", b"[{")
_CLOSERS_OF: Final = bytes.maketrans(b"[{", b"]}")
_HIGH_SURROGATE: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_KEY, _VALUE, _COMMA = b"k", b"v", b","
_DECODER: Final = msgspec.json.Decoder(msgspec.Raw)


def check_syntax(text: bytes) -> None:
    """See that it is one JSON value; UTF-8 and the length of numbers are not looked at.

    Raises:
        ValueError: it is not; the message holds nothing of the text.
    """
    try:
        _DECODER.decode(text)
    except RecursionError:
        raise Unbalanced("nested too deep") from None
    except msgspec.DecodeError as error:
        what = str(error).removeprefix("JSON is malformed: ").partition(" (byte ")[0]
        raise ValueError("it ends too early" if "truncated" in what else what) from None


class Nested:
    """One array or object whose opening bracket was read."""

    def __init__(self, opener: bytes, brackets: Brackets) -> None:
        self._open = opener
        self._brackets = brackets
        self._last = opener

    def take(self, buffer: bytes) -> tuple[int, bool]:
        """Check as much of the buffer as can be: how many bytes, and whether they end with the closing bracket.

        What is not taken must be in front of the next buffer.

        Raises:
            ValueError: it is no JSON, or nested more than 500 deep, or has a number of more than 4300 digits.
        """
        began_in_string = self._last in (_KEY, _VALUE)
        mask = mask_of(buffer)
        check_numbers(mask, began_in_string)
        marks, in_string = marks_of(mask, began_in_string)
        kept = marks if in_string else marks[: marks.rfind(_COMMA) + 1]
        left = self._brackets.unmatched(kept, depth=len(self._open))
        whole = left if in_string else self._brackets.unmatched(marks[len(kept) :], left, depth=len(self._open))
        if len(whole) - len(whole.lstrip(b"]}")) >= len(self._open):
            end = find_close(mask, began_in_string, len(self._open), self._brackets) + 1
            check_syntax(_opening(self._open, self._last) + buffer[:end])
            return end, True
        if not in_string and not kept:
            if len(buffer) > UNCUT_MOST:
                raise ValueError(f"more than {UNCUT_MOST // 1024} kB without a comma")
            return 0, False
        cut = cut_in_string(buffer, mask) if in_string else last_comma(mask) + 1
        self._check(buffer[:cut], mask, left, in_string)
        return cut, False

    def _check(self, piece: bytes, mask: bytes, left: bytes, in_string: bool) -> None:
        opened = left.lstrip(b"]}")
        closed = len(left) - len(opened)
        depth = len(self._open) - closed
        if self._open[depth:][::-1] != left[:closed].translate(_OPENERS_OF):
            raise Unbalanced("brackets that do not match")
        now_open = self._open[:depth] + opened
        lowest = depth - 1
        last = self._last_of(mask, now_open) if in_string else _COMMA
        check_syntax(_opening(self._open[lowest:], self._last) + piece + _closing(now_open[lowest:], last))
        self._open, self._last = now_open, last

    def _last_of(self, mask: bytes, now_open: bytes) -> bytes:
        """Whether the string at the end is a key or a value."""
        quote = mask.rfind(b'"')
        if quote < 0:
            return self._last
        before = mask[:quote].rstrip(_BLANK)[-1:] or self._last
        return _KEY if now_open.endswith(b"{") and before in (b"{", _COMMA) else _VALUE


def _opening(levels: bytes, last: bytes) -> bytes:
    """What stands for all that was read of these levels."""
    in_object = levels.endswith(b"{")
    inner = b"{" if in_object else b"["
    if last == _COMMA:
        inner += b'"":0,' if in_object else b"0,"
    elif last == _KEY:
        inner += b'"'
    elif last == _VALUE:
        inner += b'"":"' if in_object else b'"'
    return levels[:-1].replace(b"{", b'{"":') + inner


def _closing(levels: bytes, last: bytes) -> bytes:
    """What stands for all that is to come of these levels."""
    if last == _KEY:
        rest = b'":0'
    elif last == _VALUE:
        rest = b'"'
    else:
        rest = b'"":0' if levels.endswith(b"{") else b"0"
    return rest + levels[::-1].translate(_CLOSERS_OF)


def cut_in_string(buffer: bytes, mask: bytes) -> int:
    """Where a text that ends within a string can be cut: not in a character, an escape or a pair of surrogates."""
    begin, cut = mask.rfind(b'"') + 1, len(buffer)
    if cut and buffer[cut - 1] >= 0x80:
        cut -= 1
        while cut and buffer[cut] & 0xC0 == 0x80:
            cut -= 1
    escape = mask.rfind(b"\\", max(begin, cut - 5), cut)
    if escape >= 0:
        cut = escape
    if cut - begin >= 6 and _HIGH_SURROGATE.fullmatch(mask, cut - 6, cut):
        cut -= 6
    return cut


def check_numbers(mask: bytes, in_string: bool) -> None:
    """See that no number outside of strings is too long.

    Raises:
        ValueError: one has more than 4300 digits in a row.
    """
    if _long_run(mask) and _long_run(b"".join(mask.split(b'"')[in_string::2])):
        raise ValueError(f"a number of more than {LONGEST_NUMBER} digits")


def _long_run(text: bytes) -> bool:
    for sample in range(0, len(text) - _PROBE, _STRIDE):
        if text[sample : sample + _PROBE].isdigit():
            before, after = text[max(0, sample - LONGEST_NUMBER) : sample], text[sample : sample + LONGEST_NUMBER + 1]
            run = len(before) - len(before.rstrip(_DIGITS)) + len(after) - len(after.lstrip(_DIGITS))
            if run > LONGEST_NUMBER:
                return True
    return False
