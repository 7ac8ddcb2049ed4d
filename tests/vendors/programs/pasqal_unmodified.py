# SPDX-License-Identifier: Apache-2.0
"""A user's program for Pasqal's own client, with his own name and password in it; what it got goes to stdout."""

import json
import math
import sys

from pasqal_cloud import PasqalCloudConnection, RemoteEmuFreeBackend
from pulser import AnalogDevice, Pulse, QPUBackend, Register, Sequence
from pulser.backend import BitStrings, EmulationConfig, Occupation

connection = PasqalCloudConnection(username="me@example.org", password="my own secret", project_id="my-project")
devices = connection.fetch_available_devices()
got = {"devices": sorted(devices), "names": sorted(device.name for device in devices.values())}


def template(device):
    """A pulse on one atom whose area comes with the job."""
    sequence = Sequence(Register.from_coordinates([(0.0, 0.0)]).with_automatic_layout(device), device)
    sequence.declare_channel("rydberg", "rydberg_global")
    area = sequence.declare_variable("area", dtype=float)
    sequence.add(Pulse.ConstantPulse(500, area / 0.5, 0, 0), "rydberg")
    return sequence


def runs(*areas):
    return [{"runs": 10 + place, "variables": {"area": area}} for place, area in enumerate(areas)]


fresnel = template(devices["FRESNEL"])
results = QPUBackend(fresnel, connection).run(runs(0.0, math.pi, math.pi), wait=True)
got["qpu"] = [result.final_bitstrings for result in results]
again = connection.get_results(results.batch_id)
got["again"] = [result.final_bitstrings for result in again]
got["own device"] = QPUBackend(template(AnalogDevice), connection).run(runs(math.pi), wait=True)[0].final_bitstrings

backend = QPUBackend(fresnel, connection)
with backend.open_batch():
    first = backend.run(runs(math.pi), wait=True)
    got["open"] = [first[0].final_bitstrings, backend.run(runs(0.0), wait=True)[0].final_bitstrings]
got["open batch's end"] = first.get_batch_status().name

half = fresnel.build(area=math.pi / 2)
observables = [Occupation(evaluation_times=[1.0]), BitStrings(num_shots=200)]
emulated = RemoteEmuFreeBackend(half, connection, config=EmulationConfig(observables=observables)).run(wait=True)[0]
got["emulator"] = [float(emulated.occupation[-1][0]), sum(emulated.final_bitstrings.values())]
json.dump(got, sys.stdout)
