# SPDX-License-Identifier: Apache-2.0
"""The proxies that the environment names."""

from __future__ import annotations

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
