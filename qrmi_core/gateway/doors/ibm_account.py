# SPDX-License-Identifier: Apache-2.0
"""What a job sees of IBM Cloud: an identity service that takes its token for a key, and one instance.

A user's own key may arrive here, since IBM's client asks whatever identity service the environment names. Nothing of
a request for a token is kept or logged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from aiohttp import web

from qrmi_core.gateway.doors.admission import NotAdmitted
from qrmi_core.gateway.doors.door import Door, Refusal, Visit

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.doors import Doors

__all__ = ["INSTANCE", "Account", "check_instance"]

INSTANCE = "crn:v1:bluemix:public:quantum-computing:us-east:a/00000000000000000000000000000000:qrmi-gateway::"
"""The instance that holds the QPUs of a job, whichever they are."""

PLAN = "qrmi-gateway-plan"
GRANT = "urn:ibm:params:oauth:grant-type:apikey"
TOKEN_SECONDS = 3600
LONGEST_FORM = 64 * 1024


def check_instance(request: web.Request) -> None:
    """See that a request is for the instance that there is.

    Raises:
        Refusal: 403.
    """
    if request.headers.get("Service-CRN", INSTANCE) != INSTANCE:
        raise Refusal(403, "Service-CRN: this job has one instance, that of QISKIT_IBM_INSTANCE", code="1201")


class Account:
    """The account of a job."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def routes(self, at: str, door: Door) -> Iterable[web.RouteDef]:
        """The routes below a path, whose errors are in the form of that door."""
        yield web.post(f"{at}/identity/token", door.open(self._token))
        yield web.post(f"{at}/v3/resources/search", door.guarded(self._search))
        yield web.get(f"{at}/api/v1/{PLAN}", door.guarded(self._plan))

    async def _token(self, request: web.Request) -> web.Response:
        """A web token for a job's token; a key that is none gets what IBM says of keys that it does not know."""
        async with await self._doors.spool.take(request, most=LONGEST_FORM) as body:
            form = parse_qs(body.read(0, body.size).decode(errors="replace"))
        if form.get("grant_type") != [GRANT]:
            return _refusal("BXNIM0137E", "Unsupported grant type")
        try:
            lease = await self._doors.admission.lease(form.get("apikey", [""])[0], request.remote)
        except NotAdmitted:
            return _refusal("BXNIM0415E", "Provided API key could not be found.")
        answer = {
            "access_token": self._doors.tokens.web_token(lease.id, seconds=TOKEN_SECONDS),
            "refresh_token": "not_supported",
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "expiration": int(time.time()) + TOKEN_SECONDS,
            "scope": "ibm openid",
        }
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def _search(self, _visit: Visit, _request: web.Request) -> web.Response:
        item = {"crn": INSTANCE, "name": "qrmi-gateway", "service_plan_unique_id": PLAN, "tags": []}
        return web.json_response({"items": [item | {"doc": {"extensions": [{}]}}], "limit": 100})

    async def _plan(self, _visit: Visit, _request: web.Request) -> web.Response:
        words = {"overview_ui": {"en": {"display_name": "site"}}, "metadata": {"pricing": {"type": "free"}}}
        return web.json_response({"id": PLAN, "name": PLAN, "kind": "plan"} | words)


def _refusal(code: str, message: str) -> web.Response:
    return web.json_response({"errorCode": code, "errorMessage": message}, status=400)
