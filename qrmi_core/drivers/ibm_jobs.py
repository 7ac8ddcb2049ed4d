# SPDX-License-Identifier: Apache-2.0
"""Jobs of IBM's cloud: what is sent for one, and what its document says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from qrmi_core.drivers.ibm_errors import text_of
from qrmi_core.drivers.vendor import seconds_since_epoch
from qrmi_core.errors import InputError, UnsupportedPayload
from qrmi_core.payloads import QiskitPrimitive
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["JOB_WORDS", "PROGRAMS", "check_program", "job_body", "job_info"]

PROGRAMS = ("sampler", "estimator", "noise-learner", "executor")

TOO_LONG_WORD = "cancelled - ran too long"
TOO_LONG_CODE = "1305"

JOB_WORDS: Mapping[str, TaskStatus] = {
    "initializing": TaskStatus.QUEUED,
    "queued": TaskStatus.QUEUED,
    "running": TaskStatus.RUNNING,
    "completed": TaskStatus.COMPLETED,
    "failed": TaskStatus.FAILED,
    "cancelled": TaskStatus.CANCELLED,
    TOO_LONG_WORD: TaskStatus.FAILED,
}


def check_program(payload: QiskitPrimitive, resource: str, programs: tuple[str, ...] = PROGRAMS) -> None:
    """Refuse what cannot be a job, before anything is sent.

    Raises:
        UnsupportedPayload: no such program.
        InputError: the parameters are not a JSON object.
    """
    if payload.program_id not in programs:
        raise UnsupportedPayload(
            f"{resource} runs the programs {', '.join(programs)}, not {payload.program_id!r}", resource=resource
        )
    try:
        parameters = json.loads(payload.parameters)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the parameters are not JSON: {error}", resource=resource) from error
    if not isinstance(parameters, dict):
        raise InputError("the parameters are not a JSON object", resource=resource)


def job_body(payload: QiskitPrimitive, **fields: Any) -> bytes:
    """The body that creates a job, with the parameters as they are; fields that are None are left out."""
    fields |= {"program_id": payload.program_id, "log_level": payload.log_level, "private": payload.private or None}
    rest = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
    return b'{"params":%b,%b' % (payload.parameters, rest[1:])


def job_info(document: Mapping[str, Any], task_id: str, status_of: Callable[[str], TaskStatus]) -> TaskInfo:
    """What a job's document says; only its status must be there, and words that nobody knows end nothing."""
    state = _object(document.get("state"))
    words = [text for text in (text_of(document.get("status")), text_of(state.get("status"))) if text]
    word = next((word for word in words if word.lower() in JOB_WORDS), words[0] if words else None)
    status = status_of((word or "").lower())
    code = text_of(state.get("reason_code")) or text_of(state.get("reasonCode"))
    reason, solution = text_of(state.get("reason")), text_of(state.get("reason_solution"))
    if status is TaskStatus.CANCELLED and code == TOO_LONG_CODE:
        status = TaskStatus.FAILED
    if status is TaskStatus.FAILED and ((word or "").lower() == TOO_LONG_WORD or code == TOO_LONG_CODE):
        limit = document.get("cost")
        code = code or TOO_LONG_CODE
        reason = reason or f"it ran longer than its limit{f' of {limit} s' if limit else ''} and was cancelled"
        solution = solution or "Ask for more time, or send less work in one task"
    return TaskInfo(
        id=task_id,
        status=status,
        vendor_status=word,
        reason=reason,
        code=code,
        solution=solution,
        program=text_of(_object(document.get("program")).get("id")),
        created=seconds_since_epoch(document.get("created")),
        qpu_seconds=_seconds(_object(document.get("usage")).get("seconds")),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
