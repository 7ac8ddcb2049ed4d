# SPDX-License-Identifier: Apache-2.0
"""IQM's Qiskit provider: circuits in QPY (base64) on stdin, counts as JSON."""

import base64
import io
import json
import os
import sys

from iqm.qiskit_iqm import IQMProvider, transpile_to_IQM
from qiskit import qpy

asked = json.load(sys.stdin)
circuits = qpy.load(io.BytesIO(base64.b64decode(asked["circuits"])))
backend = IQMProvider(os.environ["IQM_SERVER_URL"]).get_backend()
job = backend.run([transpile_to_IQM(circuit, backend) for circuit in circuits], shots=asked["shots"])
result = job.result()
again = backend.retrieve_job(job.job_id())
json.dump(
    {
        "job": job.job_id(),
        "counts": [result.get_counts(index) for index in range(len(circuits))],
        "again": [again.result().get_counts(index) for index in range(len(circuits))],
        "qubits": backend.num_qubits,
    },
    sys.stdout,
)
