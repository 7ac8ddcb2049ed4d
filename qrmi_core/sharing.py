# SPDX-License-Identifier: Apache-2.0
"""What resources that are made again and again for the same server share: its connections and bearer tokens.

A program makes a resource once and keeps it, and nothing here concerns it. A gateway makes one for each lease: it would
ask for a token and shake hands anew each time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["Shared", "shared"]

MOST = 256

_Thing = TypeVar("_Thing")


class Shared:
    """Things by their keys, those that were used last; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # what is made may share in its turn
        self._things: OrderedDict[Hashable, Any] = OrderedDict()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Resources that are made within share these."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def get(self, key: Hashable, make: Callable[[], _Thing]) -> _Thing:
        """The thing of this key, made if there is none."""
        with self._lock:
            if key not in self._things:
                self._things[key] = make()
            self._things.move_to_end(key)
            while len(self._things) > MOST:
                self._things.popitem(last=False)
            thing: _Thing = self._things[key]
            return thing


_current: ContextVar[Shared | None] = ContextVar("shared", default=None)


def shared(key: Hashable, make: Callable[[], _Thing]) -> _Thing:
    """What others have for the same key, where resources share; else one of the caller's own.

    The key holds everything that makes a difference, such as a credential.
    """
    current = _current.get()
    return make() if current is None else current.get(key, make)
