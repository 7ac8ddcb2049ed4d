# SPDX-License-Identifier: Apache-2.0
"""Upstream's connection for Pulser: the area of a pulse and a number of shots on stdin, counts as JSON."""

import json
import os
import sys

from pulser import Pulse, QPUBackend, Register, Sequence
from qrmi import QRMIService
from qrmi.pulser import PulserQRMIConnection

asked = json.load(sys.stdin)
(resource,) = QRMIService().resources()
token = resource.acquire()
# What upstream's plug-in for Slurm does with it.
os.environ[f"{os.environ['QRMI_JOB_QPU_RESOURCES']}_QRMI_JOB_ACQUISITION_TOKEN"] = token
connection = PulserQRMIConnection()
(device,) = [found for name, found in connection.fetch_available_devices().items() if name == asked["device"]]
places = [(0.0, 0.0), (asked["distance"], 0.0)]
register = Register.from_coordinates(places, prefix="q").with_automatic_layout(device)
sequence = Sequence(register, device)
sequence.declare_channel("rydberg", "rydberg_global")
duration = asked["duration"]
sequence.add(Pulse.ConstantPulse(duration, asked["area"] / duration * 1000, 0, 0), "rydberg")
sequence.measure("ground-rydberg")
(result,) = QPUBackend(sequence, connection).run(job_params=[{"runs": asked["shots"]}], wait=True).results
resource.release(token)
json.dump(dict(result.final_bitstrings), sys.stdout)
