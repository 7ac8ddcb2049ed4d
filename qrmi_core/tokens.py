# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens: fetched when first needed, again before they expire, and once after a server refused one."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from qrmi_core.locks import ForkSafeLock

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


@dataclass(eq=False)
class _Fetch:
    """A fetch that one thread makes and others may wait for."""

    process: int = field(default_factory=os.getpid)
    over: threading.Event = field(default_factory=threading.Event)
    token: Token | None = None
    error: BaseException | None = None


class BearerToken:
    """The token of one resource, shared by all threads.

    It is fetched anew when less than a tenth of its life, or ``early`` seconds if that is shorter, is left. One thread
    fetches it; those that need it meanwhile share its token, or its failure.
    """

    def __init__(self, fetch: Callable[[], Token], *, early: float = 60.0) -> None:
        self._fetch = fetch
        self._early = early
        self._lock = ForkSafeLock()
        self._token: Token | None = None
        self._renew_at: float | None = None
        self._fetching: _Fetch | None = None

    @property
    def known(self) -> str | None:
        """The last token, for texts that must not hold it."""
        return self._token.value if self._token else None

    @property
    def at_hand(self) -> Token | None:
        """The token if it is good for a while yet; it never blocks."""
        token, renew_at = self._token, self._renew_at
        return token if renew_at is None or time.monotonic() < renew_at else None

    def current(self) -> Token:
        """A token that is good for a while yet."""
        with self._lock:
            if self._token is not None and (self._renew_at is None or time.monotonic() < self._renew_at):
                return self._token
            fetching = self._fetching
            mine = fetching is None or fetching.process != os.getpid()
            if fetching is None or mine:
                fetching = self._fetching = _Fetch()
        if mine:
            return self._fetched(fetching)
        fetching.over.wait()
        if fetching.token is None:
            raise fetching.error or RuntimeError("a fetch ends with a token or an error")
        return fetching.token

    def _fetched(self, fetching: _Fetch) -> Token:
        try:
            token = self._fetch()
        except BaseException as error:
            fetching.error = error
            raise
        else:
            fetching.token = token
            left = None if token.expires is None else max(0.0, token.expires - time.monotonic())
            with self._lock:
                self._token = token
                self._renew_at = None if left is None else time.monotonic() + left - min(self._early, left / 10)
            return token
        finally:
            with self._lock:
                self._fetching = None
            fetching.over.set()

    def reject(self, token: Token) -> None:
        """Forget a token that a server refused, unless another thread has fetched a new one already."""
        with self._lock:
            if self._token is token:
                self._token, self._renew_at = None, 0.0


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
