# SPDX-License-Identifier: Apache-2.0
"""IQM's client cancels a job that runs."""

import json
import sys

from iqm.iqm_client import Circuit, CircuitOperation, IQMClient

client = IQMClient.from_url()
measure = CircuitOperation(name="measure", locus=("QB1",), args={"key": "m"})
job = client.submit_circuits([Circuit(name="slow", instructions=(measure,))])
before = job.update()
job.cancel()
json.dump({"before": before, "after": job.wait_for_completion(polling_interval=0.1)}, sys.stdout)
