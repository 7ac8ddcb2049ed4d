# SPDX-License-Identifier: Apache-2.0
"""What users and operators are told of leases and resources."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from qrmi_core.errors import QRMIError
from qrmi_core.leases import Acquisition, AcquisitionState, LeaseRecord
from qrmi_core.resource import ResourceStatus, ResourceStatusCode

if TYPE_CHECKING:
    from qrmi_core.gateway.environments import Environments
    from qrmi_core.gateway.service import Gateway

__all__ = ["leases_told", "resources_told"]

PATIENCE = 2.0
"""Seconds that a list of resources waits for vendors whose state is not known."""

_ADVICE = {
    AcquisitionState.UNCERTAIN: "its answer was lost: it ends by itself at `until`, or end it at the vendor's before",
    AcquisitionState.RELEASE_PENDING: "it is tried again by itself; see that the vendor can be reached",
    AcquisitionState.DRAINING: "a task that cannot be cancelled runs to its end; then the lane is free",
    AcquisitionState.SETTLING: "the lane is free; what was sent at the last moment is still looked for",
}


def leases_told(records: Iterable[LeaseRecord]) -> list[dict[str, Any]]:
    """Leases as JSON, the oldest first; no token is in it."""
    return [_lease(record) for record in sorted(records, key=lambda each: each.granted)]


def _lease(record: LeaseRecord) -> dict[str, Any]:
    holder = record.holder
    return {
        "id": record.id,
        "job": (holder.array or str(holder.key.job_id)) if holder else None,
        "job_id": holder.key.job_id if holder else None,
        "user": holder.user if holder else None,
        "uid": holder.uid if holder else None,
        "nodes": list(holder.nodes) if holder else [],
        "state": record.state.value,
        "granted": record.granted,
        "expires": record.expires,
        "reason": record.reason,
        "resources": [_acquisition(each) for each in record.acquisitions],
    }


def _acquisition(each: Acquisition) -> dict[str, Any]:
    return {
        "name": each.resource,
        "lanes": each.lanes,
        "state": each.state.value,
        "reason": each.reason,
        "advice": _ADVICE.get(each.state),
        "until": each.until,
    }


async def resources_told(gateway: Gateway) -> list[dict[str, Any]]:
    """The resources of the site and its pools, with what is known of their state within a short while."""
    known = gateway.resources
    found = await asyncio.gather(*(_state(gateway, name, known.access(name)) for name in known.resources))
    live = gateway.keeper.live()
    told = [_resource(gateway, known, name, state, live) for name, state in zip(known.resources, found, strict=True)]
    by_name = {each["name"]: each for each in told}
    for name, pool in known.pools.items():
        members = [by_name[member] for member in pool.members]
        states = {member["state"] for member in members}
        by_name[name] = {
            "name": name,
            "type": members[0]["type"],
            "device": None,
            "description": pool.description or f"one of {', '.join(pool.members)}",
            "lanes": known.pool_lanes[name],
            "free": min(known.pool_lanes[name], sum(member["free"] for member in members)),
            "state": next(state for state in ("online", "unknown", "maintenance", "offline") if state in states),
            "reason": None,
            "leases": sum(member["leases"] for member in members),
            "queue": None,
            "access": members[0]["access"],
            "members": list(pool.members),
        }
    return list(by_name.values())


def _resource(
    gateway: Gateway,
    known: Environments,
    name: str,
    told: tuple[str, str | None, int | None],
    live: Sequence[LeaseRecord],
) -> dict[str, Any]:
    configured, (state, reason, queue) = known.resources[name], told
    holding = [record for record in live if any(each.resource == name for each in record.acquisitions)]
    return {
        "name": name,
        "type": configured.type,
        "device": configured.device,
        "description": configured.description,
        "lanes": configured.lanes,
        "free": max(0, configured.lanes - gateway.keeper.used(name)),
        "state": state,
        "reason": reason,
        "leases": len(holding),
        "queue": queue,
        "access": known.access(name),
    }


async def _state(gateway: Gateway, name: str, access: str) -> tuple[str, str | None, int | None]:
    if (state := gateway.outages.state(name)) is not None:
        return state, gateway.outages.reason(name), None
    if access == "local":
        return "online", None, None
    told = await gateway.vendors.soon(name, PATIENCE)
    if isinstance(told, ResourceStatus):
        online = told.status is ResourceStatusCode.ONLINE
        return (
            "online" if online else "offline",
            None if online else told.status_reason or "the vendor gives no reason",
            told.pending_job_count,
        )
    return "unknown", str(told) if isinstance(told, QRMIError) else "the vendor does not answer", None
