# SPDX-License-Identifier: Apache-2.0
"""When to look at a task for others: seldom, and when it is likely to have ended.

A client by itself asks every half second from the submission on. Looks for it are never later than that: the first is
made a while after the submission, whose answer told the state, and another where tasks of the same lease ended lately.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["Durations", "following"]

FIRST_GAP = 0.02
GROWTH = 0.25
SHORT_GAP = 0.1
LONG_SHARE = 0.02
LONGEST_GAP = 1.0
SAFE_GAP = 0.25
"""Seconds between looks before the one at the end that is expected: tasks may be shorter than those before."""

NEAR = 0.1
"""As a share of how long tasks take: what is known as well is known well enough."""

ALIKE = 2
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
        if expected is not None and last < expected:
            step = max(step, min(SAFE_GAP, expected / 2))
        moment = last + max(gap, step)
    moment = max(moment, now, allowed)
    soonest = max(now, allowed, 0.0 if last is None else last + gap)
    if expected is not None and (last is None or last < expected) and expected < moment + gap:
        return max(expected, soonest)  # a look before would leave none for it
    return moment


@dataclass(frozen=True)
class _Belief:
    """Tasks take longer than ``after`` and no longer than ``by`` seconds; so many agree."""

    after: float
    by: float
    count: int = 1


class Durations:
    """How long tasks of a group take, as looks have shown: one that had not ended by then, and one that had."""

    def __init__(self, *, halving: float | None = None) -> None:
        """Where tasks took more than one look, the next may be looked at halfway, down to ``halving`` seconds.

        That finds out how long they take, and makes one of them late where it was too soon.
        """
        self._halving = halving
        self._known: OrderedDict[str, _Belief] = OrderedDict()

    def add(self, group: str, after: float, by: float) -> None:
        """A task of the group has ended, between two moments after its submission."""
        known = self._known.pop(group, None)
        if known is not None and max(after, known.after) < min(by, known.by):
            self._known[group] = _Belief(max(after, known.after), min(by, known.by), known.count + 1)
        else:
            self._known[group] = _Belief(after, by)
        if len(self._known) > MOST_GROUPS:
            self._known.popitem(last=False)

    def expected(self, group: str | None) -> float | None:
        """After how many seconds a task of the group is likely to have ended; None where the last do not agree."""
        known = self._known.get(group) if group is not None else None
        if known is None or known.count < ALIKE:
            return None
        unknown = known.by - known.after
        if self._halving is None or not known.after or unknown <= max(self._halving, NEAR * known.by):
            return known.by
        return known.by - unknown / 2
