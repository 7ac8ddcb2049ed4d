# SPDX-License-Identifier: Apache-2.0
"""Which door a request comes to: under a resource's own path that of its type, whatever paths other doors have.

Doors are made when the site first has a resource for them, perhaps while the gateway runs, and then have their routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from qrmi_core.gateway.doors.door import AT_RESOURCE

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.door import Door

__all__ = ["add_doors"]

BELOW = f"{AT_RESOURCE}/"


def add_doors(
    router: web.UrlDispatcher, doors: Callable[[], Iterable[Door]], door_of: Callable[[str], Door | None]
) -> None:
    """Add the routes of all doors; ``door_of`` tells which one a resource is behind, by its name."""
    root = web.UrlDispatcher()
    at_resource: dict[Door, web.UrlDispatcher] = {}

    def routes_of(door: Door) -> web.UrlDispatcher:
        if door not in at_resource:
            own = at_resource[door] = web.UrlDispatcher()
            for route in door.routes():
                (own if route.path.startswith(BELOW) else root).add_routes([route])
        return at_resource[door]

    async def at_its_own(request: web.Request) -> web.StreamResponse:
        door = door_of(request.match_info["resource"])
        if door is None:
            raise web.HTTPNotFound
        return await _handled(routes_of(door), request)

    async def at_the_root(request: web.Request) -> web.StreamResponse:
        for door in doors():
            routes_of(door)
        return await _handled(root, request)

    router.add_route("*", f"{BELOW}{{rest:.*}}", at_its_own)
    router.add_route("*", "/{rest:.*}", at_the_root)
    for door in doors():
        routes_of(door)


async def _handled(routes: web.UrlDispatcher, request: web.Request) -> web.StreamResponse:
    found = await routes.resolve(request)
    if found.http_exception is not None:
        raise found.http_exception
    found.add_app(request.app)
    found.freeze()
    request._match_info = found  # noqa: SLF001  as aiohttp's own applications do
    request._cache.pop("match_info", None)  # noqa: SLF001  it may have been asked for before
    return await found.handler(request)
