# SPDX-License-Identifier: Apache-2.0
"""The way to a Warden as the user whose job asks: with munge credentials of his, which the root helper makes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from qrmi_core import munge
from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.pasqal_local import OLD_URL, URL, PasqalLocal
from qrmi_core.drivers.warden import MUNGE_SOCKET
from qrmi_core.errors import ConfigurationError, ResourceUnavailable
from qrmi_core.gateway.doors.upstream import Authorization, Upstream
from qrmi_core.gateway.helper_client import HelperClient
from qrmi_core.resource import JobContext

__all__ = ["AsUser", "WardenWay", "acting_for"]

_uid: ContextVar[int | None] = ContextVar("uid", default=None)


@contextlib.contextmanager
def acting_for(uid: int | None) -> Iterator[None]:
    """Whose credentials requests carry that are sent in this block; None: nobody's."""
    before = _uid.set(uid)
    try:
        yield
    finally:
        _uid.reset(before)


class AsUser(Authorization):
    """Munge credentials; each is good once, so each try of a request gets another."""

    def __init__(
        self, helper: HelperClient | None, socket: str | None, within: Callable[..., Awaitable[Any]], name: str
    ) -> None:
        self._helper = helper
        self._socket = socket
        self._within = within
        self._name = name

    async def headers(self) -> Mapping[str, str]:
        uid = _uid.get()
        return {} if uid is None else {"X-Munge-Cred": await self._within("vendor", self._credential, uid)}

    def _credential(self, uid: int) -> str:
        if self._helper is not None:
            return self._helper.munge_root() if uid == 0 else self._helper.munge_user(uid)
        if uid != os.geteuid():
            raise ConfigurationError(
                f"{self._name} is behind the gateway, which can speak for its users only by the root helper: run "
                f"`qrmi gateway helper` and name its socket in helper_socket, or set access of {self._name} to direct"
            )
        return munge.encode(socket=self._socket)


class WardenWay(Upstream):
    """The Warden of one resource."""

    def __init__(
        self, resource: ConfiguredResource, helper: HelperClient | None, within: Callable[..., Awaitable[Any]]
    ) -> None:
        """Nothing is sent yet.

        Raises:
            ResourceUnavailable: the resource is not configured rightly, and how.
        """
        values = {name: value.strip() for name, value in resource.values().items()}
        driver = PasqalLocal.from_environment(resource.name, values, JobContext())
        address = values.get(URL) or values.get(OLD_URL)
        if not address:
            raise ResourceUnavailable(f"{resource.name} needs {URL}", resource=resource.name)
        user = AsUser(helper, values.get(MUNGE_SOCKET) or None, within, resource.name)
        super().__init__(address, driver.http, user, name=resource.name)
        self.device = resource.device
        self.min_poll = driver.min_poll
