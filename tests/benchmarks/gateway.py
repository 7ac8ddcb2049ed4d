# SPDX-License-Identifier: Apache-2.0
"""What the gateway costs: latency that it adds, requests per second, memory, and its start.

A server of few words stands for IBM's cloud; the same requests go to it directly and through the gateway, one process
with plain HTTP, one run after the other. Three processes share the cores: generator, gateway, server.

    python tests/benchmarks/gateway.py [--seconds 4]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gateway_bench import DEVICE, Connection, memory, opened, process, processor, request, row, serve_vendor, serving

CONNECTIONS = 32
RATE = 200
STARTS = 3
"""How often the gateway is started before it is measured; the first time it may have to compile its modules."""

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
    from doored import Doored
    from munge_daemon import munged

    url = f"http://127.0.0.1:{port}"
    block = {
        "QRMI_IBM_QCS_ENDPOINT": f"{url}/api/v1", "QRMI_IBM_QCS_IAM_ENDPOINT": url,
        "QRMI_IBM_QCS_IAM_APIKEY": "key", "QRMI_IBM_QCS_SERVICE_CRN": "crn:v1:a",
    }  # fmt: skip
    entry = {"name": DEVICE, "type": "ibm-quantum-compute-service", "environment": block, "lanes": 10}
    with tempfile.TemporaryDirectory(prefix="qrmi-bench-") as name, munged() as daemon:
        case = Doored(Path(name), daemon.socket, [entry], log_level="warning", token_from="any")
        with case.running():
            job = case.granted(DEVICE)
            crn = job.environment[f"{DEVICE}_QRMI_IBM_QCS_SERVICE_CRN"]
            headers = {"Content-Type": "application/json", "Service-CRN": crn}
            status, told = job.ask("POST", f"/r/{DEVICE}/api/v1/jobs", BODY, headers=headers)
            assert status == 200, told
        starts, answers = [], []
        for last in (*[False] * STARTS, True):
            with serving(case.file, case.jobs_port) as (pid, seconds):
                listened = time.perf_counter()
                assert job.ask("GET", f"/r/{DEVICE}/api/v1/backends/{DEVICE}/status", headers=headers)[0] == 200
                starts.append(seconds)
                answers.append(seconds + time.perf_counter() - listened)
                if last:
                    way = {"port": case.jobs_port, "token": job.token, "job": told["id"], "crn": crn, "pid": pid}
                    print(json.dumps({**way, "start": min(starts), "answer": min(answers)}), flush=True)
                    sys.stdin.read()


async def closed_loop(port: int, sent: bytes, seconds: float) -> float:
    """Requests per second with 32 connections."""
    connections = await opened(port, CONNECTIONS)
    end, done = time.perf_counter() + seconds, 0

    async def one(connection: Connection) -> None:
        nonlocal done
        while time.perf_counter() < end:
            assert await connection.ask(sent) < 300
            done += 1

    await asyncio.gather(*map(one, connections))
    return done / seconds


async def open_loop(port: int, sent: bytes, seconds: float) -> tuple[float, float]:
    """Median and 99th percentile of the latency in ms at 200 requests per second, from when each was due."""
    free = await opened(port, CONNECTIONS)
    took: list[float] = []

    async def one(due: float) -> None:
        connection = free.pop() if free else (await opened(port, 1))[0]
        assert await connection.ask(sent) < 300
        took.append(1000 * (time.perf_counter() - due))
        free.append(connection)

    begun, tasks = time.perf_counter() + 0.05, []
    for number in range(int(RATE * seconds)):
        due = begun + number / RATE
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.ensure_future(one(due)))
    await asyncio.gather(*tasks)
    took.sort()
    return statistics.median(took), took[int(len(took) * 0.99)]


def measured(seconds: float) -> None:
    with process(__file__, "--vendor") as (_, port), process(__file__, "--gateway", port.strip()) as (_, told):
        way = json.loads(told)
        row(f"start to listening, best of {STARTS + 1}", f"{way['start']:.2f} s", "<= 0.6 s")
        row("start to the first answer from the vendor", f"{way['answer']:.2f} s", "")
        row("resident memory, idle", f"{memory(way['pid']):.0f} MB", "<= 70 MB")
        kinds = {
            "status": ("GET", f"/backends/{DEVICE}/status", b"", ">= 2,500/s and 0.15 x"),
            "a job": ("GET", f"/jobs/{way['job']}", b"", ">= 2,500/s and 0.15 x"),
            "submission": ("POST", "/jobs", BODY, ">= 1,500/s and 0.08 x"),
        }
        for what, (method, path, body, goal) in kinds.items():
            direct = request(method, f"/api/v1{path}", "t", "crn", body)
            through = request(method, f"/r/{DEVICE}/api/v1{path}", way["token"], way["crn"], body)
            ports: Sequence[tuple[int, bytes]] = ((int(port), direct), (way["port"], through))
            latency = [asyncio.run(open_loop(*each, seconds)) for each in ports]
            used = -processor(way["pid"])
            rates = [asyncio.run(closed_loop(*each, seconds)) for each in ports]
            used += processor(way["pid"])
            p50, p99 = (latency[1][at] - latency[0][at] for at in (0, 1))
            row(f"{what}: added at {RATE}/s, median and p99", f"{p50:.2f} ms, {p99:.2f} ms", "<= 1.5 ms, <= 5 ms")
            row(f"{what}: processor", f"{1000 * used / (rates[1] * seconds):.2f} ms per request", "")
            row(f"{what}: per second", f"{rates[1]:.0f} of {rates[0]:.0f} direct: {rates[1] / rates[0]:.2f} x", goal)
        row("resident memory after it", f"{memory(way['pid']):.0f} MB", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each run")
    parser.add_argument("--vendor", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--gateway", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.vendor:
        asyncio.run(vendor())
    elif options.gateway:
        gateway(options.gateway)
    else:
        measured(options.seconds)


if __name__ == "__main__":
    main()
