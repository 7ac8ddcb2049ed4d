# SPDX-License-Identifier: Apache-2.0
"""Measures what the gateway costs, for rows_gateway.py: latency, requests per second, memory, and its start.

A server of few words stands for IBM's cloud; the same requests go to it directly ("floor") and through the gateway
("ours"), in turns. Three processes share the cores: generator, gateway, server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from figures import Figure, Sample
from gateway_bench import (
    DEVICE,
    Connection,
    ibm_block,
    memory,
    opened,
    process,
    processor,
    request,
    serve_vendor,
    serving,
)
from taking import one_of, tell

CONNECTIONS = 32
RATE = 200
ROUNDS = 2
STARTS = 4
"""How often the gateway is started; the first time is for compiling its modules, and not a sample."""

JOB = {
    "id": "d0", "backend": DEVICE, "status": "Queued", "state": {"status": "Queued"}, "program": {"id": "sampler"},
    "created": "2026-01-01T00:00:00Z", "tags": [], "usage": {"seconds": 0}, "cost": 600, "text": "x" * 700,
}  # fmt: skip
BODY = json.dumps({"program_id": "sampler", "backend": DEVICE, "params": {"pubs": [["x" * 900]]}}).encode()


async def vendor() -> None:
    """A server that answers at once; prints its port."""
    from aiohttp import web

    job = json.dumps(JOB).encode()
    numbers = iter(range(10**9))
    status = json.dumps({"state": True, "status": "active", "length_queue": 0, "text": "x" * 900}).encode()

    async def answer(request: web.Request) -> web.Response:
        path = request.path
        if path == "/identity/token":
            return web.json_response({"access_token": "t", "expires_in": 3600})
        if request.method == "POST":
            await request.read()
            return web.json_response({"id": f"d{next(numbers)}", "backend": DEVICE})
        if path.endswith("/status"):
            return web.Response(body=status, content_type="application/json")
        if path.endswith("/jobs"):
            return web.json_response({"jobs": [], "count": 0})
        return web.Response(body=job, content_type="application/json")

    await serve_vendor(answer)


def gateway(port: int) -> None:
    """A gateway that takes up a lease which another process granted; prints how it is reached."""
    import pytest
    from doored import Doored
    from munge_daemon import munged

    entry = {"name": DEVICE, "type": "ibm-quantum-compute-service", "environment": ibm_block(port), "lanes": 10}
    with (
        tempfile.TemporaryDirectory(prefix="qrmi-bench-") as name,
        munged() as daemon,
        pytest.MonkeyPatch.context() as patch,
    ):
        case = Doored(Path(name), daemon.socket, [entry], log_level="warning", token_from="any")
        patch.setenv("PATH", case.path)  # what answers as slurmctld
        with case.running():
            job = case.granted(DEVICE)
            crn = job.environment[f"{DEVICE}_QRMI_IBM_QCS_SERVICE_CRN"]
            headers = {"Content-Type": "application/json", "Service-CRN": crn}
            status, told = job.ask("POST", f"/r/{DEVICE}/api/v1/jobs", BODY, headers=headers)
            assert status == 200, told
        starts, answers = [], []
        for last in (*[False] * (STARTS - 1), True):
            with serving(case.file, case.jobs_port) as (pid, seconds):
                listened = time.perf_counter()
                assert job.ask("GET", f"/r/{DEVICE}/api/v1/backends/{DEVICE}/status", headers=headers)[0] == 200
                starts.append(seconds)
                answers.append(seconds + time.perf_counter() - listened)
                if last:
                    way = {"port": case.jobs_port, "token": job.token, "job": told["id"], "crn": crn, "pid": pid}
                    print(json.dumps({**way, "starts": starts[1:], "answers": answers[1:]}), flush=True)
                    sys.stdin.read()


Load = Callable[[int, bytes, float], Coroutine[Any, Any, list[Sample]]]
"""What asks a port for the same again and again for so many seconds."""


async def closed_loop(port: int, sent: bytes, seconds: float) -> list[Sample]:
    """As many requests as 32 connections bring through: one sample, whose seconds are those for each request."""
    connections = await opened(port, CONNECTIONS)
    begun, done = time.perf_counter(), 0

    async def one(connection: Connection) -> None:
        nonlocal done
        while time.perf_counter() < begun + seconds:
            assert await connection.ask(sent) < 300
            done += 1

    await asyncio.gather(*map(one, connections))
    taken = time.perf_counter() - begun
    for connection in connections:
        connection.close()
    return [Sample(taken / done, requests=done, values={"per second": done / taken})]


async def open_loop(port: int, sent: bytes, seconds: float) -> list[Sample]:
    """The latency of each of 200 requests per second, from when it was due."""
    free = await opened(port, CONNECTIONS)
    took: list[float] = []

    async def one(due: float) -> None:
        connection = free.pop() if free else (await opened(port, 1))[0]
        assert await connection.ask(sent) < 300
        took.append(time.perf_counter() - due)
        free.append(connection)

    begun, tasks = time.perf_counter() + 0.05, []
    for number in range(int(RATE * seconds)):
        due = begun + number / RATE
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.ensure_future(one(due)))
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return [Sample(each, requests=1) for each in took]


def compared(measure: str, load: Load, ways: dict[str, tuple[int, bytes]], pid: int, seconds: float) -> None:
    """Tell what a load finds on both ways; the processor time is the gateway's."""
    found: dict[str, list[Sample]] = {who: [] for who in ways}
    used = 0.0
    for _ in range(ROUNDS):
        for who, way in ways.items():
            before = processor(pid)
            found[who] += asyncio.run(load(*way, seconds / ROUNDS))
            used += processor(pid) - before if who == "ours" else 0.0
    each = used / sum(sample.requests for sample in found["ours"])
    found["ours"] = [Sample(own.seconds, each, own.requests, values=own.values) for own in found["ours"]]
    peaks = {"ours": memory(pid, "VmHWM")}
    tell(*(Figure(measure, who, tuple(samples), peaks.get(who, 0.0)) for who, samples in found.items()))


KINDS = ("status", "job", "submission")


def measured(kinds: Sequence[str], seconds: float) -> None:
    with process(__file__, "--vendor") as (_, port), process(__file__, "--gateway", port.strip()) as (_, told):
        way = json.loads(told)
        idle = memory(way["pid"])
        starts = tuple(
            Sample(start, values={"s to the first answer": answer, "MB idle": idle})
            for start, answer in zip(way["starts"], way["answers"], strict=True)
        )
        tell(Figure("gateway-start", "ours", starts, idle))
        known = {
            "status": ("GET", f"/backends/{DEVICE}/status", b""),
            "job": ("GET", f"/jobs/{way['job']}", b""),
            "submission": ("POST", "/jobs", BODY),
        }
        for kind in kinds:
            method, path, body = known[kind]
            ways = {
                "floor": (int(port), request(method, f"/api/v1{path}", "t", "crn", body)),
                "ours": (way["port"], request(method, f"/r/{DEVICE}/api/v1{path}", way["token"], way["crn"], body)),
            }
            compared(f"gateway-{kind}", open_loop, ways, way["pid"], seconds)
            compared(f"gateway-{kind}-most", closed_loop, ways, way["pid"], seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", type=one_of(KINDS), help="what is asked for; by default all")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each load")
    parser.add_argument("--vendor", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--gateway", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.vendor:
        asyncio.run(vendor())
    elif options.gateway:
        gateway(options.gateway)
    else:
        measured(options.kinds or KINDS, options.seconds)


if __name__ == "__main__":
    main()
