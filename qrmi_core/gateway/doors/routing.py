# SPDX-License-Identifier: Apache-2.0
"""Which door a request comes to: under a resource's own path that of its type, whatever paths other doors have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from qrmi_core.gateway.doors.door import AT_RESOURCE

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.door import Door

__all__ = ["add_doors"]

BELOW = f"{AT_RESOURCE}/"


def add_doors(router: web.UrlDispatcher, doors: Iterable[Door], door_of: Callable[[str], Door | None]) -> None:
    """Add the routes of all doors; ``door_of`` tells which one a resource is behind, by its name."""
    at_resource: dict[Door, web.UrlDispatcher] = {}
    for door in doors:
        own = at_resource[door] = web.UrlDispatcher()
        for route in door.routes():
            (own if route.path.startswith(BELOW) else router).add_routes([route])

    async def handle(request: web.Request) -> web.StreamResponse:
        door = door_of(request.match_info["resource"])
        if door is None or door not in at_resource:
            raise web.HTTPNotFound
        found = await at_resource[door].resolve(request)
        if found.http_exception is not None:
            raise found.http_exception
        found.add_app(request.app)
        found.freeze()
        request._match_info = found  # noqa: SLF001  as aiohttp's own applications do
        request._cache.pop("match_info", None)  # noqa: SLF001  it may have been asked for before
        return await found.handler(request)

    router.add_route("*", f"{BELOW}{{rest:.*}}", handle)
