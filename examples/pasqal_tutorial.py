# SPDX-License-Identifier: Apache-2.0
"""A program for Pasqal's own client, with nothing of this project in it; it runs without an account on a simulator:

    qrmi run --qpu=pulser_analog --pasqal-hook -- python examples/pasqal_tutorial.py

Two atoms in each other's blockade share one excitation; the length of the pulse comes with each job.
"""

import numpy as np
from pasqal_cloud import PasqalCloudConnection, RemoteEmuFreeBackend
from pulser import Pulse, QPUBackend, Register, Sequence
from pulser.backend import EmulationConfig, Occupation

connection = PasqalCloudConnection(
    username="me@example.org",
    password="secret",  # noqa: S106  your own, on the QPU
    project_id="my-project",
)
device = connection.fetch_available_devices()["FRESNEL"]

register = Register({"q0": (0, 0), "q1": (6, 0)}).with_automatic_layout(device)
sequence = Sequence(register, device)
sequence.declare_channel("global", "rydberg_global")
amplitude = sequence.declare_variable("amplitude", dtype=float)
sequence.add(Pulse.ConstantPulse(400, amplitude, 0, 0), "global")

pulses = np.linspace(1.0, 6.0, 3)
results = QPUBackend(sequence, connection).run(
    [{"runs": 500, "variables": {"amplitude": each}} for each in pulses], wait=True
)
for each, result in zip(pulses, results, strict=True):
    print(f"amplitude {each:.1f} rad/us: {dict(sorted(result.final_bitstrings.items()))}")

emulated = RemoteEmuFreeBackend(
    sequence.build(amplitude=3.5), connection, config=EmulationConfig(observables=[Occupation(evaluation_times=[1.0])])
).run(wait=True)
print("occupation of the emulated atoms:", np.round(emulated[0].occupation[-1], 3))
