# SPDX-License-Identifier: Apache-2.0
"""What no request may look like, whatever it is for: forms that two servers in a row could read in two ways.

These rules come before every policy. What passes means the same to the gateway, which checks it against the lease, and
to the vendor, to whom path and query are sent as they came.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from aiohttp import hdrs, web

__all__ = ["BadRequest", "check"]

_ODD_PATH: Final = re.compile(
    r"""(?P<slashes>//)
      | (?P<dots>/\.{1,2}(?:[/;]|$)|%2[eE])
      | (?P<hidden>\\|%2[fF]|%5[cC])
      | (?P<twice>%25)
      | (?P<control>[^\x21-\x7e]|%[01][0-9a-fA-F]|%7[fF])
      | (?P<percent>%(?![0-9a-fA-F]{2}))
      | (?P<fragment>\#)""",
    re.VERBOSE,
)
_WHY: Final = {
    "slashes": "the path holds two slashes in a row",
    "dots": "the path holds a dot segment or an encoded dot",
    "hidden": "the path holds an encoded slash or a backslash",
    "twice": "the path holds an encoded percent sign",
    "control": "the path holds a control character, a blank or a character that must be encoded",
    "percent": "the path holds a percent sign without two hexadecimal digits",
    "fragment": "the path holds a fragment",
}
_ONCE: Final = (
    hdrs.AUTHORIZATION,
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_LENGTH,
    hdrs.CONTENT_TYPE,
    hdrs.HOST,
    hdrs.TRANSFER_ENCODING,
)
_ONCE_LOWER: Final = frozenset(name.lower() for name in _ONCE)
ENCODINGS: Final = frozenset({"", "identity", "gzip"})


class BadRequest(Exception):
    """A request that is refused for its form; ``reason`` holds nothing of what was sent in it but names of keys."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def check(request: web.Request, *, repeated: Collection[str] = ()) -> None:
    """See that a request can be read in one way only; ``repeated`` are the query keys that may stand several times.

    Raises:
        BadRequest: 400 with the reason; 415 for an encoding of the body other than gzip.
    """
    path = request.raw_path.partition("?")[0]
    if not path.startswith("/"):
        raise BadRequest(400, "the path does not begin with a slash")
    if odd := _ODD_PATH.search(path):
        raise BadRequest(400, _WHY[str(odd.lastgroup)])
    _check_headers(request)
    query = request.query
    if len(query) > 1:
        seen: set[str] = set()
        for key, _ in query.items():  # noqa: PERF102  keys() tells each but once
            if key in seen and key not in repeated:
                raise BadRequest(400, "a query key stands twice")
            seen.add(key)


def _check_headers(request: web.Request) -> None:
    headers = request.headers
    names = [lower for name, _ in headers.items() if (lower := name.lower()) in _ONCE_LOWER]
    if len(names) != len(set(names)):
        twice = next(name for name in _ONCE if names.count(name.lower()) > 1)
        raise BadRequest(400, f"the header {twice} stands twice")
    transfer = headers.get(hdrs.TRANSFER_ENCODING)
    if transfer is not None:
        if hdrs.CONTENT_LENGTH in headers:
            raise BadRequest(400, "Content-Length and Transfer-Encoding exclude each other")
        if transfer.lower() != "chunked":
            raise BadRequest(400, "the only Transfer-Encoding taken is chunked")
    if headers.get(hdrs.CONTENT_ENCODING, "").lower() not in ENCODINGS:
        raise BadRequest(415, "the only Content-Encoding taken is gzip")
