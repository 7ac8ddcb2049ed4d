# SPDX-License-Identifier: Apache-2.0
"""Logging in to Pasqal's cloud: a token that is given, a user, or a service account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from qrmi_core.drivers.pasqal_config import PREFIX, Account
from qrmi_core.drivers.vendor import expect
from qrmi_core.errors import AuthenticationFailed
from qrmi_core.http import HttpClient, Response, Told
from qrmi_core.http_settings import HttpSettings
from qrmi_core.locks import ForkSafeLock
from qrmi_core.tokens import Token, seconds_left

__all__ = ["REGIONS", "Login", "Region"]

GIVEN_TOKEN_LEFT = 10.0


@dataclass(frozen=True)
class Region:
    """One of Pasqal's installations: its addresses, and what its identity service wants to be told."""

    base: str
    auth_endpoint: str
    audience: str
    realm: str
    client_id: str
    grant_type: str


REGIONS = {
    "fr": Region(
        base="https://apis.pasqal.cloud",
        auth_endpoint="https://authenticate.pasqal.cloud/oauth/token",
        audience="https://apis.pasqal.cloud/account/api/v1",
        realm="pcs-users",
        client_id="PeZvo7Atx7IVv3iel59asJSb4Ig7vuSB",
        grant_type="http://auth0.com/oauth/grant-type/password-realm",
    ),
    "sa": Region(
        base="https://apis.sa.pasqal.cloud",
        auth_endpoint="https://auth.sa.pasqal.cloud/realms/pasqal-cloud/protocol/openid-connect/token",
        audience="https://apis.pasqal.cloud/account/api/v1",
        realm="pasqal-cloud",
        client_id="cloud-sdk",
        grant_type="password",
    ),
}


class Login:
    """Fetches tokens for one account; the given token first, as long as it lasts and is not refused."""

    def __init__(self, resource: str, account: Account, region: Region, settings: HttpSettings) -> None:
        self._resource = resource
        self._account = account
        self._region = region
        self._lock = ForkSafeLock()
        self._given_before = False
        endpoint = account.auth_endpoint or region.auth_endpoint
        self._http = HttpClient(
            endpoint if "://" in endpoint else f"https://{endpoint}",
            settings,
            resource=resource,
            secrets=account.secrets,
            credentials=self.credentials,
            address=f"{PREFIX}AUTH_ENDPOINT of {resource}",
            told=_told,
        )

    @property
    def credentials(self) -> str:
        """The variables whose values are used, for texts."""
        known = self._account
        if known.auth_token:
            return f"{PREFIX}AUTH_TOKEN of {self._resource}"
        if self._is_user:
            return f"PASQAL_USERNAME and PASQAL_PASSWORD (or {PREFIX}USERNAME and {PREFIX}PASSWORD of {self._resource})"
        return f"{PREFIX}CLIENT_ID and {PREFIX}CLIENT_SECRET of {self._resource}"

    def token(self) -> Token:
        """A token; called again only when the last one was refused or is about to end.

        Raises:
            AuthenticationFailed: there is nothing to log in with, or it was refused; names the variables.
        """
        if (given := self._account.auth_token) and (token := self._given(given)):
            return token
        form = self._form()
        answer = self._http.change(
            "POST",
            "",
            data=urlencode(form).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            json_only=True,
        ).json()
        value = str(expect(answer, "access_token", resource=self._resource, what="the answer to the login"))
        seconds = answer.get("expires_in")
        return Token.lasting(value, float(seconds) if isinstance(seconds, int | float) else seconds_left(value))

    @property
    def _is_user(self) -> bool:
        return bool(self._account.username and self._account.password)

    @property
    def _is_service(self) -> bool:
        return bool(self._account.client_id and self._account.client_secret)

    def _given(self, value: str) -> Token | None:
        with self._lock:
            before, self._given_before = self._given_before, True
        left = seconds_left(value)
        if left is not None and left <= GIVEN_TOKEN_LEFT:
            if self._is_user or self._is_service:
                return None
            raise AuthenticationFailed(
                f"{self._resource}: the token in {PREFIX}AUTH_TOKEN has expired, and there is no user or service "
                f"account to get another with: {self._ways()}",
                resource=self._resource,
            )
        if before and (self._is_user or self._is_service):
            return None
        return Token.lasting(value, left)

    def _form(self) -> dict[str, str]:
        known, region = self._account, self._region
        if self._is_user:
            return {
                "grant_type": region.grant_type,
                "realm": region.realm,
                "client_id": region.client_id,
                "audience": region.audience,
                "username": known.username or "",
                "password": known.password or "",
            }
        if self._is_service:
            return {
                "grant_type": "client_credentials",
                "client_id": known.client_id or "",
                "client_secret": known.client_secret or "",
                "audience": region.audience,
            }
        raise AuthenticationFailed(
            f"{self._resource}: there is nothing to log in to Pasqal's cloud with: {self._ways()}",
            resource=self._resource,
        )

    def _ways(self) -> str:
        return (
            f"set PASQAL_USERNAME and PASQAL_PASSWORD, or {PREFIX}CLIENT_ID and {PREFIX}CLIENT_SECRET of "
            f"{self._resource}, or {PREFIX}AUTH_TOKEN of {self._resource}, or write them into ~/.pasqal/config"
        )


def _told(response: Response) -> Told:
    body: Any = response.json()
    return Told(body.get("error_description") or body.get("message") or body.get("error"), body.get("error"))
