# SPDX-License-Identifier: Apache-2.0
"""One dialect on one port of the loopback, with a device behind it: `qrmi emulate`, and the servers of the tests."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from aiohttp import web

from qrmi_core.errors import UnsupportedPayload
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects import Dialect, DialectOptions, dialect
from qrmi_core.gateway.faults import Counters, Faults

__all__ = ["Emulator"]

HOST = "127.0.0.1"
LARGEST_BODY = 256 * 2**20
START_SECONDS = 30.0
END_SECONDS = 10.0


class Emulator:
    """A server that runs in a thread of its own while its ``with`` block does.

    ``faults`` may be changed meanwhile; ``counters`` tell what came of the requests, ``device.runs`` what was run.

    Raises:
        UnsupportedPayload: the device does not run what this API is sent.
    """

    def __init__(
        self,
        name: str,
        device: Device,
        *,
        options: DialectOptions | None = None,
        faults: Faults | None = None,
        port: int = 0,
    ) -> None:
        kind = dialect(name)
        if kind.takes not in device.resource.takes:
            raise UnsupportedPayload(
                f"{device.resource.name} ({device.resource.type}) does not run what {name} is sent "
                f"({kind.takes.__name__}): put another engine behind it, such as {kind.engine}",
                resource=device.resource.name,
            )
        self.dialect: Dialect = kind(device, options or DialectOptions())
        self.type = name
        self.device = device
        self.faults = faults or Faults()
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ready: threading.Event = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"emulate {name}", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.dialect.url

    @property
    def counters(self) -> Counters:
        """What came of the requests."""
        return self.faults.counters

    def environment(self) -> dict[str, str]:
        """The environment block of a resource that is to reach it."""
        return self.dialect.environment()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise TimeoutError(f"the server did not listen within {START_SECONDS:g} s")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(END_SECONDS)
        self.device.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
            self._failure = error
        finally:
            self._ready.set()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self.faults.middleware, self.dialect.errors], client_max_size=LARGEST_BODY)
        app.add_routes(self.dialect.routes())
        app.router.add_get("/_emulate/counters", self._tell_counters)
        await self.dialect.started()
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, self._port)
            await site.start()
            address = runner.addresses[0]
            self.dialect.url = f"http://{address[0]}:{address[1]}"
            self._ready.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()
            await self.dialect.ended()

    async def _tell_counters(self, _request: web.Request) -> web.Response:
        return web.json_response({"runs": self.device.runs, "routes": self.counters.to_dict()})
