# SPDX-License-Identifier: Apache-2.0
"""One who asks a vendor for many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from qrmi_core import polling
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.doors.watch import Watch

PATIENCE = 30.0


class Vendor:
    """Its tasks by name; those that are "done" have ended."""

    def __init__(self, **tasks: str) -> None:
        self.tasks = tasks
        self.asked: list[tuple[str, ...]] = []
        self.at_once = 0
        self.problem: QRMIError | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.stopping = asyncio.Event()

    async def look(self, tasks: tuple[str, ...]) -> Mapping[str, str]:
        assert self.at_once == 0
        self.at_once += 1
        try:
            self.asked.append(tasks)
            await self.answers.wait()
            if self.problem is not None:
                raise self.problem
            return {task: self.tasks[task] for task in tasks if task in self.tasks}
        finally:
            self.at_once -= 1

    def watch(self, gap: float = 0.0) -> Watch[str]:
        watch = Watch(self.look, gap=gap, is_final=lambda told: told == "done", stopping=self.stopping)
        for task in self.tasks:
            watch.add(task)
        return watch


def tried(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """In an event loop, within time."""

    def run() -> None:
        async def work() -> None:
            await asyncio.wait_for(test(), PATIENCE)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run(work())

    run.__name__ = test.__name__
    return run


async def at_last(condition: Callable[[], bool]) -> None:
    while not condition():
        await polling.pause_async(0.005)


@tried
async def test_many_who_ask_at_once_are_one_look() -> None:
    vendor = Vendor(**{f"t{number}": "queued" for number in range(50)})
    watch = vendor.watch()
    assert set(await asyncio.gather(*(watch.told(task) for task in vendor.tasks))) == {"queued"}
    assert [sorted(each) for each in vendor.asked] == [sorted(vendor.tasks)]


@tried
async def test_no_two_looks_are_closer_than_the_gap() -> None:
    vendor = Vendor(a="queued")
    watch = vendor.watch(gap=3600.0)
    assert await watch.told("a") == "queued"
    vendor.tasks["a"] = "done"
    assert await watch.told("a") == "queued"
    assert await watch.ended("a", 0.05) == "queued"
    assert len(vendor.asked) == 1


@tried
async def test_who_waits_is_told_of_the_end() -> None:
    vendor = Vendor(a="queued", b="queued")
    watch = vendor.watch()
    waiting = [asyncio.ensure_future(watch.ended("a", PATIENCE)) for _ in range(20)]
    await at_last(lambda: len(vendor.asked) > 2)
    vendor.tasks["a"] = "done"
    assert await asyncio.gather(*waiting) == ["done"] * 20
    assert (watch.watched, watch.add("b"), watch.add("a")) == (("b",), True, False)
    asked = len(vendor.asked)
    assert await watch.told("a") == await watch.ended("a", PATIENCE) == "done"
    assert len(vendor.asked) == asked


@tried
async def test_another_change_is_told_soon_and_an_end_rather() -> None:
    vendor = Vendor(a="queued")
    watch = vendor.watch()

    def differs(told: str) -> bool:
        return told != "queued"

    vendor.tasks["a"] = "running"
    assert await watch.ended("a", PATIENCE, changed=differs) == "running"
    waiting = asyncio.ensure_future(watch.ended("a", PATIENCE, changed=differs))
    await at_last(lambda: len(vendor.asked) > 1)
    vendor.tasks["a"] = "done"
    assert await waiting == "done"


@tried
async def test_time_over_is_answered_although_the_vendor_is_silent() -> None:
    vendor = Vendor(a="queued")
    watch = vendor.watch()
    assert await watch.told("a") == "queued"
    vendor.answers.clear()
    assert await watch.ended("a", 0.1) == "queued"
    vendor.answers.set()


@tried
async def test_a_task_that_the_vendor_does_not_know() -> None:
    vendor = Vendor(a="queued")
    watch = vendor.watch()
    assert await watch.told("b") is None
    assert await watch.ended("b", PATIENCE) is None


@tried
async def test_a_task_that_is_dropped_is_waited_for_no_longer() -> None:
    vendor = Vendor(a="queued")
    watch = vendor.watch()
    waiting = asyncio.ensure_future(watch.ended("a", PATIENCE))
    await at_last(lambda: len(vendor.asked) > 1)
    watch.drop("a")
    assert (await waiting, watch.watched) == ("queued", ())


@tried
async def test_trouble_of_the_vendor_is_told_and_passes() -> None:
    vendor = Vendor(a="queued")
    watch = vendor.watch()
    vendor.problem = QRMIError("not now", transient=True)
    with pytest.raises(QRMIError, match="not now"):
        await watch.told("a")
    with pytest.raises(QRMIError, match="not now"):
        await watch.ended("a", PATIENCE)
    vendor.problem = None
    assert await watch.told("a") == "queued"


@tried
async def test_when_the_gateway_ends_everybody_is_answered() -> None:
    vendor = Vendor(a="queued", b="queued")
    watch = vendor.watch(gap=0.01)
    waiting = [asyncio.ensure_future(watch.ended(task, 3600.0)) for task in vendor.tasks for _ in range(10)]
    await at_last(lambda: len(vendor.asked) > 1)
    vendor.stopping.set()
    assert await asyncio.gather(*waiting) == ["queued"] * 20
    assert await watch.ended("a", 3600.0) == "queued"


@tried
async def test_one_who_goes_takes_nobody_along() -> None:
    vendor = Vendor(a="queued")
    watch = vendor.watch()
    vendor.answers.clear()
    waiting = [asyncio.ensure_future(watch.told("a")) for _ in range(3)]
    await at_last(lambda: bool(vendor.asked))
    waiting[0].cancel()
    vendor.answers.set()
    assert await asyncio.gather(*waiting[1:]) == ["queued"] * 2


@tried
async def test_a_task_that_was_submitted_just_now_is_not_looked_at_at_once() -> None:
    vendor = Vendor()
    watch = vendor.watch(gap=3600.0)
    watch.submitted("a", "lease")
    assert watch.add("a", "queued")
    assert (await watch.told("a"), await watch.ended("a", 0.05)) == ("queued", "queued")
    assert (vendor.asked, watch.knows("a"), watch.knows("b")) == ([], True, False)


@tried
async def test_a_client_is_let_go_in_time_to_be_back_for_the_next_look() -> None:
    vendor = Vendor(a="queued")
    watch = vendor.watch(gap=7200.0)
    assert await watch.ended("a", 3600.0, pause=7200.0) == "queued"
    assert len(vendor.asked) == 1


@tried
async def test_tasks_that_were_not_added_are_looked_at_while_somebody_waits() -> None:
    vendor = Vendor(a="queued")
    watch = Watch(vendor.look, gap=0.0, is_final=lambda told: told == "done", stopping=vendor.stopping, first=0.0)
    vendor.tasks["b"] = "queued"
    watch.submitted("b", "lease")
    waiting = [asyncio.ensure_future(watch.ended("b", PATIENCE)) for _ in range(2)]
    await at_last(lambda: len(vendor.asked) > 2)
    assert (watch.awaited, watch.watched) == (("b",), ())
    vendor.tasks["b"] = "done"
    assert await asyncio.gather(*waiting) == ["done"] * 2
    assert (watch.awaited, watch.knows("b"), set(vendor.asked)) == ((), False, {("b",)})
    vendor.tasks["b"] = "queued"
    watch.submitted("b", "lease")
    again = asyncio.ensure_future(watch.ended("b", PATIENCE))
    asked = len(vendor.asked)
    await at_last(lambda: len(vendor.asked) > asked)
    assert not again.done()
    vendor.tasks["b"] = "done"
    assert await again == "done"


@tried
async def test_what_is_known_since_a_moment_ago_is_not_asked_for_at_once() -> None:
    vendor = Vendor(a="queued")
    watch = Watch(vendor.look, gap=3600.0, is_final=lambda told: told == "done", stopping=vendor.stopping)
    assert await watch.ended("a", 0.05, known=time.monotonic()) is None
    assert vendor.asked == []


@tried
async def test_what_nobody_asks_about_is_looked_at_now_and_then() -> None:
    vendor = Vendor(a="done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qrmi_core.gateway.doors.watch.UNASKED_GAP", 0.01)
        watch = vendor.watch()
        await at_last(lambda: not watch.watched)
    assert vendor.asked == [("a",)]
