# SPDX-License-Identifier: Apache-2.0
"""What reaches a vendor of a client's request."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from qrmi_core.gateway.doors.upstream import Fixed, Upstream
from qrmi_core.gateway.loopback import LoopbackServer
from qrmi_core.http_settings import HttpSettings


class Echo(LoopbackServer):
    """Answers with the headers that it got."""

    def application(self) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            return web.json_response({name.lower(): value for name, value in request.headers.items()})

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        return app


async def asked(url: str) -> dict[str, str]:
    way = Upstream(url, HttpSettings(), Fixed({"Authorization": "Bearer site"}), name="qpu")
    client = {"Authorization": "Bearer job", "Cookie": "a=b", "X-Forwarded-For": "10.0.0.1", "Accept": "text/csv"}
    try:
        _, body = await way.json("POST", "/x", headers=client, data=lambda: b"{}", length=2)
    finally:
        await way.close()
    told: dict[str, str] = json.loads(body)
    return told


def test_a_vendor_gets_the_clients_headers_and_the_sites_credential() -> None:
    with Echo() as server:
        told = asyncio.run(asked(server.url))
    assert told.pop("host") == server.url.removeprefix("http://")
    assert told == {"authorization": "Bearer site", "accept": "text/csv", "content-length": "2"}


def test_the_proxy_of_the_gateways_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with Echo() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        assert asyncio.run(asked("http://vendor.invalid"))["host"] == "vendor.invalid"
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert asyncio.run(asked(proxy.url))["authorization"] == "Bearer site"
