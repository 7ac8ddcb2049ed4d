# SPDX-License-Identifier: Apache-2.0
"""A real server whose routes a test writes itself."""

from __future__ import annotations

import asyncio
import ssl
import threading

from aiohttp import web

from qrmi_core.gateway.faults import Faults


class Server:
    """Routes of a test on a free port, with the faults that it asks for."""

    def __init__(
        self, routes: list[web.RouteDef], faults: Faults | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.faults = faults or Faults()
        self.url = ""
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(routes)), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self, routes: list[web.RouteDef]) -> None:
        app = web.Application(middlewares=[self.faults.middleware])
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        self._loop.close()
