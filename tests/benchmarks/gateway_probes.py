# SPDX-License-Identifier: Apache-2.0
"""Clients of the benchmarks of the gateway at scale that block, and those that ask all the time beside another."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateway_bench import DEVICE, request

__all__ = ["GAP", "Plain", "asked", "loop_only", "repeated"]

GAP = 0.002


class Plain:
    """One connection that blocks; one request at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, sent: bytes) -> tuple[int, bytes]:
        """Status and body."""
        self._socket.sendall(sent)
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._received()
        head, parts = got[:end].lower(), [got[end + 4 :]]
        left = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0) - len(parts[0])
        while left > 0:
            parts.append(self._received())
            left -= len(parts[-1])
        return int(head[9:12]), b"".join(parts)

    def _received(self) -> bytes:
        data = self._socket.recv(2**16)
        assert data, "the gateway closed a connection"
        return data

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def asked(port: int, sent: bytes, *, gap: float = GAP, status: int = 200) -> Iterator[list[float]]:
    """Send a request again and again in a thread while the block runs: milliseconds that each answer took."""
    with (
        contextlib.closing(Plain(port)) as connection,
        repeated(functools.partial(connection.ask, sent), gap=gap, status=status) as took,
    ):
        yield took


@contextlib.contextmanager
def repeated(ask: Callable[[], tuple[int, Any]], *, gap: float, status: int = 200) -> Iterator[list[float]]:
    """The same with any way to ask."""
    took: list[float] = []
    ends = threading.Event()

    def work() -> None:
        while not ends.is_set():
            begun = time.perf_counter()
            found, told = ask()
            took.append(1000 * (time.perf_counter() - begun))
            assert found == status, told
            ends.wait(gap)

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work)
        try:
            yield took
        finally:
            ends.set()
        working.result()


def loop_only() -> bytes:
    """A request that needs nothing but the gateway's event loop: one without a token, which is refused with 401."""
    return request("GET", f"/r/{DEVICE}/api/v1/jobs", "", "")
