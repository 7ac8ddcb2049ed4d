# SPDX-License-Identifier: Apache-2.0
"""Who may use the server of Pasqal's dialect: one user, one service account, one token, one project."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from qrmi_core.gateway.dialects.dialect import Refused

__all__ = ["CLIENT", "USER", "Accounts"]

USER = "user@example.org"
CLIENT = "service"
AUDIENCE = "https://apis.pasqal.cloud/account/api/v1"
PASSWORD_GRANT = "http://auth0.com/oauth/grant-type/password-realm"  # noqa: S105  its name
REALM = "pcs-users"
PUBLIC_CLIENT = "PeZvo7Atx7IVv3iel59asJSb4Ig7vuSB"


class Accounts:
    """Gives tokens for the server's one key, and tells good ones from others; the key itself is one that never ends."""

    def __init__(self, key: str, token_seconds: float, *, any_account: bool = False) -> None:
        """With ``any_account`` whoever has the key may call himself and his project as he likes."""
        self.project = str(uuid.uuid4())
        self._any_account = any_account
        self.user_id = f"auth0|{uuid.uuid4().hex[:24]}"
        self._key = key
        self._seconds = token_seconds
        self._signing = secrets.token_bytes(32)

    def login(self, form: Mapping[str, Any]) -> web.Response:
        """Answer a request for a token as the identity service does."""
        grant = form.get("grant_type")
        if form.get("audience") != AUDIENCE:
            return _refusal(403, "access_denied", f"Service not found: {form.get('audience')}")
        if grant == PASSWORD_GRANT:
            if form.get("client_id") != PUBLIC_CLIENT or form.get("realm") != REALM:
                return _refusal(403, "unauthorized_client", "Unknown or invalid client or realm.")
            if (form.get("username") != USER and not self._any_account) or not self._is_key(form.get("password")):
                return _refusal(403, "invalid_grant", "Wrong email or password.")
        elif grant == "client_credentials":
            if form.get("client_id") != CLIENT or not self._is_key(form.get("client_secret")):
                return _refusal(401, "access_denied", "Unauthorized")
        else:
            return _refusal(403, "unsupported_grant_type", f"Unsupported grant type: {grant}")
        token = self._signed({"sub": self.user_id, "aud": AUDIENCE, "exp": time.time() + self._seconds})
        return web.json_response({"access_token": token, "expires_in": self._seconds, "token_type": "Bearer"})

    def check(self, request: web.Request) -> None:
        """Let a request pass that bears a token of ours.

        Raises:
            Refused: 401.
        """
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not (self._is_key(token) or self._is_good(token)):
            raise Refused(401, "Invalid or expired token.")

    def is_member(self, project: str) -> bool:
        """Whether batches may be made in a project."""
        return self._any_account or project == self.project

    def _is_key(self, text: object) -> bool:
        return isinstance(text, str) and hmac.compare_digest(text.encode(), self._key.encode())

    def _is_good(self, token: str) -> bool:
        head, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(head)):
            return False
        claims = json.loads(base64.urlsafe_b64decode(head.partition(".")[2] + "=="))
        return bool(claims["exp"] > time.time())

    def _signed(self, claims: Mapping[str, Any]) -> str:
        head = b".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return f"{head.decode()}.{self._signature(head.decode()).decode()}"

    def _signature(self, head: str) -> bytes:
        return _base64(hmac.new(self._signing, head.encode(), hashlib.sha256).digest())


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _refusal(status: int, error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)
