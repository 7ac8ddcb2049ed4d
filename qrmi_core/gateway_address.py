# SPDX-License-Identifier: Apache-2.0
"""The addresses that a site's gateway can have."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["checked_address", "socket_of"]

ADDRESS = "http://host:port, https://host:port or unix:/path"
UNIX = "unix:"


def socket_of(url: str) -> str | None:
    """The path of the unix socket that an address names, None for another address."""
    return url.removeprefix(UNIX) if url.startswith(UNIX) else None


def checked_address(url: str) -> str:
    """The address of a gateway as it is used.

    Raises:
        ValueError: it is none; says what was expected.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises where it is no number
    except ValueError:
        raise ValueError(f"{ADDRESS} was expected") from None
    if parts.scheme == "unix" and parts.path.startswith("/") and len(parts.path) > 1 and not parts.netloc:
        return url
    plain = "@" not in parts.netloc and not parts.query and not parts.fragment
    if parts.scheme in {"http", "https"} and parts.hostname and plain:
        return url.rstrip("/")
    raise ValueError(f"{ADDRESS} was expected")
