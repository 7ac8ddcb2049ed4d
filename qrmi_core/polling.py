# SPDX-License-Identifier: Apache-2.0
"""How long to wait before asking again: the only place of the project that sleeps.

Look at once, then at 24 ms, then each look at 1.2 times the moment of the last, from 0.1 s on at 1.25 times. The gap
between two looks is at most max(0.7 s, 3 % of the time waited), never more than 30 s and never less than the driver's
own minimum. So a task is seen at most about 25 % of its own time late when it is short, and 3 % when it is long.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from qrmi_core.errors import QRMIError

if TYPE_CHECKING:
    from qrmi_core.tasks import TaskInfo

__all__ = [
    "LONGEST_PAUSE",
    "Trouble",
    "backoff",
    "callers_deadline",
    "longest_gap",
    "look_times",
    "pause",
    "pause_async",
    "poll",
    "until",
    "wait_until",
]

_log = logging.getLogger(__name__)


FIRST_GAP = 0.024
FIRST_GROWTH, GROWTH = 1.2, 1.25
SOON = 0.1
"""Seconds until which looks grow apart more slowly."""

SHORT_GAP = 0.7
LONG_SHARE = 0.03
LONGEST_GAP = 30.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
FEW = 4
"""Tasks that are looked at one by one."""

SPARED = 100.0
"""A round of looks at many tasks is followed by a pause of so many times the processor time that it took."""

LONGEST_SPARING = 5.0
LONGEST_TROUBLE = 600.0
"""Seconds for which a wait without a time-out goes on although no look succeeds."""

SHORTEST_LOOK = 2.0
"""Seconds that a look may take at least, however little is left of the caller's time."""

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def callers_deadline() -> float | None:
    """The moment (monotonic seconds) at which whoever asked wants an answer, None where nobody said so."""
    return _deadline.get()


@contextmanager
def until(moment: float | None) -> Iterator[None]:
    """Tell those below when the caller's time is over; a look gets two seconds in any case."""
    limit = None if moment is None else max(moment, time.monotonic() + SHORTEST_LOOK)
    token = _deadline.set(limit)
    try:
        yield
    finally:
        _deadline.reset(token)


class Trouble:
    """Looks that fail while a wait goes on: those that may pass are borne for a while, once one has succeeded."""

    def __init__(self) -> None:
        self._looked = False
        self._since: float | None = None

    def over(self) -> None:
        """A look succeeded."""
        self._looked, self._since = True, None

    def bear(self, error: QRMIError) -> None:
        """Raise the error unless it may pass; the first of a row is logged."""
        now = time.monotonic()
        if not error.transient or not self._looked:
            raise error
        if self._since is None:
            self._since = now
            _log.warning("%s. The wait goes on", error)
        elif now - self._since > LONGEST_TROUBLE:
            raise error


def pause(seconds: float) -> None:
    """Wait before something is tried again."""
    time.sleep(max(0.0, seconds))


def backoff(attempt: int) -> float:
    """Seconds to wait before something that failed is tried again: longer each time, and not in step with others."""
    import random  # nothing is slower for it where nothing fails

    chance = random.SystemRandom()  # the numbers of `random` itself are the program's, which may have seeded them
    return min(FIRST_PAUSE * 2.0**attempt, LONGEST_PAUSE) * chance.uniform(0.5, 1.0)


async def pause_async(seconds: float) -> None:
    """Wait in an event loop."""
    import asyncio  # only servers need it

    await asyncio.sleep(max(0.0, seconds))


def look_times(min_poll: float = 0.0) -> Iterator[float]:
    """Moments, in seconds after the first look at 0, at which to look."""
    moment = 0.0
    yield moment
    while True:
        following = max(FIRST_GAP, moment * (FIRST_GROWTH if moment < SOON else GROWTH))
        moment += max(min(following - moment, longest_gap(moment)), min_poll)
        yield moment


def longest_gap(moment: float) -> float:
    """The longest time between two looks after so many seconds."""
    return min(max(SHORT_GAP, LONG_SHARE * moment), LONGEST_GAP)


def poll(
    look: Callable[[str], TaskInfo],
    task_ids: Collection[str],
    *,
    timeout: float | None = None,
    first: bool = False,
    min_poll: float = 0.0,
    times: Iterator[float] | None = None,
    look_at_many: Callable[[Collection[str]], Iterable[TaskInfo]] | None = None,
) -> dict[str, TaskInfo]:
    """Look at tasks until all (or the ``first``) have ended; after ``timeout`` seconds return those that have.

    Each round, at one of the ``times``, looks at every task that is not yet seen ended: one by one, or where they are
    more than a few with ``look_at_many``, which returns those that it sees. Rounds that cost much are made more seldom.
    A look that fails for now does not end a wait: after a first one that succeeded, failures are borne until the
    time-out, without one for ten minutes.
    """
    start = time.monotonic()
    end = None if timeout is None else start + timeout
    waiting = dict.fromkeys(task_ids)
    ended: dict[str, TaskInfo] = {}
    trouble = Trouble()
    earliest = start
    for moment in times or look_times(min_poll):
        delay = max(start + moment, earliest) - time.monotonic()
        if end is not None:
            delay = min(delay, end - time.monotonic())
        if delay > 0:
            pause(delay)
        used = time.thread_time()
        many = look_at_many if len(waiting) > FEW else None
        try:
            with until(end):
                ids = list(waiting)
                one_by_one = ((task_id, look(task_id)) for task_id in ids)
                for task_id, info in ((info.id, info) for info in many(ids)) if many else one_by_one:
                    trouble.over()
                    if info.status.is_final and task_id in waiting:
                        ended[task_id] = info
                        del waiting[task_id]
        except QRMIError as error:
            trouble.bear(error)
        if not waiting or (first and ended):
            break
        if end is not None and time.monotonic() >= end:
            break
        if len(waiting) > FEW:
            earliest = time.monotonic() + min(SPARED * (time.thread_time() - used), LONGEST_SPARING)
    return ended


def wait_until(condition: Callable[[], bool], *, timeout: float) -> bool:
    """Look until ``condition`` holds, at most ``timeout`` seconds; whether it held at last."""
    start = time.monotonic()
    for moment in look_times():
        delay = min(start + moment, start + timeout) - time.monotonic()
        if delay > 0:
            time.sleep(delay)
        if condition():
            return True
        if time.monotonic() - start >= timeout:
            return False
    raise AssertionError("look_times never ends")
