# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of the gateway share: its process, a vendor of few words, light clients, and figures of /proc."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from aiohttp import web

__all__ = [
    "DEVICE",
    "Connection",
    "forget_peak",
    "ibm_block",
    "listens",
    "memory",
    "opened",
    "process",
    "processor",
    "request",
    "row",
    "serve_vendor",
    "serving",
]

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
sys.path[:0] = [str(TESTS / "vendors"), str(TESTS / "unit" / "gateway"), str(TESTS / "unit" / "gateway" / "doors")]

DEVICE = "ibm_fez"
START_SECONDS = 60.0


async def serve_vendor(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
    """Answer every request by this, for ever; prints the port first."""
    runner = web.AppRunner(web.Application(client_max_size=2**30, middlewares=[]), access_log=None)
    runner.app.router.add_route("*", "/{rest:.*}", answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def ibm_block(port: int) -> dict[str, str]:
    """The environment block of a resource of IBM's cloud, for which the server at a port stands."""
    url = f"http://127.0.0.1:{port}"
    return {
        "QRMI_IBM_QCS_ENDPOINT": f"{url}/api/v1", "QRMI_IBM_QCS_IAM_ENDPOINT": url,
        "QRMI_IBM_QCS_IAM_APIKEY": "key", "QRMI_IBM_QCS_SERVICE_CRN": "crn:v1:a",
    }  # fmt: skip


@contextlib.contextmanager
def serving(settings: Path, port: int) -> Iterator[tuple[int, float]]:
    """A `qrmi gateway serve` with these settings: its process, and the seconds after which it listened at a port.

    It keeps its byte code, as whatever is installed has it.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    command = [Path(sys.executable).with_name("qrmi"), "gateway", "serve", "--config", settings]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as running:
        try:
            while not listens(port):
                assert running.poll() is None, "the gateway has ended"
                assert time.perf_counter() - begun < START_SECONDS
                time.sleep(0.002)
            yield running.pid, time.perf_counter() - begun
        finally:
            running.terminate()


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time, whose answer has a length. ``body`` is that of the last one."""

    def __init__(self) -> None:
        self.body = b""
        self._buffer = bytearray()
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the gateway closed a connection"))

    def ask(self, request: bytes) -> asyncio.Future[int]:
        if self._transport.is_closing():
            raise ConnectionError("the gateway closed a connection that was not used")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if len(self._buffer) >= end + 4 + length and self._answer is not None:
            self.body = bytes(self._buffer[end + 4 :])
            self._buffer.clear()
            answer, self._answer = self._answer, None
            answer.set_result(int(head[9:12]))


async def opened(port: int, count: int, context: ssl.SSLContext | None = None) -> list[Connection]:
    """Connections, over TLS where there is a context."""
    loop = asyncio.get_running_loop()
    return [
        (
            await loop.create_connection(
                Connection, "127.0.0.1", port, ssl=context, ssl_handshake_timeout=context and 60
            )
        )[1]
        for _ in range(count)
    ]


def request(method: str, path: str, token: str, crn: str, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    length = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nService-CRN: {crn}\r\n{length}"
    return head.encode() + b"\r\n" + body


def processor(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, field: str = "VmRSS") -> float:
    """Resident megabytes of a process; of ``VmHWM`` the most since :func:`forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


def forget_peak(pid: int) -> None:
    """Count the most of a process's resident memory from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def process(file: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A benchmark's file in another process, and the first line that it prints."""
    with subprocess.Popen(
        [sys.executable, file, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            yield running, running.stdout.readline()
        finally:
            assert running.stdin is not None
            running.stdin.close()
            if "--vendor" in arguments:
                running.terminate()


def row(what: str, found: str, goal: str) -> None:
    """A line of the table."""
    print(f"{what:66} {found:>40}   {f'goal {goal}' if goal else ''}".rstrip(), flush=True)
