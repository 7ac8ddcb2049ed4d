# SPDX-License-Identifier: Apache-2.0
"""Work without waiting: the target of a large device, a large sweep that is sent, a large result that is read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from clients import DEVICE, client

__all__ = ["big_result", "sweep", "target"]

PARTS = ("configuration", "properties")
QUBITS, GATES, POINTS, ANGLES = 100, 5_000, 1_000, 200
PAIRS = tuple((first, first + 1) for row in range(0, QUBITS, 20) for first in range(row, row + 15))
"""Neighbours on the device: rows of sixteen qubits begin at every twentieth."""


def target(bench: Any, who: str, times: int) -> None:
    """The target with its documents fetched anew, the token at hand; then once more, as the client keeps it."""
    using = client(who, bench.url)
    fetch = _fetching(using, who)
    fetch()  # what is imported late
    for _ in range(times):
        with bench.sample() as taken:
            kept = fetch()
        begun = time.perf_counter()
        again = kept()
        taken.values["ms again"] = 1000 * (time.perf_counter() - begun)
        if who != "floor":
            assert again.num_qubits == 156, again.num_qubits


def _fetching(using: Any, who: str) -> Callable[[], Callable[[], Any]]:
    """What fetches a target, and returns what tells it again."""
    if who == "floor":

        def fetch() -> Any:
            told = [json.loads(using._ask("GET", f"/api/v1/backends/{DEVICE}/{part}")[1]) for part in PARTS]
            return lambda: told

    elif who == "ours":

        def fetch() -> Any:
            using.backend.refresh()
            _ = using.backend.target
            return lambda: using.backend.target

    elif who == "upstream":
        from qrmi.primitives.ibm import get_backend

        def fetch() -> Any:
            backend = get_backend(using.resource)
            _ = backend.target
            return lambda: backend.target

    else:

        def fetch() -> Any:
            using.backend._target = using.backend._properties = None
            _ = using.backend.target
            return lambda: using.backend.target

    return fetch


def sweep(bench: Any, who: str, times: int) -> None:
    """A circuit of 100 qubits and 5,000 gates with 1,000 sets of 200 angles: until it is submitted."""
    using = client(who, bench.url)
    circuit, values = _swept()
    sampler = using._sampler
    using.drop(sampler.run([(circuit, values[:1])], shots=100))
    for _ in range(times):
        with bench.sample() as taken:
            job = sampler.run([(circuit, values)], shots=100)
        taken.values["kB sent"] = bench.samples[-1]["up"] / 1000
        using.drop(job)


def _swept() -> Any:
    import numpy as np
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    angles = ParameterVector("t", ANGLES)
    circuit = QuantumCircuit(QUBITS)
    for index in range(GATES // 4):
        circuit.rz(angles[index % ANGLES], index % QUBITS)
        circuit.sx(index % QUBITS)
        circuit.x(index % QUBITS)
        circuit.cz(*PAIRS[index % len(PAIRS)])
    circuit.measure_all()
    return circuit, np.random.default_rng(1).uniform(-np.pi, np.pi, (POINTS, ANGLES))


def big_result(bench: Any, who: str, times: int) -> None:
    """100,000 shots of 100 bits: from a finished job to the counts of its first bits."""
    using = client(who, bench.url)
    for number in range(times + 1):
        job = using.submit(1000)
        if number == 0:
            using.result(job)
            continue
        with bench.sample():
            result = using.result(job)
            if who != "floor":
                assert result[0].data.meas.num_shots == 100_000
        using.drop(job)
