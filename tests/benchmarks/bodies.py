# SPDX-License-Identifier: Apache-2.0
"""What bodies of requests cost the gateway: milliseconds to find the top level, and the loop's stalls.

The goals: a 20 MB body stalls the loop at most 60 ms; the rules for requests cost at most 20 us each. The last rows are
bodies made to be slow. Times are the best of several, stalls the longest of all, both CPU time of the loop's thread,
which a busy machine changes little.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aiohttp.test_utils import make_mocked_request

from qrmi_core.gateway.bodies import Spool, Spooled, top_level
from qrmi_core.gateway.request_rules import BadRequest, check

ENVELOPE = {"program_id": "sampler", "backend": "ibm_fez", "session_id": "abc", "tags": ["x"], "log_level": "info"}
SIZES = {"1 kB": 700, "200 kB": 200_000, "20 MB": 20_000_000}
REPEATS = {"1 kB": 300, "200 kB": 30, "20 MB": 5}


def bodies(size: int) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(0)
    inner = {
        "one string (QPY)": "QUFB" * (size // 4),
        "one string (OpenQASM)": "cx q[0], q[1];\n" * (size // 16),
        "numbers in a row": [draw.random() for _ in range(size // 20)],
        "numbers in pairs": [[draw.random(), draw.random()] for _ in range(size // 44)],
        "short strings": [{"XXYZ": 0.5}] * (size // 15),
    }
    for name, value in inner.items():
        yield name, json.dumps({**ENVELOPE, "params": {"pubs": [[value]]}}).encode()


def hostile(size: int) -> Iterator[tuple[str, bytes]]:
    yield "brackets 400 deep", b'{"a":[' + (b"[" * 400 + b"]" * 400 + b",") * (size // 801) + b"0]}"
    yield "brackets side by side", b'{"a":[' + b"[],{}," * (size // 6) + b"0]}"
    yield "escaped quotes", b'{"a":["' + b'\\"' * (size // 2) + b'"]}'
    yield "quotes without commas", b'{"a":[' + b'""' * (size // 2) + b"]}"
    yield "surrogates", b'{"a":"' + rb"\ud83d\ude00" * (size // 12) + b'"}'
    yield "digits in a string", b'{"a":["' + b"0" * size + b'"]}'


async def measured(body: Spooled) -> tuple[float, float]:
    """Milliseconds for the top level, and the longest time between two turns of the loop."""
    last, longest, ended = time.thread_time(), 0.0, False

    async def watch() -> None:
        nonlocal last, longest
        while not ended:
            await asyncio.sleep(0)
            moment = time.thread_time()
            longest, last = max(longest, moment - last), moment

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    begun = time.thread_time()
    with contextlib.suppress(BadRequest):
        await top_level(body)
    took, ended = time.thread_time() - begun, True
    await watching
    return 1000 * took, 1000 * longest


async def row(spool: Spool, title: str, data: bytes, repeats: int) -> None:
    async with Spooled(spool) as body:
        for at in range(0, len(data), 65536):
            await body.add(data[at : at + 65536])
        await body.complete()
        figures = [await measured(body) for _ in range(repeats)]
    print(f"{title:40} {len(data):>10} {min(f[0] for f in figures):9.3f} {max(f[1] for f in figures):9.2f}")


async def main() -> None:
    print(f"{'top level of a body':40} {'bytes':>10} {'ms':>9} {'stall, ms':>9}   goal: stall 60 ms")
    with tempfile.TemporaryDirectory() as directory:
        spool = Spool(Path(directory), budget=10**9)
        for size, length in SIZES.items():
            for name, data in bodies(length):
                await row(spool, f"{size}, {name}", data, REPEATS[size])
        for name, data in hostile(SIZES["20 MB"]):
            await row(spool, f"20 MB, hostile: {name}", data, 3)
    headers = {"Host": "gateway", "Authorization": "Bearer x", "Accept": "*/*", "Content-Type": "application/json"}
    request = make_mocked_request("GET", "/v1/jobs/cz1a2b3c?exclude_params=true&limit=10", headers=headers)
    best = min(timed(lambda: check(request)) for _ in range(20))
    print(f"{'the rules for a request':40} {1e6 * best:20.1f} us{'':10}   goal: 20 us")


def timed(work: object, times: int = 500) -> float:
    begun = time.thread_time()
    for _ in range(times):
        work()  # type: ignore[operator]
    return (time.thread_time() - begun) / times


if __name__ == "__main__":
    asyncio.run(main())
