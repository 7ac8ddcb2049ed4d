# SPDX-License-Identifier: Apache-2.0
"""IBM's machines on premises in the suites that run for every vendor; their storage is faulty where the server is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ibm_compute_case import sampler_payload, shows
from s3_proxy import S3Site, s3_site
from vendor_site import Case, Site, site

from qrmi_core import JobContext, QuantumResource
from qrmi_core.drivers import ibm_system
from qrmi_core.drivers.ibm_system import IBMQuantumSystem
from qrmi_core.gateway.faults import Faults

__all__ = ["CASE", "SystemSite", "start"]

TYPE = "ibm-quantum-system"


class SystemSite(Site):
    """The server and its storage."""

    s3: S3Site


class Blind(IBMQuantumSystem):
    """Does not look for a job whose submission was answered ambiguously."""

    def _look_up(self, task_id: str) -> str | None:
        return None


@contextlib.contextmanager
def start(
    *, engine: str | QuantumResource = "aer_ideal", faults: Faults | None = None, **more: Any
) -> Iterator[SystemSite]:
    """The server with its storage; the storage makes faults of the same kinds."""
    storage_faults = None if faults is None else Faults(faults.rates, seed=1)
    with s3_site(storage_faults) as s3, site(TYPE, engine=engine, faults=faults, **more) as running:
        found = SystemSite(running.emulator, {**running.environment, **s3.environment()}, [s3.faults])
        found.s3 = s3
        try:
            yield found
        finally:
            ibm_system._later.finish(30)


CASE = Case(
    type=TYPE,
    start=start,
    payload=sampler_payload,
    verify=shows,
    looks_up=True,
    blind=Blind,
    context=JobContext(timeout_seconds=600),
)
