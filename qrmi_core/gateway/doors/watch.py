# SPDX-License-Identifier: Apache-2.0
"""What vendors tell of tasks that have not ended, asked once for all who want to know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from qrmi_core import polling
from qrmi_core.errors import QRMIError

__all__ = ["Watch"]

_log = logging.getLogger(__name__)
Told = TypeVar("Told")

FRESH = 0.25
"""Seconds for which an answer is good for who only asks, whatever gap a vendor is content with."""

SHARE = 0.02
LONGEST_GAP = 1.0
GRACE = 0.25
"""Seconds for which one who waits for an end goes on waiting once something else has changed."""

UNASKED_GAP = 30.0
MOST_ENDED = 5_000


class Watch(Generic[Told]):
    """The unfinished tasks of one resource. Used in one event loop.

    A look asks for all of them at once, never two at the same time and none sooner than ``gap`` seconds after the one
    before. Those whom nobody asks about are looked at every 30 s, so that it is noted what came of them.
    """

    def __init__(
        self,
        look: Callable[[tuple[str, ...]], Awaitable[Mapping[str, Told]]],
        *,
        gap: float,
        is_final: Callable[[Told], bool],
        stopping: asyncio.Event,
    ) -> None:
        """Nothing is asked yet.

        Args:
            look: what the vendor tells of these tasks; those that it does not know are left out.
            gap: seconds between the beginnings of two looks, at least.
            is_final: whether a task of which that is told has ended.
            stopping: is set when the gateway ends; everybody is answered then with what is known.
        """
        self._look = look
        self._gap = gap
        self._is_final = is_final
        self._since: dict[str, float] = {}
        self._at: dict[str, float] = {}
        self._told: dict[str, Told] = {}
        self._ended: dict[str, None] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._last = float("-inf")
        self._took = 0.0
        self._looking: asyncio.Future[None] | None = None
        self._tending: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._stopping = stopping

    def add(self, task_id: str) -> bool:
        """Look at a task from now on, until it has ended; False where it is known to have."""
        if task_id in self._ended:
            return False
        if task_id not in self._since:
            self._since[task_id] = time.monotonic()
            if self._tending is None or self._tending.done():
                self._tending = asyncio.ensure_future(self._tend())
            if self._ending is None:
                self._ending = asyncio.ensure_future(self._let_go())
        return True

    def drop(self, task_id: str) -> None:
        """Look at a task no longer: there is none."""
        self._end(task_id)

    @property
    def watched(self) -> tuple[str, ...]:
        """The tasks that are not known to have ended."""
        return tuple(self._since)

    async def told(self, task_id: str) -> Told | None:
        """What the vendor tells of a task, from a moment ago; None where it knows none.

        Raises:
            QRMIError: it cannot be asked.
        """
        await self._looked(task_id, time.monotonic() - max(self._gap, FRESH) - self._took)
        return self._told.get(task_id)

    async def ended(
        self, task_id: str, seconds: float, *, changed: Callable[[Told], bool] = lambda _: False
    ) -> Told | None:
        """What is told once a task has ended or, shortly, ``changed``; or after so many seconds.

        Raises:
            QRMIError: the vendor cannot be asked.
        """
        begun = time.monotonic()
        end = begun + seconds
        least = max(self._gap, min(LONGEST_GAP, SHARE * (begun - self._since.get(task_id, begun))))
        for moment in polling.look_times(least):
            await self._until(task_id, min(begun + moment, end))
            if self._stopping.is_set() or task_id in self._ended:
                break
            if time.monotonic() >= end and task_id in self._told:
                break
            looking = asyncio.ensure_future(self._looked(task_id, begun + moment))
            if not (await asyncio.wait([looking], timeout=max(0.0, end - time.monotonic())))[0]:
                if task_id not in self._told:
                    await looking
                looking.cancel()
                break
            looking.result()
            told = self._told.get(task_id)
            if told is None:
                break
            if changed(told):
                end = min(end, time.monotonic() + GRACE)
        return self._told.get(task_id)

    async def _until(self, task_id: str, moment: float) -> None:
        """Wait for a moment, or for the task's end, or for that of the gateway."""
        if (left := moment - time.monotonic()) <= 0 or self._stopping.is_set():
            return
        news = self._news.setdefault(task_id, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), left)

    async def _looked(self, task_id: str, since: float) -> None:
        """See that a task was looked at no earlier than at a moment."""
        while task_id not in self._ended and self._at.get(task_id, float("-inf")) < since:
            self.add(task_id)
            if self._looking is None or self._looking.done():
                self._looking = asyncio.ensure_future(self._look_now())
                self._looking.add_done_callback(_seen)
            await asyncio.shield(self._looking)

    async def _look_now(self) -> None:
        await polling.pause_async(self._last + self._gap - time.monotonic())
        self._last = began = time.monotonic()
        tasks = tuple(self._since)
        found = await self._look(tasks)
        self._took = time.monotonic() - began
        for task_id in tasks:
            self._at[task_id] = began
            if (told := found.get(task_id)) is not None:
                self._told[task_id] = told
                if self._is_final(told):
                    self._end(task_id)

    def _end(self, task_id: str) -> None:
        """Watch a task no longer; what was told last is kept for a while."""
        self._since.pop(task_id, None)
        self._at.pop(task_id, None)
        self._ended[task_id] = None
        if (news := self._news.pop(task_id, None)) is not None:
            news.set()
        while len(self._ended) > MOST_ENDED:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._told.pop(oldest, None)

    async def _tend(self) -> None:
        while self._since:
            await polling.pause_async(UNASKED_GAP)
            try:
                for task_id in self.watched[:1]:
                    await self._looked(task_id, time.monotonic() - UNASKED_GAP)
            except QRMIError as error:
                _log.info("%s", error)

    async def _let_go(self) -> None:
        await self._stopping.wait()
        for news in self._news.values():
            news.set()
        if self._tending is not None:
            self._tending.cancel()


def _seen(looking: asyncio.Future[None]) -> None:
    """Whoever waited may be gone."""
    if not looking.cancelled():
        looking.exception()
