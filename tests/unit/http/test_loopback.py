# SPDX-License-Identifier: Apache-2.0
"""The end of a server on the loopback: nobody stays connected to it, and nothing of it goes on."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading

import trustme
from aiohttp import web
from small_server import Server

from qrmi_core import polling

SECONDS = 5.0
REQUEST = b"GET /%s HTTP/1.1\r\nHost: qpu.example\r\n\r\n"


def connected(server: Server) -> socket.socket:
    host, _, port = server.url.partition("://")[2].partition(":")
    return socket.create_connection((host, int(port)), SECONDS)


def is_let_go(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    try:
        while connection.recv(1024):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


def test_a_connection_that_comes_as_the_server_ends() -> None:
    busy = threading.Event()

    async def hold_up_everything(_request: web.Request) -> web.Response:
        busy.set()
        polling.pause(0.5)  # so that the loop finds the connection and the end in one turn
        return web.Response()

    with Server([web.get("/busy", hold_up_everything)]) as server:
        first = connected(server)
        first.sendall(REQUEST % b"busy")
        assert busy.wait(SECONDS)
        late = connected(server)
    with first, late:
        assert is_let_go(first)
        assert is_let_go(late)


def test_safe_connections_whose_clients_say_nothing() -> None:
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    with Server([web.get("/hello", hello)], tls=ours) as server:
        silent = connected(server)  # it never begins its handshake
        idle = theirs.wrap_socket(connected(server), server_hostname="127.0.0.1")
        idle.sendall(REQUEST % b"hello")
        assert idle.recv(1024).startswith(b"HTTP/1.1 200")
    # It does not see that the server wants to end it, as clients do not who keep connections for later.
    with silent, socket.socket(fileno=idle.detach()) as kept:
        kept.settimeout(SECONDS)
        assert is_let_go(silent)
        assert is_let_go(kept)


def test_what_it_still_handles_for_a_client_that_has_gone_is_cancelled() -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def hang(_request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return web.Response()

    with Server([web.get("/hang", hang), web.get("/hello", hello)]) as server:
        with connected(server) as gone:
            gone.sendall(REQUEST % b"hang")
            assert begun.wait(SECONDS)
        with connected(server) as other:
            other.sendall(REQUEST % b"hello")
            assert other.recv(1024).startswith(b"HTTP/1.1 200")
        assert not cancelled.is_set()
    assert cancelled.is_set()
