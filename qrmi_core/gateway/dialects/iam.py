# SPDX-License-Identifier: Apache-2.0
"""IBM Cloud's identity service: tokens for an API key, as both of IBM's dialects take them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from qrmi_core.gateway.dialects.dialect import DialectOptions, Refused
from qrmi_core.vendor_environment import EMULATED_INSTANCE as CRN

__all__ = ["CRN", "Iam"]

PLAN = "emulator-plan"

GRANT = "urn:ibm:params:oauth:grant-type:apikey"


class Iam:
    """Gives JSON web tokens for the key of ``options``, and knows them again until they expire."""

    def __init__(self, options: DialectOptions) -> None:
        self._options = options
        self._signing = secrets.token_bytes(32)

    def routes(self) -> list[web.RouteDef]:
        """The vendor's route, and those that tell of the one instance of an account."""
        return [
            web.post("/identity/token", self._give),
            web.post("/v3/resources/search", self._search),
            web.get(f"/api/v1/{PLAN}", self._plan),
        ]

    def accepts(self, request: web.Request) -> bool:
        """Whether a request carries a token from here that has not expired."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        signed, _, signature = token.rpartition(".")
        if scheme != "Bearer" or not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return False
        try:
            claims = json.loads(_decoded(signed.partition(".")[2]))
        except (ValueError, binascii.Error):
            return False
        return bool(claims["exp"] > time.time())

    async def _give(self, request: web.Request) -> web.Response:
        form = parse_qs((await request.read()).decode(errors="replace"))
        if form.get("grant_type") != [GRANT]:
            return _refusal("BXNIM0137E", "Unsupported grant type", "the grant type must be that of API keys")
        if not hmac.compare_digest(form.get("apikey", [""])[0].encode(), self._options.key.encode()):
            return _refusal("BXNIM0415E", "Provided API key could not be found.", None)
        now, life = time.time(), self._options.token_seconds
        token = self._token({"iss": "https://iam.cloud.ibm.com/identity", "iat": int(now), "exp": now + life})
        answer = {
            "access_token": token,
            "refresh_token": "not_supported",
            "token_type": "Bearer",
            "expires_in": life if life < 1 else int(life),
            "expiration": int(now + life),
            "scope": "ibm openid",
        }
        return web.json_response(answer)

    async def _search(self, request: web.Request) -> web.Response:
        self._require(request)
        item = {"crn": CRN, "name": "emulator", "service_plan_unique_id": PLAN, "tags": []}
        return web.json_response({"items": [item | {"doc": {"extensions": [{}]}}], "limit": 100})

    async def _plan(self, request: web.Request) -> web.Response:
        self._require(request)
        words = {"overview_ui": {"en": {"display_name": "emulator"}}, "metadata": {"pricing": {"type": "free"}}}
        return web.json_response({"id": PLAN, "name": PLAN, "kind": "plan"} | words)

    def _require(self, request: web.Request) -> None:
        if not self.accepts(request):
            raise Refused(401, "The access token is missing, wrong or expired", code="1200")

    def _token(self, claims: dict[str, Any]) -> str:
        header = {"alg": "HS256", "typ": "JWT", "kid": "emulator"}
        signed = ".".join(
            _encoded(json.dumps(part).encode()) for part in (header, claims | {"jti": secrets.token_hex(8)})
        )
        return f"{signed}.{self._signature(signed)}"

    def _signature(self, signed: str) -> str:
        return _encoded(hmac.new(self._signing, signed.encode(), hashlib.sha256).digest())


def _refusal(code: str, message: str, details: str | None) -> web.Response:
    body = {"errorCode": code, "errorMessage": message, **({"errorDetails": details} if details else {})}
    return web.json_response(body, status=400)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
