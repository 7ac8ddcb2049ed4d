# SPDX-License-Identifier: Apache-2.0
"""What limits a gateway: a model that is fitted on 100 and 1,000 tasks, and 10,000 tasks that show whether it holds.

    python tests/benchmarks/gateway_model.py          # 6 minutes
    python tests/benchmarks/gateway_model.py --quick  # the model alone

Tasks of 0 to 2 s arrive at random; their jobs do what programs of IBM's client do: ask for usage and device, submit,
ask for the job until it has ended, fetch its result. The gateway and the vendor are processes of their own; whatever
was answered with an error would end the run. See docs/performance.md for what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_bench import DEVICE, Connection, ibm_block, listens, memory, opened, process, processor, request, serving
from gateway_model_vendor import TAG

HERE = Path(__file__).parent
POLL_SECONDS = 0.5
"""What IBM's client waits between two looks at a job."""

LONGEST_TASK = 2.0
IDLE_SECONDS = 5.0
"""A connection that was idle for longer is not used again: the gateway may be closing it."""

WITHIN = 0.25
PART = 400


@dataclass(frozen=True)
class Load:
    """So many leases, whose tasks arrive within so many seconds."""

    leases: int
    tasks: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tasks per second."""
        return self.tasks / self.seconds


FITTED = (Load(10, 100, 6.0), Load(100, 1_000, 30.0))
PREDICTED = Load(1_000, 10_000, 300.0)


@dataclass
class Measured:
    """What a load came to at the gateway; times in seconds, ``cpu`` of all its threads."""

    load: Load
    elapsed: float
    requests: float
    vendor_requests: float
    cpu: float
    changes: float
    commits: float
    p99: float
    late: float
    megabytes: float
    routes: Mapping[str, float]
    granting: float

    def figures(self) -> dict[str, float]:
        """What the model is to predict."""
        return {
            "requests/s": self.requests / self.elapsed,
            "requests/s to the vendor": self.vendor_requests / self.elapsed,
            "processor, share of a core": self.cpu / self.elapsed,
            "journal writes/s": self.changes / self.elapsed,
            "p99 of a request, ms": 1000 * self.p99,
        }


@dataclass(frozen=True)
class Model:
    """What a task costs, and what a second costs in which nothing arrives.

    What takes longest comes together: a look finds all tasks that ended since the last, and whoever
    waits for them asks for the results. So the p99 grows with the rate of tasks, by ``burst`` for each in a second.
    """

    requests: float
    vendor_requests: float
    looks: float
    cpu: float
    idle: float
    changes: float
    p99: float
    burst: float

    def figures(self, load: Load) -> dict[str, float]:
        """The same figures of another load, whose last task ends a second after its arrival on average."""
        elapsed = load.seconds + LONGEST_TASK
        busy = (load.tasks * self.cpu) / elapsed + self.idle
        return {
            "requests/s": load.tasks * self.requests / elapsed,
            "requests/s to the vendor": load.tasks * self.vendor_requests / elapsed + self.looks,
            "processor, share of a core": busy,
            "journal writes/s": load.tasks * self.changes / elapsed,
            "p99 of a request, ms": 1000 * (self.p99 + self.burst * load.rate),
        }

    @property
    def most_tasks(self) -> float:
        """Tasks per second with which one core is four fifths busy."""
        return (0.8 - self.idle) / self.cpu


def fitted(few: Measured, many: Measured) -> Model:
    """The model that two runs speak for: two unknowns from two of them, one from both together."""

    def line(values: tuple[float, float]) -> tuple[float, float]:
        """Cost of a task and of a second; neither is negative."""
        (n1, t1), (n2, t2) = ((each.load.tasks, each.elapsed) for each in (few, many))
        first, second = values
        of_second = (first * n2 - second * n1) / (t1 * n2 - t2 * n1)
        if of_second < 0:
            return (first + second) / (n1 + n2), 0.0
        return (second - of_second * t2) / n2, of_second

    def share(first: float, second: float) -> float:
        return (first + second) / (few.load.tasks + many.load.tasks)

    burst = max(0.0, (many.p99 - few.p99) / (many.load.rate - few.load.rate))
    cpu, idle = line((few.cpu, many.cpu))
    vendor, looks = line((few.vendor_requests, many.vendor_requests))
    return Model(
        requests=share(few.requests, many.requests),
        vendor_requests=vendor,
        looks=looks,
        cpu=cpu,
        idle=idle,
        changes=share(few.changes, many.changes),
        p99=many.p99 - burst * many.load.rate,
        burst=burst,
    )


class Programs:
    """The programs of all jobs; one task after another on a connection, as many connections as tasks at a time."""

    def __init__(self, port: int, tokens: list[tuple[str, str]]) -> None:
        self._port = port
        self._tokens = tokens
        self._free: list[list[tuple[Connection, float]]] = [[] for _ in tokens]
        self.forget()

    def forget(self) -> None:
        """Measure from now on."""
        self.requests = 0
        self.took: list[float] = []
        self.of: dict[str, list[float]] = defaultdict(list)
        self.late: list[float] = []

    async def ask(self, connection: Connection, of: int, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of an answer."""
        token, crn = self._tokens[of]
        sent = request(method, f"/r/{DEVICE}/api/v1{path}", token, crn, body)
        status = await connection.ask(sent)
        self.requests += 1
        assert 200 <= status < 300, (method, path, status, connection.body)
        return connection.body

    async def timed(self, what: str, *asked: Any) -> bytes:
        """The same for a request that waits for nothing."""
        begun = time.perf_counter()
        answer = await self.ask(*asked)
        self.took.append(time.perf_counter() - begun)
        self.of[what].append(self.took[-1])
        return answer

    async def task(self, of: int, due: float, seconds: float) -> None:
        """From run() to result()."""
        await asyncio.sleep(due - time.perf_counter())
        free = self._free[of]
        connection, used = free.pop() if free else (None, 0.0)
        if connection is None or time.perf_counter() - used > IDLE_SECONDS:
            if connection is not None:
                connection.close()
            (connection,) = await opened(self._port, 1)
        params = {"pubs": [["x" * 4000]], "version": 2, "support_qiskit": True}
        asked = {"program_id": "sampler", "backend": DEVICE, "params": params, "tags": [f"{TAG}{seconds}"]}
        await self.timed("usage", connection, of, "GET", "/instances/usage")
        await self.timed("device", connection, of, "GET", f"/backends/{DEVICE}/status")
        made = await self.timed("submission", connection, of, "POST", "/jobs", json.dumps(asked).encode())
        job = json.loads(made)["id"]
        ends = time.perf_counter() + seconds
        while True:
            document = json.loads(await self.ask(connection, of, "GET", f"/jobs/{job}?exclude_params=true"))
            if document["status"] == "Completed":
                break
            await asyncio.sleep(POLL_SECONDS)
        self.late.append(time.perf_counter() - ends)
        await self.timed("result", connection, of, "GET", f"/jobs/{job}/results")
        free.append((connection, time.perf_counter()))

    async def warm(self) -> None:
        """One task: the gateway has the vendor's token then, and all that it imports late."""
        await self.task(0, time.perf_counter(), 0.0)
        for connection, _ in self._free[0]:
            connection.close()
        self._free[0].clear()
        self.forget()

    async def run(self, load: Load) -> None:
        """All tasks of a load."""
        chance = random.Random(load.tasks)
        begun = time.perf_counter()
        every = [
            self.task(number % load.leases, begun + chance.uniform(0, load.seconds), chance.uniform(0, LONGEST_TASK))
            for number in range(load.tasks)
        ]
        await asyncio.gather(*every)


def counters(port: int) -> Mapping[str, float]:
    """The gateway's figures, those with labels added up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    found: dict[str, float] = {}
    for line in connection.getresponse().read().decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    connection.close()
    return found


def seen(port: int) -> float:
    """The requests that the vendor has had."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/_seen")
    told = json.loads(connection.getresponse().read())
    connection.close()
    return float(sum(told.values()))


def measured(load: Load) -> Measured:
    """Let a load pass through a gateway whose leases another process granted."""
    import pytest
    from doored import Doored
    from munge_daemon import munged

    from qrmi_core.slurm.cluster import free_ports

    with contextlib.ExitStack() as stack:
        _, told = stack.enter_context(process(str(HERE / "gateway_model_vendor.py"), "--vendor"))
        vendor = int(told)
        block = ibm_block(vendor)
        entry = {"name": DEVICE, "type": "ibm-quantum-compute-service", "environment": block, "lanes": load.leases}
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qrmi-model-")))
        daemon = stack.enter_context(munged())
        case = Doored(directory, daemon.socket, [entry], log_level="warning", token_from="any")
        metrics = free_ports(1)
        case.settings["listen"]["metrics"] = f"127.0.0.1:{metrics}"
        case.write([entry])
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("PATH", case.path)
        with case.running():
            begun = time.perf_counter()
            jobs = [case.granted(DEVICE, uid=1000 + number) for number in range(load.leases)]
            granting = (time.perf_counter() - begun) / load.leases
        crn = f"{DEVICE}_QRMI_IBM_QCS_SERVICE_CRN"
        pid, _ = stack.enter_context(serving(case.file, case.jobs_port))
        while not listens(metrics):
            time.sleep(0.01)
        programs = Programs(case.jobs_port, [(job.token, job.environment[crn]) for job in jobs])
        asyncio.run(programs.warm())
        before, asked, used = counters(metrics), seen(vendor), processor(pid)
        begun = time.perf_counter()
        asyncio.run(programs.run(load))
        elapsed = time.perf_counter() - begun
        used = processor(pid) - used
        after = counters(metrics)

        def grown(name: str) -> float:
            return after.get(name, 0.0) - before.get(name, 0.0)

        assert grown("qrmi_tasks_submitted_total") == grown("qrmi_tasks_ended_total") == load.tasks
        assert grown("qrmi_door_request_seconds_count") == programs.requests
        return Measured(
            load, elapsed, programs.requests, seen(vendor) - asked, used,
            grown("qrmi_journal_changes_total"), grown("qrmi_journal_commits_total"),
            p99(programs.took), p99(programs.late), memory(pid),
            {what: p99(took) for what, took in programs.of.items()}, granting,
        )  # fmt: skip


def p99(values: list[float]) -> float:
    """The median of that of every 400 values: what else a machine does for a moment does not count."""
    parts = [sorted(values[at : at + PART]) for at in range(0, max(1, len(values) - PART // 2), PART)]
    return statistics.median(part[int(0.99 * len(part))] for part in parts)


def show(found: Measured) -> None:
    """A run's figures."""
    load, tasks = found.load, found.load.tasks
    print(
        f"{tasks} tasks of {load.leases} leases in {load.seconds:.0f} s (load {os.getloadavg()[0]:.1f}): "
        f"per task {found.requests / tasks:.2f} requests, {found.vendor_requests / tasks:.2f} to the vendor, "
        f"{1000 * found.cpu / tasks:.1f} ms of processor, {found.changes / tasks:.2f} journal writes in "
        f"{found.commits / tasks:.2f} commits; p99 {1000 * found.p99:.0f} ms "
        f"({', '.join(f'{what} {1000 * seconds:.0f}' for what, seconds in found.routes.items())}), "
        f"of an end's delay {found.late:.2f} s; {1000 * found.granting:.0f} ms to grant a lease; "
        f"{found.megabytes:.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the two small runs and the model, without the large one")
    quick = parser.parse_args().quick
    runs = []
    for load in FITTED:
        runs.append(measured(load))
        show(runs[-1])
    model = fitted(runs[0], runs[1])
    print(
        f"model: {model.requests:.2f} requests per task; to the vendor {model.vendor_requests:.2f} per task and "
        f"{model.looks:.2f}/s; {1000 * model.cpu:.2f} ms of processor per task and {model.idle:.1%} of a core; "
        f"{model.changes:.2f} journal writes per task; a core carries {model.most_tasks:.0f} tasks/s"
    )
    if quick:
        return
    told = model.figures(PREDICTED)
    last = measured(PREDICTED)
    show(last)
    print(f"{'':30} {'predicted':>10} {'measured':>10}   (within {WITHIN:.0%}?)")
    missed = False
    for name, value in last.figures().items():
        off = told[name] / value - 1
        missed |= abs(off) > WITHIN
        print(f"{name:30} {told[name]:10.3g} {value:10.3g}   {off:+.0%}{' missed' if abs(off) > WITHIN else ''}")
    sys.exit(missed)


if __name__ == "__main__":
    main()
