# SPDX-License-Identifier: Apache-2.0
"""What vendors tell of tasks that have not ended, asked once for all who want to know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from qrmi_core import polling
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.doors.rhythm import FIRST_GAP, Durations, following

__all__ = ["Watch"]

_log = logging.getLogger(__name__)
Told = TypeVar("Told")

FRESH = 0.25
"""Seconds for which an answer is good for who only asks, whatever gap a vendor is content with."""

GRACE = 0.25
"""Seconds for which one who waits for an end goes on waiting once something else has changed."""

MARGIN = 0.03
"""Seconds by which a client that is to be back for a look is let go sooner."""

UNASKED_GAP = 30.0
MOST_ENDED = 5_000
MOST_BORN = 50_000
NEVER = float("-inf")


@dataclass(frozen=True)
class _Birth:
    """Since when (monotonic seconds) a task is known, after how long it is first looked at, and how often at most."""

    moment: float
    first: float
    gap: float
    group: str | None = None


class Watch(Generic[Told]):
    """The tasks of one resource. Used in one event loop.

    A look asks for all of them at once, never two at the same time and none sooner than ``gap`` seconds after the one
    before. Tasks that were added are looked at until they have ended, every 30 s where nobody asks about them, so that
    it is noted what came of them; others only while somebody waits for them.
    """

    def __init__(
        self,
        look: Callable[[tuple[str, ...]], Awaitable[Mapping[str, Told]]],
        *,
        gap: float,
        is_final: Callable[[Told], bool],
        stopping: asyncio.Event,
        first: float | None = None,
        halving: float | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            look: what the vendor tells of these tasks; those that it does not know are left out.
            gap: seconds between the beginnings of two looks, at least.
            is_final: whether nobody needs to wait for a task of which that is told.
            stopping: is set when the gateway ends; everybody is answered then with what is known.
            first: seconds from a task's submission to the first look at it; by default the gap.
            halving: to how many seconds it is to be found out how long tasks take, though that makes some late.
        """
        self._look = look
        self._gap = gap
        self._first = max(FIRST_GAP, gap if first is None else first)
        self._is_final = is_final
        self._born: OrderedDict[str, _Birth] = OrderedDict()
        self._durations = Durations(halving=halving)
        self._added: dict[str, None] = {}
        self._awaited: Counter[str] = Counter()
        self._at: dict[str, float] = {}
        self._told: dict[str, Told] = {}
        self._ended: dict[str, None] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._last = NEVER
        self._took = 0.0
        self._looking: asyncio.Future[None] | None = None
        self._tending: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._stopping = stopping

    def submitted(self, task_id: str, group: str | None = None, *, gap: float | None = None) -> None:
        """A task, or more of it, was submitted at this moment; tasks of a ``group`` may take alike."""
        first = self._first if gap is None else max(FIRST_GAP, gap)
        self._keep(task_id, _Birth(time.monotonic(), first, self._gap if gap is None else gap, group))

    def _keep(self, task_id: str, birth: _Birth) -> _Birth:
        self._born.pop(task_id, None)
        self._born[task_id] = birth
        if len(self._born) > MOST_BORN:
            self._born.popitem(last=False)
        return birth

    def _birth(self, task_id: str) -> _Birth:
        """That of a task; one that was submitted at an unknown time is looked at at once."""
        return self._born.get(task_id) or self._keep(task_id, _Birth(time.monotonic(), 0.0, self._gap))

    def knows(self, task_id: str) -> bool:
        """Whether a task was submitted here and is not known to have ended."""
        birth = self._born.get(task_id)
        return birth is not None and birth.group is not None

    def add(self, task_id: str, told: Told | None = None) -> bool:
        """Look at a task from now on, until it has ended; False where it is known to have.

        ``told`` is what its submission was answered with.
        """
        if task_id in self._ended:
            return False
        if task_id not in self._added:
            self._added[task_id] = None
            if told is not None:
                self._told[task_id], self._at[task_id] = told, self._birth(task_id).moment
            if self._tending is None or self._tending.done():
                self._tending = asyncio.ensure_future(self._tend())
        return True

    def drop(self, task_id: str) -> None:
        """Look at a task no longer: there is none."""
        self._end(task_id)

    @property
    def watched(self) -> tuple[str, ...]:
        """The tasks that were added and are not known to have ended."""
        return tuple(self._added)

    @property
    def awaited(self) -> tuple[str, ...]:
        """The tasks that somebody waits for."""
        return tuple(self._awaited)

    async def told(self, task_id: str) -> Told | None:
        """What the vendor tells of a task, from a moment ago; None where it knows none.

        Raises:
            QRMIError: it cannot be asked.
        """
        self.add(task_id)
        await self._looked(task_id, time.monotonic() - max(self._gap, FRESH) - self._took)
        return self._told.get(task_id)

    async def ended(
        self,
        task_id: str,
        seconds: float,
        *,
        changed: Callable[[Told], bool] = lambda _: False,
        pause: float | None = None,
        known: float | None = None,
    ) -> Told | None:
        """What is told once a task has ended or, shortly, ``changed``; or after so many seconds.

        A client that comes back ``pause`` seconds after an answer is answered sooner where the next look would find it
        gone otherwise. Where it is ``known`` since when (monotonic seconds) that the task had not ended, it is not
        looked at at once.

        Raises:
            QRMIError: the vendor cannot be asked.
        """
        begun = time.monotonic()
        end = begun + seconds
        with self._waiting(task_id):
            if known is not None:
                if task_id not in self._born:
                    self._keep(task_id, _Birth(known, max(FIRST_GAP, self._gap), self._gap))
                self._at[task_id] = max(known, self._at.get(task_id, NEVER))
            while not self._stopping.is_set() and task_id not in self._ended:
                at, told = self._at.get(task_id, NEVER), self._told.get(task_id)
                if told is not None and at >= begun:
                    if self._is_final(told):
                        break
                    if changed(told):
                        end = min(end, at + self._took + GRACE)
                due = self._due(task_id)
                has_answer = told is not None or known is not None
                leaving = self._leaving(task_id, due, end, pause) if has_answer else math.inf
                if await self._until(task_id, min(due, leaving)) or self._at.get(task_id, NEVER) != at:
                    continue
                if leaving < due:
                    break
                looking = asyncio.ensure_future(self._looked(task_id, math.nextafter(at, math.inf)))
                if has_answer:
                    await asyncio.wait([looking], timeout=max(0.0, end - time.monotonic()))
                    if not looking.done():
                        looking.cancel()
                        break
                await looking
                if task_id not in self._told:
                    break
            return self._told.get(task_id)

    @contextlib.contextmanager
    def _waiting(self, task_id: str) -> Iterator[None]:
        """While somebody waits for a task it is looked at."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._let_go())
        self._awaited[task_id] += 1
        try:
            yield
        finally:
            self._awaited[task_id] -= 1
            if not self._awaited[task_id]:
                del self._awaited[task_id]
                self._news.pop(task_id, None)
                if task_id not in self._added and task_id not in self._ended:
                    asyncio.get_running_loop().call_soon(self._forget, task_id)

    def _forget(self, task_id: str) -> None:
        """Nobody waits for it any more."""
        if task_id not in self._awaited and task_id not in self._added and task_id not in self._ended:
            self._told.pop(task_id, None)
            self._at.pop(task_id, None)

    def _due(self, task_id: str) -> float:
        """The moment of the next look at a task."""
        birth = self._birth(task_id)
        since, at = birth.moment, self._at.get(task_id, NEVER)
        return since + following(
            time.monotonic() - since,
            at - since if at > since else None,
            gap=birth.gap,
            first=birth.first,
            allowed=self._last + birth.gap - since,
            expected=self._durations.expected(birth.group),
        )

    def _leaving(self, task_id: str, due: float, end: float, pause: float | None) -> float:
        """The moment at which to answer a client if its task's next look has not come until then."""
        if pause is None:
            return end
        birth = self._birth(task_id)
        expected = self._durations.expected(birth.group)
        goal = due if expected is None else max(due, birth.moment + expected)
        return end if goal + 2 * self._took < end else min(end, goal - pause - MARGIN)

    async def _until(self, task_id: str, moment: float) -> bool:
        """Wait for a moment; True where news of the task, or the gateway's end, came before."""
        if self._stopping.is_set():
            return True
        if (left := moment - time.monotonic()) <= 0:
            return False
        news = self._news.setdefault(task_id, asyncio.Event())
        try:
            await asyncio.wait_for(news.wait(), left)
        except TimeoutError:
            return False
        return True

    async def _looked(self, task_id: str, since: float) -> None:
        """See that a task was looked at no earlier than at a moment."""
        while task_id not in self._ended and self._at.get(task_id, NEVER) < since:
            if self._looking is None or self._looking.done():
                if (left := self._last + self._birth(task_id).gap - time.monotonic()) > 0:
                    await polling.pause_async(left)
                    continue
                self._looking = asyncio.ensure_future(self._look_now())
                self._looking.add_done_callback(_seen)
            await asyncio.shield(self._looking)

    async def _look_now(self) -> None:
        self._last = began = time.monotonic()
        tasks = tuple(dict.fromkeys((*self._added, *self._awaited)))
        found = await self._look(tasks)
        self._took = time.monotonic() - began
        for task_id in (each for each in tasks if each not in self._ended):
            before, self._at[task_id] = self._at.get(task_id, NEVER), began
            if (told := found.get(task_id)) is not None:
                self._told[task_id] = told
                if self._is_final(told):
                    self._learn(task_id, before, began)
                    self._end(task_id)

    def _learn(self, task_id: str, before: float, began: float) -> None:
        birth = self._born.get(task_id)
        if birth is not None and birth.group is not None:
            self._durations.add(birth.group, max(0.0, before - birth.moment), began - birth.moment)

    def _end(self, task_id: str) -> None:
        """Tell who waits; what was told last of a task that was added is kept for a while."""
        self._born.pop(task_id, None)
        if (news := self._news.pop(task_id, None)) is not None:
            news.set()
        if task_id not in self._added:
            return
        del self._added[task_id]
        self._at.pop(task_id, None)
        self._ended[task_id] = None
        while len(self._ended) > MOST_ENDED:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._told.pop(oldest, None)

    async def _tend(self) -> None:
        while self._added:
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
