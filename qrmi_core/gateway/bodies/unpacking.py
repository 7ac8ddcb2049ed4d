# SPDX-License-Identifier: Apache-2.0
"""Undoes gzip in pieces, so that what unpacks to a thousand times its size takes no more memory than a piece."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from qrmi_core.gateway.request_rules import BadRequest

__all__ = ["Gunzip"]

PIECE: Final = 64 * 1024
_GZIP: Final = 31


class Gunzip:
    """One gzip member and nothing after it."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=_GZIP)

    def unpacked(self, packed: bytes) -> Iterator[bytes]:
        """What these bytes unpack to, in pieces of at most 64 kB.

        Raises:
            BadRequest: 400, they are no gzip, or something follows it.
        """
        while packed:
            try:
                piece = self._stream.decompress(packed, PIECE)
            except zlib.error:
                raise BadRequest(400, "the body is not what gzip makes") from None
            if piece:
                yield piece
            if self._stream.unused_data:
                raise BadRequest(400, "something follows the gzip member of the body")
            packed = self._stream.unconsumed_tail
            if self._stream.eof and packed:
                raise BadRequest(400, "something follows the gzip member of the body")

    def end(self) -> None:
        """Say that there is no more.

        Raises:
            BadRequest: 400, it is cut off.
        """
        if not self._stream.eof:
            raise BadRequest(400, "the gzip of the body is cut off")
