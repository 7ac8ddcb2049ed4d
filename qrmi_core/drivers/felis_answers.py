# SPDX-License-Identifier: Apache-2.0
"""What Felis answers: jobs with their events and errors, outputs, announcements, and error bodies."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from qrmi_core.drivers.vendor import seconds_since_epoch
from qrmi_core.errors import ResultError
from qrmi_core.http import Response, Told
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = [
    "WORDS",
    "announcement",
    "counted_shots",
    "created",
    "info_of",
    "last_event",
    "log_of",
    "output_text",
    "told",
]

WORDS = {
    "CREATED": TaskStatus.QUEUED,
    "FETCHING_INPUT": TaskStatus.QUEUED,
    "INPUT_READY": TaskStatus.QUEUED,
    "COMPILING": TaskStatus.RUNNING,
    "COMPILED": TaskStatus.RUNNING,
    "TRANSPILING": TaskStatus.RUNNING,
    "TRANSPILED": TaskStatus.RUNNING,
    "EXECUTING": TaskStatus.RUNNING,
    "SUCCEEDED": TaskStatus.COMPLETED,
    "COMPILATION_FAILED": TaskStatus.FAILED,
    "TRANSPILATION_FAILED": TaskStatus.FAILED,
    "EXECUTION_FAILED": TaskStatus.FAILED,
    "TIMED_OUT": TaskStatus.FAILED,
    "CANCELLED": TaskStatus.CANCELLED,
}

_LINE = re.compile(r"([01]+),([0-9]+)")


def info_of(job: Mapping[str, Any], task_id: str, status_of: Callable[[str], TaskStatus]) -> TaskInfo:
    """What a job says of itself; one without events has just been made."""
    events = _events(job)
    times = {event.get("type"): seconds_since_epoch(event.get("createdAt")) for event in events}
    word = last_event(job)
    status = TaskStatus.QUEUED if word is None else status_of(word)
    code, reason = _error(job)
    if status is TaskStatus.FAILED and reason is None:
        reason = f"the vendor gives no reason beside {word}"
    parameters = job.get("inputParams")
    shots = parameters.get("nbShots") if isinstance(parameters, dict) else None
    return TaskInfo(
        task_id,
        status,
        vendor_status=word,
        reason=reason,
        code=code,
        created=times.get("CREATED"),
        started=times.get("EXECUTING"),
        ended=times.get(word) if status.is_final else None,
        shots=int(shots) if isinstance(shots, int | float) else None,
    )


def created(job: Mapping[str, Any]) -> str:
    """When a job was made, as the vendor writes it; empty where it does not say."""
    events = _events(job)
    return str(events[0].get("createdAt") or "") if events else ""


def last_event(job: Mapping[str, Any]) -> str | None:
    """The word for what happened to a job last."""
    events = _events(job)
    return str(events[-1].get("type")) if events else None


def log_of(job: Mapping[str, Any]) -> str:
    """The events and errors of a job, a line each."""
    lines = [f"{event.get('createdAt')} {event.get('type')}" for event in _events(job)]
    code, reason = _error(job)
    if reason is not None:
        lines.append(f"{code}: {reason}" if code else reason)
    return "".join(f"{line}\n" for line in lines)


def output_text(answer: Response) -> str:
    """The text of an output, which may come as it is or as a JSON string.

    Raises:
        ResultError: it is JSON and no string.
    """
    if not answer.headers.get("Content-Type", "").startswith("application/json"):
        return answer.text
    text = answer.json()
    if not isinstance(text, str):
        raise ResultError("the output is neither text nor a JSON string")
    return text


def counted_shots(text: str) -> int:
    """The sum of the counts of an output.

    Raises:
        ResultError: a line is not ``bits,count``.
    """
    total, width = 0, None
    for number, line in enumerate(text.splitlines(), start=1):
        found = _LINE.fullmatch(line.strip())
        if found is None or width not in {None, len(found[1])}:
            raise ResultError(f"line {number} of the output is {line[:80]!r}: bits,count was expected", transient=True)
        width = len(found[1])
        total += int(found[2])
    return total


def announcement(availabilities: Any) -> tuple[bool, str | None]:
    """Whether a target is announced as available by the latest of its announcements, and what that says."""
    now = time.time()
    latest, since = {}, float("-inf")
    for one in availabilities if isinstance(availabilities, list) else []:
        moment = seconds_since_epoch(one.get("timestamp") or one.get("createdAt")) if isinstance(one, dict) else None
        if moment is not None and since < moment <= now:
            latest, since = one, moment
    message = latest.get("message")
    return latest.get("enabled") is not False, str(message) if message else None


def told(answer: Response) -> Told:
    """What an error body says: ``{"error": {"code", "message"}}``, or what is wrong with which field."""
    body = answer.json()
    if not isinstance(body, dict):
        return Told()
    detail, error = body.get("detail"), body.get("error")
    if isinstance(detail, list):
        return Told("; ".join(_field_problem(one) for one in detail), code=None)
    if isinstance(error, dict):
        code, message = _content(error)
        return Told(message, code)
    return Told(detail if isinstance(detail, str) else None)


def _field_problem(detail: Any) -> str:
    if not isinstance(detail, dict):
        return str(detail)
    where = ".".join(str(part) for part in detail.get("loc") or ())
    return f"{where}: {detail.get('msg')}" if where else str(detail.get("msg"))


def _events(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    events = job.get("events")
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []


def _error(job: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The code of a job's first error, and what all of them say."""
    errors = job.get("errors")
    listed = errors if isinstance(errors, list) else []
    contents = [_content(one.get("content") if isinstance(one, dict) else one) for one in listed]
    codes = [code for code, _ in contents if code]
    reasons = [reason for _, reason in contents if reason]
    return codes[0] if codes else None, "; ".join(reasons) or None


def _content(content: Any) -> tuple[str | None, str | None]:
    if not isinstance(content, dict):
        return None, None if content is None else str(content)
    code, message = content.get("code"), content.get("message")
    return None if code is None else str(code), str(content if message is None else message)
