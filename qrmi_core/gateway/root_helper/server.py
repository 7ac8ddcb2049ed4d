# SPDX-License-Identifier: Apache-2.0
"""The helper's socket: one line of JSON in, one line of JSON out, each call in a child of its own and logged."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import socketserver
import struct
from typing import Any

from qrmi_core.errors import ConfigurationError, QRMIError
from qrmi_core.gateway.root_helper.settings import HelperSettings, refreshed
from qrmi_core.gateway.root_helper.verbs import Refusal, Verbs

__all__ = ["serve"]

LONGEST_LINE = 8192
READ_SECONDS = 5.0
CALL_SECONDS = 60
LOGGED = ("verb", "uid", "action", "resource", "reason", "cluster", "job_id", "submitted")

_log = logging.getLogger("qrmi.helper")


def serve(settings: HelperSettings) -> None:
    """Answer until a signal ends this process.

    Raises:
        ConfigurationError: this is not root, or the socket cannot be made.
    """
    if os.geteuid() != 0:
        raise ConfigurationError("the helper does what only root may do: run it as root, under systemd for instance")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with _Server(settings) as server:
        _log.info("at %s for user %d", settings.socket, settings.uid)
        server.serve_forever()


class _Handler(socketserver.StreamRequestHandler):
    timeout = READ_SECONDS
    server: _Server

    def handle(self) -> None:
        signal.alarm(CALL_SECONDS)
        request: Any = None
        try:
            line = self.rfile.readline(LONGEST_LINE + 1)
            self._check_peer()
            request = _parsed(line)
            answer: dict[str, Any] = {"version": 1, "answer": Verbs(refreshed(self.server.settings)).call(request)}
            outcome = "done"
        except QRMIError as error:
            answer = {"version": 1, "error": {"reason": str(error), "transient": error.transient}}
            outcome = f"refused: {error}"
        except OSError as error:
            answer = {"version": 1, "error": {"reason": f"the helper failed: {error.strerror}", "transient": True}}
            outcome = f"failed: {error}"
        _log.info("%s %s", _told(request), json.dumps(outcome))
        self.wfile.write(json.dumps(answer).encode() + b"\n")

    def _check_peer(self) -> None:
        told = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", told)
        if uid != self.server.settings.uid:
            raise Refusal(f"user {uid} is not the gateway")


class _Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 16
    request_queue_size = 64

    def __init__(self, settings: HelperSettings) -> None:
        self.settings = settings
        path = settings.socket
        before = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)
            super().__init__(str(path), _Handler)
            os.chown(path, settings.uid, settings.gid, follow_symlinks=False)
        except OSError as error:
            raise ConfigurationError(
                f"{path}: the socket cannot be made: {error.strerror}", place="helper_socket"
            ) from error
        finally:
            os.umask(before)


def _parsed(line: bytes) -> Any:
    if len(line) > LONGEST_LINE or not line.endswith(b"\n"):
        raise Refusal(f"one line of at most {LONGEST_LINE} bytes was expected")
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise Refusal("a line of JSON was expected") from None


def _told(request: Any) -> str:
    """A request for the log; what is none of the arguments that are logged may be a secret in the wrong place."""
    if not isinstance(request, dict):
        return "no request"
    return json.dumps({name: str(request[name])[:200] for name in LOGGED if name in request})
