# SPDX-License-Identifier: Apache-2.0
"""Tasks that are announced of resources behind doors: the doors know better, but for jobs from before there was one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from doored import NODE, doored
from munge_daemon import Munged

from qrmi_core.admin_client import AdminClient
from qrmi_core.leases import Holder, JobKey

NOBODY = "http://127.0.0.1:9"


def entry(access: str) -> dict[str, Any]:
    values = {
        "QRMI_IBM_QCS_ENDPOINT": NOBODY,
        "QRMI_IBM_QCS_IAM_ENDPOINT": NOBODY,
        "QRMI_IBM_QCS_IAM_APIKEY": "key",
        "QRMI_IBM_QCS_SERVICE_CRN": "crn:v1:fez",
        "QRMI_IBM_QCS_SESSION_MODE": "none",
        "QRMI_HTTP_DEADLINE": "0.2",
    }
    return {"name": "fez", "type": "ibm-quantum-compute-service", "lanes": 9, "access": access, "environment": values}


def test_a_job_that_was_let_go_directly_still_announces_after_the_doors_came(daemons: Munged, tmp_path: Path) -> None:
    with doored(tmp_path, daemons.socket, [entry("direct")]) as case:
        keeper, journal = case.keeper, case.gateway.journal
        case.do(case.gateway.until_ready())
        holder = Holder(JobKey("c", 1, 1, 0), os.getuid(), nodes=(NODE,), ends=time.time() + 600)
        direct = keeper.grant(holder, {"fez": 1}, wait=20.0)
        case.write([entry("gateway")])
        case.do(case.gateway.reload())
        behind = case.granted("fez", uid=os.getuid())
        client = AdminClient(case.client(unix=True))
        for lease in (direct.id, behind.lease):
            client.add_task(lease, "fez", "somebodys")
        assert [task.task_id for task in journal.tasks(direct.id)] == ["somebodys"]
        assert journal.tasks(behind.lease) == []
        case.release(behind)
        client.add_task(behind.lease, "fez", "somebodys")
        assert journal.tasks(behind.lease) == []
        assert keeper.current(direct.id) is not None
