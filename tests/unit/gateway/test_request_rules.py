# SPDX-License-Identifier: Apache-2.0
"""Requests that two servers could read in two ways, sent as raw bytes to a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from qrmi_core.gateway.request_rules import BadRequest, check


@contextlib.asynccontextmanager
async def served(repeated: frozenset[str]) -> AsyncIterator[int]:
    async def handle(request: web.BaseRequest) -> web.Response:
        assert isinstance(request, web.BaseRequest)
        try:
            check(request, repeated=repeated)  # type: ignore[arg-type]
        except BadRequest as refused:
            return web.Response(status=refused.status, text=refused.reason)
        return web.Response(text="passed")

    runner = web.ServerRunner(web.Server(handle, auto_decompress=False, access_log=None))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def asked(*requests: bytes, repeated: frozenset[str] = frozenset()) -> list[tuple[int, str]]:
    """Status and text of the answers, each over a connection of its own."""

    async def run() -> list[tuple[int, str]]:
        async with served(repeated) as port:
            return [await one(port, sent) for sent in requests]

    async def one(port: int, sent: bytes) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        text = await reader.readexactly(length)
        writer.close()
        return int(head.split()[1]), text.decode()

    return asyncio.run(asyncio.wait_for(run(), 30))


def request(target: bytes, *headers: bytes, body: bytes = b"", method: bytes = b"GET") -> bytes:
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: gateway", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


GOOD = [
    b"/",
    b"/v1/jobs",
    b"/v1/jobs/",
    b"/v1/jobs/.hidden",
    b"/v1/jobs/a..b",
    b"/v1/jobs/crn%3Av1%20x",
    b"/v1/jobs/caf%C3%A9",
    b"/v1/jobs?limit=1&tags=a",
    b"/v1/jobs?path=../..//%2f%00",
    b"/v1/jobs?",
]


def test_ordinary_requests_pass() -> None:
    json = b"Content-Type: application/json"
    others = [
        request(b"/v1/jobs", json, b"Content-Length: 2", body=b"{}", method=b"POST"),
        request(b"/v1/jobs", json, b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n", method=b"POST"),
        request(b"/v1/jobs", b"Content-Encoding: GZIP", b"Content-Length: 0", method=b"POST"),
        request(b"/v1/jobs", b"Content-Encoding: identity", b"Content-Length: 0", method=b"POST"),
        request(b"/v1/jobs", b"Authorization: Bearer x", b"Cookie: a=b", b"Cookie: c=d"),
    ]
    assert asked(*map(request, GOOD), *others) == [(200, "passed")] * (len(GOOD) + len(others))


BAD_PATHS = {
    b"/a/../b": "dot segment",
    b"/a/./b": "dot segment",
    b"/a/..": "dot segment",
    b"/..": "dot segment",
    b"/.": "dot segment",
    b"/a/..;x/b": "dot segment",
    b"/a/%2e%2E/b": "encoded dot",
    b"/a/.%2e/b": "encoded dot",
    b"/a%2fb": "encoded slash",
    b"/a%2Fb": "encoded slash",
    b"/a%5cb": "encoded slash or a backslash",
    b"/a%5Cb": "encoded slash or a backslash",
    b"/a\\b": "backslash",
    b"/a%252fb": "encoded percent",
    b"//a": "two slashes",
    b"/a//b": "two slashes",
    b"/a//": "two slashes",
    b"//evil/a": "two slashes",
    b"/a%00b": "control character",
    b"/a%0ab": "control character",
    b"/a%0D%0Ab": "control character",
    b"/a%7fb": "control character",
    b"/a%zzb": "percent sign",
    b"/a%2": "percent sign",
    b"/a#b": "fragment",
    b"http://elsewhere/a": "begin with a slash",
}


def test_odd_paths_are_refused() -> None:
    answers = asked(*map(request, BAD_PATHS))
    for (path, reason), (status, text) in zip(BAD_PATHS.items(), answers, strict=True):
        assert status == 400, path
        assert reason in text, path


@pytest.mark.parametrize("target", [b"/a\x00b", b"/a\x01b", b"/a\x7fb", b"/a\tb", b"/a b", b"/caf\xc3\xa9", b"/\xff"])
def test_raw_control_characters_reach_no_handler(target: bytes) -> None:
    [(status, text)] = asked(request(target))
    assert (status, text != "passed") == (400, True)


BAD_HEADERS = {
    "Authorization stands twice": [b"Authorization: Bearer a", b"authorization: Bearer b"],
    "Content-Encoding stands twice": [b"Content-Encoding: gzip", b"Content-Encoding: identity"],
    "Content-Type stands twice": [b"Content-Type: a/b", b"Content-Type: a/c"],
    "Host stands twice": [b"Host: elsewhere"],
}


def test_headers_that_stand_twice() -> None:
    answers = asked(*(request(b"/", *headers) for headers in BAD_HEADERS.values()))
    for reason, (status, text) in zip(BAD_HEADERS, answers, strict=True):
        assert status == 400
        assert reason in text or text != "passed"


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"gzip, gzip", b"gzip,identity", b"zstd", b"x-gzip"])
def test_other_encodings_of_the_body(encoding: bytes) -> None:
    sent = request(b"/", b"Content-Encoding: " + encoding, b"Content-Length: 0", method=b"POST")
    assert asked(sent) == [(415, "the only Content-Encoding taken is gzip")]


@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Length: 2", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 2"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: xchunked"],
        [b"Content-Length: 2", b"Content-Length: 3"],
        [b"Content-Length: +2"],
    ],
)
def test_two_ways_to_say_how_long_a_body_is(headers: list[bytes]) -> None:
    """Most of them aiohttp refuses before the rules do."""
    [(status, text)] = asked(request(b"/", *headers, body=b"2\r\n{}\r\n0\r\n\r\n", method=b"POST"))
    assert (status, text != "passed") == (400, True)


def test_a_target_that_is_no_path_reaches_no_handler() -> None:
    assert [status for status, _ in asked(request(b"*"), request(b"a/b"))] == [400, 400]


def test_query_keys_that_stand_twice() -> None:
    twice = [b"/a?x=1&x=2", b"/a?x=1&y=3&%78=2", b"/a?x&x"]
    assert asked(*map(request, twice)) == [(400, "a query key stands twice")] * 3
    assert asked(*map(request, twice), repeated=frozenset("x")) == [(200, "passed")] * 3
    assert asked(request(b"/a?x=1&y=1&y=2"), repeated=frozenset("x"))[0][0] == 400
