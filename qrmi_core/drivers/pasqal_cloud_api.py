# SPDX-License-Identifier: Apache-2.0
"""The REST API of Pasqal's cloud for one resource: its clients, whose account they use, its envelopes and its devices.

The account's file is read when something is first asked that needs an account; devices are public.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from qrmi_core.drivers.pasqal_auth import REGIONS, Login
from qrmi_core.drivers.pasqal_config import PROJECT, Account, account
from qrmi_core.drivers.vendor import expect, expect_object, expect_objects
from qrmi_core.errors import QRMIError, ResourceUnavailable, UnsupportedPayload, VendorError
from qrmi_core.http import HttpClient, Response, Told
from qrmi_core.http_settings import HttpSettings
from qrmi_core.locks import ForkSafeLock

__all__ = ["BASE_URL", "CORE", "REFUSALS", "REGION", "PasqalCloudAPI"]

BASE_URL = "QRMI_PASQAL_CLOUD_BASE_URL"
REGION = "QRMI_PASQAL_CLOUD_REGION"
CORE = "/core-fast/api"
REFUSALS = frozenset({400, 403, 404, 409, 422})

Answer = TypeVar("Answer")


class PasqalCloudAPI:
    """Safe to use from several threads."""

    def __init__(self, name: str, values: Mapping[str, str], http: HttpSettings) -> None:
        """Nothing is sent yet.

        Raises:
            ResourceUnavailable: there is no such region.
        """
        region = values.get(REGION) or "fr"
        if region not in REGIONS:
            raise ResourceUnavailable(
                f"{REGION} of {name} is {region!r}: {' or '.join(REGIONS)} was expected", resource=name
            )
        self._name = name
        self._values = values
        self._http = http
        self._region = REGIONS[region]
        self._base = (values.get(BASE_URL) or self._region.base).rstrip("/") + CORE
        self._lock = ForkSafeLock()
        self._account_of: tuple[Account, HttpClient] | None = None
        self.public = HttpClient(self._base, http, resource=name, address=f"{BASE_URL} of {name}", told=_told)
        """For requests that need no account."""

    @property
    def client(self) -> HttpClient:
        """The client for requests that need an account.

        Raises:
            ResourceUnavailable: the account is not known, and why.
        """
        from qrmi_core.tokens import BearerToken

        with self._lock:
            if self._account_of is None:
                known = account(self._name, self._values)
                login = Login(self._name, known, self._region, self._http)
                client = HttpClient(
                    self._base,
                    self._http,
                    resource=self._name,
                    token=BearerToken(login.token),
                    secrets=known.secrets,
                    credentials=f"{login.credentials}, and {PROJECT}",
                    address=f"{BASE_URL} of {self._name}",
                    told=_told,
                )
                self._account_of = known, client
            return self._account_of[1]

    @property
    def project(self) -> str:
        """The project that pays.

        Raises:
            ResourceUnavailable: none is known.
        """
        self.client  # noqa: B018  reads the account
        known = cast("tuple[Account, HttpClient]", self._account_of)[0]
        if not known.project_id:
            raise ResourceUnavailable(
                f"{self._name}: no project is known that pays for the batch: set {PROJECT} of {self._name}, or write "
                f"project_id into ~/.pasqal/config",
                resource=self._name,
            )
        return known.project_id

    def data(self, envelope: Any) -> Any:
        """What an answer holds."""
        return expect(envelope, "data", resource=self._name, what="the answer")

    def object(self, envelope: Any, what: str) -> dict[str, Any]:
        """The object that an answer holds; ``what`` it is, for texts."""
        return expect_object(self.data(envelope), resource=self._name, what=what)

    def objects(self, envelope: Any, what: str) -> list[dict[str, Any]]:
        """The list of objects that an answer holds."""
        return expect_objects(self.data(envelope), resource=self._name, what=what)

    def device(self, device_type: str) -> dict[str, Any]:
        """What the vendor says of a device.

        Raises:
            UnsupportedPayload: there is no such device; says which there are.
        """
        found = self.about_device(
            lambda: self.public.get_json("/v1/devices", query={"device_type": device_type}), device_type
        )
        devices = self.objects(found, "the list of devices")
        if not devices:
            others = self.objects(self.public.get_json("/v1/devices"), "the list of devices")
            raise self._no_such_device(device_type, [str(device.get("device_type")) for device in others])
        return devices[0]

    def about_device(self, call: Callable[[], Answer], device_type: str) -> Answer:
        """What a request gives; where it is refused because there is no such device type, say which there are."""
        try:
            return call()
        except VendorError as error:
            if error.http_status not in REFUSALS:
                raise
            try:
                known = [str(device["device_type"]) for device in self.data(self.public.get_json("/v1/devices"))]
            except (QRMIError, KeyError, TypeError):
                raise error from None
            if not known or device_type in known:
                raise
            raise self._no_such_device(device_type, known) from error

    def _no_such_device(self, device_type: str, known: Sequence[str]) -> UnsupportedPayload:
        return UnsupportedPayload(
            f"{self._name}: Pasqal's cloud has no device type {device_type}; it has {', '.join(known) or 'none'}. "
            f"Where the resource has another name than its device, name the device in QRMI_DEVICE of {self._name}",
            resource=self._name,
        )


def _told(response: Response) -> Told:
    body = response.json()
    data = body.get("data")
    described = data.get("description") if isinstance(data, dict) else None
    code = body.get("code")
    return Told(described or body.get("message"), None if code is None else str(code))
