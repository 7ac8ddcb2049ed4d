# SPDX-License-Identifier: Apache-2.0
"""The way to an IQM Server, and which of its quantum computers a resource is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from qrmi_core.config import ConfiguredResource
from qrmi_core.drivers.iqm import ENDPOINT, TOKEN, possible_aliases
from qrmi_core.errors import ResourceNotFound, ResultError
from qrmi_core.gateway.doors.upstream import Fixed, Upstream
from qrmi_core.http_settings import http_settings

__all__ = ["Computer", "IQMWay"]


@dataclass(frozen=True)
class Computer:
    """A quantum computer by both of its names, and its entry in the server's list."""

    alias: str
    id: str
    entry: dict[str, Any]


class IQMWay(Upstream):
    """The way to one IQM Server for one of its quantum computers."""

    def __init__(self, resource: ConfiguredResource) -> None:
        values = {name: value.strip() for name, value in resource.values().items()}
        super().__init__(
            values[ENDPOINT].rstrip("/").removesuffix("/api/v1") + "/api/v1",
            http_settings(resource.name, values),
            Fixed({"Authorization": f"Bearer {values[TOKEN]}"}),
            name=resource.name,
        )
        self._resource = resource.name
        self._names = possible_aliases(resource.name, values)
        self._computer: Computer | None = None

    async def computer(self) -> Computer:
        """The quantum computer that the resource is, as the server lists it; asked once.

        Raises:
            ResourceNotFound: the server lists none of that name.
            QRMIError: it cannot be asked now.
        """
        if self._computer is None:
            status, body = await self.json("GET", "/quantum-computers", headers={"Accept-Encoding": "identity"})
            listed = _listed(self._resource, status, body)
            fitting = [one for name in self._names for one in listed if name in {one["alias"], one["id"]}]
            if not fitting:
                raise ResourceNotFound(
                    f"the server has no quantum computer {' or '.join(self._names)}: tell the site's administrators",
                    resource=self._resource,
                )
            # What a station's own proxy serves is nothing that a lease is for.
            self._computer = Computer(fitting[0]["alias"], fitting[0]["id"], {**fitting[0], "proxy_path": None})
        return self._computer


def _listed(resource: str, status: int, body: bytes) -> list[dict[str, Any]]:
    try:
        listed = json.loads(body)["quantum_computers"] if status == 200 else []
        return [{**one, "alias": str(one["alias"]), "id": str(one["id"])} for one in listed]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ResultError(
            f"{resource}: the server's list of quantum computers cannot be read", transient=True
        ) from None
