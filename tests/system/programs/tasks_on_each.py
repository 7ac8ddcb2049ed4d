# SPDX-License-Identifier: Apache-2.0
"""A user's program: a task on each QPU of its job, all of them at the same time.

python tasks_on_each.py DIRECTORY: the payload for each QPU lies there under the QPU's name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qrmi_core import PulserBatch, PulserJob, QiskitPrimitive, QRMIService

tasks = {}
for resource in QRMIService().resources():
    data = (Path(sys.argv[1]) / resource.name).read_bytes()
    payload = PulserBatch(data, (PulserJob(10),)) if PulserBatch in resource.takes else QiskitPrimitive("sampler", data)
    tasks[resource.name] = resource.submit(payload)
for name, task in tasks.items():
    result = task.result(timeout=100)
    sys.stdout.write(f"{name} ran {task.id}: {len(result.value)} characters\n")
