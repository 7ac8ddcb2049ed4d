# SPDX-License-Identifier: Apache-2.0
"""What one of IBM's machines on a site's own premises tells of itself: its state, its lanes, its target."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from qrmi_core.drivers.ibm_errors import text_of
from qrmi_core.drivers.vendor import expect, expect_object, expect_objects
from qrmi_core.errors import ResourceNotFound, ResourceUnavailable, VendorError
from qrmi_core.http import HttpClient
from qrmi_core.resource import ResourceCapacity, ResourceStatus, ResourceStatusCode, Target

__all__ = ["MachineDevice"]


class MachineDevice:
    """The device ``device`` of the API; ``resource`` is the name that errors give it."""

    def __init__(self, api: HttpClient, device: str, resource: str) -> None:
        self._api = api
        self._device = device
        self._resource = resource

    def status(self, running: Callable[[], int]) -> ResourceStatus:
        """Whether it takes tasks; ``running`` counts the own jobs that run, where lanes are to be reckoned with."""
        document = self._about()
        word = str(document.get("status"))
        capacity = self._lanes(running)
        locked = bool(document.get("locked"))
        known = {code.value: code for code in ResourceStatusCode}
        reason = document.get("message") or ("it is reserved" if locked else None)
        return ResourceStatus(
            known.get(word, ResourceStatusCode.OFFLINE),
            status_reason=text_of(reason) or (None if word in known else f"its status is {word!r}"),
            healthy=word == "online",
            busy=locked or (capacity is not None and capacity.available_slots == 0),
            capacity=capacity,
        )

    def must_be_online(self) -> None:
        """Nothing, where it takes tasks now.

        Raises:
            ResourceUnavailable: it does not, and the machine's own reason.
        """
        document = self._about()
        if document.get("status") != "online":
            reason = f": {document['message']}" if document.get("message") else ""
            raise ResourceUnavailable(
                f"{self._resource} is {document.get('status')}{reason}: try again later",
                transient=True,
                resource=self._resource,
            )

    def target(self) -> Target:
        """Its ``configuration`` and ``properties``."""
        with ThreadPoolExecutor(1) as other:
            properties = other.submit(self._properties)
            configuration = self._document("/configuration")
            return Target(b'{"configuration":%b,"properties":%b}' % (configuration, properties.result()))

    def _lanes(self, running: Callable[[], int]) -> ResourceCapacity | None:
        """The lanes for jobs of workload managers, where the server tells; those of own running jobs are taken."""
        try:
            document = json.loads(self._document("/lanes"))
        except ResourceNotFound:
            return None
        with contextlib.suppress(KeyError, TypeError, ValueError):
            most = int(document["hpc_workload_manager"]["lanes"])
            return ResourceCapacity(most, max(0, most - running()))
        return None

    def _properties(self) -> bytes:
        """What was measured of the device; a simulator has none."""
        try:
            return self._document("/properties")
        except ResourceNotFound:
            return b"null"

    def _about(self) -> dict[str, Any]:
        return expect_object(
            json.loads(self._document()), resource=self._resource, what="the description of the device"
        )

    def _document(self, part: str = "") -> bytes:
        """A document about the device, as it came.

        Raises:
            ResourceNotFound: the server has no such device, or no such document of it.
        """
        try:
            return self._api.get_document(f"/v1/backends/{quote(self._device, safe='')}{part}")
        except VendorError as error:
            if error.http_status != 404:
                raise
            hint = "" if part else f". Check QRMI_DEVICE of {self._resource}; there are: {self._device_names()}"
            raise ResourceNotFound(
                f"{error}{hint}", resource=self._resource, http_status=404, code=error.code, reason=error.reason
            ) from error

    def _device_names(self) -> str:
        what = "the list of devices"
        listed = expect(self._api.get_json("/v1/backends"), "backends", resource=self._resource, what=what)
        devices = expect_objects(listed, resource=self._resource, what=what)
        return ", ".join(str(each.get("name")) for each in devices) or "none"
