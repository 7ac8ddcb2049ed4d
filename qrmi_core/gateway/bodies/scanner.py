# SPDX-License-Identifier: Apache-2.0
"""Finds the members of a JSON object in its bytes, piece by piece, and checks all the rest without decoding it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qrmi_core.gateway.bodies.nested import LONGEST_NUMBER, Nested, check_syntax, cut_in_string
from qrmi_core.gateway.bodies.structure import Brackets, mask_of
from qrmi_core.gateway.request_rules import BadRequest

__all__ = ["MOST_KEYS", "Member", "Scanner", "checked_key", "refused"]

MOST_KEYS: Final = 64
LONGEST_KEY: Final = 256
WINDOW: Final = 1024
WINDOW_GROWTH: Final = 8

_BLANK: Final = re.compile(rb"[ \t\n\r]*")
_CONTROL: Final = re.compile(rb"[\x00-\x1f]")
_SCALAR: Final = re.compile(rb"[-+.0-9A-Za-z]*")


@dataclass(frozen=True, slots=True)
class Member:
    """One key and its value: byte offsets of the key's first quote and of the value."""

    name: str
    key: int
    start: int
    end: int


def checked_key(raw: bytes, names: set[str]) -> str:
    """The name that a top-level key has, added to those before it.

    Raises:
        ValueError: it is too long, one too many, there already, or written in an odd way.
    """
    if len(raw) > LONGEST_KEY:
        raise ValueError(f"a key longer than {LONGEST_KEY} bytes")
    if b"\\" in raw:
        raise ValueError("a top-level key is written with an escape")
    name = raw.decode()
    if _CONTROL.search(raw):
        raise ValueError("a control character in a key")
    if name in names:
        raise ValueError("a top-level key stands twice")
    if len(names) == MOST_KEYS:
        raise ValueError(f"more than {MOST_KEYS} top-level keys")
    names.add(name)
    return name


def refused(what: str) -> BadRequest:
    """What every refusal of a body's form looks like."""
    return BadRequest(400, f"the body is not a JSON object that is taken: {what}")


class Scanner:
    """Fed with a body in pieces of at most 64 kB, it has the members of its top-level object at the end.

    Whatever it accepts ``json.loads`` accepts too, with the same keys and values. It refuses more: a byte order mark,
    encodings other than UTF-8, keys that stand twice or are written with escapes at the top level, more than 64 of them
    or longer than 256 bytes, NaN and Infinity, surrogates without partner, nesting deeper than 500, digits in a row
    beyond 4300, 256 kB without a comma outside of strings, a million brackets in values nested some 20 deep and more.
    It does not look for keys that stand twice *within* values, and makes no number of any digits.
    """

    def __init__(self) -> None:
        self.members: list[Member] = []
        self._names: set[str] = set()
        self._brackets = Brackets()
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._buffer = b""
        self._base = 0
        self._at = 0
        self._step: Callable[[], bool] = self._begin
        self._name = ""
        self._key = 0
        self._start = 0
        self._nested, self._window = Nested(b"[", self._brackets), WINDOW

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            BadRequest: 400, it is not what is described above.
        """
        self._check_utf8(piece)
        self._buffer, self._base, self._at = self._buffer[self._at :] + piece, self._base + self._at, 0
        try:
            while self._step():
                pass
        except ValueError as error:
            raise self._refused(str(error)) from None

    def end(self) -> None:
        """Say that all was fed.

        Raises:
            BadRequest: 400, the object is not complete.
        """
        self._check_utf8(b"", final=True)
        if self._step != self._ended:
            raise self._refused("it ends too early" if self._base + len(self._buffer) else "it is empty")

    def _check_utf8(self, piece: bytes, *, final: bool = False) -> None:
        if piece.isascii() and not final and not self._utf8.getstate()[0]:
            return
        try:
            self._utf8.decode(piece, final)
        except UnicodeDecodeError:
            raise self._refused("it is not UTF-8") from None

    def _refused(self, what: str) -> BadRequest:
        return BadRequest(
            400, f"the body is not a JSON object that is taken: {what} (near byte {self._base + self._at})"
        )

    def _sign(self) -> bytes:
        """The next byte that is not blank, not taken yet; nothing where more is needed."""
        blank = _BLANK.match(self._buffer, self._at)
        self._at = blank.end() if blank else self._at
        return self._buffer[self._at : self._at + 1]

    def _expect(self, sign: bytes, then: Callable[[], bool]) -> bool:
        found = self._sign()
        if not found:
            return False
        if found != sign:
            raise ValueError(f"{sign.decode()} was expected")
        self._at += 1
        self._step = then
        return True

    def _begin(self) -> bool:
        return self._expect(b"{", self._first_key)

    def _first_key(self) -> bool:
        if self._sign() == b"}":
            self._at += 1
            self._step = self._ended
            return True
        return self._next_key()

    def _next_key(self) -> bool:
        found = self._sign()
        if not found:
            return False
        if found != b'"':
            raise ValueError("a key in quotes was expected")
        end = self._buffer.find(b'"', self._at + 1)
        raw = self._buffer[self._at + 1 : end] if end >= 0 else self._buffer[self._at + 1 :]
        if end < 0 and len(raw) <= LONGEST_KEY:
            return False
        name = checked_key(raw, self._names)
        self._name, self._key = name, self._base + self._at
        self._at = end + 1
        self._step = self._colon
        return True

    def _colon(self) -> bool:
        return self._expect(b":", self._value)

    def _value(self) -> bool:
        found = self._sign()
        if not found:
            return False
        self._start = self._base + self._at
        if found in b"[{":
            self._at += 1
            self._nested, self._window = Nested(found, self._brackets), WINDOW
            self._step = self._container
        elif found == b'"':
            self._at += 1
            self._step = self._string
        else:
            self._step = self._scalar
        return True

    def _scalar(self) -> bool:
        scalar = _SCALAR.match(self._buffer, self._at)
        raw = scalar.group() if scalar else b""
        if len(raw) > LONGEST_NUMBER:
            raise ValueError(f"a number of more than {LONGEST_NUMBER} digits")
        if self._at + len(raw) == len(self._buffer):
            return False
        check_syntax(raw)
        return self._value_ends(len(raw))

    def _container(self) -> bool:
        """Windows that grow: small values in front of a large one cost what they are long."""
        window = self._buffer[self._at : self._at + self._window]
        taken, closed = self._nested.take(window)
        if closed:
            return self._value_ends(taken)
        was_all = self._at + len(window) == len(self._buffer)
        self._at += taken
        self._window *= WINDOW_GROWTH
        return not was_all

    def _string(self) -> bool:
        """What follows the first quote."""
        end = self._buffer.find(b'"', self._at)
        if end >= 0 and self._buffer.find(b"\\", self._at, end) < 0:
            return self._string_ends(end)
        text = self._buffer[self._at :]
        mask = mask_of(text)
        if (end := mask.find(b'"')) >= 0:
            return self._string_ends(self._at + end)
        cut = cut_in_string(text, mask)
        check_syntax(b'"' + text[:cut] + b'"')
        self._at += cut
        return False

    def _string_ends(self, quote: int) -> bool:
        check_syntax(b'"' + self._buffer[self._at : quote + 1])
        return self._value_ends(quote + 1 - self._at)

    def _value_ends(self, length: int) -> bool:
        self._at += length
        self.members.append(Member(self._name, self._key, self._start, self._base + self._at))
        self._step = self._after
        return True

    def _after(self) -> bool:
        if self._sign() == b"}":
            return self._expect(b"}", self._ended)
        return self._expect(b",", self._next_key)

    def _ended(self) -> bool:
        if self._sign():
            raise ValueError("something follows the object")
        return False
