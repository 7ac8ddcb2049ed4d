# SPDX-License-Identifier: Apache-2.0
"""A user's program for Pasqal's own client, with his own name and password in it; what it got goes to stdout.

Each function is something that users do; one that fails leaves its error and does not keep the others from running.
"""

import json
import math
import sys

from pasqal_cloud import PasqalCloudConnection, RemoteEmuFreeBackend
from pulser import AnalogDevice, Pulse, QPUBackend, Register, Sequence
from pulser.backend import BitStrings, EmulationConfig, Occupation

connection = PasqalCloudConnection(username="me@example.org", password="my own secret", project_id="my-project")
devices = connection.fetch_available_devices()
got = {"devices": sorted(devices), "names": sorted(device.name for device in devices.values())}


def tried(work):
    try:
        got[work.__name__] = work()
    except BaseException as error:  # noqa: BLE001  errors of pasqal-cloud are no exceptions of the usual kind
        got[work.__name__] = {"error": f"{type(error).__name__}: {error}"}


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


@tried
def qpu():
    results = QPUBackend(fresnel, connection).run(runs(0.0, math.pi, math.pi), wait=True)
    again = connection.get_results(results.batch_id)
    return [[result.final_bitstrings for result in each] for each in (results, again)]


@tried
def open_batch():
    backend = QPUBackend(fresnel, connection)
    with backend.open_batch():
        first = backend.run(runs(math.pi), wait=True)
        second = backend.run(runs(0.0), wait=True)
        found = [first[0].final_bitstrings, second[0].final_bitstrings]
    return [found, first.get_batch_status().name]


@tried
def emulator():
    half = fresnel.build(area=math.pi / 2)
    observables = [Occupation(evaluation_times=[1.0]), BitStrings(num_shots=200)]
    config = EmulationConfig(observables=observables)
    emulated = RemoteEmuFreeBackend(half, connection, config=config).run(wait=True)[0]
    return [float(emulated.occupation[-1][0]), sum(emulated.final_bitstrings.values())]


@tried
def own_device():
    return QPUBackend(template(AnalogDevice), connection).run(runs(math.pi), wait=True)[0].final_bitstrings


json.dump(got, sys.stdout)
