# SPDX-License-Identifier: Apache-2.0
"""What requests to Pasqal's cloud and its answers are made of, as far as the gateway looks at them."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterable, Callable, Collection, Mapping
from typing import Any

from aiohttp import web

from qrmi_core.gateway.bodies import Rebuilt, Spooled
from qrmi_core.gateway.doors.door import Refusal
from qrmi_core.gateway.doors.long_answers import LongAnswer
from qrmi_core.gateway.doors.pass_through import Answer

__all__ = [
    "BATCH_FILTERS",
    "JOB_FILTERS",
    "OF_JOBS",
    "PAGE",
    "UNFINISHED",
    "decoded",
    "filters",
    "has_settled",
    "listed",
    "new_tag",
    "page",
    "sendable",
    "without_tags",
]

PAGE = 100
"""The most that lists hold."""

OF_JOBS = frozenset({"id", "min_runs", "max_runs", "start_date", "end_date"})
BATCH_FILTERS = frozenset(
    {"id", "user_id", "device_type", "status", "open", "start_date", "end_date", "queue_priority", "tag"}
)
JOB_FILTERS = OF_JOBS | {"user_id", "batch_id", "status", "errors", "order_by", "order_by_direction"}
PAGE_FIELDS = frozenset({"offset", "limit", "project_id"})
UNFINISHED = ("PENDING", "RUNNING")
LONG = 256 * 1024

_BEGIN = b'"qrmi-'
_OURS = re.compile(rb'"qrmi-(?:lease-)?[0-9a-f]{32}"(\s*,\s*)?')
_LONGEST_BLANK = 64


def new_tag() -> str:
    """A tag of ours for a batch."""
    return f"qrmi-{secrets.token_hex(16)}"


def without_tags(body: bytes) -> bytes:
    """An answer without our tags, and the commas that they leave."""
    kept, at, found = bytearray(), 0, body.find(_BEGIN)
    while found >= 0:  # bytes' own search: the answer may be long
        after = found + 1
        if (tag := _OURS.match(body, found)) is not None:
            kept += body[at:found]
            at = after = tag.end()
            end = kept[-_LONGEST_BLANK:]
            bare = end.rstrip()
            if tag[1] is None and bare.endswith(b","):
                del kept[len(kept) - len(end) + len(bare) - 1 :]
        found = body.find(_BEGIN, after)
    return bytes(kept) + body[at:] if at else body


async def decoded(answer: Answer) -> dict[str, Any]:
    """The object in an answer, empty where there is none; of one that repeats a long sequence the short values."""
    if isinstance(answer, LongAnswer):
        return answer.data
    document = answer.json() if len(answer.body) <= LONG else await asyncio.to_thread(answer.json)
    data = document.get("data") if isinstance(document, dict) else None
    return data if isinstance(data, dict) else {}


async def listed(answer: Answer) -> list[dict[str, Any]]:
    """The objects in an answer that is a list."""
    document = answer.json() if len(answer.body) <= LONG else await asyncio.to_thread(answer.json)
    data = document.get("data") if isinstance(document, dict) else None
    return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []


def has_settled(told: Mapping[str, Any]) -> bool:
    """Whether no job of a batch is at work or waits, as pasqal-cloud looks at it."""
    counts = told.get("jobs_count_per_status")
    if isinstance(counts, dict):
        return not any(counts.get(word) for word in UNFINISHED)
    return told.get("status") not in UNFINISHED


def filters(request: web.Request, known: Collection[str]) -> list[tuple[str, str]]:
    """The filters of a request. Which page, and of which project, is for whoever asks the vendor.

    Raises:
        Refusal: 400, there is one that is not known here.
    """
    if unknown := sorted(set(request.query) - set(known) - PAGE_FIELDS):
        raise Refusal(400, f"unknown query parameter {unknown[0][:80]!r}")
    return [(key, value) for key, value in request.query.items() if key in known]


def page(request: web.Request) -> tuple[int, int]:
    """The first place and the length of the part of a list that a request asks for.

    Raises:
        Refusal: 400, it is none.
    """
    try:
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", PAGE))
    except ValueError:
        offset, limit = -1, 0
    if offset < 0 or not 0 < limit <= PAGE:
        raise Refusal(400, f"offset is at least 0, limit from 1 to {PAGE}")
    return offset, limit


def sendable(
    body: Rebuilt | Spooled | bytes | None,
) -> tuple[Callable[[], AsyncIterable[bytes] | bytes] | None, int | None]:
    """What makes a body, anew for each try, and its length in bytes."""
    if body is None:
        return None, None
    if isinstance(body, bytes):
        return (lambda: body), len(body)
    if isinstance(body, Rebuilt):
        return body.data, body.length
    return ((lambda: body.read(0, body.size)) if body.in_memory else body.pieces), body.size
