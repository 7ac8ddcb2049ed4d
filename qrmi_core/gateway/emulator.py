# SPDX-License-Identifier: Apache-2.0
"""One dialect on one port of the loopback, with a device behind it: `qrmi emulate`, and the servers of the tests."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from types import TracebackType
from typing import ClassVar, Self

from aiohttp import web

from qrmi_core.errors import UnsupportedPayload
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects import Dialect, DialectOptions, dialect
from qrmi_core.gateway.dialects.offered import Offered
from qrmi_core.gateway.faults import Counters, Faults
from qrmi_core.gateway.loopback import LARGEST_BODY, LoopbackServer

__all__ = ["Emulator"]


class Emulator(LoopbackServer):
    """A server of one vendor's API while its ``with`` block runs.

    ``faults`` may be changed meanwhile; ``counters`` tell what came of the requests, ``device.runs`` what was run.

    Raises:
        UnsupportedPayload: the device does not run what this API is sent.
    """

    patience: ClassVar[float] = 1.0

    def __init__(
        self,
        name: str,
        device: Device,
        *,
        options: DialectOptions | None = None,
        faults: Faults | None = None,
        port: int = 0,
        offered: Offered | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        """Several devices are ``offered`` under one roof; ``listening`` is a socket that a client may have reached."""
        kind = dialect(name)
        self.devices = [device] if offered is None else list(offered.devices())
        for each in self.devices:
            if kind.takes not in each.resource.takes:
                raise UnsupportedPayload(
                    f"{each.resource.name} ({each.resource.type}) does not run what {name} is sent "
                    f"({kind.takes.__name__}): put another engine behind it, such as {kind.engine}",
                    resource=each.resource.name,
                )
        self.dialect: Dialect = kind(device, options or DialectOptions())
        if offered is not None:
            self.dialect.offer(offered)
        self.type = name
        self.device = device
        self.faults = faults or Faults()
        super().__init__(port=port, listening=listening)

    @property
    def counters(self) -> Counters:
        """What came of the requests."""
        return self.faults.counters

    def environment(self) -> dict[str, str]:
        """The environment block of a resource that is to reach it."""
        return self.dialect.environment()

    def __enter__(self) -> Self:
        super().__enter__()
        self.dialect.url = self.url
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        for device in self.devices:
            device.close()

    def application(self) -> web.Application:
        """The dialect's routes, with the count of what came of the requests."""
        app = web.Application(middlewares=[self.faults.middleware, self.dialect.errors], client_max_size=LARGEST_BODY)
        app.add_routes(self.dialect.routes())
        app.router.add_get("/_emulate/counters", self._tell_counters)
        return app

    @contextlib.asynccontextmanager
    async def surroundings(self) -> AsyncIterator[None]:
        """The dialect's own beginning and end."""
        await self.dialect.started()
        try:
            yield
        finally:
            await self.dialect.ended()

    async def _tell_counters(self, _request: web.Request) -> web.Response:
        return web.json_response({"runs": self.device.runs, "routes": self.counters.to_dict()})
