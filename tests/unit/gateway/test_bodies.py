# SPDX-License-Identifier: Apache-2.0
"""Bodies that come over real HTTP: spooled within limits, looked at, rebuilt and sent on."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from qrmi_core.gateway.bodies import Envelope, Spool, Spooled, top_level
from qrmi_core.gateway.request_rules import BadRequest

MOST = 2_000_000
BUDGET = 10 * MOST
GZIP = {"Content-Encoding": "gzip"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A server that leaves bodies as they come, for one route; its URL."""
    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, auto_decompress=False, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def answering(spool: Spool, use: Callable[[Spooled], Awaitable[Any]], most: int = MOST, **more: Any) -> Handler:
    """Answers what ``use`` makes of the body, or the refusal."""

    async def handle(request: web.Request) -> web.Response:
        try:
            async with await spool.take(request, most=most, **more) as body:
                return web.json_response(await use(body))
        except BadRequest as refused:
            return web.json_response(refused.reason, status=refused.status)

    return handle


async def seen(body: Spooled) -> Any:
    pieces = [piece async for piece in body.pieces()]
    assert all(0 < len(piece) <= 65536 for piece in pieces)
    whole = b"".join(pieces)
    assert len(whole) == body.size
    assert b"".join([piece async for piece in body.pieces(3, body.size - 3)]) == whole[3:-3] or body.size < 6
    return [body.in_memory, body.size, zlib.crc32(whole)]


def posted(spool: Spool, data: Any, use: Callable[[Spooled], Awaitable[Any]] = seen, **more: Any) -> tuple[int, Any]:
    headers: Mapping[str, str] = more.pop("headers", {})

    async def run() -> tuple[int, Any]:
        async with (
            served(answering(spool, use, **more)) as url,
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(url, data=data() if callable(data) else io.BytesIO(data), headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    outcome = asyncio.run(asyncio.wait_for(run(), 60))
    assert spool.used == 0
    return outcome


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, budget=BUDGET)


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 256 * 1024, 256 * 1024 + 1, 1_300_001, MOST])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_arrive_whole(spool: Spool, size: int, packed: bool, chunked: bool) -> None:
    data = (bytes(range(256)) * 8000)[:size]
    sent = gzip.compress(data) if packed else data

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(sent), 50_000):
            yield sent[at : at + 50_000]

    status, told = posted(spool, chunks if chunked else sent, headers=GZIP if packed else {})
    assert (status, told) == (200, [size <= 256 * 1024, size, zlib.crc32(data)])
    assert not any(spool.directory.iterdir())


BOMB = gzip.compress(bytes(MOST + 1))
MEMBER = gzip.compress(b'{"a":1}')
PACKED = {
    "bomb": (BOMB, 413, "longer than 2000000 bytes"),
    "bomb in front of rubbish": (BOMB + b"x", 413, "longer"),
    "bomb of empty blocks": (MEMBER[:10] + b"\x00\x00\x00\xff\xff" * (MOST // 5 + 1), 413, "longer"),
    "two members": (MEMBER + MEMBER, 400, "something follows"),
    "trailing garbage": (MEMBER + b"\x00", 400, "something follows"),
    "cut off": (MEMBER[:-1], 400, "cut off"),
    "cut off in the data": (MEMBER[:14], 400, "cut off"),
    "empty": (b"", 400, "cut off"),
    "wrong checksum": (MEMBER[:-8] + bytes(8), 400, "not what gzip makes"),
    "no gzip": (b'{"a":1}', 400, "not what gzip makes"),
    "zlib": (zlib.compress(b'{"a":1}'), 400, "not what gzip makes"),
}


@pytest.mark.parametrize("name", PACKED)
def test_gzip_within_limits(spool: Spool, name: str) -> None:
    data, status, reason = PACKED[name]
    told = posted(spool, data, headers=GZIP)
    assert told[0] == status
    assert reason in told[1]


@pytest.mark.parametrize("cut", range(1, len(MEMBER), 3))
def test_a_second_member_is_found_wherever_the_pieces_end(spool: Spool, cut: int) -> None:
    sent = MEMBER + MEMBER

    async def chunks() -> AsyncIterator[bytes]:
        for piece in (sent[:cut], sent[cut : len(MEMBER)], sent[len(MEMBER) :]):
            yield piece
            await asyncio.sleep(0)

    assert posted(spool, chunks, headers=GZIP)[0] == 400


def test_too_long_with_and_without_a_length(spool: Spool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield bytes(65536)

    for data in (bytes(MOST + 1), chunks):
        status, reason = posted(spool, data)
        assert (status, reason) == (413, f"the body is longer than {MOST} bytes")


def test_the_budget_of_all_bodies(tmp_path: Path) -> None:
    spool = Spool(tmp_path, budget=1_000_000)
    held = asyncio.Event()

    async def hold(body: Spooled) -> int:
        await held.wait()
        return body.size

    async def run() -> None:
        async with served(answering(spool, hold)) as url, aiohttp.ClientSession() as session:
            first = asyncio.ensure_future(session.post(url, data=bytes(700_000)))
            async with asyncio.timeout(30):
                while spool.used < 700_000:
                    await asyncio.sleep(0.01)
            async with session.post(url, data=bytes(400_000)) as answer:
                assert answer.status == 503
                assert "as many bodies as it can" in await answer.json()
            assert spool.used == 700_000
            held.set()
            async with await first as answer:
                assert (answer.status, await answer.json()) == (200, 700_000)
            async with session.post(url, data=bytes(400_000)) as answer:
                assert answer.status == 200

    asyncio.run(asyncio.wait_for(run(), 60))
    assert spool.used == 0


def test_no_room_on_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "absent", budget=BUDGET)
    status, reason = posted(spool, bytes(300_000))
    assert (status, reason) == (503, "the gateway has no room for the body; try again later")


def raw(spool: Spool, sent: bytes, **more: Any) -> bytes:
    """What is answered to these bytes, after which nothing comes."""

    async def run() -> bytes:
        async with served(answering(spool, seen, **more)) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].rstrip("/")))
            writer.write(sent)
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return answer

    answer = asyncio.run(asyncio.wait_for(run(), 60))
    assert spool.used == 0
    return answer


def test_broken_chunks_and_silence(spool: Spool) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 400 " in raw(spool, head + b"5\r\nhello\r\nrubbish\r\n")
    assert b" 408 " in raw(spool, head + b"5\r\nhello\r\n", idle_seconds=0.05)
    assert b" 408 " in raw(spool, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1", idle_seconds=0.05)


def test_a_client_that_leaves_gives_its_room_back(spool: Spool) -> None:
    async def run() -> None:
        async with served(answering(spool, seen)) as url:
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].rstrip("/")))
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + bytes(500_000))
            async with asyncio.timeout(30):
                while not spool.used:
                    await asyncio.sleep(0.01)
                writer.close()
                while spool.used:
                    await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 60))


async def spooled(spool: Spool, data: bytes) -> Spooled:
    body = Spooled(spool)
    for at in range(0, len(data), 60_000):
        await body.add(data[at : at + 60_000])
    await body.complete()
    return body


def test_files_are_private_and_without_a_name(spool: Spool) -> None:
    async def run() -> None:
        async with await spooled(spool, bytes(600_000)) as body:
            assert body._file is not None
            status = os.fstat(body._file.fileno())
            assert (status.st_mode & 0o777, status.st_nlink, status.st_size) == (0o600, 0, 600_000)
        with pytest.raises(ValueError, match="was closed"):
            body.read(0, 1)

    asyncio.run(run())


def test_a_file_is_closed_only_when_no_thread_is_at_it(spool: Spool) -> None:
    """Its descriptor could stand for another's body by then."""

    async def run() -> None:
        body = await spooled(spool, bytes(600_000))
        file = body._file
        assert file is not None
        reading, pipe = os.pipe()
        try:
            waiting = asyncio.ensure_future(body._in_thread(os.read, reading, 1))
            await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            body.close()
            assert not file.closed
            os.write(pipe, b"x")
            async with asyncio.timeout(30):
                while not file.closed:
                    await asyncio.sleep(0.001)
        finally:
            os.close(reading)
            os.close(pipe)

    asyncio.run(run())


def looked_at(spool: Spool, data: bytes, use: Callable[[Envelope], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with await spooled(spool, data) as body:
            return await use(await top_level(body))

    outcome = asyncio.run(asyncio.wait_for(run(), 60))
    assert spool.used == 0
    return outcome


def body_of(length: int) -> bytes:
    filler = json.dumps(list(range(length // 7))).encode()
    return b'{ "backend" : "ibm_fez", "params": {"x": %s},\n "session": {"id": 1, "id": 2}, "none": null}' % filler


@pytest.mark.parametrize("length", [700, 100_000, 1_000_000])
def test_small_values_are_handed_out(spool: Spool, length: int) -> None:
    async def use(envelope: Envelope) -> None:
        assert envelope.names == ("backend", "params", "session", "none")
        assert "backend" in envelope
        assert "x" not in envelope
        assert (envelope.get("backend"), envelope.value("backend")) == (b'"ibm_fez"', "ibm_fez")
        assert (envelope.get("none"), envelope.value("none")) == (b"null", None)
        assert (envelope.get("x"), envelope.value("x"), envelope.span("x")) == (None, None, None)
        start, end = envelope.span("params") or (0, 0)
        assert body_of(length)[start:end].startswith(b'{"x": [0, 1')
        with pytest.raises(BadRequest, match="a key in the value of session stands twice"):
            envelope.value("session")
        if length > 700:
            with pytest.raises(BadRequest, match="params is longer than 64 kB"):
                envelope.get("params")

    looked_at(spool, body_of(length), use)


@pytest.mark.parametrize("length", [700, 100_000, 1_000_000])
def test_hostile_bodies_of_any_length(spool: Spool, length: int) -> None:
    async def use(envelope: Envelope) -> None:
        raise AssertionError(envelope.names)

    for wrong, reason in (
        (body_of(length)[:-1] + b', "backend": 1}', "stands twice"),
        (body_of(length)[:-1] + rb', "\u0062ackend": 1}', "with an escape"),
        (body_of(length) + b"{}", "follows|trailing"),
        (body_of(length)[:-1], "too early|truncated"),
        (b"[" + body_of(length) + b"]", "{ was expected"),
        (b"\xef\xbb\xbf" + body_of(length), "expected|invalid"),
        (body_of(length).replace(b"[0, 1,", b"[0, NaN,"), "invalid"),
        (body_of(length).replace(b"]", b'"\xff"]'), "not UTF-8"),
    ):
        with pytest.raises(BadRequest, match=reason):
            looked_at(spool, wrong, use)


@pytest.mark.parametrize("length", [700, 100_000, 1_000_000])
def test_all_but_the_envelope_is_spliced_in_as_it_was(spool: Spool, length: int) -> None:
    async def use(envelope: Envelope) -> None:
        start, end = envelope.span("params") or (0, 0)
        params = body_of(length)[start:end]
        rebuilt = envelope.rebuilt({"backend": b'"ibm_torino"', 'ta"gs': b'["t"]'}, {"none", "absent"})
        wanted = b'{"backend":"ibm_torino","params": %s,"session": {"id": 1, "id": 2},"ta\\"gs":["t"]}' % params
        for _ in range(2):
            pieces = [piece async for piece in rebuilt.pieces()]
            assert b"".join(pieces) == wanted
            assert len(wanted) == rebuilt.length
            assert max(map(len, pieces)) <= 65536
        data = rebuilt.data()
        assert (data if isinstance(data, bytes) else b"".join([piece async for piece in data])) == wanted
        assert await whole(envelope.rebuilt({}, envelope.names)) == b"{}"
        assert await whole(envelope.rebuilt({"a": b"1"}, envelope.names)) == b'{"a":1}'
        with pytest.raises(ValueError, match="both replaced and removed"):
            envelope.rebuilt({"a": b"1"}, ["a"])
        with pytest.raises(ValueError, match="trailing"):
            envelope.rebuilt({"a": b'1,"b":2'})

    looked_at(spool, body_of(length), use)


async def whole(rebuilt: Any) -> bytes:
    return b"".join([piece async for piece in rebuilt.pieces()])


NAMES = st.sampled_from(["backend", "session", "tags", "x", "", "é"])
SMALL = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])), st.lists, max_leaves=5
)


@given(st.dictionaries(NAMES, SMALL), st.dictionaries(NAMES, SMALL), st.sets(NAMES))
@settings(max_examples=60, deadline=None)
def test_rebuilding_is_what_a_dictionary_does(was: dict[str, Any], new: dict[str, Any], gone: Iterable[str]) -> None:
    removed = set(gone) - set(new)

    async def use(envelope: Envelope) -> bytes:
        replace = {name: json.dumps(value).encode() for name, value in new.items()}
        return await whole(envelope.rebuilt(replace, removed))

    spool = Spool(Path("absent"), budget=BUDGET)
    rebuilt = json.loads(looked_at(spool, json.dumps(was, ensure_ascii=False).encode(), use))
    wanted = {name: value for name, value in (was | new).items() if name not in removed}
    assert rebuilt == wanted
    assert list(rebuilt) == list(wanted)


@pytest.mark.parametrize("length", [700, 1_000_000])
def test_a_rebuilt_body_goes_to_the_vendor_with_its_length(spool: Spool, length: int) -> None:
    came: list[tuple[Any, bytes]] = []

    async def vendor(request: web.Request) -> web.Response:
        came.append((dict(request.headers), await request.content.read()))
        return web.json_response("taken")

    async def run() -> None:
        async with (
            served(vendor) as vendor_url,
            aiohttp.ClientSession() as session,
            served(answering(spool, lambda body: forward(body, session, vendor_url))) as url,
            session.post(url, data=gzip.compress(body_of(length)), headers=GZIP) as answer,
        ):
            assert await answer.json() == "taken"

    async def forward(body: Spooled, session: aiohttp.ClientSession, url: str) -> Any:
        rebuilt = (await top_level(body)).rebuilt({"backend": b'"real"'})
        headers = {"Content-Length": str(rebuilt.length)}
        async with session.post(url, data=rebuilt.data(), headers=headers) as answer:
            return await answer.json()

    asyncio.run(asyncio.wait_for(run(), 60))
    [(headers, body)] = came
    assert json.loads(body) == {**json.loads(body_of(length)), "backend": "real"}
    assert headers["Content-Length"] == str(len(body))
    assert "Transfer-Encoding" not in headers


MEMORY = """
import asyncio, json, resource, sys, zlib
from pathlib import Path
from aiohttp import web
import aiohttp
from qrmi_core.gateway.bodies import Spool, top_level
from qrmi_core.gateway.request_rules import BadRequest

def peak():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024

async def main(directory):
    spool = Spool(Path(directory), budget=100_000_000)
    async def handle(request):
        try:
            async with await spool.take(request, most=25_000_000) as body:
                rebuilt = (await top_level(body)).rebuilt({"backend": b'"real"'})
                size = 0
                async for piece in rebuilt.pieces():
                    size += len(piece)
                return web.json_response(size)
        except BadRequest as refused:
            return web.json_response(refused.reason, status=refused.status)
    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    text = b"OPENQASM 3; cx q[0]" + rb'\\n\\"' + "é".encode()
    async def qasm(size):
        yield b'{"backend": "fez", "params": {"q": "'
        for _ in range(size // 60_000):
            yield text * (60_000 // len(text))
        yield b'"}}'
    async def numbers(size):
        yield b'{"backend": "fez", "params": {"q": [0'
        for _ in range(size // 60_000):
            yield b", [0.123456789, -1e-9]" * (60_000 // 22)
        yield b"]}}"
    async def bomb(size):
        packer = zlib.compressobj(wbits=31)
        for _ in range(30):
            yield packer.compress(b" " * size)
        yield packer.flush()
    async with aiohttp.ClientSession() as session:
        async def post(make, size, headers=None):
            async with session.post(url, data=make(size), headers=headers) as answer:
                return answer.status, await answer.json()
        for make in (qasm, numbers):
            await post(make, 1_000_000)
        await post(bomb, 1_000_000, {"Content-Encoding": "gzip"})
        before = peak()
        told = [await post(make, 20_000_000) for make in (qasm, numbers)]
        told.append(await post(bomb, 1_000_000, {"Content-Encoding": "gzip"}))
    await runner.cleanup()
    print(json.dumps([peak() - before, told, spool.used]))

asyncio.run(main(sys.argv[1]))
"""


def test_a_body_of_20_mb_takes_5_mb_of_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    ran = subprocess.run(command, check=True, capture_output=True, timeout=100)
    grown, told, used = json.loads(ran.stdout)
    assert [status for status, _ in told] == [200, 200, 413]
    assert min(size for _, size in told[:2]) > 19_000_000
    assert used == 0
    assert grown <= 5


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_value_is_read_as_a_file_and_never_as_a_whole(tmp_path: Path, size: int) -> None:
    value = json.dumps({"x": "y" * size}).encode()

    async def run() -> None:
        spool = Spool(tmp_path, budget=BUDGET)
        async with await spooled(spool, b'{"first": 1, "params": %b, "last": []}' % value) as body:
            envelope = await top_level(body)
            file = envelope.reading("params")
            assert (file.read(3), file.tell(), file.read()) == (value[:3], 3, value[3:])
            assert file.read(1) == b""
            assert (file.seek(0, io.SEEK_END), file.seek(-2, io.SEEK_CUR), file.read()) == (
                len(value), len(value) - 2, value[-2:],
            )  # fmt: skip
            assert file.seek(0) == 0
            assert b"".join(iter(lambda: file.read(1000), b"")) == value
            assert envelope.reading("absent").read() == b""
        with pytest.raises(ValueError, match="this body was closed"):
            envelope.reading("params").read(1)

    asyncio.run(run())
