# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens: fetched when first needed, again before they expire, and once after a server refused one."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["BearerToken", "Token", "seconds_left"]


@dataclass(frozen=True)
class Token:
    """A bearer token and when it ends, in monotonic seconds (None: never, or nobody knows)."""

    value: str = field(repr=False)
    expires: float | None = None

    @classmethod
    def lasting(cls, value: str, seconds: float | None) -> Token:
        """A token that is good for so many seconds from now."""
        return cls(value, None if seconds is None else time.monotonic() + seconds)


class BearerToken:
    """The token of one resource, shared by all threads; at most one of them fetches it at a time.

    It is fetched anew when less than a tenth of its life, or ``early`` seconds if that is shorter, is left.
    """

    def __init__(self, fetch: Callable[[], Token], *, early: float = 60.0) -> None:
        self._fetch = fetch
        self._early = early
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._renew_at: float | None = None

    def current(self) -> Token:
        """A token that is good for a while yet."""
        with self._lock:
            now = time.monotonic()
            if self._token is None or (self._renew_at is not None and self._renew_at <= now):
                self._token = self._fetch()
                expires = self._token.expires
                now = time.monotonic()
                self._renew_at = None if expires is None else expires - min(self._early, max(0.0, expires - now) / 10)
            return self._token

    def reject(self, token: Token) -> None:
        """Forget a token that a server refused, unless another thread has fetched a new one already."""
        with self._lock:
            if self._token is token:
                self._token = None


def seconds_left(jwt: str) -> float | None:
    """How long a JSON web token is good for by its own word; None where it does not say (RFC 7519, ``exp``)."""
    parts = jwt.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"]) - time.time()
    except (ValueError, KeyError, TypeError):
        return None
