# SPDX-License-Identifier: Apache-2.0
"""When a task is looked at."""

from __future__ import annotations

import itertools

import pytest

from qrmi_core.gateway.doors.rhythm import ALIKE, Durations, following

NONE = float("-inf")


def looks(
    takes: float, *, gap: float, first: float, expected: float | None = None, before: float = NONE
) -> list[float]:
    """The moments of the looks at a task, the last of which sees its end; another look was made ``before``."""
    made: list[float] = []
    allowed = before + gap
    while not made or made[-1] < takes:
        now, last = (made[-1], made[-1]) if made else (0.0, None)
        moment = following(now, last, gap=gap, first=first, allowed=allowed, expected=expected)
        assert moment >= max(now, allowed)
        assert not made or moment - made[-1] >= gap - 1e-9
        made.append(moment)
        allowed = moment + gap
    return made


@pytest.mark.parametrize("takes", [0.05, 0.3, 0.5, 0.8, 1.0, 1.3, 2.0])
def test_an_end_is_seen_no_later_than_by_asking_every_half_second(takes: float) -> None:
    by_itself = next(0.5 * place for place in itertools.count(1) if 0.5 * place >= takes)
    made = looks(takes, gap=0.5, first=0.5)
    assert made[-1] <= by_itself + 1e-9
    assert len(made) <= by_itself / 0.5
    assert looks(takes, gap=0.0, first=0.02)[-1] <= takes + 0.1


def test_the_first_look_waits_for_its_turn() -> None:
    assert looks(0.05, gap=0.5, first=0.5, before=-0.02) == [0.5]
    assert looks(0.05, gap=0.5, first=0.4, before=-0.02) == [pytest.approx(0.48)]
    assert looks(0.05, gap=0.5, first=0.5, expected=0.05, before=-0.02) == [pytest.approx(0.48)]


def test_a_look_is_there_for_the_end_that_is_expected() -> None:
    assert looks(2.03, gap=0.5, first=0.5, expected=2.03) == [pytest.approx(each) for each in (0.5, 1.0, 1.5, 2.03)]
    assert looks(0.8, gap=0.5, first=0.5, expected=0.8) == [0.8]
    assert looks(0.06, gap=0.0, first=0.02, expected=0.06)[-1] == 0.06
    assert len(looks(2.0, gap=0.0, first=0.02, expected=2.0)) < len(looks(2.0, gap=0.0, first=0.02)) / 2


def test_one_that_is_late_is_looked_at_soon_again_and_one_that_is_long_seldom() -> None:
    after = following(1.0, 1.0, gap=0.0, first=0.02, allowed=NONE, expected=1.0)
    assert after == pytest.approx(1.02)
    assert following(3600.0, 3600.0, gap=0.5, first=0.5, allowed=NONE, expected=None) == 3601.0


def test_what_is_expected_is_what_the_last_tasks_agree_about() -> None:
    known = Durations()
    assert known.expected("lease") is None
    for by in (2.2, 2.1):
        assert known.expected("lease") is None
        known.add("lease", 1.5, by)
    assert (known.expected("lease"), known.expected("other"), known.expected(None)) == (2.1, None, None)
    known.add("lease", 0.0, 0.5)
    assert known.expected("lease") is None


def test_halving_finds_out_how_long_tasks_take() -> None:
    known, made = Durations(halving=0.1), []
    for _ in range(12):
        moments = looks(2.0, gap=0.5, first=0.4, expected=known.expected("lease"))
        known.add("lease", moments[-2], moments[-1])
        made.append(moments[-1])
    assert made[:ALIKE] == [pytest.approx(2.4)] * ALIKE
    assert 2.0 <= made[-1] <= 2.15
    known.add("short", 0.0, 0.4)
    known.add("short", 0.0, 0.4)
    assert known.expected("short") == 0.4
