# SPDX-License-Identifier: Apache-2.0
"""Faults that a server makes on purpose, seeded, and the count of what came of each route."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Any

from aiohttp import web

from qrmi_core import polling

__all__ = ["Counters", "FaultRates", "Faults", "route_of"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SLOW_PIECE = 64
SLOW_GAP = 0.02
LATE = 4.0


@dataclass(frozen=True)
class FaultRates:
    """How often each fault is made, as shares of all requests; the rest is answered as it should be.

    ``error`` is a 500, of which half come after the request was handled; ``reset_after`` handles the request and loses
    the answer; ``truncated`` cuts the body off within its announced length, ``cut_json`` with a fitting length;
    ``late`` answers 504 and handles the request some seconds later, as a server does behind what gave it up.
    """

    error: float = 0.0
    unavailable: float = 0.0
    too_many: float = 0.0
    reset_before: float = 0.0
    reset_after: float = 0.0
    hang: float = 0.0
    slow: float = 0.0
    truncated: float = 0.0
    cut_json: float = 0.0
    late: float = 0.0

    @classmethod
    def rough(cls) -> FaultRates:
        """10 % errors, 10 % "too many requests", 5 % resets before and 5 % after the request was handled."""
        return cls(error=0.10, too_many=0.10, reset_before=0.05, reset_after=0.05)


AMBIGUOUS = frozenset(
    {"error", "error_after", "hang_after", "reset_before", "reset_after", "truncated", "cut_json", "late"}
)


@dataclass
class Counters:
    """What came of the requests, by route (``POST /v1/jobs``)."""

    requests: Counter[str] = field(default_factory=Counter)
    answers: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    faults: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    ambiguous: Counter[str] = field(default_factory=Counter)

    def total(self, *, without: tuple[str, ...] = ()) -> int:
        """All requests, without those of routes that contain one of the texts."""
        return sum(count for route, count in self.requests.items() if not any(text in route for text in without))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            route: {
                "requests": count,
                "answers": {str(status): number for status, number in sorted(self.answers[route].items())},
                "faults": dict(self.faults[route]),
                "ambiguous": self.ambiguous[route],
            }
            for route, count in sorted(self.requests.items())
        }


class Faults:
    """The middleware that counts, and makes the faults that are asked for.

    ``next_faults`` are made first, one for each request whose route holds the text before them; ``none`` lets one pass,
    and ``hang_after`` handles one and never answers.
    """

    def __init__(self, rates: FaultRates = FaultRates(), *, seed: int = 0, retry_after: str = "0.05") -> None:
        self.rates = rates
        self.counters = Counters()
        self.retry_after = retry_after
        self.next_faults: list[tuple[str, str]] = []
        self._random = random.Random(seed)  # noqa: S311  no secret
        self._hanging = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the request and handle it, or make a fault of it."""
        route = route_of(request)
        self.counters.requests[route] += 1
        fault = self._choose(route)
        if fault is None:
            response = await handler(request)
            self.counters.answers[route][response.status] += 1
            return response
        self.counters.faults[route][fault] += 1
        if fault in AMBIGUOUS:
            self.counters.ambiguous[route] += 1
        return await self._make(fault, request, handler)

    def _choose(self, route: str) -> str | None:
        for index, (text, fault) in enumerate(self.next_faults):
            if text in route:
                del self.next_faults[index]
                return None if fault == "none" else fault
        drawn = self._random.random()
        for each in fields(self.rates):
            rate = getattr(self.rates, each.name)
            if drawn < rate:
                return "error_after" if each.name == "error" and drawn < rate / 2 else each.name
            drawn -= rate
        return None

    async def _make(self, fault: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        match fault:
            case "too_many":
                return web.json_response(
                    {"message": "too many requests"}, status=429, headers={"Retry-After": self.retry_after}
                )
            case "unavailable":
                return web.json_response({"message": "not now"}, status=503)
            case "error":
                return web.json_response({"message": "internal error"}, status=500)
            case "hang":
                await self._hanging.wait()
                return _reset(request)
            case "hang_after":
                await handler(request)
                await self._hanging.wait()
                return _reset(request)
            case "reset_before":
                return _reset(request)
            case "late":
                await request.read()
                work = asyncio.create_task(_handle_late(request, handler))
                self._late.add(work)
                work.add_done_callback(self._late.discard)
                return web.json_response({"message": "no answer from behind"}, status=504)
        response = await handler(request)
        if fault == "error_after":
            return web.json_response({"message": "internal error"}, status=500)
        if fault == "reset_after" or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            return _reset(request)
        return await _damaged(fault, request, response)


def route_of(request: web.Request) -> str:
    """The request's route with its variable parts named: ``GET /v1/jobs/{id}``."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else request.path}"


async def _handle_late(request: web.Request, handler: Handler) -> None:
    await polling.pause_async(LATE)
    await handler(request)


def _reset(request: web.Request) -> web.Response:
    """Break the connection as a crashed server does; what is returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


async def _damaged(fault: str, request: web.Request, response: web.Response) -> web.StreamResponse:
    body = bytes(response.body) if isinstance(response.body, bytes) else b""
    half = len(body) // 2
    if fault == "cut_json":
        return web.Response(body=body[:half], status=response.status, content_type=response.content_type)
    answer = web.StreamResponse(status=response.status, headers={"Content-Type": response.content_type})
    answer.content_length = len(body)
    await answer.prepare(request)
    if fault == "truncated":
        await answer.write(body[:half])
        return _reset(request)
    for start in range(0, len(body), SLOW_PIECE):
        await answer.write(body[start : start + SLOW_PIECE])
        await polling.pause_async(SLOW_GAP)
    return answer
