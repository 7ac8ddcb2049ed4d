# SPDX-License-Identifier: Apache-2.0
"""The worker of aer-simulator, called in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from qiskit.primitives import PrimitiveResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.transpiler import Target

from qrmi_core import Limits, QiskitPrimitive, Work
from qrmi_qiskit.aer.device import SNAPSHOT, load_device
from qrmi_qiskit.aer.worker import run
from qrmi_qiskit.codec import decode_result, encode_estimator, encode_sampler
from qrmi_qiskit.target import build_target

LIMITS = Limits(qubits=1000, shots=1_000_000, memory=2 * 2**30, decompressed=2**28, threads=2)


def in_worker(payload: QiskitPrimitive, snapshot: str, seed: int | None, limits: Limits, **settings: str) -> bytes:
    block = {SNAPSHOT: snapshot, **settings}
    return run(Work("task", "task.1", f"aer_{snapshot}", block, payload, None, seed, limits))


def dt_of(snapshot: str) -> float | None:
    dt = load_device("any", snapshot, LIMITS).configuration.get("dt")
    return dt and dt * 1e-9


@pytest.fixture(scope="session")
def limits() -> Limits:
    return LIMITS


@pytest.fixture(scope="session")
def run_payload() -> Callable[..., bytes]:
    """Run the bytes of a payload: ``run_payload(program, parameters, snapshot="ideal", **limits)``."""

    def run_payload(program: str, parameters: bytes, snapshot: str = "ideal", **changed: int) -> bytes:
        return in_worker(QiskitPrimitive(program, parameters), snapshot, 1, dataclasses.replace(LIMITS, **changed))

    return run_payload


@pytest.fixture(scope="session")
def sample() -> Callable[..., PrimitiveResult[Any]]:
    """Run pubs of the sampler on a snapshot."""

    def sample(
        pubs: Sequence[Any],
        snapshot: str = "ideal",
        *,
        shots: int = 1000,
        seed: int | None = 1,
        options: dict[str, Any] | None = None,
        limits: Limits = LIMITS,
        **settings: str,
    ) -> PrimitiveResult[Any]:
        data = encode_sampler([SamplerPub.coerce(pub, shots) for pub in pubs], options=options, dt=dt_of(snapshot))
        return decode_result(in_worker(QiskitPrimitive("sampler", data), snapshot, seed, limits, **settings))

    return sample


@pytest.fixture(scope="session")
def estimate() -> Callable[..., PrimitiveResult[Any]]:
    """Run pubs of the estimator on a snapshot."""

    def estimate(
        pubs: Sequence[Any],
        snapshot: str = "ideal",
        *,
        precision: float = 0.02,
        seed: int | None = 1,
        options: dict[str, Any] | None = None,
        limits: Limits = LIMITS,
        **settings: str,
    ) -> PrimitiveResult[Any]:
        data = encode_estimator([EstimatorPub.coerce(pub, precision) for pub in pubs], options=options)
        return decode_result(in_worker(QiskitPrimitive("estimator", data), snapshot, seed, limits, **settings))

    return estimate


@pytest.fixture(scope="session")
def target_of() -> Callable[[str], Target]:
    """The target of a snapshot."""

    def target_of(snapshot: str) -> Target:
        device = load_device(f"aer_{snapshot}", snapshot, LIMITS)
        return build_target(device.configuration, device.properties)

    return target_of
