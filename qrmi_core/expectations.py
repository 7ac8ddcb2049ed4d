# SPDX-License-Identifier: Apache-2.0
"""When a task is likely to have ended, from what the last tasks of its kind took.

Of a task that was waited for it is known after which time it had not ended, and after which it had. When the last four
of a kind agree, the next one is looked at when they had ended, and not on the way there, but for a few looks that find
one which failed early. The looks around the expected end make what is known more exact with each task. A kind whose
tasks differ, as where others' tasks queue in front of them, has no expectation.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import TYPE_CHECKING, Any

from qrmi_core import polling

if TYPE_CHECKING:
    from qrmi_core.tasks import TaskInfo

__all__ = ["Expectations", "likeness"]

AGREEING = 4
"""Tasks that must agree before the next is expected to take as long."""

ALIKE = 1.06
EXACT = 1.03
"""A span from not ended to ended that is shorter than this is not divided further."""

WORTH = 1.3
"""A span that is longer tells nothing: the wait began late, or looks failed."""

SHORTEST = 0.03
"""Seconds below which nothing is gained."""

EARLY = 0.95
"""The share of the least expected time at which a task is looked at first."""

FIRST_EARLY = 1.0
HAIR = 1.003
KINDS = 256
TASKS = 10_000
SCANNED = 2**20
SHOTS = re.compile(rb",\s?(\d{1,9})\]")

Look = Callable[[str], "TaskInfo"]


class Expectations:
    """What tasks took on one resource; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: OrderedDict[str, tuple[Hashable, float]] = OrderedDict()
        self._spans: OrderedDict[Hashable, deque[tuple[float, float]]] = OrderedDict()

    def submitted(self, task_id: str, kind: Hashable) -> None:
        """A task of a kind (see :func:`likeness`) has been submitted at this moment."""
        with self._lock:
            self._tasks[task_id] = (kind, self._clock())
            while len(self._tasks) > TASKS:
                self._tasks.popitem(last=False)

    def times(self, task_ids: Collection[str], min_poll: float) -> Iterator[float]:
        """Moments, in seconds from now, at which to look at tasks for which somebody begins to wait."""
        with self._lock:
            (task_id,) = task_ids if len(task_ids) == 1 else ("",)
            kind, begun = self._tasks.get(task_id, (None, 0.0))
            span = _agreed(self._spans.get(kind, ()))
        if span is None:
            return polling.look_times(min_poll)
        return _from_now(_around(*span), self._clock() - begun, span[0] * EARLY, min_poll)

    def looking(self, look: Look) -> Look:
        """The same look, from which is learned what tasks take."""
        unfinished: dict[str, float] = {}

        def looked(task_id: str) -> TaskInfo:
            moment = self._clock()
            info = look(task_id)
            if not info.status.is_final:
                unfinished[task_id] = moment
            else:
                self._ended(task_id, unfinished.pop(task_id, None), moment)
            return info

        return looked

    def _ended(self, task_id: str, unfinished: float | None, moment: float) -> None:
        with self._lock:
            kind, begun = self._tasks.pop(task_id, (None, 0.0))
            if kind is None:
                return
            spans = self._spans.setdefault(kind, deque(maxlen=AGREEING))
            self._spans.move_to_end(kind)
            while len(self._spans) > KINDS:
                self._spans.popitem(last=False)
            known = _agreed(spans)
            until = moment - begun
            after = 0.0 if unfinished is None else unfinished - begun
            if known is not None and after < known[0] < until:
                after = known[0]  # the look before was too early to tell anything else
            if known is not None and until < known[0]:
                spans.clear()
            if 0 < after <= until <= WORTH * after:
                spans.append((after, until))


def _agreed(spans: Collection[tuple[float, float]]) -> tuple[float, float] | None:
    """The span in which tasks end, where the last ones agree."""
    if len(spans) < AGREEING:
        return None
    low, high = sorted((max(after for after, _ in spans), min(until for _, until in spans)))
    agree = max(after for after, _ in spans) <= ALIKE * min(until for _, until in spans)
    return (low, high) if agree and low >= SHORTEST else None


def _around(low: float, high: float) -> Iterator[float]:
    """Moments since the submission at which to look at a task that is expected to end in a span."""
    moment = FIRST_EARLY
    while moment < low / 4:
        yield moment
        moment *= 4
    yield EARLY * low
    if high > EXACT * low:
        yield low + (high - low) / 3
        yield low + (high - low) * 2 / 3
    moment = HAIR * high
    yield moment
    gap = 0.015 * high
    while True:
        moment += min(gap, polling.longest_gap(moment))
        gap *= 1.5
        yield moment


def _from_now(moments: Iterator[float], elapsed: float, early: float, min_poll: float) -> Iterator[float]:
    """Those of the moments that are yet to come; at once where the task may have ended already."""
    last = -min_poll
    if elapsed >= early:
        last = 0.0
        yield last
    for moment in moments:
        if moment > elapsed:
            last = max(moment - elapsed, last + min_poll)
            yield last


def likeness(payload: Any) -> Hashable:
    """What tasks that take equally long have in common: the program, its size to some percent, and its shots."""
    return (type(payload).__name__, *(_of(getattr(payload, field.name)) for field in dataclasses.fields(payload)))


def _of(value: Any) -> Hashable:
    if isinstance(value, bytes):
        shift = max(0, len(value).bit_length() - 4)
        return len(value) >> shift << shift, hash(tuple(SHOTS.findall(value, 0, SCANNED)))
    if isinstance(value, tuple):
        return tuple(likeness(each) for each in value if dataclasses.is_dataclass(each))
    return value if isinstance(value, Hashable) else None
