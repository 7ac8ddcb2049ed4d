# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange on a connection that is open already, where request and answer are of the plainest kind.

Nearly all are, and urllib3 spends eight times as long on one as this module. Whatever is out of the ordinary is left to
it: a request is not written here, and an answer is read by it from its first byte (in chunks, compressed, an error).
"""

from __future__ import annotations

import io
import re
import socket
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse  # noqa: TID251  what urllib3 reads answers with
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import IncompleteRead, ProtocolError
from urllib3.util import SKIP_HEADER

__all__ = ["INTERIM", "Answer", "TooSlow", "answered", "body_of", "written"]

PIECE = 2**16
LARGE = 2**16
"""Bytes of a body from which on the library's share is small."""

INTERIM = 200
"""Answers with a lower status are followed by another (RFC 9110, 15.2), which the next request must not get."""

USER_AGENT = f"User-Agent: python-urllib3/{urllib3.__version__}"  # type: ignore[attr-defined]
BODILESS = frozenset({"GET", "DELETE"})
METHODS = BODILESS | {"POST", "PUT", "PATCH"}
OWN = frozenset({"host", "content-length", "transfer-encoding", "expect", "connection", "upgrade"})
FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n]*)")
FIRST = re.compile(r"HTTP/1\.1 (20[0-3])(?: .*)?")
END = re.compile(rb"\n\r?\n")

Answer = tuple[int, Mapping[str, str], bytes]


class TooSlow(OSError):
    """An answer came in pieces, and not within the deadline."""


def written(
    connection: HTTPConnection, method: str, target: str, headers: Mapping[str, str], data: bytes | None
) -> bytes | None:
    """The request as it is sent, its body with it; None where the library is to write or to refuse it."""
    names = {name.lower() for name in headers}
    host = connection.host
    plain = method in METHODS and len(data or b"") < LARGE and not names & OWN and SKIP_HEADER not in headers.values()
    fields = [f"{name}: {value}" for name, value in headers.items()]
    text = "".join([target, host, *fields])
    if not plain or " " in target or not (text.isascii() and text.isprintable()):
        return None
    shown = f"[{host}]" if ":" in host else host
    port = "" if connection.port == connection.default_port else f":{connection.port}"
    lines = [f"{method} {target} HTTP/1.1", f"Host: {shown}{port}"]
    if "accept-encoding" not in names:
        lines.append("Accept-Encoding: identity")
    if "user-agent" not in names:
        lines.append(USER_AGENT)
    if data is not None or method not in BODILESS:
        lines.append(f"Content-Length: {len(data or b'')}")
    return "\r\n".join([*lines, *fields, "", ""]).encode("ascii") + (data or b"")


def answered(connection: HTTPConnection, method: str, request: bytes, silence: float, limit: float) -> Answer:
    """Send a written request and read its whole answer, until the moment ``limit``.

    The connection is closed unless it can be used again.

    Raises:
        HTTPError, OSError: no whole answer came.
    """
    kept = False
    try:
        sock: Any = connection.sock
        sock.settimeout(silence)
        sock.sendall(request)
        begun = b""
        while (end := END.search(begun)) is None and (len(begun) < LARGE and b"HTTP/"[: len(begun)] == begun[:5]):
            piece = sock.recv(PIECE)
            if not piece:
                break
            begun += piece
            _in_time(limit)
        if not begun:
            raise ProtocolError("Connection aborted.", ConnectionError("it was closed without an answer"))
        plain = _plain(begun[: end.start()].removesuffix(b"\r")) if end else None
        if end is None or plain is None:
            answer, kept = _by_library(_Begun(begun, sock), method, limit)
            return answer
        status, headers, length = plain
        body = begun[end.end() :]
        if len(body) < length:
            body = _rest(body, sock.recv, length, limit)
        kept = len(body) == length
        return status, urllib3.HTTPHeaderDict(headers), body[:length]
    finally:
        if not kept:
            connection.close()


def body_of(answer: urllib3.BaseHTTPResponse, limit: float) -> bytes:
    """The body of an answer that the library reads, decompressed."""
    pieces = []
    while piece := answer.read1(PIECE, decode_content=True):
        pieces.append(piece)
        _in_time(limit)
    return b"".join(pieces)


def _in_time(limit: float) -> None:
    if time.monotonic() > limit:
        raise TooSlow


def _plain(head: bytes) -> tuple[int, dict[str, str], int] | None:
    """Status, headers and the body's length; None where anything is out of the ordinary."""
    first, *lines = head.decode("latin-1").split("\r\n")
    status = FIRST.fullmatch(first)
    headers: dict[str, str] = {}
    for line in lines:
        field = FIELD.fullmatch(line)
        if field is None or field[1].lower() in headers:
            return None
        headers[field[1].lower()] = field[2].strip(" \t")
    length = headers.get("content-length", "")
    usual = headers.get("connection", "keep-alive").lower() == "keep-alive"
    if status is None or not usual or not (length.isascii() and length.isdigit()):
        return None
    if "transfer-encoding" in headers or "content-encoding" in headers:
        return None
    return int(status[1]), headers, int(length)


def _rest(body: bytes, receive: Callable[[int], bytes], length: int, limit: float) -> bytes:
    pieces, missing = [body], length - len(body)
    while missing:
        piece = receive(min(PIECE, missing))
        if not piece:
            raise IncompleteRead(length - missing, missing)
        pieces.append(piece)
        missing -= len(piece)
        _in_time(limit)
    return b"".join(pieces)


def _by_library(begun: _Begun, method: str, limit: float) -> tuple[Answer, bool]:
    """The answer, and whether the connection can be used again."""
    read: Any = HTTPResponse(begun, method=method)  # type: ignore[arg-type]
    try:
        read.begin()
    except HTTPException as error:
        raise ProtocolError("Connection aborted.", error) from error
    answer = urllib3.HTTPResponse(
        body=read,
        headers=urllib3.HTTPHeaderDict(read.msg.items()),
        status=read.status,
        preload_content=False,
        decode_content=False,
        original_response=read,
        request_method=method,
    )
    try:
        body = body_of(answer, limit)
        is_final = answer.status >= INTERIM
        return (answer.status, answer.headers, body), is_final and read.isclosed() and not read.will_close
    finally:
        answer.close()


class _Begun(io.RawIOBase):
    """A socket from which the beginning of an answer was read already, for who reads it from there."""

    def __init__(self, begun: bytes, sock: socket.socket) -> None:
        self._begun = begun
        self._socket = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        """What reads from it."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._begun:
            return self._socket.recv_into(buffer)
        count = min(len(buffer), len(self._begun))
        buffer[:count] = self._begun[:count]
        self._begun = self._begun[count:]
        return count
