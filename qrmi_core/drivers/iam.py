# SPDX-License-Identifier: Apache-2.0
"""Tokens of IBM Cloud's identity service (IAM), which both of IBM's APIs take."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from qrmi_core.drivers.vendor import expect
from qrmi_core.errors import AuthenticationFailed, ResourceUnavailable, VendorError
from qrmi_core.http import HttpClient, Response, Told
from qrmi_core.http_settings import HttpSettings
from qrmi_core.sharing import shared
from qrmi_core.tokens import BearerToken, Token, seconds_left

__all__ = ["iam_token"]

GRANT = "urn:ibm:params:oauth:grant-type:apikey"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def iam_token(name: str, values: Mapping[str, str], settings: HttpSettings, *, prefix: str) -> BearerToken:
    """The token of the resource ``name``, fetched when first needed.

    ``prefix`` is what its variables begin with, as in ``QRMI_IBM_QCS``_IAM_ENDPOINT and ..._IAM_APIKEY. Asking for a
    token raises AuthenticationFailed where the key is refused, and says which variable holds it.
    """
    endpoint, key = f"{prefix}_IAM_ENDPOINT", f"{prefix}_IAM_APIKEY"
    return shared(
        ("iam", name, values[endpoint], values[key]), lambda: _token(name, values, settings, endpoint=endpoint, key=key)
    )


def _token(name: str, values: Mapping[str, str], settings: HttpSettings, *, endpoint: str, key: str) -> BearerToken:
    http = HttpClient(
        values[endpoint],
        settings,
        resource=name,
        secrets=[values[key]],
        credentials=f"{key} of {name}",
        address=f"{endpoint} of {name}",
        told=_told,
    )
    form = urlencode({"grant_type": GRANT, "apikey": values[key]}).encode()

    def fetch() -> Token:
        try:
            answer = http.change("POST", "/identity/token", data=form, headers=FORM, json_only=True)
        except AuthenticationFailed:
            raise
        except VendorError as error:
            if error.http_status == 400:
                raise AuthenticationFailed(
                    f"{error}. No token was given: check {key} of {name}",
                    resource=name,
                    http_status=400,
                    code=error.code,
                    reason=error.reason,
                ) from error
            if error.http_status == 404:
                # Without the status: nothing but the token is missing, neither a task nor a device.
                raise ResourceUnavailable(
                    f"{error}. Check {endpoint} of {name}, to which /identity/token is added", resource=name
                ) from error
            raise
        document = answer.json()
        token = str(expect(document, "access_token", resource=name, what=f"the token of {answer.url}"))
        return Token.lasting(token, _life(document.get("expires_in"), token))

    return BearerToken(fetch)


def _life(seconds: object, token: str) -> float | None:
    return float(seconds) if isinstance(seconds, int | float) else seconds_left(token)


def _told(response: Response) -> Told:
    body = response.json()
    messages = dict.fromkeys(filter(None, (body.get("errorMessage"), body.get("errorDetails"))))
    return Told(message="; ".join(messages) or None, code=body.get("errorCode"))
