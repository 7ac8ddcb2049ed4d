# SPDX-License-Identifier: Apache-2.0
"""Waits for batches: whoever waits, the vendor is asked once for all of them, each time that is due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from qrmi_core import polling
from qrmi_core.errors import QRMIError

__all__ = ["Look", "Watch"]

_log = logging.getLogger(__name__)

Look: TypeAlias = Callable[[Collection[str]], Awaitable[Collection[str]]]


@dataclass(eq=False)
class _Waiter:
    key: str
    times: Iterator[float]
    begun: float = field(default_factory=time.monotonic)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    due: float = 0.0

    def plan(self, now: float) -> None:
        """The next look for it after this moment."""
        while self.due <= now:
            self.due = self.begun + next(self.times)


class Watch:
    """One vendor's batches that somebody waits for. Used in one event loop; nothing runs while nobody waits."""

    def __init__(self, look: Look, min_poll: float) -> None:
        """``look`` tells which of some batches have no unfinished job; ``min_poll`` seconds lie between two looks."""
        self._look = look
        self._min_poll = min_poll
        self._waiters: set[_Waiter] = set()
        self._came = asyncio.Event()
        self._looked = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def settled(self, key: str, seconds: float) -> None:
        """Return once a batch has settled, or after so many seconds."""
        waiter = _Waiter(key, polling.look_times(self._min_poll))
        waiter.plan(waiter.begun)
        self._waiters.add(waiter)
        self._came.set()
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiter.settled.wait(), seconds)
        finally:
            self._waiters.discard(waiter)

    def let_go(self) -> None:
        """Answer everybody: the gateway ends."""
        for waiter in self._waiters:
            waiter.settled.set()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._waiters:
            due = max(min(waiter.due for waiter in self._waiters), self._looked + self._min_poll)
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), max(0.0, due - time.monotonic()))
                continue
            asked = tuple(self._waiters)
            settled: Collection[str] = ()
            try:
                settled = await self._look({waiter.key for waiter in asked})
            except QRMIError as error:
                _log.debug("a look at batches failed: %s", error)
            now = self._looked = time.monotonic()
            for waiter in asked:
                waiter.plan(now)
                if waiter.key in settled:
                    waiter.settled.set()
                    self._waiters.discard(waiter)
