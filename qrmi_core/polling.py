# SPDX-License-Identifier: Apache-2.0
"""How long to wait before asking again: the only place of the project that sleeps.

Look at once, then at 10 ms, then each look at 1.3 times the moment of the last. The gap between two looks
is at most max(0.6 s, 3 % of the time waited), never more than 30 s and never less than the driver's own
minimum. So a task is seen at most about 30 % of its own time late when it is short, and 3 % when it is long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qrmi_core.tasks import TaskInfo

__all__ = ["look_times", "pause", "pause_async", "poll", "wait_until"]

FIRST_GAP = 0.010
GROWTH = 1.3
SHORT_GAP = 0.6
LONG_SHARE = 0.03
LONGEST_GAP = 30.0


def pause(seconds: float) -> None:
    """Wait before something is tried again."""
    time.sleep(max(0.0, seconds))


async def pause_async(seconds: float) -> None:
    """Wait in an event loop."""
    import asyncio  # only servers need it

    await asyncio.sleep(max(0.0, seconds))


def look_times(min_poll: float = 0.0) -> Iterator[float]:
    """Moments, in seconds after the first look at 0, at which to look."""
    moment = 0.0
    yield moment
    while True:
        following = max(FIRST_GAP, moment * GROWTH)
        gap = min(following - moment, max(SHORT_GAP, LONG_SHARE * moment), LONGEST_GAP)
        moment += max(gap, min_poll)
        yield moment


def poll(
    look: Callable[[str], TaskInfo],
    task_ids: Collection[str],
    *,
    timeout: float | None = None,
    first: bool = False,
    min_poll: float = 0.0,
) -> dict[str, TaskInfo]:
    """Look at tasks until all (or the ``first``) have ended; after ``timeout`` seconds return those that have.

    Each round looks at every task that is not yet seen ended.
    """
    start = time.monotonic()
    waiting = list(dict.fromkeys(task_ids))
    ended: dict[str, TaskInfo] = {}
    for moment in look_times(min_poll):
        delay = start + moment - time.monotonic()
        if timeout is not None:
            delay = min(delay, start + timeout - time.monotonic())
        if delay > 0:
            time.sleep(delay)
        for task_id in list(waiting):
            info = look(task_id)
            if info.status.is_final:
                ended[task_id] = info
                waiting.remove(task_id)
        if not waiting or (first and ended):
            break
        if timeout is not None and time.monotonic() - start >= timeout:
            break
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
