# SPDX-License-Identifier: Apache-2.0
"""Asking resources for their status, several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from qrmi_core.engines import EngineResource
from qrmi_core.errors import QRMIError
from qrmi_core.resource import ResourceStatus, ResourceStatusCode
from qrmi_core.service import ListedResource

__all__ = ["Answer", "ask"]

AT_A_TIME = 16
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a resource answered: its status, or why there is no answer.

    ``installed`` is False for a built-in simulator whose packages are not there: that is no fault of anybody.
    """

    entry: ListedResource
    status: ResourceStatus | None = None
    error: QRMIError | None = None
    installed: bool = True

    @property
    def is_fine(self) -> bool:
        """True when the resource was reached and does not say that it is offline."""
        if not self.installed:
            return True
        return self.status is not None and self.status.status is not ResourceStatusCode.OFFLINE

    @property
    def word(self) -> str:
        """The status in one word."""
        if not self.installed:
            return "not installed"
        return self.status.status.value if self.status is not None else "unusable"

    @property
    def reason(self) -> str:
        """What was said about it, empty when there is nothing to say."""
        if self.error is not None:
            return str(self.error)
        return (self.status.status_reason if self.status is not None else None) or ""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        known = {"name": self.entry.name, "type": self.entry.type}
        if self.status is None:
            return {**known, "status": None, "error": self.reason}
        return {**known, **self.status.to_dict()}


def ask(entries: Sequence[ListedResource], *, thoroughly: bool = False) -> list[Answer]:
    """Ask every resource for its status, ``thoroughly`` with its credentials; in threads; an error is an answer too."""
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        return list(threads.map(lambda entry: _ask_one(entry, thoroughly=thoroughly), entries))


def _ask_one(entry: ListedResource, *, thoroughly: bool) -> Answer:
    try:
        resource = entry.hurried(PATIENCE)
        lacks_packages = isinstance(resource, EngineResource) and bool(resource.missing_packages())
        status = resource.status()
        if thoroughly and not lacks_packages and status.status is not ResourceStatusCode.OFFLINE:
            resource.verify_access()
        return Answer(entry, status, installed=not (lacks_packages and entry.origin == "embedded"))
    except QRMIError as error:
        return Answer(entry, error=error)
