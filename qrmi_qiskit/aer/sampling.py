# SPDX-License-Identifier: Apache-2.0
"""The sampler: Aer's counts as one array of bits for each classical register."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BitArray, DataBin, SamplerPubResult
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_core import LimitExceeded
from qrmi_qiskit.aer.backend import Backends
from qrmi_qiskit.aer.binding import bound_sweep
from qrmi_qiskit.aer.compaction import compact
from qrmi_qiskit.aer.seeds import aer_seed

__all__ = ["sample"]

Bytes = NDArray[np.uint8]


def sample(backends: Backends, pub: SamplerPub, seed: np.random.SeedSequence) -> SamplerPubResult:
    """Run a pub at all its points and return a :class:`BitArray` for each register.

    Raises:
        LimitExceeded: the results, or see :meth:`Simulator.run`.
        InputError: the circuit does not fit the device, or Aer does not take it.
    """
    _check_size(backends, pub)
    compacted = compact(pub.circuit)
    backend = backends.backend(compacted)
    circuit, binds = bound_sweep(compacted.circuit, pub.parameter_values)
    points = pub.parameter_values.size
    of_aer, of_order = seed.spawn(2)
    counts: list[Mapping[str, int]] = []
    if points:
        result = backends.simulator.run(
            [circuit] if binds else [circuit] * points,
            shots=pub.shots,
            seed=aer_seed(of_aer),
            noise=backend.noise,
            binds=binds,
            points=points,
        )
        counts = [getattr(experiment.data, "counts", {}) for experiment in result.results]
    registers = _registers(circuit, counts, pub.shape, pub.shots, np.random.default_rng(of_order))
    return SamplerPubResult(
        DataBin(shape=pub.shape, **registers),
        metadata={"circuit_metadata": pub.circuit.metadata or {}, "shots": pub.shots},
    )


def _check_size(backends: Backends, pub: SamplerPub) -> None:
    width = sum(math.ceil(register.size / 8) for register in pub.circuit.cregs)
    size = math.prod(pub.shape) * pub.shots * width
    most = backends.simulator.limits.memory // 4
    if size > most:
        raise LimitExceeded(
            f"{math.prod(pub.shape)} points of {pub.shots} shots give {size // 2**20} MB of results, and "
            f"{backends.simulator.resource} allows {most // 2**20} MB: send fewer points or shots at once, "
            f"or raise QRMI_ENGINE_MEMORY_MB"
        )


def _registers(
    circuit: QuantumCircuit,
    counts: Sequence[Mapping[str, int]],
    shape: tuple[int, ...],
    shots: int,
    order: np.random.Generator,
) -> dict[str, BitArray]:
    """Give each register its bits of every shot; the shots of a point come in random order."""
    width = math.ceil(circuit.num_clbits / 8)
    columns = {register.name: [circuit.find_bit(bit).index for bit in reversed(register)] for register in circuit.cregs}
    arrays = {
        name: np.zeros((len(counts), shots, math.ceil(len(bits) / 8)), dtype=np.uint8) for name, bits in columns.items()
    }
    for point, outcomes in enumerate(counts):
        if not outcomes:  # nothing is measured
            continue
        keys = sorted(outcomes)
        packed = b"".join(int(key, 16).to_bytes(width, "little") for key in keys)
        bits = np.unpackbits(np.frombuffer(packed, np.uint8).reshape(-1, width), axis=1, bitorder="little")
        rows = order.permutation(np.repeat(np.arange(len(keys)), [outcomes[key] for key in keys]))
        for name, chosen in columns.items():
            arrays[name][point] = _packed(bits[:, chosen])[rows]
    return {
        name: BitArray(array.reshape(*shape, *array.shape[1:]), len(columns[name])) for name, array in arrays.items()
    }


def _packed(bits: Bytes) -> Bytes:
    """Pack bits, the highest first, into whole bytes that are filled from the right."""
    fill = -bits.shape[1] % 8
    return np.packbits(np.pad(bits, ((0, 0), (fill, 0))), axis=1)
