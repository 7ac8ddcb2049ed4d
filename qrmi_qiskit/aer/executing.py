# SPDX-License-Identifier: Apache-2.0
"""IBM's program ``executor``: each item's circuit at all its arguments, every bit of every shot in the answer."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_qiskit.aer.backend import Backends
from qrmi_qiskit.aer.sampling import sample
from qrmi_qiskit.codec.programs import Item, ItemResult

__all__ = ["execute"]

PARAMETER_VALUES = "parameter_values"


def execute(backends: Backends, item: Item, shots: int, seed: np.random.SeedSequence) -> ItemResult:
    """Run an item; the first axes of each array are the item's shape, then come the shots and a register's bits.

    Raises:
        LimitExceeded, InputError: see :func:`~qrmi_qiskit.aer.sampling.sample`.
    """
    start = datetime.now(UTC)
    of_samplex, of_shots = seed.spawn(2)
    drawn = _drawn(item, np.random.default_rng(of_samplex)) if item.samplex is not None else {}
    parameters = tuple(item.circuit.parameters)
    values = drawn.pop(PARAMETER_VALUES) if item.arguments is None else item.arguments
    bindings = BindingsArray(
        {parameters: np.broadcast_to(values, (*item.shape, len(parameters)))} if parameters else None,
        shape=item.shape,
    )
    result = sample(backends, SamplerPub(item.circuit, bindings, shots), of_shots)
    measured = {name: bits.to_bool_array(order="little") for name, bits in result.data.items()}
    return ItemResult({**drawn, **measured}, item.shape, start, datetime.now(UTC))


def _drawn(item: Item, random: np.random.Generator) -> dict[str, NDArray[Any]]:
    """What the samplex draws, over the item's shape.

    The axes on which what it is given varies are gone through one by one; along all others, the draws are independent.
    """
    given = item.samplex.inputs().make_broadcastable()
    for name, value in item.samplex_arguments.items():
        given[name] = value
    sizes = (1,) * (len(item.shape) - given.ndim) + tuple(given.shape)
    swept = [axis for axis, size in enumerate(sizes) if size > 1]
    drawn_along = [item.shape[axis] for axis in range(len(item.shape)) if axis not in swept]
    arrays: dict[str, NDArray[Any]] = {}
    for point in np.ndindex(*(item.shape[axis] for axis in swept)):
        at: list[Any] = [slice(None)] * len(item.shape)
        for axis, index in zip(swept, point, strict=True):
            at[axis] = index
        chosen = tuple(0 if size == 1 else at[axis] for axis, size in enumerate(sizes))[len(sizes) - given.ndim :]
        draws = item.samplex.sample(given[chosen], num_randomizations=math.prod(drawn_along), rng=random)
        for name, values in dict(draws).items():
            inner = values.shape[1:]
            whole = arrays.setdefault(name, np.empty((*item.shape, *inner), values.dtype))
            whole[tuple(at)] = values.reshape(*drawn_along, *inner)
    return arrays
