# SPDX-License-Identifier: Apache-2.0
"""A node's scripts as slurmd starts them, and a server in the gateway's place that believes no credential unread."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munge_daemon import libraries

from qrmi_core import munge

NODE = Path(__file__).parents[3] / "slurm" / "node"
LEASE = "0123456789abcdef" * 2
JOB = {"SLURM_JOB_ID": "42", "SLURM_JOB_UID": "1000", "SLURMD_NODENAME": "n1", "SLURM_SCRIPT_CONTEXT": "prolog_slurmd"}
QPU_JOB = {**JOB, "SPANK_QPU": "ibm_fez"}
Answer = tuple[int, dict[str, Any]] | bytes


def granted(uid: int = 1000, more: Mapping[str, object] | None = None, /, **variables: object) -> Answer:
    return 200, {"lease": LEASE, "uid": uid, "environment": variables, **(more or {})}


def refused(reason: str, *, transient: bool, **more: object) -> Answer:
    return 503 if transient else 409, {"error": {"reason": reason, "transient": transient, **more}}


@dataclass
class Seen:
    path: str
    body: dict[str, Any]
    uid: int
    nonce: str


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        scheme, _, credential = self.headers["Authorization"].partition(" ")
        told = munge.decode(credential, socket=self.server.munge_socket)
        name, method, path, digest, nonce = told.payload.decode("ascii").split(" ")
        bound = (scheme, name, method, path, digest)
        assert bound == ("MUNGE", "qrmi1", "POST", self.path, hashlib.sha256(body).hexdigest())
        assert re.fullmatch("[0-9a-f]{32}", nonce)
        seen = Seen(self.path, json.loads(body), told.uid, nonce)
        self.server.seen.append(seen)
        answer = self.server.answer(seen)
        if isinstance(answer, bytes):
            self.wfile.write(answer)
            return
        content = json.dumps({"version": 1, **answer[1]}).encode()
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *arguments: object) -> None:
        """The tests look at what was asked, not at a log."""


class Gateway(http.server.ThreadingHTTPServer):
    """Answers each request with the next of ``answers``, the last one again and again; bytes as they are."""

    daemon_threads = True
    url: str

    def __init__(self, munge_socket: str, *answers: Answer, address: str | int = 0) -> None:
        self.munge_socket = munge_socket
        self.answers = list(answers)
        self.seen: list[Seen] = []
        if isinstance(address, str):
            self.address_family = socket.AF_UNIX
        super().__init__(address if isinstance(address, str) else ("127.0.0.1", address), _Handler)  # type: ignore[arg-type]
        self.url = f"unix:{address}" if isinstance(address, str) else f"http://127.0.0.1:{self.server_port}"

    def answer(self, seen: Seen) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def server_bind(self) -> None:
        if self.address_family == socket.AF_UNIX:
            self.socket.bind(self.server_address)
            self.server_name, self.server_port = "localhost", 0
        else:
            super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """A node that is killed in the middle of its request is part of some tests."""

    def secure(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    @contextmanager
    def serving(self) -> Iterator[Gateway]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


@dataclass
class Done:
    code: int
    log: str
    seconds: float


@dataclass
class Node:
    """One node: its configuration, its state directory, and the scripts with the variables at their top set for it."""

    directory: Path
    munge_socket: str
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    @property
    def config(self) -> Path:
        return self.directory / "node.json"

    def state(self, job: str = "42") -> list[str]:
        return (self.state_dir / job).read_text().splitlines()

    def configure(self, gateway: str, **settings: object) -> None:
        slurmless = self.directory / "bin"
        slurmless.mkdir(exist_ok=True)
        usual = {"munge_socket": self.munge_socket, "patience": 5, "bin": str(slurmless)}
        self.config.write_text(json.dumps({**usual, "gateway": gateway, **settings}))

    def front(self, name: str, **variables: str) -> Path:
        values = {
            "NODE_CONFIG": str(self.config), "STATE_DIR": str(self.state_dir), "PYTHON": sys.executable,
            "LIB": str(NODE), **variables,
        }  # fmt: skip
        text = (NODE / name).read_text()
        for variable, value in values.items():
            text = re.sub(f"^{variable}=.*$", f"{variable}={value}", text, flags=re.MULTILINE)
        file = self.directory / name
        file.write_text(text)
        file.chmod(0o755)
        return file

    def start(self, name: str, environment: dict[str, str], **variables: str) -> subprocess.Popen[str]:
        """As slurmd does: a group of its own, a pipe for what it says, and an environment with little in it."""
        return subprocess.Popen(
            [self.front(name, **variables)], env={"LD_LIBRARY_PATH": libraries(), **environment}, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            process_group=0,
        )  # fmt: skip

    def run(self, name: str, environment: dict[str, str], **variables: str) -> Done:
        begun = time.monotonic()
        with self.start(name, environment, **variables) as script:
            said, _ = script.communicate(timeout=60)
        return Done(script.returncode, said, time.monotonic() - begun)


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Where somebody listens who is no gateway, and says what ``talk`` says to each who asks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_answer, args=(connection, talk), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer(connection: socket.socket, talk: Callable[[socket.socket], None]) -> None:
    with connection:
        try:
            connection.recv(65536)
            talk(connection)
        except OSError:
            return


def python_of(script: subprocess.Popen[str]) -> list[int]:
    """The processes that a front has started."""
    listed = Path(f"/proc/{script.pid}/task/{script.pid}/children")
    return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []
