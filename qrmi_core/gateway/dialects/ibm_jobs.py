# SPDX-License-Identifier: Apache-2.0
"""Jobs as IBM's cloud keeps them: what their creation takes, and what is told of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects.dialect import Refused, iso
from qrmi_core.gateway.dialects.ibm_params import check_params
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = [
    "FAILED_CODE",
    "LIST_FILTERS",
    "TOO_LONG",
    "TOO_LONG_CODE",
    "WORDS",
    "Job",
    "by_another_name",
    "checked_job",
    "checked_tags",
    "matches",
    "page_of",
]

FAILED_CODE = 1517
FAILED_SOLUTION = "Correct the input of the job as the reason says, and submit it again."
TOO_LONG = "Cancelled - Ran too long"
TOO_LONG_CODE = 1305
LARGEST_PAGE = 200
LONGEST_TAG, MOST_TAGS = 86, 8

WORDS = {
    TaskStatus.QUEUED: "Queued",
    TaskStatus.RUNNING: "Running",
    TaskStatus.COMPLETED: "Completed",
    TaskStatus.FAILED: "Failed",
    TaskStatus.CANCELLED: "Cancelled",
}
LOG_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
REQUEST_KEYS = frozenset(
    {
        "program_id",
        "backend",
        "params",
        "cost",
        "session_id",
        "tags",
        "log_level",
        "private",
        "calibration_id",
        "runtime",
    }
)
LIST_FILTERS = frozenset(
    {"limit", "offset", "pending", "program", "backend", "created_after", "created_before", "sort", "tags"}
    | {"session_id", "exclude_params", "include_mocks"}
)


@dataclass
class Job:
    """One job; ``listed`` is the moment (monotonic seconds) from which lists show it."""

    task_id: str
    device: Device
    request: Mapping[str, Any]
    listed: float
    tags: list[str]
    session: str | None = None
    id: str = field(default_factory=lambda: f"d{secrets.token_hex(10)}")
    created: float = field(default_factory=time.time)
    too_long: bool = False
    final: TaskInfo | None = None

    @property
    def cost(self) -> int:
        """Its limit in seconds."""
        return int(self.request.get("cost") or 10000)

    def document(self, info: TaskInfo, *, brief: bool) -> dict[str, Any]:
        """What is told of it; ``brief`` leaves its input out."""
        word = WORDS[info.status]
        state: dict[str, Any] = {"status": word}
        if self.too_long:
            state |= {
                "status": "Cancelled",
                "reason": f"Job ran longer than {self.cost} s",
                "reason_code": TOO_LONG_CODE,
            }
            word = TOO_LONG
        elif info.status is TaskStatus.FAILED:
            state |= {"reason": info.reason, "reason_code": FAILED_CODE, "reason_solution": FAILED_SOLUTION}
        elif info.reason:
            state["reason"] = info.reason
        document = {
            "id": self.id,
            "backend": self.request["backend"],
            "status": word,
            "state": state,
            "program": {"id": self.request["program_id"]},
            "created": iso(self.created),
            "cost": self.cost,
            "usage": {"seconds": self.seconds(info)},
            "tags": self.tags,
            "user_id": "IBMid-0000000000",
            "private": bool(self.request.get("private")),
            "estimated_running_time_seconds": None,
        }
        if self.session is not None:
            document["session_id"] = self.session
        if not brief and not self.request.get("private"):
            document["params"] = self.request["params"]
        return document

    def metrics(self, info: TaskInfo) -> dict[str, Any]:
        """Its times and usage."""
        seconds = self.seconds(info)
        usage = {
            "quantum_seconds": seconds,
            "seconds": seconds,
            "qpu_charge_time_seconds": seconds,
            "status": "final" if info.status.is_final else "pending",
        }
        return {
            "timestamps": {
                "created": iso(self.created),
                "running": iso(info.started),
                "finished": iso(info.ended) if info.status.is_final else None,
            },
            "bss": {"seconds": seconds},
            "usage": usage,
            "position_in_queue": info.position,
            "estimated_start_time": None,
            "estimated_completion_time": None,
        }

    def seconds(self, info: TaskInfo) -> float:
        """The device time that it has used."""
        if info.status.is_final and info.qpu_seconds is not None:
            return info.qpu_seconds
        if info.started is None:
            return 0.0
        return max(0.0, (info.ended or time.time()) - info.started)


def checked_job(request: Any) -> dict[str, Any]:
    """The body that creates a job; its device is for the caller to find.

    Raises:
        Refused: 400, it does not fit; 404, no such program.
    """
    if not isinstance(request, dict):
        raise Refused(400, "the body must be an object", code="1211")
    if unknown := sorted(request.keys() - REQUEST_KEYS):
        raise Refused(400, f"unknown keys: {', '.join(unknown)}", code="1211")
    check_params(request.get("program_id"), request.get("params"))
    cost = request.get("cost", 1)
    if not isinstance(cost, int) or isinstance(cost, bool) or cost < 1:
        raise Refused(400, "cost must be a positive integer", code="1211")
    level = request.get("log_level", "warning")
    if not isinstance(level, str) or level.lower() not in LOG_LEVELS:
        raise Refused(400, f"log_level must be one of {', '.join(sorted(LOG_LEVELS))}", code="1211")
    if not isinstance(request.get("private", False), bool):
        raise Refused(400, "private must be true or false", code="1211")
    if not isinstance(request.get("session_id", ""), str):
        raise Refused(400, "session_id must be a string", code="1211")
    checked_tags(request.get("tags", []))
    return request


def checked_tags(tags: Any) -> list[str]:
    """The tags of a request.

    Raises:
        Refused: 400, too many, or one that is too long or no text.
    """
    if not isinstance(tags, list) or len(tags) > MOST_TAGS:
        raise Refused(400, f"tags must be a list of at most {MOST_TAGS}", code="1211")
    if not all(isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG for tag in tags):
        raise Refused(400, f"a tag is a string of 1 to {LONGEST_TAG} characters", code="1211")
    return list(tags)


def matches(job: Job, query: Mapping[str, str], tags: list[str]) -> bool:
    """Whether a list with these filters shows a job, apart from its status."""
    created_after, created_before = _moment(query, "created_after"), _moment(query, "created_before")
    return (
        time.monotonic() >= job.listed
        and query.get("program", job.request["program_id"]) == job.request["program_id"]
        and query.get("backend", job.request["backend"]) == job.request["backend"]
        and query.get("session_id", job.session) == job.session
        and set(tags) <= set(job.tags)
        and (created_after is None or job.created >= created_after)
        and (created_before is None or job.created <= created_before)
    )


def page_of(query: Mapping[str, str]) -> tuple[int, int]:
    """The limit and offset of a list.

    Raises:
        Refused: 400, they are no numbers or too large.
    """
    try:
        limit, offset = int(query.get("limit", LARGEST_PAGE)), int(query.get("offset", 0))
    except ValueError:
        raise Refused(400, "limit and offset must be integers", code="1211") from None
    if not 1 <= limit <= LARGEST_PAGE or offset < 0:
        raise Refused(400, f"limit must be from 1 to {LARGEST_PAGE}, offset at least 0", code="1211")
    return limit, offset


def _moment(query: Mapping[str, str], key: str) -> float | None:
    if key not in query:
        return None
    try:
        moment = datetime.fromisoformat(query[key])
    except ValueError:
        raise Refused(400, f"{key} must be an ISO 8601 time", code="1211") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def by_another_name(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A device's entry in the list under one more of its names.

    IBM's client finds what is of class "mock" by its name and lists it nowhere, so that it lists each device once.
    """
    return {**entry, "class": "mock"}
