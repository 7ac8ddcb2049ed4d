# SPDX-License-Identifier: Apache-2.0
"""A real server whose routes a test writes itself."""

from __future__ import annotations

import ssl

from aiohttp import web

from qrmi_core.gateway.faults import Faults
from qrmi_core.gateway.loopback import LoopbackServer


class Server(LoopbackServer):
    """Routes of a test on a free port, with the faults that it asks for."""

    def __init__(
        self, routes: list[web.RouteDef], faults: Faults | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(tls=tls)
        self.faults = faults or Faults()
        self._routes = routes

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self.faults.middleware])
        app.add_routes(self._routes)
        return app
