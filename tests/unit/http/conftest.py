# SPDX-License-Identifier: Apache-2.0
"""What the tests of HTTP share."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent))

from small_server import Server

from qrmi_core.gateway.faults import Faults


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(*routes: web.RouteDef, faults: Faults | None = None, tls: ssl.SSLContext | None = None) -> Server:
            return stack.enter_context(Server(list(routes), faults, tls))

        yield start
