# SPDX-License-Identifier: Apache-2.0
"""A job as a Felis server keeps it: its events grow and never go back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from qrmi_core.gateway.dialects.dialect import iso
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["Job"]

_RUNNING = ("COMPILING", "COMPILED", "TRANSPILING", "TRANSPILED", "EXECUTING")
_EXECUTION = ("EXECUTING", "EXECUTION_FAILED")
_FAILED_AT = {
    "InvalidProgram": ("COMPILING", "COMPILATION_FAILED"),
    "OperationNotSupported": ("TRANSPILING", "TRANSPILATION_FAILED"),
}
"""For an engine's code of an error: where the vendor would have met it, and what it calls that."""

COMPILATION = 1.0
"""A device does not say what it does with a running task: for so many seconds it is told to be compiled."""

_ENDS = frozenset({"SUCCEEDED", "CANCELLED", "COMPILATION_FAILED", "TRANSPILATION_FAILED", "EXECUTION_FAILED"})


@dataclass
class Job:
    """One job; ``task`` is the device's id of it once it has a program, ``listed`` the moment it appears in lists."""

    id: str
    target: str
    parameters: dict[str, Any]
    user: str
    listed: float
    program: bytes | None = None
    task: str | None = None
    error: dict[str, str] | None = None
    info: TaskInfo | None = None
    events: list[tuple[str, float]] = field(default_factory=lambda: [("CREATED", time.time())])

    @property
    def word(self) -> str:
        """What happened to it last."""
        return self.events[-1][0]

    @property
    def has_ended(self) -> bool:
        """True once nothing more happens to it."""
        return self.word in _ENDS

    def has_been(self, word: str) -> bool:
        """Whether that has happened to it."""
        return any(event == word for event, _ in self.events)

    def happens(self, word: str, moment: float | None = None) -> None:
        """Add an event, unless it has happened or the job has ended."""
        if not self.has_ended and not self.has_been(word):
            self.events.append((word, max(moment or time.time(), self.events[-1][1])))

    def follows(self, info: TaskInfo) -> None:
        """Add the events that the device's task stands for by now."""
        if self.has_ended or info.status is TaskStatus.QUEUED:
            return
        self.info = info
        if info.status is TaskStatus.CANCELLED:
            self.happens("CANCELLED", info.ended)
            return
        ends_at, word = _EXECUTION
        if info.status is TaskStatus.RUNNING and time.time() - (info.started or 0.0) < COMPILATION:
            ends_at = _RUNNING[0]
        elif info.status is TaskStatus.FAILED and not self.has_been("EXECUTING"):
            ends_at, word = _FAILED_AT.get(info.code or "", _EXECUTION)
        for event in _RUNNING[: _RUNNING.index(ends_at) + 1]:
            self.happens(event, info.started)
        if info.status is TaskStatus.FAILED:
            told = info.reason or "An unexpected error happened"
            self.error = {"code": info.code or "ExecutionFailed", "message": told}
            self.happens(word, info.ended)
        elif info.status is TaskStatus.COMPLETED:
            self.happens("SUCCEEDED", info.ended)

    def refused(self, code: str, message: str) -> None:
        """The device did not take it."""
        self.error = {"code": code, "message": message}
        self.happens("COMPILING")
        self.happens("COMPILATION_FAILED")

    def document(self) -> dict[str, Any]:
        """It as the API tells it."""
        return {
            "id": self.id,
            "inputDataFormat": "HUMAN_QIR",
            "outputDataFormat": "HISTOGRAM",
            "target": self.target,
            "inputParams": self.parameters,
            "userName": self.user,
            "userId": f"{self.user}-id",
            "organizationName": "qrmi",
            "events": [{"type": word, "createdAt": iso(moment)} for word, moment in self.events],
            "errors": [{"content": self.error}] if self.error else [],
        }

    def metrics(self) -> dict[str, int | None]:
        """What the job cost; a simulator has no time on a quantum processor."""
        spent = None
        if self.has_been("SUCCEEDED") and self.info and self.info.started is not None and self.info.ended is not None:
            spent = round((self.info.ended - self.info.started) * 1e9)
        return {"qpu_duration_ns": None, "simulation_duration_ns": spent}
