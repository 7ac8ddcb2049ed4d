# SPDX-License-Identifier: Apache-2.0
"""When to look at a task for others: seldom, and when it is likely to have ended.

A client by itself asks every half second from the submission on. Looks for it are never later than that: the first is
made a while after the submission, whose answer told the state, and another where tasks of the same lease ended lately.
"""

from __future__ import annotations

from collections import OrderedDict, deque

__all__ = ["Durations", "following"]

FIRST_GAP = 0.02
GROWTH = 0.25
SHORT_GAP = 0.1
LONG_SHARE = 0.02
LONGEST_GAP = 1.0

ALIKE = 3
"""Tasks one after another that tell how long the next will take, where they agree."""

MOST_GROUPS = 10_000


def following(
    now: float, last: float | None, *, gap: float, first: float, allowed: float, expected: float | None
) -> float:
    """The moment of the next look at a task, in seconds after its submission, as all moments here.

    Args:
        now: the moment that it is.
        last: the last look, None before the first.
        gap: the least time between two looks at it.
        first: the first look, where nothing is expected.
        allowed: no look may be made sooner, since the vendor has been asked about others.
        expected: when it is likely to have ended.
    """
    if last is None:
        moment = first
    else:
        behind = last - expected if expected is not None and last >= expected else last
        step = min(max(FIRST_GAP, GROWTH * behind), max(SHORT_GAP, LONG_SHARE * last), LONGEST_GAP)
        moment = last + max(gap, step)
    moment = max(moment, now, allowed)
    soonest = max(now, allowed, 0.0 if last is None else last + gap)
    if expected is not None and (last is None or last < expected) and expected < moment + gap:
        return max(expected, soonest)  # a look before would leave none for it
    return moment


class Durations:
    """How long tasks of a group took, between which looks: after which they had not ended, and by which they had."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, deque[tuple[float, float]]] = OrderedDict()

    def add(self, group: str, after: float, by: float) -> None:
        """A task of the group has ended so many seconds after its submission."""
        if group not in self._seen:
            self._seen[group] = deque(maxlen=ALIKE)
            while len(self._seen) > MOST_GROUPS:
                self._seen.popitem(last=False)
        self._seen[group].append((after, by))

    def expected(self, group: str | None) -> float | None:
        """After how many seconds a task of the group will have ended; None where the last do not agree."""
        seen = self._seen.get(group, ()) if group is not None else ()
        if len(seen) < ALIKE or max(after for after, _ in seen) >= min(by for _, by in seen):
            return None
        return min(by for _, by in seen)
