# SPDX-License-Identifier: Apache-2.0
"""The way to Pasqal's cloud: the site's account, its project, and which device types a job may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.pasqal_auth import REGIONS, Login
from qrmi_core.drivers.pasqal_batches import is_emulator
from qrmi_core.drivers.pasqal_cloud import EMULATORS, PasqalCloud
from qrmi_core.drivers.pasqal_cloud_api import BASE_URL, CORE, REGION
from qrmi_core.drivers.pasqal_config import account
from qrmi_core.gateway.doors.upstream import Authorization, Bearer, Upstream
from qrmi_core.resource import JobContext
from qrmi_core.tokens import BearerToken

__all__ = ["PasqalWay"]


class PasqalWay(Upstream):
    """The server of one resource; ``device`` is the type that a job's QPU is."""

    def __init__(self, resource: ConfiguredResource, within: Callable[..., Awaitable[Any]]) -> None:
        """Nothing is sent yet; the file of the account is read.

        Raises:
            QRMIError: the resource is not configured rightly, and how.
        """
        values = {name: value.strip() for name, value in resource.values().items()}
        driver = PasqalCloud.from_environment(resource.name, values, JobContext())
        region, known = REGIONS[values.get(REGION) or "fr"], account(resource.name, values)
        login = Login(resource.name, known, region, driver.http)
        super().__init__(
            (values.get(BASE_URL) or region.base).rstrip("/") + CORE,
            driver.http,
            Bearer(BearerToken(login.token), within),
            name=resource.name,
        )
        self._to_storages = replace(driver.http, certificate=None, key=None)
        self._storages: dict[str, Upstream] = {}
        self.device = driver.device
        self.project = known.project_id or ""
        self.min_poll = driver.min_poll
        listed = values.get(EMULATORS)
        self._emulators = None if not listed else {word.strip() for word in listed.split(",")}

    @property
    def is_emulator(self) -> bool:
        """Whether the job's QPU is an emulator, which stands for any device."""
        return is_emulator(self.device)

    def has(self, device_type: str) -> bool:
        """Whether batches may name this type."""
        if device_type == self.device:
            return True
        return is_emulator(device_type) and (self._emulators is None or device_type in self._emulators)

    def to_result(self, link: str) -> tuple[Upstream, str] | None:
        """The way to the storage of a result, without a credential, and the path there; None: it is nowhere."""
        parts = urlsplit(link)
        if parts.scheme not in {"https", "http"} or not parts.netloc:
            return None
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._storages:
            self._storages[origin] = Upstream(origin, self._to_storages, Authorization(), name="the storage of results")
        return self._storages[origin], f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"

    async def close(self) -> None:
        """Close its connections, and those to the storages of its results."""
        storages, self._storages = self._storages, {}
        await super().close()
        for storage in storages.values():
            await storage.close()
