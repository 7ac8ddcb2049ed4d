# SPDX-License-Identifier: Apache-2.0
"""The site's gateway as commands and programs ask it: one method for each route, a munge credential with each request.

Imports nothing heavy at first; make the settings with :func:`qrmi_core.client_settings.load_client_settings`.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from qrmi_core import munge, polling
from qrmi_core.errors import (
    AuthenticationFailed,
    LeaseError,
    LeaseRefused,
    ResourceNotFound,
    VendorError,
    VendorUnreachable,
)
from qrmi_core.http_settings import HttpSettings
from qrmi_core.transport import ExchangeFailed, Transport

if TYPE_CHECKING:
    from qrmi_core.client_settings import ClientSettings

__all__ = ["AdminClient", "GatewayUnreachable"]

TTL = 60
ATTEMPTS = 3
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
UNROUTED = {(404, "Not Found"), (405, "Method Not Allowed")}
"""What the gateway's listeners say, each by itself, of a path that they do not have."""


class GatewayUnreachable(VendorUnreachable):
    """The site's gateway does not answer."""


class AdminClient:
    """Asks the gateway; safe to use from several threads."""

    def __init__(self, settings: ClientSettings, *, read_timeout: float = READ_SECONDS) -> None:
        """Nothing is sent yet; ``read_timeout`` is how many seconds the gateway may be silent."""
        socket = settings.socket
        self._base = "http://localhost" if socket else settings.url
        self._prefix = urlsplit(self._base).path
        self._url = settings.url
        self._where = f"url in {settings.file}"
        self._munge_socket = settings.munge_socket
        http = HttpSettings(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=read_timeout,
            deadline=read_timeout,
            ca=settings.ca,
            socket=socket,
        )
        self._transport = Transport(http, "the gateway", self._where, file=settings.file)

    def resources(self) -> list[dict[str, Any]]:
        """The site's resources and what is known of their state."""
        return list(self._asked("GET", "/v1/resources")["resources"])

    def target(self, resource: str) -> bytes:
        """What a compiler needs to know of a resource: the vendor's JSON."""
        return self._exchanged("GET", f"/v1/resources/{_part(resource)}/target")

    def status(self, resource: str) -> dict[str, Any]:
        """The state of a resource, as its vendor tells it."""
        return self._asked("GET", f"/v1/resources/{_part(resource)}/status")

    def leases(self, *, everybody: bool = False) -> list[dict[str, Any]]:
        """This user's live leases; those of ``everybody`` for operators."""
        return list(self._asked("GET", "/v1/leases?all=1" if everybody else "/v1/leases")["leases"])

    def usage(self, *, since: float = 0.0, everybody: bool = False) -> list[dict[str, Any]]:
        """The tasks of this user that were submitted since a moment (epoch seconds); of ``everybody`` for operators."""
        path = f"/v1/usage?since={int(since)}{'&all=1' if everybody else ''}"
        page = self._asked("GET", path)
        tasks = list(page["tasks"])
        while following := page.get("next"):
            page = self._asked("GET", f"{path}&after={_part(following)}")
            tasks += page["tasks"]
        return tasks

    def release(self, job_id: int) -> dict[str, Any]:
        """Give back what a job holds: ``released`` and ``pending`` are lists of leases."""
        return self._asked("POST", f"/v1/jobs/{job_id}/release", {})

    def begin_maintenance(self, resource: str, reason: str) -> None:
        """Take a resource out of service: jobs for it wait."""
        self._asked("PUT", f"/v1/resources/{_part(resource)}/maintenance", {"reason": reason})

    def end_maintenance(self, resource: str) -> None:
        """Let jobs for it start again."""
        self._asked("DELETE", f"/v1/resources/{_part(resource)}/maintenance")

    def add_task(self, lease_id: str, resource: str, task_id: str) -> None:
        """Tell of a task of a lease, so that it is cancelled at the end of the job at the latest."""
        self._asked("POST", f"/v1/leases/{_part(lease_id)}/tasks", {"resource": resource, "task": task_id})

    def grant(self, job_id: int, node: str, *, wait: float) -> dict[str, Any]:
        """The lease of a job that starts on this node; for its root only.

        Raises:
            LeaseRefused: there is none, and why.
        """
        return self._asked("POST", "/v1/leases", {"job_id": job_id, "node": node, "wait": wait})

    def node_done(self, lease_id: str, node: str) -> None:
        """A job's part on this node is over; for its root only."""
        self._asked("POST", f"/v1/leases/{_part(lease_id)}/node-done", {"node": node})

    def job_node_done(self, job_id: int, node: str, before: float) -> None:
        """The same for whatever the job was granted before a moment (epoch seconds), without the lease's id."""
        self._asked("POST", f"/v1/jobs/{job_id}/node-done", {"node": node, "before": before})

    def job_ends(self, job_id: int) -> None:
        """A job begins to end; for root and SlurmUser on slurmctld's host."""
        self._asked("POST", f"/v1/jobs/{job_id}/ending", {})

    def health(self) -> dict[str, Any]:
        """Whether the gateway, its journal and slurmctld are well; needs no munge."""
        return self._decoded(self._exchanged("GET", "/healthz", authorized=False))

    def close(self) -> None:
        """Close the kept connections."""
        self._transport.close()

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._decoded(self._exchanged(method, path, body))

    def _decoded(self, body: bytes) -> dict[str, Any]:
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict) or told.get("version") != 1:
            raise GatewayUnreachable(
                f"what answers at {self._url} is no gateway that this version understands: check {self._where}"
            )
        return told

    def _exchanged(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, authorized: bool = True
    ) -> bytes:
        """The body of the answer; asked again where nothing was sent, each time with a new credential."""
        data = b"" if body is None else json.dumps(body).encode()
        for attempt in range(ATTEMPTS):
            headers = {"Accept": "application/json"}
            if data:
                headers["Content-Type"] = "application/json"
            if authorized:
                headers["Authorization"] = self._authorization(method, f"{self._prefix}{path}", data)
            try:
                status, _, answer = self._transport.exchange(method, f"{self._base}{path}", headers, data or None)
            except ExchangeFailed as failure:
                again = failure.again and (not failure.sent or method == "GET")
                if again and attempt + 1 < ATTEMPTS:
                    polling.pause(polling.backoff(attempt))
                    continue
                raise GatewayUnreachable(f"the gateway does not answer: {failure}", transient=True) from failure
            if status >= 300:
                raise self._error(status, answer, f"{method} {self._prefix}{path.partition('?')[0]}")
            return answer
        raise AssertionError("the last attempt returns or raises")

    def _authorization(self, method: str, target: str, body: bytes) -> str:
        payload = " ".join(("qrmi1", method, target, hashlib.sha256(body).hexdigest(), os.urandom(16).hex()))
        return f"MUNGE {munge.encode(payload.encode(), socket=self._munge_socket, ttl=TTL)}"

    def _error(self, status: int, answer: bytes, asked: str) -> LeaseError | VendorError | ResourceNotFound:
        try:
            told = json.loads(answer)["error"]
            reason, transient = str(told["reason"]), bool(told["transient"])
        except (ValueError, RecursionError, KeyError, TypeError):
            text = f"what answers at {self._url} is no gateway (status {status}): check {self._where}"
            return VendorError(text, http_status=status)
        if (status, reason) in UNROUTED:
            text = (
                f"what answers at {self._url} is not the gateway's port for commands, for it has no {asked}: check "
                f"{self._where}, which names listen.admin_tcp of gateway.json, not listen.jobs or listen.metrics"
            )
            return VendorError(text, http_status=status)
        if status in {401, 403}:
            return AuthenticationFailed(f"the gateway refuses: {reason}", http_status=status)
        if status == 404:
            return ResourceNotFound(reason, http_status=status)
        if status in {409, 503}:
            return LeaseRefused(reason, transient=transient, http_status=status)
        return VendorError(f"the gateway refuses: {reason}", http_status=status, transient=transient)


def _part(text: str) -> str:
    return quote(text, safe="")
