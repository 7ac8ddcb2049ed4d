# SPDX-License-Identifier: Apache-2.0
"""Exchanges on a connection that is open already tell the same as the library does on a new one."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from qrmi_core.exchanges import ExchangeFailed
from qrmi_core.http_settings import HttpSettings
from qrmi_core.transport import Transport

Pieces = list[bytes]

QUICK = HttpSettings(connect_timeout=2.0, read_timeout=0.3, deadline=5.0)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PLAIN = [HEAD + b"Content-Length: 4\r\n\r\nbody"]
LENGTH = re.compile(rb"Content-Length: (\d+)")
PACKED = gzip.compress(b"body" * 1000)

KEPT: dict[str, Pieces] = {
    "plain": PLAIN,
    "byte by byte": [PLAIN[0][at : at + 1] for at in range(len(PLAIN[0]))],
    "nothing in it": [HEAD + b"Content-Length: 0\r\n\r\n"],
    "large": [HEAD + b"Content-Length: 300000\r\n\r\n", b"x" * 300000],
    "in chunks": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\n", b"body\r\n1\r\n!\r\n0\r\n\r\n"],
    "compressed": [HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED), PACKED],
    "no content": [b"HTTP/1.1 204 No Content\r\n\r\n"],
    "without a reason": [b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nbody"],
    "an error": [b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"],
    "a header twice": [HEAD + b"X-A: 1\r\nX-A: 2\r\nContent-Length: 4\r\n\r\nbody"],
    "a folded header": [HEAD + b"X-A: 1\r\n  2\r\nContent-Length: 4\r\n\r\nbody"],
    "bare line feeds": [b"HTTP/1.1 200 OK\nContent-Length: 4\n\nbody"],
    "spaces": [b"HTTP/1.1 200 OK\r\nContent-Length:   4  \r\n\r\nbody"],
}
CLOSED: dict[str, Pieces] = {
    "after an interim answer": [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + b"".join(PLAIN)],
    "it will be closed": [HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nbody", b""],
    "until its end": [HEAD + b"\r\nbody", b""],
    "of an old version": [b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", b""],
}
BROKEN: dict[str, Pieces] = {
    "cut off": [HEAD + b"Content-Length: 9\r\n\r\nbody", b""],
    "cut off in chunks": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nbody", b""],
    "cut off compressed": [HEAD + b"Content-Encoding: gzip\r\nContent-Length: 99\r\n\r\n" + PACKED[:9], b""],
    "closed in its head": [HEAD, b""],
    "closed without a word": [b""],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n", b""],
    "silent": [],
    "silent in its head": [HEAD],
    "silent in its body": [HEAD + b"Content-Length: 9\r\n\r\nbody"],
}


class Scripted:
    """A server that sends what it is told for each request; an empty piece closes the connection."""

    def __init__(self) -> None:
        self.answers: list[Pieces] = []
        self.received: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        while request := connection.recv(2**20):
            self.received.append(request)
            length = int(LENGTH.findall(request)[0]) if b"Content-Length" in request else 0
            if length and request.endswith(b"\r\n\r\n"):  # the body comes by itself
                self.received.append(connection.recv(length))
            for piece in self.answers.pop(0):
                if not piece:
                    return
                connection.sendall(piece)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with closing(Scripted()) as scripted:
        yield scripted


@pytest.fixture
def transport() -> Iterator[Transport]:
    with closing(Transport(QUICK, "qpu", "the address")) as made:
        yield made


def told(transport: Transport, server: Scripted) -> object:
    """What an exchange tells."""
    try:
        status, headers, body = transport.exchange("GET", f"{server.url}/x?y=z", {"Accept": "*/*"}, None)
    except ExchangeFailed as failure:
        return failure.sent, failure.again, failure.silent
    return status, body, sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())


@pytest.mark.parametrize("kind", [*KEPT, *CLOSED, *BROKEN])
def test_what_is_told_is_what_the_library_tells(kind: str, server: Scripted, transport: Transport) -> None:
    answer = {**KEPT, **CLOSED, **BROKEN}[kind]
    server.answers = [answer]
    by_library = told(transport, server)
    transport.close()
    server.answers = [PLAIN, answer, PLAIN]
    told(transport, server)
    before = server.connections
    assert told(transport, server) == by_library
    assert server.connections == before
    assert told(transport, server)[:2] == (200, b"body")  # type: ignore[index]
    assert server.connections == before + (kind not in KEPT)


def test_an_answer_that_is_longer_than_it_says_ends_its_connection(server: Scripted, transport: Transport) -> None:
    server.answers = [PLAIN, [PLAIN[0] + b"HTTP/1.1 200 OK\r\n"], PLAIN]
    for _ in range(3):
        assert told(transport, server)[:2] == (200, b"body")  # type: ignore[index]
    assert server.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("body", [None, b"", b"some"])
def test_what_is_sent_is_what_the_library_sends(
    method: str, body: bytes | None, server: Scripted, transport: Transport
) -> None:
    def sent() -> tuple[bytes, list[bytes], bytes]:
        server.received.clear()
        transport.exchange(method, f"{server.url}/x?y=%20z", {"X-A": "1", "Accept": "é"}, body)
        head, _, rest = b"".join(server.received).partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        return first, sorted(lines), rest

    server.answers = [PLAIN, PLAIN]
    by_library = sent()
    assert sent() == by_library
    assert server.connections == 1


def test_a_request_and_its_body_are_sent_at_once(server: Scripted, transport: Transport) -> None:
    server.answers = [PLAIN, PLAIN]
    told(transport, server)
    transport.exchange("POST", f"{server.url}/x", {}, b"some")
    assert server.received[-1].endswith(b"\r\n\r\nsome")
    assert len(server.received) == 2


@pytest.mark.parametrize("value", ["a\r\nX-B: b", "a\r\n", "a\nX-B: b", "a\rb", "€"])
def test_what_cannot_be_a_header_is_never_sent(value: str, server: Scripted, transport: Transport) -> None:
    server.answers = [PLAIN]
    told(transport, server)
    with pytest.raises(ExchangeFailed, match="holds characters that cannot be sent") as caught:
        transport.exchange("GET", server.url, {"X-A": value}, None)
    assert not caught.value.sent
    assert value not in str(caught.value)
    assert len(server.received) == 1


def test_a_connection_that_was_closed_meanwhile_is_not_used(server: Scripted, transport: Transport) -> None:
    server.answers = [[*PLAIN, b""], PLAIN]
    assert told(transport, server)[:2] == (200, b"body")  # type: ignore[index]
    kept = transport._kept.way(transport._address_of(server.url)).pool.pool.queue[-1]  # type: ignore[union-attr]
    kept.sock.settimeout(5)
    assert kept.sock.recv(1, socket.MSG_PEEK) == b""
    assert told(transport, server)[:2] == (200, b"body")  # type: ignore[index]
    assert server.connections == 2
