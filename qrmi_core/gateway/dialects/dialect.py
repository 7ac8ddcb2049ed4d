# SPDX-License-Identifier: Apache-2.0
"""What every dialect has: routes, the form of its errors, and what a client's environment must hold."""

from __future__ import annotations

import json
import random
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, overload

from aiohttp import web

from qrmi_core.errors import InputError, QRMIError, TaskNotFound, UnsupportedFunction
from qrmi_core.gateway.device import Device

if TYPE_CHECKING:
    from qrmi_core.gateway.dialects.offered import Offered

__all__ = ["Dialect", "DialectOptions", "Refused", "checked_query", "iso", "json_body"]


@dataclass(frozen=True)
class DialectOptions:
    """What can be set of a dialect's server.

    ``key`` is the credential that it takes, ``token_seconds`` how long its tokens are good for, ``list_delay`` after
    how many seconds (at most; drawn anew for each task) a new task appears in lists. ``without`` names optional parts
    of the vendor's API that this server lacks, ``munge_socket`` is that of the munged to ask, where there is one. With
    ``any_account`` the key alone counts, whatever user and project a program says it is of. Who waits for a task, and
    asks again and again, is answered once it has ended, or after ``hold`` seconds.
    """

    key: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    token_seconds: float = 3600.0
    list_delay: float = 0.0
    seed: int = 0
    without: frozenset[str] = frozenset()
    munge_socket: str | None = None
    any_account: bool = False
    hold: float = 0.0


class Refused(Exception):
    """A request that is answered with an error, in the dialect's own form."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}


class Dialect(ABC):
    """One vendor's REST API in front of a device."""

    takes: ClassVar[type[Any]]
    """The kind of payload that the resource behind it must run."""

    engine: ClassVar[str]
    """The embedded resource that stands behind it when none is named."""

    optional: ClassVar[frozenset[str]] = frozenset()
    """Parts of the vendor's API that some of its servers lack; see :class:`DialectOptions`."""

    hint: ClassVar[str] = ""
    """What its user must have besides, for `qrmi emulate` to say."""

    def __init__(self, device: Device, options: DialectOptions) -> None:
        self.device = device
        self.options = options
        self.url = ""
        """Where the server listens; known once it does."""
        self._random = random.Random(options.seed)  # noqa: S311  no secret

    @abstractmethod
    def routes(self) -> Iterable[web.RouteDef]:
        """The vendor's routes."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The environment block with which a resource of this type reaches this server."""

    @abstractmethod
    def error(self, status: int, message: str, code: str | None) -> Any:
        """The JSON body of an error."""

    def offer(self, offered: Offered) -> None:
        """Serve these devices in place of the one that it was made with.

        Raises:
            UnsupportedFunction: servers of this API have one device.
        """
        raise UnsupportedFunction(f"{type(self).__name__} stands before one device only")

    async def started(self) -> None:  # noqa: B027  most have nothing to do
        """Called in the server's event loop before it listens."""

    async def ended(self) -> None:  # noqa: B027  most have nothing to do
        """Called when the server ends."""

    def listed_from(self) -> float:
        """The moment (monotonic seconds) from which a task that is made now appears in lists."""
        return time.monotonic() + self._random.uniform(0.0, self.options.list_delay)

    @web.middleware
    async def errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer errors in the vendor's form."""
        try:
            answer: web.StreamResponse = await handler(request)
        except Refused as refused:
            return self._answer(refused.status, refused.message, refused.code, refused.headers)
        except TaskNotFound as error:
            return self._answer(404, str(error), error.code)
        except InputError as error:
            return self._answer(400, str(error), error.code)
        except QRMIError as error:
            return self._answer(503 if error.transient else 500, str(error), error.code)
        except web.HTTPException as error:
            return self._answer(error.status, f"{request.method} {request.path}: {error.reason}", None)
        return answer

    def _answer(
        self, status: int, message: str, code: str | None, headers: dict[str, str] | None = None
    ) -> web.Response:
        return web.json_response(self.error(status, message, code), status=status, headers=headers)


def checked_query(request: web.Request, known: Collection[str]) -> dict[str, str]:
    """The request's query; a key that the vendor does not know is refused, so that no client can rely on it.

    Raises:
        Refused: 400.
    """
    if unknown := sorted(set(request.query) - set(known)):
        raise Refused(400, f"unknown query parameter {', '.join(unknown)}")
    return dict(request.query)


async def json_body(request: web.Request) -> Any:
    """The decoded body of a request; aiohttp has undone its compression.

    Raises:
        Refused: 400, it is not JSON.
    """
    try:
        return json.loads(await request.read())
    except web.RequestPayloadError as error:
        raise Refused(400, "the body cannot be unpacked") from error
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from error


@overload
def iso(moment: float) -> str: ...
@overload
def iso(moment: float | None) -> str | None: ...
def iso(moment: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, with microseconds and a Z."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
