# SPDX-License-Identifier: Apache-2.0
"""The gateway at scale: a thousand polls, leases and tasks by the thousand, bodies of 20 MB, a journal that is locked.

The longest stall of the gateway's event loop is what a second client sees that asks, every 2 ms, for something that
needs nothing but this loop.

    python tests/benchmarks/gateway_scale.py [polls leases bodies journal answers]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import http.client
import json
import random
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway_bench import DEVICE, Connection, forget_peak, memory, opened, process, processor, request, row
from gateway_probes import GAP, Plain, asked, loop_only, repeated
from gateway_scale_site import CREATED, LARGE, LEASES, PARIS, PREMISES, Site, site
from taking import one_of

POLLS, TASKS, USERS = 1000, 10_000, 50
ROUNDS = 3
TURNS = 10
LOCKED_SECONDS = 3.0
IDLE_SECONDS = 4.0
"""Before twice as many are over the gateway closes a connection that nobody uses."""


def ibm_body(size: int) -> bytes:
    """A submission to IBM of about so many bytes; its input is what programs send: text in long strings, and lists."""
    text = random.Random(1).randbytes(3000).hex()
    pub = json.dumps([text[:4000], {"angles": [0.1234] * 100}]).encode()
    pubs = b",".join([pub] * max(1, size // len(pub)))
    return b'{"program_id":"sampler","backend":"%b","params":{"version":2,"pubs":[%b]}}' % (DEVICE.encode(), pubs)


def pasqal_body(size: int) -> bytes:
    """A batch with a sequence of about so many bytes."""
    operation = json.dumps({"op": "pulse", "amplitude": {"samples": [0.125] * 50}})
    sequence = '{"operations":[' + ",".join([operation] * max(1, size // (len(operation) * 9 // 8))) + "]}"
    return json.dumps({"sequence_builder": sequence, "jobs": [{"runs": 10}], "project_id": "x"}).encode()


def polls(vendor_port: int) -> None:
    """A thousand clients over TLS that wait for their jobs."""
    with site(vendor_port, tls=True) as at:
        row("start to listening, with TLS", f"{at.start:.2f} s", "")
        row("resident memory, idle", f"{memory(at.pid):.0f} MB", "<= 70 MB")
        asyncio.run(held(at))


async def held(at: Site) -> None:
    """All clients ask for a job of their own at the same time, and again as soon as all are answered."""
    context = ssl.create_default_context(cafile=at.case.ca)
    submission = at.request("POST", "/api/v1/jobs", ibm_body(1000))
    (prober,) = await opened(at.port, 1, context)
    for _ in range(POLLS):
        assert await prober.ask(submission) == 200
    connections: list[Connection] = []
    begun = told = time.perf_counter()
    while len(connections) < POLLS:
        connections += await opened(at.port, 10, context)
        if time.perf_counter() - told > IDLE_SECONDS:
            told = time.perf_counter()
            await asyncio.gather(*(each.ask(loop_only()) for each in (prober, *connections)))
    row(f"{POLLS} connections opened", f"{time.perf_counter() - begun:.1f} s", "")
    row("resident memory with them", f"{memory(at.pid):.0f} MB", "")
    asks = [at.request("GET", f"/api/v1/jobs/d{number}?exclude_params=true") for number in range(POLLS)]
    for turn in ("not held", *["held"] * ROUNDS):
        used, begun, stalls = -processor(at.pid), time.perf_counter(), []
        going = asyncio.gather(*(each.ask(sent) for each, sent in zip(connections, asks, strict=True)))
        while not going.done():
            asked_at = time.perf_counter()
            assert await prober.ask(loop_only()) == 401
            stalls.append(1000 * (time.perf_counter() - asked_at))
            await asyncio.sleep(GAP)
        assert set(await going) == {200}
        seconds, used = time.perf_counter() - begun, used + processor(at.pid)
        row(f"{POLLS} polls, {turn}: all answered 200 after; processor", f"{seconds:.2f} s; {used:.2f} s", "")
        row("  the loop's longest stall", f"{max(stalls):.0f} ms", "")
    row("resident memory after it, and the most", both(at), "<= 130 MB")
    for each in (prober, *connections):
        each.close()
    await asyncio.sleep(1.0)
    for _ in range(POLLS // 10):
        connections = await opened(at.port, 10, context)
        assert {await each.ask(loop_only()) for each in connections} == {401}
        for each in connections:
            each.close()
    row(f"resident memory after {POLLS} connections more, and the most", both(at), "<= 130 MB")


def both(at: Site) -> str:
    """The gateway's memory now, and the most."""
    return f"{memory(at.pid):.0f} MB, {memory(at.pid, 'VmHWM'):.0f} MB"


def leases(vendor_port: int) -> None:
    """A journal of a thousand leases and ten thousand tasks, a tenth of which have not ended."""
    holders: list[Any] = []

    def prepare(case: Any) -> None:
        from qrmi_core.leases import LeaseTask

        holders.extend(
            case.granted(DEVICE, uid=1000 + number % USERS, account=f"a{number % 7}") for number in range(LEASES)
        )
        unfinished = 0
        for number in range(TASKS):
            job, now = holders[number % LEASES], time.time() - 3600 + number / 10
            if number < LEASES:
                headers = {"Service-CRN": job.environment[f"{DEVICE}_QRMI_IBM_QCS_SERVICE_CRN"]}
                status, _ = job.ask("POST", f"/r/{DEVICE}/api/v1/jobs", ibm_body(1000), headers=headers)
                assert status == 200
                unfinished += 1
                continue
            document = {
                "id": f"e{number}", "status": "Completed", "state": {"status": "Completed"}, "created": CREATED,
                "program": {"id": "sampler"}, "tags": ["mine"], "usage": {"seconds": 2.0}, "backend": DEVICE,
                "text": "x" * 300,
            }  # fmt: skip
            task = LeaseTask(
                DEVICE, f"e{number}", program="sampler", detail=json.dumps({"tag": None, "document": document}),
                submitted=now, started=now + 1, ended=now + 2, shots=4096, usage=2.0, outcome="completed",
            )  # fmt: skip
            last = case.keeper.note_task(job.lease, task)
        last.result()

    begun = time.perf_counter()
    with site(vendor_port, prepare=prepare) as at:
        row("journal prepared", f"{time.perf_counter() - begun:.0f} s", "")
        row(f"start to listening with {LEASES} leases, {TASKS} tasks", f"{at.start:.2f} s", "")
        begun = time.perf_counter()
        at.admin("/v1/leases")
        row("  until the first answer after that", f"{time.perf_counter() - begun:.2f} s", "")
        row("resident memory", f"{memory(at.pid):.0f} MB", "<= 250 MB")
        job = holders[3]
        everybody = at.case
        crn = job.environment[f"{DEVICE}_QRMI_IBM_QCS_SERVICE_CRN"]
        monitoring = int(at.case.settings["listen"]["metrics"].rpartition(":")[2])

        def of_door(path: str) -> Callable[[], tuple[int, bytes]]:
            sent = request("GET", f"/r/{DEVICE}/api/v1{path}", job.token, crn)
            return lambda: Plain(at.port).ask(sent)

        def of_admin(path: str) -> Callable[[], tuple[int, Any]]:
            def ask() -> tuple[int, Any]:
                headers = {"Authorization": everybody.credential("GET", path)}
                connection = http.client.HTTPConnection("127.0.0.1", everybody.port, timeout=60)
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read()

            return ask

        following = f"/v1/usage?all=1&after={at.admin('/v1/usage?all=1')[1]['next']}"
        asks: dict[str, Callable[[], tuple[int, Any]]] = {
            "/v1/leases?all=1": of_admin("/v1/leases?all=1"),
            "/v1/usage?all=1, a page of it": of_admin("/v1/usage?all=1"),
            "/v1/usage?all=1, the page after it": of_admin(following),
            "/v1/usage, of a user who ran nothing": of_admin("/v1/usage"),
            "/v1/usage?all=1, of the last minute": of_admin(f"/v1/usage?all=1&since={time.time() - 60:.0f}"),
            "/v1/resources": of_admin("/v1/resources"),
            "a user's GET /jobs?limit=10, of 200": of_door("/jobs?limit=10"),
            "a user's GET /jobs?limit=200&pending=true": of_door("/jobs?limit=200&pending=true"),
            "/metrics": lambda: Plain(monitoring).ask(request("GET", "/metrics", "", "")),
        }
        for what, ask in asks.items():
            listed(at, what, ask)
        row(
            "resident memory after it, and the most",
            f"{memory(at.pid):.0f} MB, {memory(at.pid, 'VmHWM'):.0f} MB",
            "<= 250 MB",
        )
        commands(at)


def listed(at: Site, what: str, ask: Callable[[], tuple[int, Any]]) -> None:
    """A line about a route that lists something: the best of several, processor time, the loop's longest stall."""
    took, stalls, size = [], [], 0
    used = -processor(at.pid)
    for _ in range(TURNS):
        begun = time.perf_counter()
        status, body = ask()
        took.append(1000 * (time.perf_counter() - begun))
        assert status == 200, body
        size = len(body)
    used += processor(at.pid)
    for _ in range(TURNS):
        with asked(at.port, loop_only(), status=401) as seen:
            ask()
        stalls.append(max(seen))
    row(
        f"{what} ({size / 1000:.0f} kB): best, median",
        f"{min(took):.0f} ms, {sorted(took)[TURNS // 2]:.0f} ms",
        "<= 50 ms",
    )
    row(
        "  processor, longest stall of the loop (best)",
        f"{1000 * used / TURNS:.0f} ms, {min(stalls):.0f} ms",
        "<= 60 ms",
    )


def commands(at: Site) -> None:
    """What users type."""
    client = at.case.directory / "client.json"
    client.write_text(json.dumps({"url": f"http://127.0.0.1:{at.case.port}", "munge_socket": at.case.munge_socket}))
    qrmi = Path(sys.executable).with_name("qrmi")
    for words in (["--help"], ["leases", "--all"], ["usage", "--all"]):
        best = float("inf")
        for _ in range(3):
            begun = time.perf_counter()
            more = [] if "--help" in words else ["--client-config", client]
            subprocess.run([qrmi, *words, *more], check=True, stdout=subprocess.DEVNULL)
            best = min(best, time.perf_counter() - begun)
        row(f"qrmi {' '.join(words)}, best of 3", f"{best:.2f} s", "")


def bodies(vendor_port: int) -> None:
    """Submissions of 20 MB through three doors."""
    with site(vendor_port) as at:
        ways = {
            "IBM's cloud": (DEVICE, "/api/v1/jobs", ibm_body),
            "IBM's machine": (
                PREMISES,
                "/api/v1/jobs",
                lambda size: ibm_body(size).replace(DEVICE.encode(), PREMISES.encode()),
            ),
            "Pasqal's cloud": (PARIS, "/core-fast/api/v1/batches", pasqal_body),
        }
        with asked(at.port, loop_only(), status=401) as seen:
            time.sleep(1)
        row("the second client alone: its longest answer", f"{max(seen):.1f} ms", "")
        for what, (qpu, path, body) in ways.items():
            small, large = (at.request("POST", path, body(size), qpu=qpu) for size in (1000, LARGE))
            uploader = Plain(at.port)
            status, told = uploader.ask(small)
            assert status == 200, told
            found = [uploaded(at, uploader, large) for _ in range(ROUNDS)]
            grown, stall, seconds, used = (min(each[at_] for each in found) for at_ in range(4))
            most, longest = max(each[0] for each in found), max(each[1] for each in found)
            row(f"20 MB to {what}: memory grows, best and worst", f"{grown:.1f} MB, {most:.1f} MB", "<= 5 MB")
            row("  the loop's longest stall, best and worst", f"{stall:.0f} ms, {longest:.0f} ms", "<= 60 ms")
            row("  time, processor", f"{seconds:.2f} s, {used:.2f} s", "")


def uploaded(at: Site, uploader: Plain, sent: bytes) -> tuple[float, float, float, float]:
    """MB by which memory grew, the longest stall in ms, and seconds and processor seconds that it took."""
    time.sleep(0.5)
    forget_peak(at.pid)
    before, used = memory(at.pid), -processor(at.pid)
    with asked(at.port, loop_only(), status=401) as seen:
        begun = time.perf_counter()
        status, told = uploader.ask(sent)
        seconds = time.perf_counter() - begun
        assert status == 200, told[:500]
    return memory(at.pid, "VmHWM") - before, max(seen), seconds, used + processor(at.pid)


def journal(vendor_port: int) -> None:
    """Another process holds the journal's write lock for 3 s."""
    with site(vendor_port) as at:
        assert Plain(at.port).ask(at.request("POST", "/api/v1/jobs", ibm_body(1000)))[0] == 200
        free = during(at, contextlib.nullcontext)
        locked = during(at, lambda: other_process(at.case.directory / "journal.sqlite"))
        for what, took in locked.items():
            waits = what == "submission"
            found = f"{worst(took)}; while it is free {worst(free[what])}"
            row(
                f"journal locked for 3 s, {what}: 99 %, longest",
                found,
                "as long as it is locked" if waits else "no stall",
            )


def worst(took: list[float]) -> str:
    """The 99th percentile and the longest."""
    return f"{sorted(took)[int(len(took) * 0.99)]:.0f}, {max(took):.0f} ms"


def during(at: Site, condition: Callable[[], contextlib.AbstractContextManager[None]]) -> dict[str, list[float]]:
    """How long everything takes that is asked for again and again during 3 s."""
    ways = {
        "status": at.request("GET", f"/api/v1/backends/{DEVICE}/status"),
        "a job": at.request("GET", "/api/v1/jobs/d0"),
        "the list of jobs": at.request("GET", "/api/v1/jobs?limit=10"),
        "submission": at.request("POST", "/api/v1/jobs", ibm_body(1000)),
    }
    with contextlib.ExitStack() as stack:
        took = {what: stack.enter_context(asked(at.port, sent, gap=0.05)) for what, sent in ways.items()}
        took["the loop alone"] = stack.enter_context(asked(at.port, loop_only(), status=401, gap=0.01))
        for path in ("/v1/leases?all=1", "/v1/usage?all=1", "/healthz"):
            took[path] = stack.enter_context(repeated(functools.partial(at.admin, path), gap=0.1))
        with condition():
            time.sleep(LOCKED_SECONDS)
    return took


@contextlib.contextmanager
def other_process(file: Path) -> Iterator[None]:
    """Hold the write lock of a journal."""
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def answers(vendor_port: int) -> None:
    """A result of 20 MB for somebody who reads slowly."""
    with site(vendor_port) as at:
        connection = Plain(at.port)
        assert connection.ask(at.request("POST", "/api/v1/jobs", ibm_body(1000)))[0] == 200
        sent = at.request("GET", "/api/v1/jobs/d0/results")
        assert len(connection.ask(at.request("GET", "/api/v1/jobs/d0"))[1]) > 100
        forget_peak(at.pid)
        before = memory(at.pid)
        with socket.create_connection(("127.0.0.1", at.port), timeout=60) as slow:
            slow.sendall(sent)
            got = 0
            while got < LARGE:
                got += len(data := slow.recv(2**16))
                assert data, "the gateway closed a connection"
                time.sleep(0.002 if got < 2**20 else 0)
                if 2**20 <= got < 2**20 + 2**16:
                    time.sleep(1)
        row("20 MB to a slow reader: memory grows by", f"{memory(at.pid, 'VmHWM') - before:.1f} MB", "<= 5 MB")
        forget_peak(at.pid)
        with asked(at.port, loop_only(), status=401) as seen:
            assert len(connection.ask(sent)[1]) == LARGE
        row("20 MB to a fast reader: memory grows by", f"{memory(at.pid, 'VmHWM') - before:.1f} MB", "<= 5 MB")
        row("  the loop's longest stall", f"{max(seen):.0f} ms", "<= 60 ms")


MEASURES = {each.__name__: each for each in (polls, leases, bodies, journal, answers)}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", type=one_of(MEASURES), help=f"by default all: {', '.join(MEASURES)}")
    for name in parser.parse_args().measures or MEASURES:
        with process(str(Path(__file__).with_name("gateway_scale_site.py")), "--vendor") as (_, port):
            MEASURES[name](int(port))


if __name__ == "__main__":
    main()
