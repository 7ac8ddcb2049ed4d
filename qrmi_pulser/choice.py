# SPDX-License-Identifier: Apache-2.0
"""Which resource a connection speaks to."""

from __future__ import annotations

from typing import TypeGuard

from qrmi_core import (
    AmbiguousResource,
    BatchResource,
    PulserBatch,
    QRMIService,
    QuantumResource,
    ResourceNotFound,
    UnsupportedPayload,
)

__all__ = ["pulser_resource"]


def pulser_resource(resource: str | QuantumResource | None) -> BatchResource:
    """The resource that a name stands for; None means the only Pulser QPU here.

    Raises:
        NoQPUError: none was named, and the job was given none.
        ResourceNotFound, AmbiguousResource: there is none, or no single one; says which there are.
        ResourceUnavailable: it cannot be used, and why.
        UnsupportedPayload: it runs no Pulser programs.
    """
    if resource is None:
        return _only()
    if isinstance(resource, str):
        resource = QRMIService().resource(resource)
    if _runs_pulser(resource):
        return resource
    if isinstance(resource, QuantumResource):
        raise UnsupportedPayload(
            f"{resource.name} ({resource.type}) runs no Pulser programs: choose a Pulser QPU; "
            f"`qrmi resources` lists what there is",
            resource=resource.name,
        )
    raise TypeError(
        f"QRMIConnection() takes the name of a resource, a QuantumResource or nothing, not {type(resource).__name__}"
    )


def _runs_pulser(resource: object) -> TypeGuard[BatchResource]:
    return isinstance(resource, BatchResource) and PulserBatch in resource.takes


def _only() -> BatchResource:
    service = QRMIService()
    service.refuse_to_choose_for_a_job()
    found = [resource for resource in service.resources() if _runs_pulser(resource)]
    if len(found) == 1:
        return found[0]
    where = "this job" if service.in_job else "this configuration"
    if found:
        names = ", ".join(resource.name for resource in found)
        raise AmbiguousResource(f"{where} has several Pulser QPUs, name one, QRMIConnection(name): {names}")
    reasons = [f"{entry.name} cannot be used: {entry.problem}" for entry in service.listing() if entry.problem]
    others = [resource.name for resource in service.resources()]
    shown = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
    what = "; ".join([f"it has {shown}"] * bool(others) + reasons + [str(problem) for problem in service.problems])
    raise ResourceNotFound(f"{where} has no Pulser QPU: {what or 'it has none at all'}; `qrmi resources` tells more")
