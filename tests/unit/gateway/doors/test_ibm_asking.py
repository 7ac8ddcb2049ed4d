# SPDX-License-Identifier: Apache-2.0
"""Which requests for a job's state are held."""

from __future__ import annotations

import time

import pytest

from qrmi_core.gateway.doors.ibm_watch import HOLD_SECONDS, PROBE_SECONDS, SEEN_SECONDS, _Asker


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moment that it is."""
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    return moment


def test_who_asks_for_what_was_submitted_last_waits(now: list[float]) -> None:
    asker = _Asker("a")
    asker.tells("a", None)
    assert asker.comes("a") == HOLD_SECONDS
    asker.tells("a", "Running")
    now[0] += 0.1
    assert (asker.comes("a"), asker.pause) == (HOLD_SECONDS, pytest.approx(0.1))


def test_what_was_not_told_lately_is_told_at_once(now: list[float]) -> None:
    asker = _Asker("a")
    assert asker.comes("a") == 0.0
    asker.tells("a", "Queued")
    now[0] += SEEN_SECONDS
    assert asker.comes("a") == 0.0


def test_a_loop_over_many_jobs_is_not_held_at_each(now: list[float]) -> None:
    asker = _Asker("j0")
    jobs = [f"j{number}" for number in range(50)]
    for job in jobs:
        asker.last = job
        asker.tells(job, None)
    held = 0.0
    for job in jobs * 2:
        held += asker.comes(job)
        asker.tells(job, "Queued")
        now[0] += 0.005
    assert held == PROBE_SECONDS


def test_who_ask_for_several_jobs_at_the_same_time_wait_for_all(now: list[float]) -> None:
    asker = _Asker("b")
    for job in ("a", "b"):
        asker.tells(job, "Queued")
    assert asker.comes("a") == PROBE_SECONDS
    asker.held += 1
    assert asker.comes("b") == HOLD_SECONDS
    asker.held -= 1
    assert asker.comes("a") == HOLD_SECONDS
