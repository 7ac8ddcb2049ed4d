# SPDX-License-Identifier: Apache-2.0
"""The HTTP client against a real server: what is retried, what is not, and what its errors say."""

from __future__ import annotations

import asyncio
import email.utils
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from small_server import Server

from qrmi_core import AuthenticationFailed, ResultError, VendorError, VendorUnreachable, http
from qrmi_core.gateway.faults import FaultRates
from qrmi_core.http import HttpClient, Told
from qrmi_core.http_settings import HttpSettings
from qrmi_core.submission import Undecided
from qrmi_core.tokens import BearerToken, Token

Serve = Callable[..., Server]

QUICK = HttpSettings(connect_timeout=2.0, read_timeout=0.3, deadline=5.0)
RETRIED = ["error", "error_after", "unavailable", "too_many", "reset_before", "reset_after", "truncated"]


async def hello(_request: web.Request) -> web.Response:
    return web.json_response({"hello": "world", "filler": "x" * 500})


def client(url: str, settings: HttpSettings = QUICK, **more: Any) -> HttpClient:
    return HttpClient(url, settings, resource="qpu", **more)


@pytest.mark.parametrize("fault", [*RETRIED, "cut_json"])
def test_a_read_survives(serve: Serve, fault: str) -> None:
    server = serve(web.get("/x", hello))
    server.faults.next_faults = [("/x", fault), ("/x", fault)]
    assert client(server.url).get_json("/x")["hello"] == "world"
    assert server.faults.counters.requests["GET /x"] == 3


def test_a_file_is_sent_from_its_beginning_each_time_and_its_length_is_told(serve: Serve, tmp_path: Path) -> None:
    got: list[tuple[str | None, bytes]] = []

    async def put(request: web.Request) -> web.Response:
        got.append((request.headers.get("Content-Length"), await request.read()))
        return web.json_response({}, status=200 if len(got) > 1 else 503)

    server = serve(web.put("/x", put))
    (tmp_path / "body").write_bytes(content := bytes(range(256)) * 1000)
    with (tmp_path / "body").open("rb", buffering=0) as file:
        assert client(server.url).change("PUT", "/x", data=file).status == 200
    assert got == [(str(len(content)), content)] * 2


@pytest.mark.parametrize("read", ["get_json", "get_document"])
def test_a_document_that_stays_cut_off_is_an_error_and_no_text(serve: Serve, read: str) -> None:
    server = serve(web.get("/x", hello))
    server.faults.rates = FaultRates(cut_json=1.0)
    with pytest.raises(ResultError, match="answered with what is not JSON"):
        getattr(client(server.url, HttpSettings(deadline=0.3)), read)("/x")


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(serve: Serve, form: str) -> None:
    asked: list[float] = []

    async def busy(_request: web.Request) -> web.Response:
        asked.append(time.monotonic())
        if len(asked) > 1:
            return web.json_response({})
        value = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
        return web.json_response({}, status=429, headers={"Retry-After": value})

    client(serve(web.get("/x", busy)).url).get("/x")
    assert asked[1] - asked[0] >= 0.9


def test_a_retry_after_beyond_the_deadline_is_an_error_at_once(serve: Serve) -> None:
    async def busy(_request: web.Request) -> web.Response:
        return web.json_response({}, status=429, headers={"Retry-After": "3600"})

    with pytest.raises(VendorError, match="answered 429") as raised:
        client(serve(web.get("/x", busy)).url).get("/x")
    assert raised.value.transient


def test_a_caller_that_waits_in_its_own_way_is_told_how_long(serve: Serve) -> None:
    async def busy(_request: web.Request) -> web.Response:
        return web.json_response({}, status=429, headers={"Retry-After": "2"})

    server = serve(web.post("/x", busy))
    with pytest.raises(VendorError, match="answered 429") as raised:
        client(server.url).submit("/x", body={}, patient=False)
    assert raised.value.retry_after == 2.0
    assert server.faults.counters.requests["POST /x"] == 1


def test_silence_costs_one_time_out(serve: Serve) -> None:
    server = serve(web.get("/x", hello))
    server.faults.next_faults = [("/x", "hang")]
    with pytest.raises(VendorUnreachable, match=r"was silent for 0.3 s: try again later, or .* QRMI_HTTP_READ_TIMEOUT"):
        client(server.url).get("/x")
    assert server.faults.counters.requests["GET /x"] == 1


def test_a_slow_answer_arrives(serve: Serve) -> None:
    server = serve(web.get("/x", hello))
    server.faults.next_faults = [("/x", "slow")]
    assert client(server.url).get_json("/x")["hello"] == "world"


def test_what_is_never_json_is_an_error_and_no_text(serve: Serve) -> None:
    async def text(_request: web.Request) -> web.Response:
        return web.Response(text="Traceback ...")

    url = serve(web.get("/x", text)).url
    with pytest.raises(ResultError, match="answered with what is not JSON"):
        client(url, HttpSettings(deadline=0.3)).get_json("/x")


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:{1}".format(*free.getsockname())
    with pytest.raises(VendorUnreachable, match=r"cannot be reached: .*refused. Check the address"):
        client(url, HttpSettings(deadline=0.3)).get("/x")
    with pytest.raises(VendorUnreachable, match="cannot be reached"):
        client(url, HttpSettings(deadline=0.3)).submit("/x", body={})


def test_trouble_of_several_requests_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http, "TELL_AFTER", 0.3)
    asking = client("http://127.0.0.1:9", HttpSettings(deadline=0.8))

    def ask() -> None:
        with pytest.raises(VendorUnreachable, match="cannot be reached"):
            asking.get("/x")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1
    assert re.search(r"cannot be reached: .*refused.* It is tried again for \d s", told[0])


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/x", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(VendorUnreachable, match=r"qpu: .*(no address|cannot be reached|did not arrive)"):
        client(url, HttpSettings(deadline=0.3)).get("/x")


@pytest.mark.parametrize("fault", ["error", "error_after", "unavailable", "reset_before", "reset_after", "truncated"])
def test_a_submission_with_an_ambiguous_answer_is_not_sent_again(serve: Serve, fault: str) -> None:
    server = serve(web.post("/x", hello))
    server.faults.next_faults = [("/x", fault)]
    with pytest.raises(Undecided):
        client(server.url).submit("/x", body={})
    assert server.faults.counters.requests["POST /x"] == 1


def test_a_submission_whose_answer_is_cut_off_is_undecided(serve: Serve) -> None:
    server = serve(web.post("/x", hello))
    server.faults.next_faults = [("/x", "cut_json")]
    with pytest.raises(Undecided, match="not JSON, perhaps it was cut off"):
        client(server.url).submit("/x", body={})


def test_a_submission_that_is_refused_for_now_is_sent_again(serve: Serve) -> None:
    server = serve(web.post("/x", hello))
    server.faults.next_faults = [("/x", "too_many")] * 3
    assert client(server.url).submit("/x", body={}).json()["hello"] == "world"
    assert server.faults.counters.requests["POST /x"] == 4


def test_a_refusal_tells_what_the_vendor_says_and_no_secret(serve: Serve) -> None:
    async def refuse(request: web.Request) -> web.Response:
        said = f"key {request.headers['X-Key']} is wrong, {request.query_string}"
        return web.json_response({"message": said, "code": "1201", "hint": "get another"}, status=401)

    def told(response: Any) -> Told:
        body = response.json()
        return Told(body["message"], body["code"], body["hint"])

    url = serve(web.get("/x", refuse)).url
    asking = client(url, headers={"X-Key": "s3cr+t"}, secrets=["s3cr+t"], told=told, credentials="QRMI_KEY of qpu")
    with pytest.raises(
        AuthenticationFailed, match=r"401, code 1201: key .* get another. .* check QRMI_KEY of qpu"
    ) as raised:
        asking.get("/x", query={"key": "s3cr+t"})
    assert "s3cr" not in str(raised.value)
    assert (raised.value.code, raised.value.solution, raised.value.http_status) == ("1201", "get another", 401)
    assert "s3cr" not in (raised.value.reason or "")


def test_a_token_is_fetched_when_needed_before_it_ends_and_after_a_401(serve: Serve) -> None:
    good = {"token-2"}

    async def guarded(request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return web.json_response({}, status=200 if token in good else 401)

    fetched: list[str] = []

    def fetch() -> Token:
        fetched.append(f"token-{len(fetched) + 1}")
        return Token.lasting(fetched[-1], 3600)

    asking = client(serve(web.get("/x", guarded), web.post("/x", guarded)).url, token=BearerToken(fetch))
    assert fetched == []
    asking.get("/x")
    assert fetched == ["token-1", "token-2"]
    asking.get("/x")
    asking.submit("/x", body={}, json_only=False)
    assert fetched == ["token-1", "token-2"]
    good.clear()
    with pytest.raises(AuthenticationFailed, match="answered 401"):
        asking.get("/x")
    assert len(fetched) == 3


def test_a_token_that_ends_soon_is_fetched_before(serve: Serve) -> None:
    fetched: list[Token] = []

    def fetch() -> Token:
        fetched.append(Token.lasting("t", 0.2))
        return fetched[-1]

    token = BearerToken(fetch)
    assert token.current() is token.current()
    threading.Event().wait(0.19)
    token.current()
    assert len(fetched) == 2


def test_a_credential_that_is_good_once_is_made_anew_for_every_attempt(serve: Serve) -> None:
    seen: list[str] = []

    async def once(request: web.Request) -> web.Response:
        seen.append(request.headers["X-Once"])
        return web.json_response({}, status=503 if len(seen) < 3 else 200)

    made = (str(number) for number in range(10))
    asking = client(serve(web.get("/x", once)).url, fresh_headers=lambda: {"X-Once": next(made)})
    asking.get("/x")
    assert seen == ["0", "1", "2"]


def test_a_stall_in_the_middle_costs_one_time_out(serve: Serve) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = 100
        await answer.prepare(request)
        await answer.write(b"x" * 10)
        await asyncio.sleep(5)
        return answer

    server = serve(web.get("/x", stall))
    with pytest.raises(VendorUnreachable, match=r"was silent for 0\.3 s"):
        client(server.url).get("/x")
    assert server.faults.counters.requests["GET /x"] == 1


def test_an_answer_that_drips_is_given_up_at_the_deadline(serve: Serve) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = 1000
        await answer.prepare(request)
        for _ in range(100):
            await answer.write(b"x")
            await asyncio.sleep(0.1)
        return answer

    server = serve(web.get("/x", drip), web.post("/x", drip))
    slow = HttpSettings(read_timeout=0.5, deadline=0.6)
    with pytest.raises(VendorUnreachable, match=r"answered too slowly.*QRMI_HTTP_DEADLINE of qpu"):
        client(server.url, slow).get("/x")
    with pytest.raises(Undecided) as raised:
        client(server.url, slow).submit("/x", body={})
    assert raised.value.at_work


@pytest.mark.parametrize("value", ["0", "nan", "-5", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_retry_after_that_says_now_leaves_the_backoff(serve: Serve, value: str) -> None:
    async def busy(_request: web.Request) -> web.Response:
        return web.json_response({}, status=429, headers={"Retry-After": value})

    server = serve(web.get("/x", busy))
    with pytest.raises(VendorError, match="answered 429"):
        client(server.url, HttpSettings(deadline=1.0)).get("/x")
    assert server.faults.counters.requests["GET /x"] <= 8


@pytest.mark.parametrize("status", [408, 425, 502, 520, 521, 522, 524])
def test_what_stands_in_front_of_a_server_is_asked_again(serve: Serve, status: int) -> None:
    answers = [status, 200]

    async def front(_request: web.Request) -> web.Response:
        return web.json_response({}, status=answers.pop(0))

    assert client(serve(web.get("/x", front)).url).get("/x").status == 200


@pytest.mark.parametrize(("status", "at_work"), [(500, False), (503, False), (408, False), (502, True), (504, True)])
def test_an_undecided_submission_says_whether_it_may_be_taken_yet(serve: Serve, status: int, at_work: bool) -> None:
    async def front(_request: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    with pytest.raises(Undecided) as raised:
        client(serve(web.post("/x", front)).url).submit("/x", body={})
    assert raised.value.at_work is at_work


def test_no_secret_that_came_by_another_way_is_told(serve: Serve) -> None:
    async def echo(request: web.Request) -> web.Response:
        said = f"{request.headers['Authorization']} and X-Amz-Signature=abc123&X=1"
        return web.json_response({"said": said, "token": "fetched-token"}, status=400)

    token = BearerToken(lambda: Token("fetched-token"))
    with pytest.raises(VendorError, match="answered 400") as raised:
        client(serve(web.get("/x", echo)).url, token=token).get("/x")
    assert "fetched-token" not in str(raised.value)
    assert "abc123" not in str(raised.value)


@pytest.mark.parametrize("key", ["line\nbreak", "schlüssel-\u20ac"])
def test_a_key_that_no_header_can_hold(serve: Serve, key: str) -> None:
    url = serve(web.get("/x", hello), web.post("/x", hello)).url
    asking = client(url, headers={"X-Key": key}, secrets=[key], credentials="QRMI_KEY of qpu")
    for call in (lambda: asking.get("/x"), lambda: asking.submit("/x", body={})):
        with pytest.raises(VendorUnreachable, match="a header or the address holds characters") as raised:
            call()
        assert key not in f"{raised.value!r} {raised.value.__cause__!r}"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("127.0.0.1:80", r"is no address .*: QRMI_URL of qpu must be http://\.\.\. or https"),
        ("http://admin:hunter2@127.0.0.1:9", "QRMI_URL of qpu holds a user or password"),
    ],
)
def test_an_address_that_cannot_be_used_names_its_variable(url: str, text: str) -> None:
    asking = client(url, address="QRMI_URL of qpu")
    for call in (lambda: asking.get("/x"), lambda: asking.submit("/x", body={})):
        with pytest.raises(VendorUnreachable, match=text) as raised:
            call()
        assert "hunter2" not in str(raised.value)
        assert not raised.value.transient


def test_eight_threads_share_a_client(serve: Serve) -> None:
    asking = client(serve(web.get("/x", hello)).url)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(asking.get_json("/x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(answers) == 8


def test_threads_that_share_a_client_get_their_own_answers(serve: Serve) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"number": request.match_info["number"]})

    api = client(serve(web.get("/x/{number}", echo)).url, HttpSettings())

    def answers(first: int) -> list[bool]:
        return [api.get_json(f"/x/{number}") == {"number": str(number)} for number in range(first, first + 40)]

    with ThreadPoolExecutor(8) as threads:
        assert all(all(each) for each in threads.map(answers, range(0, 8000, 1000)))


@pytest.mark.parametrize("base", ["http://[::1", "http://user:secret@[bad", "no URL"])
def test_what_is_no_address_is_told_so_and_not_shown_whole(base: str) -> None:
    with pytest.raises(VendorUnreachable, match="is no address that can be reached") as caught:
        client(base).get("/x")
    assert "secret" not in str(caught.value)
