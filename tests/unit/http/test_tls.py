# SPDX-License-Identifier: Apache-2.0
"""Certificates and proxies: whom a resource trusts, who it says it is, and which way its requests go."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientSession, web
from small_server import Server

from qrmi_core import ResourceUnavailable, VendorUnreachable
from qrmi_core.environment import TRUSTED
from qrmi_core.http import HttpClient
from qrmi_core.http_settings import HttpSettings, http_settings
from qrmi_core.submission import Undecided
from qrmi_core.trust import tls_context

Serve = Callable[..., Server]


async def hello(_request: web.Request) -> web.Response:
    return web.json_response({"hello": "world"})


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return ca, tmp_path / "ca.pem"


def server_tls(ca: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name).configure_cert(context)
    return context


def client(url: str, **variables: str) -> HttpClient:
    settings = http_settings("qpu", {"QRMI_HTTP_DEADLINE": "2", **variables})
    return HttpClient(url, settings, resource="qpu")


def test_an_unknown_authority_is_named_by_a_variable(serve: Serve, authority: tuple[trustme.CA, Path]) -> None:
    ca, file = authority
    url = serve(web.get("/x", hello), web.post("/x", hello), tls=server_tls(ca)).url
    for call in (lambda: client(url).get("/x"), lambda: client(url).submit("/x", body={})):
        with pytest.raises(VendorUnreachable, match=r"no safe connection .*certificate.*QRMI_HTTP_CA_FILE of qpu"):
            call()
    assert client(url, QRMI_HTTP_CA_FILE=str(file)).get_json("/x") == {"hello": "world"}


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_certificates_of_the_environment_are_trusted(
    serve: Serve, authority: tuple[trustme.CA, Path], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, file = authority
    url = serve(web.get("/x", hello), tls=server_tls(ca)).url
    for name in TRUSTED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(file))
    assert client(url).get_json("/x") == {"hello": "world"}
    other = file.with_name("other.pem")
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(VendorUnreachable, match=r"CERTIFICATE_VERIFY_FAILED.*QRMI_HTTP_CA_FILE of qpu"):
        client(url, QRMI_HTTP_CA_FILE=str(other)).get_json("/x")


def test_a_file_of_certificates_that_is_not_there_is_named(
    serve: Serve, authority: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, file = authority
    url = serve(web.get("/x", hello), tls=server_tls(ca)).url
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file.with_name("nowhere.pem")))
    with pytest.raises(
        VendorUnreachable,
        match=r"no safe connection to .*nowhere\.pem: No such file.* is named by .*REQUESTS_CA_BUNDLE",
    ):
        client(url).get_json("/x")


def test_a_host_without_certificates_trusts_those_of_certifi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrmi_core.trust.system_roots", lambda: None)
    assert len(tls_context(HttpSettings()).get_ca_certs()) > 50


def test_the_authorities_of_the_host_are_trusted(
    serve: Serve, authority: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, file = authority
    for name in TRUSTED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("qrmi_core.trust.USUAL", (str(file),))
    assert client(serve(web.get("/x", hello), tls=server_tls(ca)).url).get_json("/x") == {"hello": "world"}


def test_a_safe_connection_is_kept_and_serves_large_answers_again_and_again(
    serve: Serve, authority: tuple[trustme.CA, Path]
) -> None:
    ca, file = authority
    peers = set()

    async def large(request: web.Request) -> web.Response:
        peers.add(request.transport and request.transport.get_extra_info("peername"))
        return web.json_response({"filler": await request.text() * 10})

    api = client(serve(web.post("/x", large), tls=server_tls(ca)).url, QRMI_HTTP_CA_FILE=str(file))
    for size in (1, 1000, 100_000, 10):
        assert api.submit("/x", data=b"x" * size).json() == {"filler": "x" * size * 10}
    assert len(peers) == 1


def test_a_certificate_for_another_host_is_refused(serve: Serve, authority: tuple[trustme.CA, Path]) -> None:
    ca, file = authority
    url = serve(web.get("/x", hello), tls=server_tls(ca, "qpu.example")).url
    with pytest.raises(VendorUnreachable, match=r"no safe connection .*(mismatch|doesn't match|not valid for)"):
        client(url, QRMI_HTTP_CA_FILE=str(file)).get("/x")


def test_a_server_that_asks_for_a_certificate_gets_it(
    serve: Serve, authority: tuple[trustme.CA, Path], tmp_path: Path
) -> None:
    ca, file = authority
    tls = server_tls(ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    url = serve(web.get("/x", hello), tls=tls).url
    with pytest.raises(VendorUnreachable, match=r"certificate|did not arrive"):
        client(url, QRMI_HTTP_CA_FILE=str(file)).get("/x")
    own = ca.issue_cert("user@site.example")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    files = {"QRMI_HTTP_CERTIFICATE_FILE": str(tmp_path / "own.pem"), "QRMI_HTTP_KEY_FILE": str(tmp_path / "key.pem")}
    assert client(url, QRMI_HTTP_CA_FILE=str(file), **files).get_json("/x") == {"hello": "world"}


def test_a_file_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(ResourceUnavailable, match=r"QRMI_HTTP_CA_FILE of qpu: there is no file /nowhere/ca.pem"):
        http_settings("qpu", {"QRMI_HTTP_CA_FILE": "/nowhere/ca.pem"})


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_time_out_that_is_none(text: str) -> None:
    with pytest.raises(ResourceUnavailable, match=f"QRMI_HTTP_READ_TIMEOUT of qpu is '{text}': a positive number"):
        http_settings("qpu", {"QRMI_HTTP_READ_TIMEOUT": text})


def test_requests_go_through_the_proxy_that_is_named(serve: Serve) -> None:
    behind = serve(web.get("/x", hello))
    seen: list[str] = []

    async def forward(request: web.Request) -> web.Response:
        seen.append(str(request.url))
        async with ClientSession() as session, session.get(behind.url + "/x") as answer:
            return web.json_response(await answer.json())

    proxy = serve(web.get("/{path:.*}", forward))
    asked = client("http://qpu.example", QRMI_HTTP_PROXY=proxy.url)
    assert asked.get_json("/x") == {"hello": "world"}
    assert seen == ["http://qpu.example/x"]


def test_a_proxy_that_is_down_is_named_as_such() -> None:
    asked = client("http://qpu.example", QRMI_HTTP_PROXY="http://user:s3cret@127.0.0.1:9")
    for call in (lambda: asked.get("/x"), lambda: asked.submit("/x", body={})):
        with pytest.raises(VendorUnreachable, match=r"the proxy for http://qpu.example/x cannot be used") as raised:
            call()
        assert "s3cret" not in str(raised.value)


def test_a_safe_connection_that_breaks_after_the_request_leaves_it_undecided(
    authority: tuple[trustme.CA, Path],
) -> None:
    ca, file = authority
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_in_plain_text() -> None:
        connection, _ = listener.accept()
        safe = server_tls(ca).wrap_socket(connection, server_side=True)
        safe.recv(65536)
        os.write(safe.fileno(), b"this is no TLS record, it is plain text")
        with contextlib.suppress(OSError):
            safe.recv(65536)
        safe.close()

    thread = threading.Thread(target=answer_in_plain_text, daemon=True)
    thread.start()
    url = "https://127.0.0.1:{1}".format(*listener.getsockname())
    with pytest.raises(Undecided, match=r"the safe connection to .* broke"):
        client(url, QRMI_HTTP_CA_FILE=str(file)).submit("/x", body={})
    listener.close()
    thread.join(5)


def test_a_server_without_tls_is_no_safe_connection(serve: Serve) -> None:
    url = serve(web.post("/x", hello)).url.replace("http:", "https:")
    with pytest.raises(VendorUnreachable, match=r"no safe connection to .*speaks no TLS: check the address, whether"):
        client(url).submit("/x", body={})
