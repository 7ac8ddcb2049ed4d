# SPDX-License-Identifier: Apache-2.0
"""The worker of the engine ``felis-simulator``: runs one program in a process that may be killed."""

from __future__ import annotations

from collections import Counter

from qrmi_core import AliceBobFelis, LimitExceeded, UnsupportedPayload, Work
from qrmi_qiskit.aer.device import METHOD, METHODS
from qrmi_qiskit.aer.seeds import aer_seed, pub_seed
from qrmi_qiskit.aer.simulator import Simulator
from qrmi_qiskit.felis.circuit import translate
from qrmi_qiskit.felis.inputs import checked_parameters
from qrmi_qiskit.felis.models import CATS_MODEL, IDEAL_MODEL, MODEL, MODELS
from qrmi_qiskit.felis.noise import CatNoise
from qrmi_qiskit.felis.qir import parse
from qrmi_qiskit.felis.structure import nested

__all__ = ["run"]


def run(work: Work) -> bytes:
    """Run a QIR program and return a line ``bits,count`` for each outcome, in the order of the bits.

    Raises:
        QRMIError: the program cannot be run; says in which line, and why.
    """
    payload = work.payload
    if not isinstance(payload, AliceBobFelis):
        raise UnsupportedPayload(f"{work.resource} runs Alice & Bob's QIR, not {type(payload).__name__}")
    name = work.settings.get(MODEL) or IDEAL_MODEL
    model = MODELS[name]
    target = model.described(work.limits)
    parameters = checked_parameters(payload.input_params, target["inputParams"])
    shots = parameters["nbShots"]
    noise = CatNoise(parameters) if name == CATS_MODEL else None
    program = translate(nested(parse(payload.human_qir, model.instructions)), target["numQubits"], noise)
    _check_size(work, shots, len(program.shown))
    simulator = Simulator(work.resource, work.settings.get(METHOD) or METHODS[0], work.limits)
    outcomes: Counter[str] = Counter()
    if program.circuit.num_clbits:
        result = simulator.run([program.circuit], shots=shots, seed=aer_seed(pub_seed(work.seed, 0)), noise=None)
        for bits, count in result.results[0].data.counts.items():
            outcomes[program.outcome(int(bits, 16))] += count
    else:
        outcomes[program.outcome(0)] = shots
    return "".join(f"{bits},{count}\n" for bits, count in sorted(outcomes.items())).encode()


def _check_size(work: Work, shots: int, width: int) -> None:
    size, most = shots * width, work.limits.memory // 4
    if size > most:
        raise LimitExceeded(
            f"{shots} shots of {width} bits may give {size // 2**20} MB of outcomes, and {work.resource} allows "
            f"{most // 2**20} MB: ask for fewer shots, or raise QRMI_ENGINE_MEMORY_MB"
        )
