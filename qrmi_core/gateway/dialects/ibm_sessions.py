# SPDX-License-Identifier: Apache-2.0
"""The life of a session in IBM's cloud: open, active with its first job, inactive while idle, closed at last."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from qrmi_core.gateway.dialects.dialect import Refused, iso

__all__ = ["LONGEST", "MODES", "Session", "new_session"]

MODES = ("dedicated", "batch")
LONGEST = 28800
INTERACTIVE_TTL = 60
REQUEST_KEYS = frozenset({"mode", "backend", "backend_name", "instance", "max_ttl"})


@dataclass
class Session:
    """One session; its owner tells it of its jobs with :meth:`look`."""

    backend: str
    mode: str
    max_ttl: int
    id: str = field(default_factory=lambda: secrets.token_hex(10))
    accepting_jobs: bool = True
    state: str = "open"
    activated: float | None = None
    closed: float | None = None
    busy_until: float | None = None
    timestamps: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self._note(self.state)

    def look(self, pending: int) -> bool:
        """Bring its state up to date; whether its time has just ended, so that its jobs are to be cancelled."""
        now = time.time()
        if self.state == "closed":
            return False
        if pending:
            self.busy_until = now
            if self.state != "active":
                self.activated = self.activated or now
                self._note("active")
        elif self.state == "active" and self.busy_until is not None and now - self.busy_until > INTERACTIVE_TTL:
            self._note("inactive")
        if self._left() <= 0:
            self.close()
            return True
        if not self.accepting_jobs and not pending:
            self.close()
        return False

    def close(self) -> None:
        """End it."""
        self.accepting_jobs = False
        if self.state != "closed":
            self.closed = time.time()
            self._note("closed")

    def document(self) -> dict[str, Any]:
        """What the vendor tells of it."""
        elapsed = (self.closed or time.time()) - self.activated if self.activated else 0.0
        return {
            "id": self.id,
            "backend_name": self.backend,
            "mode": self.mode,
            "max_ttl": self.max_ttl,
            "active_ttl": max(0, int(self._left())),
            "interactive_ttl": INTERACTIVE_TTL,
            "state": self.state,
            "accepting_jobs": self.accepting_jobs,
            "started_at": iso(self.started),
            "activated_at": iso(self.activated),
            "closed_at": iso(self.closed),
            "last_job_started": iso(self.activated),
            "last_job_completed": iso(self.busy_until),
            "state_reason": "",
            "elapsed_time": elapsed,
            "user_id": "IBMid-0000000000",
            "timestamps": self.timestamps,
        }

    def _left(self) -> float:
        return self.max_ttl if self.activated is None else self.activated + self.max_ttl - time.time()

    def _note(self, state: str) -> None:
        self.state = state
        self.timestamps.append({"status": state, "timestamp": iso(time.time())})


def new_session(request: Any) -> Session:
    """The session that a request's body asks for; its device is for the caller to find.

    Raises:
        Refused: 400, the body does not fit.
    """
    if not isinstance(request, dict):
        raise Refused(400, "the body must be an object", code="1211")
    if unknown := sorted(request.keys() - REQUEST_KEYS):
        raise Refused(400, f"unknown keys: {', '.join(unknown)}", code="1211")
    if request.get("mode") not in MODES:
        raise Refused(400, f"mode must be one of {', '.join(MODES)}", code="1211")
    backend = request.get("backend", request.get("backend_name"))
    if not isinstance(backend, str):
        raise Refused(404, f"Backend not found: {backend}", code="1216")
    ttl = request.get("max_ttl", LONGEST)
    if not isinstance(ttl, int) or isinstance(ttl, bool) or not 0 < ttl <= LONGEST:
        raise Refused(400, f"max_ttl must be an integer from 1 to {LONGEST}", code="1211")
    return Session(backend, request["mode"], ttl)
