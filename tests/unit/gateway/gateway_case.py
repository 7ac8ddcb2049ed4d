# SPDX-License-Identifier: Apache-2.0
"""A gateway in a thread of this process, on a unix socket and a port, with a real munged."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qrmi_core import munge
from qrmi_core.client_settings import ClientSettings
from qrmi_core.gateway.guard import Guard
from qrmi_core.gateway.server import GatewayServer
from qrmi_core.gateway.settings import load_gateway_settings

RESOURCES = [
    {"name": "aer", "type": "aer-simulator", "environment": {}, "lanes": 2, "description": "a simulator"},
    {
        "name": "Fez",
        "type": "ibm-quantum-compute-service",
        "device": "ibm_fez",
        "environment": {
            "QRMI_IBM_QCS_ENDPOINT": "http://127.0.0.1:9",
            "QRMI_IBM_QCS_IAM_ENDPOINT": "http://127.0.0.1:9",
            "QRMI_IBM_QCS_IAM_APIKEY": "planted-key",
            "QRMI_IBM_QCS_SERVICE_CRN": "crn:v1:fez",
            "QRMI_HTTP_DEADLINE": "0.2",
        },
    },
]


class Case:
    """The gateway's files, and how to ask it; ``port`` and ``server`` are there while it runs."""

    def __init__(self, directory: Path, socket: str, *, resources: Any = RESOURCES, **settings: Any) -> None:
        self.directory = directory
        self.munge_socket = socket
        self.admin = directory / "admin.sock"
        self.config = directory / "qrmi_config.json"
        self.file = directory / "gateway.json"
        self.settings: dict[str, Any] = {
            "qrmi_config": str(self.config),
            "state_dir": str(directory),
            "slurm_conf": str(directory / "no-slurm.conf"),
            "munge_socket": socket,
            "listen": {"admin": str(self.admin), "admin_tcp": "127.0.0.1:0"},
            **settings,
        }
        self.write(resources)
        self.port = 0
        self.server: GatewayServer
        self.loop: asyncio.AbstractEventLoop

    def write(self, resources: Any) -> None:
        self.config.write_text(json.dumps({"resources": resources}))
        self.file.write_text(json.dumps(self.settings))

    @contextlib.contextmanager
    def running(self, *, head_seconds: float = 10.0) -> Iterator[Case]:
        ready, failures = threading.Event(), []
        self.loop = asyncio.new_event_loop()
        stopping = asyncio.Event()

        async def serve() -> None:
            file, settings = load_gateway_settings(self.file)
            async with GatewayServer(file, settings, guard=Guard(head_seconds=head_seconds)) as self.server:
                self.port = self.server.port
                ready.set()
                await stopping.wait()

        def work() -> None:
            try:
                self.loop.run_until_complete(serve())
            except BaseException as error:  # noqa: BLE001  raised again in the test's thread
                failures.append(error)
            finally:
                self.loop.run_until_complete(self.loop.shutdown_asyncgens())
                self.loop.close()
                ready.set()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert ready.wait(30)
            if failures:
                raise failures[0]
            yield self
        finally:
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(stopping.set)
            thread.join(30)
            assert not thread.is_alive()

    def client(self, *, unix: bool = False, socket: str | None = None) -> ClientSettings:
        url = f"unix:{self.admin}" if unix else f"http://127.0.0.1:{self.port}"
        return ClientSettings(url=url, munge_socket=socket or self.munge_socket)

    def credential(
        self, method: str, target: str, body: bytes = b"", *, nonce: str = "", socket: str | None = None
    ) -> str:
        text = f"qrmi1 {method} {target} {hashlib.sha256(body).hexdigest()} {nonce or os.urandom(16).hex()}"
        return f"MUNGE {munge.encode(text.encode(), socket=socket or self.munge_socket)}"

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        socket: str | None = None,
    ) -> tuple[int, Any]:
        """Status and decoded body; with a good credential unless headers are given."""
        if headers is None:
            headers = {"Authorization": self.credential(method, target, body, socket=socket)}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body or None, dict(headers))
            answer = connection.getresponse()
            text = answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return answer.status, json.loads(text) if is_json and text else text
        finally:
            connection.close()
