# SPDX-License-Identifier: Apache-2.0
"""The proxies that the environment names, and those of a protocol of their own."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable

import pytest
from aiohttp import web
from small_server import Server

from qrmi_core.errors import VendorUnreachable
from qrmi_core.http import HttpClient
from qrmi_core.http_settings import HttpSettings
from qrmi_core.proxies import environment_proxy

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("left_out", "host", "by_proxy"),
    [
        ("", "qpu.example", True),
        ("other.example", "qpu.example", True),
        ("example", "qpu.example", False),
        (" .example , other", "qpu.example", False),
        ("QPU.example", "qpu.Example", False),
        ("pu.example", "qpu.example", True),
        ("qpu.example:443", "qpu.example", False),
        ("qpu.example:80", "qpu.example", True),
        ("*", "qpu.example", False),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", False),
        ("1.2.3", "10.1.2.3", True),
        ("fe80::/10,::1", "::1", False),
        ("[fe80::1]", "fe80::1", False),
    ],
)
def test_whom_no_proxy_leaves_out(left_out: str, host: str, by_proxy: bool) -> None:
    found = environment_proxy("https", host, 443, {"https_proxy": PROXY, "no_proxy": left_out})
    assert found == (PROXY if by_proxy else None)


def test_which_proxy_is_meant() -> None:
    assert environment_proxy("http", "h", 80, {"https_proxy": PROXY}) is None
    assert environment_proxy("http", "h", 80, {"all_proxy": PROXY}) == PROXY
    assert environment_proxy("http", "h", 80, {"http_proxy": "proxy.example:3128"}) == PROXY


def test_the_proxy_of_the_environment_is_asked(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str | None]] = []

    async def forward(request: web.Request) -> web.Response:
        seen.append((str(request.url), request.headers.get("Proxy-Authorization")))
        return web.json_response({"by": "proxy"})

    proxy = serve(web.get("/{path:.*}", forward)).url
    monkeypatch.setenv("http_proxy", proxy.replace("//", "//me:p%40ss@"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    asked = HttpClient("http://qpu.example/api", HttpSettings(deadline=2), resource="qpu")
    assert asked.get_json("/x", query={"a": "b c"}) == {"by": "proxy"}
    assert seen == [("http://qpu.example/api/x?a=b+c", "Basic bWU6cEBzcw==")]


@pytest.mark.parametrize("proxy", ["ftp://user:s3cret@127.0.0.1:9", "http://user:s3cret@[1"])
def test_a_proxy_that_is_none(proxy: str) -> None:
    asked = HttpClient("http://qpu.example", HttpSettings(deadline=2, proxy=proxy), resource="qpu")
    with pytest.raises(
        VendorUnreachable, match=r"the proxy for http://qpu.example/x cannot be used: its URL"
    ) as raised:
        asked.submit("/x", body={})
    assert "s3cret" not in str(raised.value)


class Socks(socketserver.BaseRequestHandler):
    """A proxy that connects nobody: it keeps what it was asked for (RFC 1928) and says that it failed."""

    def handle(self) -> None:
        asked: socket.socket = self.request
        asked.settimeout(10)
        _, methods = asked.recv(2)
        asked.recv(methods)
        asked.sendall(b"\x05\x00")
        *_, kind, length = asked.recv(5)
        host, port = asked.recv(length), int.from_bytes(asked.recv(2), "big")
        assert kind == 3  # a name, which the proxy is to look up
        self.server.wanted.append((host.decode(), port))  # type: ignore[attr-defined]
        asked.sendall(b"\x05\x01\x00\x01" + bytes(6))


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_a_socks_proxy_is_used(scheme: str, port: int) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Socks) as proxy:
        proxy.wanted = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            settings = HttpSettings(deadline=0.5, proxy=f"socks5h://127.0.0.1:{proxy.server_address[1]}")
            with pytest.raises(VendorUnreachable, match=r"qpu\.example"):
                HttpClient(f"{scheme}://qpu.example", settings, resource="qpu").get_json("/x")
            assert set(proxy.wanted) == {("qpu.example", port)}  # type: ignore[attr-defined]
        finally:
            proxy.shutdown()
            thread.join(10)
