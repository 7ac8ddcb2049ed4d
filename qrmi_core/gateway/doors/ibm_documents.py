# SPDX-License-Identifier: Apache-2.0
"""Documents of jobs in IBM's cloud: what the gateway keeps of them, and what it shows to whom they belong."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web

from qrmi_core.drivers.ibm_jobs import JOB_WORDS, job_info
from qrmi_core.drivers.vendor import seconds_since_epoch, without_lease_tags
from qrmi_core.gateway.dialects.ibm_jobs import FAILED_CODE, TOO_LONG, TOO_LONG_CODE, WORDS
from qrmi_core.gateway.doors.door import Refusal
from qrmi_core.leases import LeaseTask
from qrmi_core.tasks import TaskInfo, TaskStatus

__all__ = ["HIDDEN", "Kept", "brief", "info_of", "job_document", "listed", "noted", "rebuilt", "word_of"]

LARGEST_PAGE = 200
FILTERS = frozenset(
    {"limit", "offset", "pending", "program", "backend", "created_after", "created_before", "sort", "tags"}
    | {"session_id", "exclude_params", "include_mocks"}
)
HIDDEN = frozenset({"user_id", "iam_id", "account_id", "instance", "instance_id", "crn", "hub", "group", "project"})
"""What a document may tell of the site's account."""

SIGNED = re.compile(r"(https?://[^\s?]+)\?[^\s\"')]+")
"""The URLs of a task's objects, with which the machine reaches the storage: their query is as good as a key."""

_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Kept:
    """What is kept of a job beside its row in the books: the gateway's own tag, and what the vendor told last."""

    tag: str | None
    document: Mapping[str, Any]
    deleted: bool = False

    @classmethod
    def of(cls, task: LeaseTask) -> Kept:
        """What was kept of a task."""
        told = msgspec.json.decode(task.detail) if task.detail else {}
        return cls(told.get("tag"), told.get("document", {}), bool(told.get("deleted")))

    def text(self) -> str:
        """It as it is kept."""
        deleted = {"deleted": True} if self.deleted else {}
        return msgspec.json.encode({"tag": self.tag, "document": self.document, **deleted}).decode()

    def shown(self, backend: str) -> dict[str, Any]:
        """The document as its owner sees it: of the device that he knows by this name, without what is the site's."""
        document = {name: value for name, value in self.document.items() if name not in HIDDEN}
        if isinstance(tags := document.get("tags"), list):
            document["tags"] = [tag for tag in without_lease_tags(map(str, tags)) if tag != self.tag]
        return {**document, "backend": backend}


def parts_of(body: bytes) -> dict[str, msgspec.Raw] | None:
    """The top level of a document, nothing of it decoded; None where it is no object."""
    try:
        return _PARTS.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def brief(parts: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """A job's document without its input."""
    return {name: msgspec.json.decode(value) for name, value in parts.items() if name != "params"}


def rebuilt(parts: Mapping[str, msgspec.Raw], shown: Mapping[str, Any]) -> bytes:
    """The document as it came, with what is shown in place of what it holds, and its input untouched."""
    whole: dict[str, Any] = {**shown, **({"params": parts["params"]} if "params" in parts else {})}
    return msgspec.json.encode(whole)


def info_of(document: Mapping[str, Any]) -> TaskInfo:
    """What a document says of its task; words that nobody knows end nothing."""
    return job_info(document, "", lambda word: JOB_WORDS.get(word, TaskStatus.RUNNING))


def word_of(document: Mapping[str, Any]) -> str:
    """The state that clients look at."""
    state = document.get("state")
    return str(state.get("status") if isinstance(state, dict) else document.get("status"))


def job_document(before: Mapping[str, Any], info: TaskInfo) -> dict[str, Any]:
    """A job's document with what a driver tells of it by now."""
    word = state_word = WORDS[info.status]
    code: int | None = None
    if info.status is TaskStatus.FAILED:
        code = int(info.code) if info.code and info.code.isdecimal() else FAILED_CODE
        if info.code == str(TOO_LONG_CODE):
            word, state_word = TOO_LONG, WORDS[TaskStatus.CANCELLED]
    reason = None if info.reason is None else SIGNED.sub(r"\1", info.reason)
    told = {"status": state_word, "reason": reason, "reason_code": code, "reason_solution": info.solution}
    seconds = info.qpu_seconds
    return {
        **before,
        "status": word,
        "state": {name: value for name, value in told.items() if value is not None},
        "usage": {"seconds": seconds} if seconds is not None else before.get("usage"),
    }


def noted(task: LeaseTask, document: Mapping[str, Any]) -> LeaseTask:
    """The task with what is known by now."""
    info, now = info_of(document), time.time()
    kept = Kept.of(task)
    after = task if kept.document == document else replace(task, detail=replace(kept, document=document).text())
    if info.status is TaskStatus.RUNNING and task.started is None:
        after = replace(after, started=now)
    if info.status.is_final:
        ended = task.ended if task.ended is not None else now
        usage = info.qpu_seconds if info.qpu_seconds is not None else task.usage
        after = replace(after, ended=ended, usage=usage, outcome=info.status.value)
    return after


def listed(request: web.Request, documents: Iterable[Mapping[str, Any]], backends: Sequence[str] | None) -> Any:
    """A page of the list that a request asks for; ``backends`` are the names of the one that it wants to see.

    Raises:
        Refusal: 400, a part of the query cannot be understood.
    """
    query = request.query
    if unknown := sorted(set(query) - FILTERS):
        raise Refusal(400, f"unknown query parameter {unknown[0][:80]!r}")
    limit, offset = _number(query, "limit", 1, LARGEST_PAGE), _number(query, "offset", 0, 2**31)
    after, before = _moment(query, "created_after"), _moment(query, "created_before")
    tags = set(query.getall("tags", []))
    pending = query.get("pending", "").lower()
    found = [
        document
        for document in documents
        if ("program" not in query or (document.get("program") or {}).get("id") == query["program"])
        and ("session_id" not in query or document.get("session_id") == query["session_id"])
        and (backends is None or document.get("backend") in backends)
        and tags <= set(document.get("tags") or ())
        and (not pending or (pending == "true") is not info_of(document).status.is_final)
        and (after is None or _created(document) >= after)
        and (before is None or _created(document) <= before)
    ]
    found.sort(key=_created, reverse=query.get("sort", "DESC").upper() != "ASC")
    page = found[offset or 0 :][: limit or LARGEST_PAGE]
    return {"jobs": page, "count": len(found), "limit": limit or LARGEST_PAGE, "offset": offset or 0}


def _created(document: Mapping[str, Any]) -> float:
    return seconds_since_epoch(document.get("created")) or 0.0


def _number(query: Mapping[str, str], key: str, least: int, most: int) -> int | None:
    if key not in query:
        return None
    text = query[key]
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not least <= int(text) <= most:
        raise Refusal(400, f"{key} must be a number from {least} to {most}", code="1211")
    return int(text)


def _moment(query: Mapping[str, str], key: str) -> float | None:
    moment = seconds_since_epoch(query.get(key))
    if key in query and moment is None:
        raise Refusal(400, f"{key} must be an ISO 8601 time", code="1211")
    return moment
