# SPDX-License-Identifier: Apache-2.0
"""A lock for each lease that somebody works on, and none for all the others that there ever were."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["KeyedLocks"]


class KeyedLocks:
    """Locks by key, made when the first asks for one and forgotten when the last lets go of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[threading.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Hold the lock of a key, alone."""
        with self._lock:
            lock, users = self._known.get(key) or (threading.Lock(), 0)
            self._known[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            self._let_go(key)

    @contextlib.contextmanager
    def hold_at_once(self, key: str) -> Iterator[bool]:
        """Hold the lock of a key if nobody else does, which is the answer; nobody waits."""
        lock = threading.Lock()
        with self._lock:
            is_free = key not in self._known
            if is_free:
                self._known[key] = (lock, 1)
                lock.acquire()
        if not is_free:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
            self._let_go(key)

    def _let_go(self, key: str) -> None:
        with self._lock:
            lock, users = self._known.pop(key)
            if users > 1:
                self._known[key] = (lock, users - 1)
