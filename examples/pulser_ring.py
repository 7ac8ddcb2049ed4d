# SPDX-License-Identifier: Apache-2.0
"""Ten atoms on a ring, led slowly into an antiferromagnet, on the QPU of this job.

Neighbours closer than the blockade radius are never excited together, so the states of lowest energy are the two
in which every second atom is excited.

qrmi run --qpu=pulser_analog -- python examples/pulser_ring.py [PLOT.png]
"""

import math
import sys

import matplotlib.pyplot as plt
from pulser import Pulse, QPUBackend, Register, Sequence
from pulser.waveforms import ConstantWaveform, RampWaveform

from qrmi_pulser import QRMIConnection

ATOMS = 10
RUNS = 1000
SPACING = 5.5  # micrometres between neighbours
OMEGA = 1.8 * math.pi  # rad/us
DETUNING = 3 * math.pi  # rad/us, from minus to plus this
plot = sys.argv[1] if len(sys.argv) > 1 else "pulser_ring.png"

connection = QRMIConnection()
(device,) = connection.fetch_available_devices().values()

radius = SPACING / (2 * math.sin(math.pi / ATOMS))
corners = [2 * math.pi * atom / ATOMS for atom in range(ATOMS)]
places = [(radius * math.cos(corner), radius * math.sin(corner)) for corner in corners]
ring = Register.from_coordinates(places, prefix="q")
sequence = Sequence(ring.with_automatic_layout(device), device)
sequence.declare_channel("rydberg", "rydberg_global")
sequence.add(Pulse(RampWaveform(252, 0, OMEGA), ConstantWaveform(252, -DETUNING), 0), "rydberg")
sequence.add(Pulse(ConstantWaveform(3000, OMEGA), RampWaveform(3000, -DETUNING, DETUNING), 0), "rydberg")
sequence.add(Pulse(RampWaveform(500, OMEGA, 0), ConstantWaveform(500, DETUNING), 0), "rydberg")
sequence.measure()

results = QPUBackend(sequence, connection).run(job_params=[{"runs": RUNS}], wait=True)
counts = results[0].final_bitstrings
print(f"batch {results.batch_id} on {connection.resource.resource_id()}, {sequence.get_duration()} ns\n")
for bits, count in sorted(counts.items(), key=lambda item: -item[1])[:10]:
    print(f"  {bits} {count:5}  {'#' * round(100 * count / RUNS)}")

occupations = [sum(count for bits, count in counts.items() if bits[atom] == "1") / RUNS for atom in range(ATOMS)]
neighbours = sum(
    count * sum(bits[atom] == bits[atom - 1] == "1" for atom in range(ATOMS)) / ATOMS for bits, count in counts.items()
)
print(f"\nmean occupation {sum(occupations) / ATOMS:.3f}, neighbours both excited {neighbours / RUNS:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), width_ratios=[3, 2], layout="constrained")
left.bar(range(ATOMS), occupations)
left.set(xlabel="atom", ylabel="share of shots in which it is excited", ylim=(0, 1), xticks=range(ATOMS))
shown = right.scatter(*zip(*places, strict=True), c=occupations, s=300, vmin=0, vmax=1, cmap="viridis")
right.set(xlabel="x (µm)", ylabel="y (µm)", aspect="equal")
figure.colorbar(shown, label="occupation")
figure.savefig(plot, dpi=120)
print(f"occupations: {plot}")
