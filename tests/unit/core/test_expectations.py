# SPDX-License-Identifier: Apache-2.0
"""Tasks that take as long as the last of their kind are looked at when they end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from qrmi_core import PulserBatch, PulserJob, QiskitPrimitive, TaskInfo, TaskStatus
from qrmi_core.expectations import Expectations, likeness


class World:
    """A clock that stands still between looks, and tasks that take so many seconds."""

    def __init__(self, min_poll: float = 0.0) -> None:
        self.now = 1000.0
        self.expected = Expectations(lambda: self.now)
        self.min_poll = min_poll
        self._numbers: Iterator[int] = iter(range(10**6))

    def run(self, seconds: float, kind: str = "k", *, waited_after: float = 0.0) -> tuple[float, int]:
        """How many times its own time later a task was seen to have ended, and after how many looks."""
        name, begun = str(next(self._numbers)), self.now
        self.expected.submitted(name, kind)

        def ask(task_id: str) -> TaskInfo:
            ended = self.now >= begun + seconds
            return TaskInfo(task_id, TaskStatus.COMPLETED if ended else TaskStatus.RUNNING)

        self.now += waited_after
        start, look = self.now, self.expected.looking(ask)
        for looks, moment in enumerate(self.expected.times([name], self.min_poll), 1):
            self.now = start + moment
            if look(name).status.is_final:
                return (self.now - begun) / seconds, looks
        raise AssertionError("a task is looked at until it has ended")


@pytest.mark.parametrize("seconds", [0.05, 0.4, 1.9, 11.0, 15.9])
def test_tasks_of_one_time_are_seen_when_they_end(seconds: float) -> None:
    world = World()
    for _ in range(5):
        world.run(seconds)
    for _ in range(20):
        late, looks = world.run(seconds)
        assert late <= 1.05
        assert looks <= 4


def test_tasks_that_vary_a_little_are_seen_soon() -> None:
    world, chance = World(), random.Random(1)
    runs = [world.run(2.0 * chance.uniform(0.99, 1.01)) for _ in range(50)][5:]
    assert max(late for late, _ in runs) <= 1.1
    assert sum(looks for _, looks in runs) / len(runs) <= 8


def test_tasks_that_differ_are_looked_at_as_if_nothing_was_known() -> None:
    world, chance = World(), random.Random(2)
    runs = [world.run(chance.uniform(2.0, 12.0)) for _ in range(100)]
    assert sum(late > 1.3 for late, _ in runs) <= 1


def test_a_kind_that_becomes_quicker_or_slower_is_learned_anew() -> None:
    world = World()
    for seconds in (10.0, 1.0, 30.0):
        for _ in range(8):
            late, looks = world.run(seconds)
        assert late <= 1.05
        assert looks <= 5


def test_a_task_that_fails_early_is_not_seen_at_the_expected_end_only() -> None:
    world = World()
    for _ in range(6):
        world.run(60.0)
    late, _ = world.run(0.5)
    assert 0.5 * late <= 1.0


def test_who_begins_to_wait_late_looks_at_once() -> None:
    world = World()
    for _ in range(6):
        world.run(10.0)
    assert world.run(10.0, waited_after=12.0) == (1.2, 1)
    late, looks = world.run(10.0, waited_after=9.0)
    assert late <= 1.05
    assert looks <= 3


def test_a_vendors_minimum_is_kept() -> None:
    world = World(min_poll=0.5)
    for _ in range(6):
        world.run(2.0)
    world.expected.submitted("x", "k")
    times = world.expected.times(["x"], 0.5)
    moments = [next(times) for _ in range(8)]
    assert min(later - earlier for earlier, later in itertools.pairwise(moments)) >= 0.5


def test_very_short_tasks_are_looked_at_at_once() -> None:
    world = World()
    for _ in range(6):
        world.run(0.001)
    world.expected.submitted("x", "k")
    assert next(world.expected.times(["x"], 0.0)) == 0.0


def test_what_is_alike() -> None:
    def sampler(circuit: str, shots: int) -> object:
        return likeness(QiskitPrimitive("sampler", f'{{"pubs":[["{circuit}",null,{shots}]]}}'.encode()))

    assert sampler("a" * 1000, 100) == sampler("b" * 1001, 100)
    assert sampler("a" * 1000, 100) != sampler("a" * 1000, 200)
    assert sampler("a" * 1000, 100) != sampler("a" * 2000, 100)
    batches = [PulserBatch(b"{}", (PulserJob(runs=runs),)) for runs in (10, 10, 20)]
    assert likeness(batches[0]) == likeness(batches[1]) != likeness(batches[2])
