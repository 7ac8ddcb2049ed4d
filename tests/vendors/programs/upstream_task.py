# SPDX-License-Identifier: Apache-2.0
"""Upstream's wheel from acquire to release: runs payload files given as JSON on stdin, prints results as JSON."""

import json
import os
import sys
import time

from qrmi import Payload, QRMIService, TaskStatus

KINDS = {
    "QiskitPrimitive": Payload.QiskitPrimitive,
    "PasqalCloud": Payload.PasqalCloud,
    "IQMServer": Payload.IQMServer,
    "AliceBobFelis": Payload.AliceBobFelis,
}

asked = json.load(sys.stdin)
(resource,) = QRMIService().resources()
token = resource.acquire()
# What upstream's plug-in for Slurm does with it.
os.environ[f"{os.environ['QRMI_JOB_QPU_RESOURCES']}_QRMI_JOB_ACQUISITION_TOKEN"] = token
target = json.loads(resource.target().value) if asked["target"] else None
payload = KINDS[asked["kind"]](**asked["payload"])
task_id = resource.task_start(payload)
deadline = time.monotonic() + 60
while resource.task_status(task_id) in (TaskStatus.Queued, TaskStatus.Running):
    assert time.monotonic() < deadline, "the task does not end"
    time.sleep(0.05)
status = resource.task_status(task_id)
result = resource.task_result(task_id).value if status == TaskStatus.Completed else None
resource.release(token)
told = {"status": str(status), "result": result, "target": target, "resource_status": resource.status().to_dict()}
json.dump(told, sys.stdout)
