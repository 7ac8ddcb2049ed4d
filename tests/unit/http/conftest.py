# SPDX-License-Identifier: Apache-2.0
"""What the tests of HTTP share."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent))

from small_server import Server

from qrmi_core.gateway.faults import Faults


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*routes: web.RouteDef, faults: Faults | None = None, tls: ssl.SSLContext | None = None) -> Server:
        started.append(Server(list(routes), faults, tls))
        return started[-1]

    yield start
    for server in started:
        server.stop()
