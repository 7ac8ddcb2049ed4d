# SPDX-License-Identifier: Apache-2.0
"""A part of a spooled body as a file, for what reads in a thread and never all at once."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qrmi_core.gateway.bodies.spooled import Spooled

__all__ = ["Reading"]


class Reading(io.RawIOBase):
    """A file of known length that can be read as often as wanted, as long as its body is open."""

    def __init__(self, body: Spooled, start: int, end: int) -> None:
        super().__init__()
        self._body = body
        self._start = start
        self._length = end - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """The next bytes, as many as fit.

        Raises:
            ValueError: the body was closed.
        """
        begin = min(self._at, self._length)
        end = min(begin + len(buffer), self._length)
        buffer[: end - begin] = self._body.read(self._start + begin, self._start + end)
        self._at = end
        return end - begin
