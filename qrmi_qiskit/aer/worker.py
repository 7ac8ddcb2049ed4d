# SPDX-License-Identifier: Apache-2.0
"""The worker of the engine ``aer-simulator``: runs one job in a process that may be killed.

It is imported once by the engine's host, which forks a process for each job; so everything heavy is imported
here, and nothing that starts threads is run.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

from qiskit.primitives import PrimitiveResult
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_core import InputError, QiskitPrimitive, QRMIError, UnsupportedPayload, Work
from qrmi_qiskit.aer.backend import Backends
from qrmi_qiskit.aer.device import IDEAL, METHOD, METHODS, NOISE, SNAPSHOT, load_device
from qrmi_qiskit.aer.estimating import estimate
from qrmi_qiskit.aer.executing import execute
from qrmi_qiskit.aer.sampling import sample
from qrmi_qiskit.aer.seeds import pub_seed, task_seed
from qrmi_qiskit.aer.simulator import Simulator
from qrmi_qiskit.codec import decode_params, encode_result
from qrmi_qiskit.codec.programs import decode_program, encode_program_result

__all__ = ["run"]

for _late in ("scipy.linalg", "qiskit_qasm3_import"):
    # Qiskit imports these when it first needs them: once here, or 1.5 s and 0.3 s in every job.
    with contextlib.suppress(ImportError):
        importlib.import_module(_late)


def run(work: Work) -> bytes:
    """Run a job of an IBM primitive or program and return its result in IBM's typed JSON.

    Raises:
        QRMIError: the job cannot be run or failed; says in which pub, and why.
    """
    payload = work.payload
    if not isinstance(payload, QiskitPrimitive):
        raise UnsupportedPayload(f"{work.resource} runs Qiskit primitives, not {type(payload).__name__}")
    if payload.program_id == "executor":
        return _run_program(work, payload)
    pubs, options = decode_params(payload.program_id, payload.parameters, max_decompressed=work.limits.decompressed)
    of_simulator = options.get("simulator")
    if isinstance(of_simulator, dict) and of_simulator.get("noise_model"):
        raise InputError(
            f"options.simulator.noise_model is not taken: the noise of {work.resource} is that of its snapshot; "
            f"aer_{IDEAL} has none"
        )
    seed = task_seed(options, work.seed)
    backends = _backends(work)
    results = []
    for index, pub in enumerate(pubs):
        with _place(f"pub {index}"):
            of_pub = pub_seed(seed, index)
            results.append(
                sample(backends, pub, of_pub) if isinstance(pub, SamplerPub) else estimate(backends, pub, of_pub)
            )
    return encode_result(PrimitiveResult(results, metadata={"version": 2}))


def _run_program(work: Work, payload: QiskitPrimitive) -> bytes:
    program = decode_program(payload.parameters, max_decompressed=work.limits.decompressed)
    backends = _backends(work)
    results = []
    for index, item in enumerate(program.items):
        with _place(f"item {index}"):
            results.append(execute(backends, item, program.shots, pub_seed(work.seed, index)))
    return encode_program_result(program, results)


def _backends(work: Work) -> Backends:
    simulator = Simulator(work.resource, work.settings.get(METHOD) or METHODS[0], work.limits)
    noise = work.settings.get(NOISE) != "off"
    device = load_device(work.resource, work.settings.get(SNAPSHOT) or IDEAL, work.limits, noise=noise)
    return Backends(device, simulator)


@contextlib.contextmanager
def _place(where: str) -> Iterator[None]:
    """Say where the mistake is."""
    try:
        yield
    except QRMIError as error:
        raise type(error)(f"{where}: {error}", resource=error.resource) from error
