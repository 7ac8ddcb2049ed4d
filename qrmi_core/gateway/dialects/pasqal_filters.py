# SPDX-License-Identifier: Apache-2.0
"""The filters and pages of the lists of Pasqal's cloud, as pasqal-cloud 0.24 sends them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from qrmi_core.gateway.dialects.dialect import Refused, checked_query
from qrmi_core.gateway.dialects.pasqal_records import Batch, Job
from qrmi_core.tasks import TaskInfo

__all__ = ["BATCH_FILTERS", "JOB_FILTERS", "chosen_jobs", "page", "selected"]

LARGEST_PAGE = 100
PAGE_FIELDS = frozenset({"offset", "limit"})

BATCH_FILTERS = PAGE_FIELDS | {
    "id", "project_id", "user_id", "device_type", "status", "open", "start_date", "end_date", "queue_priority", "tag",
}  # fmt: skip
OF_ONE_BATCH = frozenset({"id", "min_runs", "max_runs", "start_date", "end_date"})
JOB_FILTERS = (
    PAGE_FIELDS
    | OF_ONE_BATCH
    | {"project_id", "user_id", "batch_id", "status", "errors", "order_by", "order_by_direction"}
)


def selected(request: web.Request, views: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The batches or jobs that pass all the filters of a request.

    Raises:
        Refused: 400, the value of a filter cannot be read.
    """
    kept = list(views)
    for name in set(request.query) - PAGE_FIELDS:
        passes = _filter(name, request.query.getall(name))
        kept = [view for view in kept if passes(view)]
    return kept


def page(request: web.Request, views: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The part of a list that a request asks for, and what is said of the whole.

    Raises:
        Refused: 400, it asks for what is no page.
    """
    start, limit = _whole(request.query.get("offset", "0")), _whole(request.query.get("limit", str(LARGEST_PAGE)))
    if start < 0 or not 0 < limit <= LARGEST_PAGE:
        raise Refused(400, f"offset is at least 0, limit from 1 to {LARGEST_PAGE}")
    shown = list(views[start : start + limit])
    return shown, {"total": len(views), "start": start, "end": start + len(shown)}


def chosen_jobs(
    request: web.Request, batch: Batch, infos: Mapping[str, TaskInfo], also: Collection[str] = ()
) -> list[Job]:
    """The jobs of a batch that a request is about.

    Raises:
        Refused: 400, a filter is unknown or cannot be read.
    """
    checked_query(request, OF_ONE_BATCH | set(also))
    passed = {view["id"] for view in selected(request, [job.view(batch, infos[job.id]) for job in batch.jobs])}
    return [job for job in batch.jobs if job.id in passed]


def _filter(name: str, values: Sequence[str]) -> Callable[[Mapping[str, Any]], bool]:
    value = values[0]
    match name:
        case "tag":
            return lambda view: value in view["tags"]
        case "open":
            return lambda view: view["open"] is _truth(value)
        case "errors":
            return lambda view: bool(view["errors"]) is _truth(value)
        case "start_date":
            return lambda view: _moment(view["created_at"]) >= _moment(value)
        case "end_date":
            return lambda view: _moment(view["created_at"]) <= _moment(value)
        case "min_runs":
            return lambda view: (view["runs"] or 0) >= _whole(value)
        case "max_runs":
            return lambda view: (view["runs"] or 0) <= _whole(value)
        case "order_by" | "order_by_direction":
            if value not in {"creation_order", "ASC", "DESC"}:
                raise Refused(400, f"{name} cannot be {value}")
            return lambda _: True
        case _:
            return lambda view: view.get(name) in values


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise Refused(400, f"true or false was expected, not {text}")
    return text.lower() == "true"


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Refused(400, f"a whole number was expected, not {text}") from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f"a date was expected, not {text}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
