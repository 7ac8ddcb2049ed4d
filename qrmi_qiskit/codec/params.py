# SPDX-License-Identifier: Apache-2.0
"""Writing the ``params`` of IBM's sampler and estimator, version 2.

A sampler's pub is ``[circuit, parameter values, shots]``, an estimator's ``[circuit, observables, parameter
values, precision]``. Values are ordered like ``circuit.parameters``, on the last axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qiskit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_core import InputError
from qrmi_qiskit.codec.arrays import array_json
from qrmi_qiskit.codec.circuits import circuit_json
from qrmi_qiskit.codec.delays import with_delays_in_dt
from qrmi_qiskit.codec.values import plain_json

__all__ = ["DEFAULT_PRECISION", "DEFAULT_SHOTS", "encode_estimator", "encode_sampler"]

DEFAULT_SHOTS = 4096
"""The shots of a pub that says nothing, as in IBM's service."""

DEFAULT_PRECISION = 0.015625
"""The precision of a pub that says nothing, as in IBM's service: 1 / sqrt(4096)."""


def encode_sampler(
    pubs: Sequence[SamplerPub],
    *,
    options: Mapping[str, Any] | None = None,
    shots: int | None = None,
    dt: float | None = None,
) -> bytes:
    """Return the ``params`` of a sampler job.

    Each pub carries its shots: its own, else ``shots``, else 4096. A circuit that is in several pubs is
    written as QPY once; its delays are converted to multiples of ``dt`` seconds, the backend's time step.

    Raises:
        InputError: a circuit or an option cannot be written.
    """
    circuits = _Circuits(dt)
    return _params(
        (
            [circuits.json(pub.circuit), _values_json(pub), b"%d" % (pub.shots or shots or DEFAULT_SHOTS)]
            for pub in pubs
        ),
        options,
    )


def encode_estimator(
    pubs: Sequence[EstimatorPub],
    *,
    options: Mapping[str, Any] | None = None,
    precision: float | None = None,
    resilience_level: int | None = None,
    dt: float | None = None,
) -> bytes:
    """Return the ``params`` of an estimator job.

    Each pub carries its precision: its own, else ``precision``, else 1/64. ``resilience_level`` stands beside the
    options and is left to the service when it is None. ``dt`` is as for the sampler.

    Raises:
        InputError: a circuit, an observable or an option cannot be written.
    """
    circuits = _Circuits(dt)
    return _params(
        (
            [
                circuits.json(pub.circuit),
                _json(pub.observables.tolist(), "the observables"),
                _values_json(pub),
                _json(float(pub.precision or precision or DEFAULT_PRECISION), "the precision"),
            ]
            for pub in pubs
        ),
        options,
        resilience_level,
    )


class _Circuits:
    """The JSON of the circuits of one call, each made once."""

    def __init__(self, dt: float | None) -> None:
        self._dt = dt
        self._texts: dict[int, bytes] = {}

    def json(self, circuit: QuantumCircuit) -> bytes:
        if id(circuit) not in self._texts:
            self._texts[id(circuit)] = circuit_json(with_delays_in_dt(circuit, self._dt))
        return self._texts[id(circuit)]


def _values_json(pub: SamplerPub | EstimatorPub) -> bytes:
    return array_json(pub.parameter_values.as_array(pub.circuit.parameters))


def _json(value: Any, what: str) -> bytes:
    try:
        return plain_json(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} cannot be sent: {error}") from error


def _params(
    pubs: Iterable[Iterable[bytes]], options: Mapping[str, Any] | None, resilience_level: int | None = None
) -> bytes:
    level = b"" if resilience_level is None else b',"resilience_level":%d' % resilience_level
    return (
        b'{"pubs":['
        + b",".join(b"[" + b",".join(pub) + b"]" for pub in pubs)
        + b'],"options":'
        + _json(dict(options or {}), "the options")
        + level
        + b',"version":2,"support_qiskit":true}'
    )
