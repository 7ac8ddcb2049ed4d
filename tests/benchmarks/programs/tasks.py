# SPDX-License-Identifier: Apache-2.0
"""Tasks of a sampler on IBM's cloud: one by one, many at once, under faults.

Every client has its token and target, and has run one task, when its samples begin.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Mapping
from typing import Any

from clients import SHOTS, client
from worker import processor, resident

__all__ = ["burst", "in_flight", "one_by_one", "sequence", "threads", "together", "under_faults"]

Knobs = Mapping[str, Any]
PATIENCE = 120.0


def warmed(bench: Any, who: str) -> Any:
    """A client that has run a task."""
    using = client(who, bench.url)
    using.drop(done(using))
    return using


def done(using: Any, shots: int = SHOTS) -> Any:
    """A task that has been run."""
    job = using.submit(shots)
    using.result(job)
    return job


def one_by_one(bench: Any, who: str, times: int, knobs: Knobs, trained: int = 0) -> None:
    """Each task a sample. Without ``trained`` tasks in front of them each is the first of its kind: of its shots."""
    using = warmed(bench, who)
    bench.emulator.use(**knobs)
    shots = itertools.repeat(SHOTS + 1) if trained else itertools.count(SHOTS + 1)
    for _ in range(trained):
        using.drop(done(using, next(shots)))
    for _ in range(times):
        with bench.sample() as taken:
            job = done(using, next(shots))
        taken.service, _ = bench.emulator.work(using.name(job))
        using.drop(job)
        bench.settle()


def together(bench: Any, who: str, processes: int) -> None:
    """One task, while other processes run theirs, which begin at the same moment."""
    using = client(who, bench.url)
    using.submit()  # token and target are there
    bench.emulator.meet(processes)
    with bench.sample() as taken:
        job = done(using, SHOTS + 1)
    taken.service, taken.requests = bench.emulator.work(using.name(job))


def sequence(bench: Any, who: str, tasks: int, times: int) -> None:
    """So many tasks one after another: a sample; of ours also the part that passes in requests."""
    using = warmed(bench, who)
    bench.emulator.use()
    spent = _in_requests() if who == "ours" else None
    for _ in range(times):
        with bench.sample() as taken:
            before = sum(spent or ())
            for _ in range(tasks):
                using.drop(done(using))
            if spent is not None:
                taken.values["s in requests"] = sum(spent) - before


def _in_requests() -> list[float]:
    """The seconds of each request of ours from now on."""
    from qrmi_core.transport import Transport

    seconds: list[float] = []
    exchange = Transport.exchange

    def timed(*given: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return exchange(*given, **named)
        finally:
            seconds.append(time.perf_counter() - begun)

    Transport.exchange = timed  # type: ignore[method-assign]
    return seconds


def burst(bench: Any, who: str, tasks: int, times: int, knobs: Knobs) -> None:
    """So many tasks submitted, then collected: a sample."""
    using = warmed(bench, who)
    for _ in range(times):
        bench.emulator.use(**knobs)
        with bench.sample() as taken:
            begun = time.perf_counter()
            jobs = [using.submit(SHOTS) for _ in range(tasks)]
            taken.values["seconds to submit"] = time.perf_counter() - begun
            for job in jobs:
                using.result(job)
        for job in jobs:
            using.drop(job)
        bench.settle()


def threads(bench: Any, who: str, count: int, knobs: Knobs) -> None:
    """So many threads, each with a task of one resource; those that got their result are counted."""
    using = warmed(bench, who)
    bench.emulator.use(**knobs)
    succeeded = []

    def work() -> None:
        job = done(using)
        succeeded.append(job)
        using.drop(job)

    with bench.sample() as taken:
        _in_threads([work] * count)
        taken.values["succeeded"] = len(succeeded)


def under_faults(bench: Any, who: str, tasks: int, knobs: Knobs) -> None:
    """So many tasks while the server refuses a share of the requests; what was run for them is counted."""
    using = warmed(bench, who)
    bench.emulator.use(**knobs)
    with bench.sample() as taken:
        succeeded = 0
        for _ in range(tasks):
            try:
                job = done(using)
            except Exception:  # noqa: BLE001  that is what is counted
                continue
            succeeded += 1
            with contextlib.suppress(Exception):
                using.drop(job)
        taken.values["succeeded"] = succeeded
        taken.values["run"] = bench.emulator.counts()["works"]
        taken.values["faults"] = sum(bench.emulator.counts()["faults"].values())


def in_flight(bench: Any, who: str, tasks: int, idle: float, knobs: Knobs) -> None:
    """So many tasks wait for the device: what the process then costs, and that all of them are collected."""
    using = warmed(bench, who)
    bench.emulator.use(**knobs)
    before = resident()
    jobs = [using.submit(SHOTS) for _ in range(tasks)]
    collecting = threading.Thread(target=lambda: using.all_of(jobs), daemon=True)
    with bench.sample() as taken:
        collecting.start()
        time.sleep(2.0)  # the first looks, which are close together
        requests, cpu, begun = bench.emulator.counts()["requests"], processor(), time.perf_counter()
        time.sleep(idle)
        seconds = time.perf_counter() - begun
        taken.values["% of a core"] = 100 * (processor() - cpu) / seconds
        taken.values["requests/s"] = (bench.emulator.counts()["requests"] - requests) / seconds
        taken.values["MB over"] = resident() - before
        taken.values["waiting threads"] = threading.active_count() - 1
        bench.emulator.finish()
        collecting.join(PATIENCE)
        taken.values["unfinished"] = float(collecting.is_alive())


def _in_threads(works: list[Any]) -> None:
    running = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(PATIENCE)
