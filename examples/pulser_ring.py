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

shots = [[int(bit) for bit in bits] for bits, count in counts.items() for _ in range(count)]
occupations = [sum(shot[atom] for shot in shots) / RUNS for atom in range(ATOMS)]
mean = sum(occupations) / ATOMS
correlations = [
    sum(shot[atom] * shot[atom - distance] for shot in shots for atom in range(ATOMS)) / (ATOMS * RUNS) - mean**2
    for distance in range(1, ATOMS // 2 + 1)
]
print(f"\nmean occupation {mean:.3f}; correlation at distance 1, 2, ...:", *(f"{value:+.3f}" for value in correlations))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.bar(range(ATOMS), occupations)
left.set(xlabel="atom", ylabel="occupation: share of shots in which it is excited", ylim=(0, 1), xticks=range(ATOMS))
right.bar(range(1, len(correlations) + 1), correlations)
right.set(xlabel="distance along the ring", ylabel="correlation of two atoms", ylim=(-0.25, 0.25))
right.axhline(0, color="black", linewidth=0.8)
figure.savefig(plot, dpi=120)
print(f"occupations: {plot}")
