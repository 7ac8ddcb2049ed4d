# SPDX-License-Identifier: Apache-2.0
"""How long to wait before asking again."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from qrmi_core import TaskInfo, TaskStatus
from qrmi_core.polling import backoff, look_times, poll, wait_until


def gaps(min_poll: float, seconds: float) -> list[float]:
    times = list(itertools.takewhile(lambda moment: moment < seconds, look_times(min_poll)))
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_the_first_looks_are_close_and_grow_apart() -> None:
    looks = list(itertools.islice(look_times(), 12))
    assert looks == pytest.approx(
        [0, 0.024, 0.0288, 0.03456, 0.0415, 0.0498, 0.0597, 0.0717, 0.086, 0.1032, 0.129, 0.161], rel=0.01
    )


def test_a_gap_is_at_most_three_percent_of_a_long_wait_and_half_a_minute() -> None:
    assert max(gaps(0, 15)) == pytest.approx(0.7)
    assert max(gaps(0, 600)) <= 0.03 * 600
    assert gaps(0, 20_000)[-1] == pytest.approx(30)


def test_a_vendors_minimum_is_kept() -> None:
    assert min(gaps(0.5, 30)) >= 0.5


def test_a_task_of_ten_seconds_is_looked_at_at_most_36_times() -> None:
    """With the submission and the result that makes 38 requests."""
    assert len(gaps(0, 10)) <= 36


class Tasks:
    """Tasks that end after so many looks."""

    def __init__(self, **looks: int) -> None:
        self.looks = looks
        self.seen: list[str] = []

    def look(self, task_id: str) -> TaskInfo:
        self.seen.append(task_id)
        self.looks[task_id] -= 1
        status = TaskStatus.COMPLETED if self.looks[task_id] <= 0 else TaskStatus.RUNNING
        return TaskInfo(task_id, status)


def test_one_loop_waits_for_all_and_leaves_the_ended_alone() -> None:
    tasks = Tasks(a=1, b=3)
    assert set(poll(tasks.look, ["a", "b"], timeout=5)) == {"a", "b"}
    assert tasks.seen == ["a", "b", "b", "b"]


def test_the_first_one_is_enough_when_asked_so() -> None:
    tasks = Tasks(a=2, b=100)
    assert set(poll(tasks.look, ["a", "b"], timeout=5, first=True)) == {"a"}


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_after_the_time_out_what_has_ended_is_returned(timeout: float) -> None:
    tasks = Tasks(a=1, b=1000)
    begun = time.monotonic()
    assert set(poll(tasks.look, ["a", "b"], timeout=timeout)) == {"a"}
    assert time.monotonic() - begun < 5


def test_waiting_for_nothing_returns_at_once() -> None:
    assert poll(Tasks().look, [], timeout=5) == {}


def test_a_condition_is_waited_for_within_its_time() -> None:
    counter = itertools.count()
    assert wait_until(lambda: next(counter) == 3, timeout=5)
    assert not wait_until(lambda: False, timeout=0.02)


def test_a_back_off_leaves_the_programs_own_random_numbers_alone() -> None:
    random.seed(7)
    before = random.getstate()
    assert 0 < backoff(0) <= backoff(3) * 2
    assert random.getstate() == before
