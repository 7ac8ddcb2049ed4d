# SPDX-License-Identifier: Apache-2.0
"""Doors are made with a site's first resource for them: at the start, or by a hangup."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from doored import Doored, Job, doored
from munge_daemon import Munged

PATIENCE = 60.0
NOWHERE = "http://127.0.0.1:9"
IAM = "/identity/token"
COMPUTERS = "/api/v1/quantum-computers"

pytestmark = pytest.mark.timeout(60)


def entry(name: str, kind: str, **block: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "environment": block}


ONSITE = entry(
    "onsite", "ibm-quantum-system", QRMI_IBM_QS_ENDPOINT=NOWHERE, QRMI_IBM_QS_IAM_ENDPOINT=NOWHERE,
    QRMI_IBM_QS_IAM_APIKEY="key", QRMI_IBM_QS_SERVICE_CRN="crn",
)  # fmt: skip
GARNET = entry("garnet", "iqm-server", QRMI_IQM_ISA_ENDPOINT=NOWHERE, QRMI_IQM_ISA_TOKEN="token")


def at_root(case: Doored, method: str, path: str) -> int:
    """The status for somebody without a lease."""
    return Job("", "no token", {}, case.url).ask(method, path, b"" if method == "POST" else None)[0]


def test_a_hangup_opens_the_doors_of_other_types(daemons: Munged, tmp_path: Path) -> None:
    with doored(tmp_path, daemons.socket, [ONSITE]) as case:
        assert {type(door).__name__ for door in case.gateway.doors.all()} == {"IBMSystemDoor", "IBMComputeDoor"}
        assert (at_root(case, "POST", IAM), at_root(case, "GET", COMPUTERS)) == (400, 404)
        case.write([ONSITE, GARNET])
        asyncio.run_coroutine_threadsafe(case.server.reload(), case.loop).result(PATIENCE)
        assert (at_root(case, "GET", COMPUTERS), at_root(case, "GET", "/r/garnet/api/v1/about")) == (401, 401)
        job = case.granted("garnet")
        status, told = job.ask("GET", "/r/garnet/api/v1/jobs/6f0b1a1e-0000-4000-8000-000000000000")
        assert status == 404, told
