# SPDX-License-Identifier: Apache-2.0
"""Which door a request comes to: under a resource's own path that of its type, whatever paths other doors have.

Doors are made when the site first has a resource for them, perhaps while the gateway runs, and then have their routes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from qrmi_core.gateway.doors.door import AT_RESOURCE

if TYPE_CHECKING:
    from re import Pattern

    from qrmi_core.gateway.doors.door import Door

__all__ = ["add_doors"]

BELOW = f"{AT_RESOURCE}/"


class _Routes:
    """The routes of one door below its resources.

    aiohttp's own table tries all that begin with the same text, here ``/r/``; this one those with as many segments, and
    those that end in ``.*`` after all others.
    """

    def __init__(self, routes: Iterable[web.AbstractRouteDef]) -> None:
        self._by_length: dict[int, list[tuple[Pattern[str], dict[str, web.AbstractRoute]]]] = defaultdict(list)
        self._of_any_length: list[tuple[Pattern[str], dict[str, web.AbstractRoute]]] = []
        dispatcher = web.UrlDispatcher()
        dispatcher.add_routes(routes)
        for resource in dispatcher.resources():
            pattern, methods = resource.get_info()["pattern"], {route.method: route for route in resource}
            of_length = self._by_length[resource.canonical.count("/")]
            (self._of_any_length if ".*" in pattern.pattern else of_length).append((pattern, methods))

    def find(self, request: web.Request) -> web.UrlMappingMatchInfo:
        """The route of a request.

        Raises:
            web.HTTPNotFound: there is none.
            web.HTTPMethodNotAllowed: there is one for other methods only.
        """
        path, allowed = request.rel_url.path_safe, set[str]()
        for pattern, methods in (*self._by_length.get(path.count("/"), ()), *self._of_any_length):
            if (match := pattern.fullmatch(path)) is None:
                continue
            if (route := methods.get(request.method) or methods.get("*")) is not None:
                return web.UrlMappingMatchInfo(match.groupdict(), route)
            allowed.update(methods)
        if allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        raise web.HTTPNotFound


def add_doors(
    router: web.UrlDispatcher, doors: Callable[[], Iterable[Door]], door_of: Callable[[str], Door | None]
) -> None:
    """Add the routes of all doors; ``door_of`` tells which one a resource is behind, by its name."""
    root = web.UrlDispatcher()
    at_resource: dict[Door, _Routes] = {}

    def routes_of(door: Door) -> _Routes:
        if door not in at_resource:
            routes = list(door.routes())
            at_resource[door] = _Routes(route for route in routes if route.path.startswith(BELOW))
            root.add_routes(route for route in routes if not route.path.startswith(BELOW))
        return at_resource[door]

    async def at_its_own(request: web.Request) -> web.StreamResponse:
        door = door_of(request.match_info["resource"])
        if door is None:
            raise web.HTTPNotFound
        return await _handled(routes_of(door).find(request), request)

    async def at_the_root(request: web.Request) -> web.StreamResponse:
        for door in doors():
            routes_of(door)
        found = await root.resolve(request)
        if found.http_exception is not None:
            raise found.http_exception
        return await _handled(found, request)

    router.add_route("*", f"{BELOW}{{rest:.*}}", at_its_own)
    router.add_route("*", "/{rest:.*}", at_the_root)
    for door in doors():
        routes_of(door)


async def _handled(found: web.UrlMappingMatchInfo, request: web.Request) -> web.StreamResponse:
    found.add_app(request.app)
    found.freeze()
    request._match_info = found  # noqa: SLF001  as aiohttp's own applications do
    request._cache.pop("match_info", None)  # noqa: SLF001  it may have been asked for before
    return await found.handler(request)
