# SPDX-License-Identifier: Apache-2.0
"""Who may come in: whoever holds the token of a lease that is granted, on one of the nodes that it is for."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from qrmi_core.errors import QRMIError
from qrmi_core.leases import LeaseRecord, LeaseState

if TYPE_CHECKING:
    from qrmi_core.gateway.doors.tokens import JobTokens
    from qrmi_core.gateway.service import Gateway

__all__ = ["Admission", "NotAdmitted"]

ADDRESS_SECONDS = 60.0
MOST_ADDRESSES = 100_000


class NotAdmitted(QRMIError):
    """There is no token, or none that is good here and now; which of these it is, nobody is told."""

    def __init__(self) -> None:
        super().__init__("the token is missing, is not one of this gateway, or its job is over")


class Admission:
    """Knows leases by their tokens. Used in one event loop."""

    def __init__(self, gateway: Gateway, tokens: JobTokens) -> None:
        self._gateway = gateway
        self._tokens = tokens
        self._at: dict[tuple[str, str], float] = {}

    async def lease(self, token: str | None, address: str | None) -> LeaseRecord:
        """The lease that a token stands for.

        Raises:
            NotAdmitted: nobody who can be believed.
            QRMIError: it cannot be told now.
        """
        await self._gateway.until_ready()  # it knows no tokens before
        lease_id = self._tokens.lease_of(token) if token else None
        record = self._gateway.keeper.current(lease_id) if lease_id else None
        if record is None or record.state is not LeaseState.GRANTED or record.holder is None:
            raise NotAdmitted
        anywhere = self._gateway.settings.any_address
        if not anywhere and not await self._is_at(record.id, record.holder.nodes, address):
            raise NotAdmitted
        return record

    async def _is_at(self, lease: str, nodes: Collection[str], address: str | None) -> bool:
        if address is None:
            return False
        now = time.monotonic()
        if self._at.get((lease, address), 0.0) > now:
            return True
        if not await self._gateway.slurm.ask(self._gateway.slurm.hosts.is_one_of, address, nodes):
            return False
        if len(self._at) > MOST_ADDRESSES:
            self._at.clear()
        self._at[lease, address] = now + ADDRESS_SECONDS
        return True
