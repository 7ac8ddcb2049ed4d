# SPDX-License-Identifier: Apache-2.0
"""What stands in front of a server gives it up, and the server takes the task some seconds later."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fault_run import CASES

from qrmi_core import SubmissionUncertain

LAST_POST = {
    "alice-bob-felis": "POST /v1/jobs/{id}/input",
    "ibm-quantum-compute-service": "POST /api/v1/jobs",
    "ibm-quantum-system": "POST /v1/jobs",
    "iqm-server": "POST /api/v1/jobs/",
    "pasqal-cloud": "POST /core-fast/api/v1/batches",
    "pasqal-local": "POST /jobs",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "ibm-quantum-compute-service" else []) for name in CASES],
)
def test_a_task_that_is_taken_late_runs_once(name: str) -> None:
    case = CASES[name]
    with case.start() as running:
        context = case.context
        if case.acquires:
            context = replace(context, acquisition_token=running.resource(None, context).acquire())
        resource = running.resource(None, context, QRMI_MIN_POLL="0")
        case.verify(resource.submit(case.payload(1)).result(60).data, 1)
        running.emulator.faults.next_faults = [(LAST_POST[name], "late")]
        if case.looks_up:
            case.verify(resource.submit(case.payload(2)).result(60).data, 2)
        else:
            with pytest.raises(SubmissionUncertain, match="nobody knows whether the task was taken"):
                resource.submit(case.payload(2))
        assert not running.emulator.faults.next_faults
        assert running.emulator.device.runs == (2 if case.looks_up else 1)
