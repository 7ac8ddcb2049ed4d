# SPDX-License-Identifier: Apache-2.0
"""What vendors say is asked once for all, and one that is silent keeps nobody else waiting."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from gateway_case import Case
from munge_daemon import Munged

from qrmi_core.admin_client import AdminClient
from qrmi_core.errors import LeaseRefused

SPECS = {"name": "FRESNEL", "dimensions": 2}
SECONDS = 0.3


class Warden(BaseHTTPRequestHandler):
    """As much of Warden as tells of its QPU; it takes its time."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        threading.Event().wait(SECONDS)
        told = {"/accessible": {"is_accessible": True, "message": "well"}, "/qpu/specs": {"specs": json.dumps(SPECS)}}
        body = json.dumps({"data": told[self.path], **told[self.path]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def warden() -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (Warden,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def resource(name: str, port: int, munge_socket: str) -> dict[str, object]:
    block = {"QRMI_WARDEN_URL": f"http://127.0.0.1:{port}", "QRMI_WARDEN_MUNGE_SOCKET": munge_socket}
    return {"name": name, "type": "pasqal-local", "environment": block}


def test_many_who_ask_are_one_question(daemons: Munged, tmp_path: Path, warden: ThreadingHTTPServer) -> None:
    resources = [resource("fresnel", warden.server_port, daemons.socket)]
    with Case(tmp_path, daemons.socket, resources=resources).running() as case:
        client = AdminClient(case.client(unix=True))
        told: list[object] = []

        def ask() -> None:
            told.append(client.status("fresnel")["status"])
            told.append(json.loads(client.target("fresnel"))["name"])

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(map(str, told)) == ["FRESNEL"] * 20 + ["online"] * 20
        asked = warden.RequestHandlerClass.asked  # type: ignore[attr-defined]
        assert sorted(asked) == ["/accessible", "/qpu/specs"]
        assert client.resources()[0]["state"] == "online"
        assert len(asked) == 2


def test_a_silent_vendor_keeps_nobody_else_waiting(
    daemons: Munged, tmp_path: Path, warden: ThreadingHTTPServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        resources = [
            resource("silent", silent.getsockname()[1], daemons.socket),
            resource("fresnel", warden.server_port, daemons.socket),
        ]
        with Case(tmp_path, daemons.socket, resources=resources).running() as case:
            client = AdminClient(case.client(unix=True))
            begun = time.monotonic()
            told = {each["name"]: (each["state"], each["reason"]) for each in client.resources()}
            assert told["silent"] == ("unknown", "the vendor does not answer")
            assert told["fresnel"][0] == "online"
            assert client.status("fresnel")["status"] == "online"
            assert time.monotonic() - begun < 5
            with pytest.raises(LeaseRefused, match="silent") as error:
                client.status("silent")
            assert error.value.transient


def test_who_can_ask_a_simulator_of_jobs_is_told(daemons: Munged, tmp_path: Path) -> None:
    block = {"name": "aer", "type": "aer-simulator", "environment": {"QRMI_AER_SNAPSHOT": "ideal"}}
    with Case(tmp_path, daemons.socket, resources=[block]).running() as case:
        client = AdminClient(case.client(unix=True))
        for what, ask in (("status", client.status), ("target", client.target)):
            wanted = (
                rf"jobs that have it can \(`srun --qpu=aer qrmi {what} aer`\), and outside of jobs `qrmi {what} aer`"
            )
            with pytest.raises(LeaseRefused, match=wanted):
                ask("aer")
