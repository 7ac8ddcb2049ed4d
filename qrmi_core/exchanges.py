# SPDX-License-Identifier: Apache-2.0
"""What is known of an HTTP exchange by those who do not make it: how it failed, and which part of its URL may be told.

Apart from :mod:`qrmi_core.transport`, whose imports take longer than those of all the rest that drivers need.
"""

from __future__ import annotations

import io
from urllib.parse import urlsplit

__all__ = ["Body", "ExchangeFailed", "without_query"]

Body = bytes | io.RawIOBase
"""What is sent: bytes, or a file, which is read from its beginning whenever it is sent."""


class ExchangeFailed(Exception):
    """No whole answer came.

    ``sent`` tells whether the server may have got the request, ``again`` whether sending it again may help soon, and
    ``silent`` whether the server was still working when it was given up.
    """

    def __init__(self, text: str, *, sent: bool, again: bool, silent: bool = False) -> None:
        super().__init__(text)
        self.sent = sent
        self.again = again
        self.silent = silent


def without_query(url: str) -> str:
    """A URL for texts: its query and what stands before the host may be secret."""
    try:
        parts = urlsplit(url)
    except ValueError:  # it is no URL
        return url.partition("?")[0].rpartition("@")[2]
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"{host}{parts.path}"
