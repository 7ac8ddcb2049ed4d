# SPDX-License-Identifier: Apache-2.0
"""The worker of the engine ``iqm-simulator``: runs one job in a process that may be killed.

It is imported once by the engine's host, which forks a process for each job; so everything heavy is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qrmi_core import IQMServer, LimitExceeded, UnsupportedPayload, Work
from qrmi_qiskit.aer.device import METHOD, METHODS
from qrmi_qiskit.aer.seeds import aer_seed, pub_seed
from qrmi_qiskit.aer.simulator import Simulator
from qrmi_qiskit.iqm.lattice import LATTICE, Lattice
from qrmi_qiskit.iqm.program import Program, read_job

__all__ = ["run"]

Bits = NDArray[np.uint8]


def run(work: Work) -> bytes:
    """Run a circuit job of an IQM server; return its artifacts as ``{"measurement_counts", "measurements"}``.

    Raises:
        QRMIError: the job cannot be run or failed; says in which circuit, and why.
    """
    payload = work.payload
    if not isinstance(payload, IQMServer):
        raise UnsupportedPayload(f"{work.resource} runs jobs of IQM's servers, not {type(payload).__name__}")
    job = json.loads(payload.iqmjson)
    programs = read_job(job, Lattice.parse(work.settings[LATTICE]))
    shots = job.get("shots", 1)
    _check_size(work, programs, shots)
    simulator = Simulator(work.resource, work.settings.get(METHOD) or METHODS[0], work.limits)
    of_aer, of_order = pub_seed(work.seed, 0).spawn(2)
    result = simulator.run([program.circuit for program in programs], shots=shots, seed=aer_seed(of_aer), noise=None)
    order = np.random.default_rng(of_order)
    counted, measured = [], []
    for program, experiment in zip(programs, result.results, strict=True):
        counts = _by_key(experiment.data.counts, program.circuit.num_clbits)
        counted.append({"counts": counts, "measurement_keys": list(program.keys)})
        measured.append(_measurements(program.keys, _shot_by_shot(counts, order)))
    return b'{"measurement_counts": %b, "measurements": [%b]}' % (json.dumps(counted).encode(), b", ".join(measured))


def _check_size(work: Work, programs: Sequence[Program], shots: int) -> None:
    # A bit of a measurement of one qubit is "[0]," in JSON.
    size = shots * sum(4 * program.circuit.num_clbits for program in programs)
    most = work.limits.memory // 4
    if size > most:
        raise LimitExceeded(
            f"{len(programs)} circuits of {shots} shots give {size // 2**20} MB of results, and {work.resource} "
            f"allows {most // 2**20} MB: send fewer circuits or shots at once, or raise QRMI_ENGINE_MEMORY_MB"
        )


def _by_key(counts: Mapping[str, int], bits: int) -> dict[str, int]:
    """Aer's counts with the bit that was measured first in front."""
    words = {f"{int(key, 16):0{bits}b}"[::-1]: count for key, count in counts.items()}
    return dict(sorted(words.items()))


def _shot_by_shot(counts: Mapping[str, int], order: np.random.Generator) -> Bits:
    """A row of bits for each shot, in random order."""
    outcomes: Bits = np.array([list(word.encode()) for word in counts], dtype=np.uint8)
    rows: Bits = outcomes[order.permutation(np.repeat(np.arange(len(outcomes)), list(counts.values())))]
    return rows


def _measurements(keys: Mapping[str, int], rows: Bits) -> bytes:
    """The JSON object of key -> shots -> bits; ``rows`` holds the characters of the bits."""
    members, start = [], 0
    for key, width in keys.items():
        text = np.empty((len(rows), 2 * width + 2), dtype=np.uint8)
        text[:, 0] = ord("[")
        text[:, 1::2] = ord(",")
        text[:, -2] = ord("]")
        text[:, -1] = ord(",")
        text[:, 1:-2:2] = rows[:, start : start + width]
        text[:, 2:-2:2] = ord(",")
        members.append(b"%b: [%b]" % (json.dumps(key).encode(), text.tobytes()[:-1]))
        start += width
    return b"{%b}" % b", ".join(members)
