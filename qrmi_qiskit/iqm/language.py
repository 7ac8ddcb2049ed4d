# SPDX-License-Identifier: Apache-2.0
"""How pubs run as jobs of an IQM server: each set of values is a circuit, and all circuits have the same shots."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, PubResult, SamplerPubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_core import InputError, IQMServer, Payload, ResultError, UnsupportedFunction
from qrmi_qiskit.iqm.circuits import Register, circuit_json, register_bits, registers_of, registers_told
from qrmi_qiskit.iqm.estimating import estimated, measurement_circuits

if TYPE_CHECKING:
    from qrmi_qiskit.backend import QRMIBackend

__all__ = ["IQMLanguage"]

_HEEDED = frozenset({"default_shots", "default_precision"})


class IQMLanguage:
    """Circuit jobs of IQM's servers."""

    def sampler(self, pubs: Sequence[SamplerPub], options: Mapping[str, Any], backend: QRMIBackend) -> Payload:
        """One job for all pubs.

        Raises:
            InputError: their shots differ, or an instruction has no form in IQM's JSON.
        """
        shots = _same([pub.shots for pub in pubs], "shots")
        circuits = [
            (bound, f"pub {index}")
            for index, pub in enumerate(pubs)
            for bound in pub.parameter_values.bind_all(pub.circuit).reshape(-1)
        ]
        return _job(circuits, shots, backend)

    def estimator(
        self,
        pubs: Sequence[EstimatorPub],
        options: Mapping[str, Any],
        resilience_level: int | None,
        backend: QRMIBackend,
    ) -> Payload:
        """One job for all pubs; each basis in which a set of values is measured is a circuit.

        Raises:
            InputError: their precisions differ, or an instruction has no form in IQM's JSON.
        """
        precision = _same([pub.precision for pub in pubs], "precision")
        circuits = measurement_circuits(pubs, backend.target)
        return _job(
            [(circuit, "an observable's circuit") for circuit in circuits], math.ceil(1 / precision**2), backend
        )

    def result(
        self, data: bytes, primitive_id: str, inputs: Mapping[str, Any] | None, backend: QRMIBackend
    ) -> PrimitiveResult[PubResult]:
        """A sampler's result; without the inputs each circuit of the job counts as a pub.

        Raises:
            ResultError: it is damaged.
            UnsupportedFunction: it is an estimator's, whose observables IQM never saw.
        """
        measured = _measurements(data)
        if primitive_id == "estimator":
            if inputs is None:
                raise UnsupportedFunction(
                    "an estimator's result on IQM can be had in the process that submitted it only"
                )
            return estimated(inputs["pubs"], backend.target, measured)
        if inputs is None:
            results = [_pub_result([one], registers_told(one), (), {}) for one in measured]
            return PrimitiveResult(results, metadata={"version": 2})
        pubs: Sequence[SamplerPub] = inputs["pubs"]
        if len(measured) != sum(pub.size for pub in pubs):
            raise ResultError(f"{len(measured)} circuits came back of {sum(pub.size for pub in pubs)}", transient=True)
        results, left = [], iter(measured)
        for pub in pubs:
            own = [next(left) for _ in range(pub.size)]
            results.append(_pub_result(own, registers_of(pub.circuit), pub.shape, pub.circuit.metadata or {}))
        return PrimitiveResult(results, metadata={"version": 2})

    def primitive_id(self, program: str | None) -> str:
        return "sampler"

    def idle(self, options: Iterable[str], *, simulator: bool) -> list[str]:
        return [name for name in options if name not in _HEEDED]


def _same(values: Sequence[Any], what: str) -> Any:
    for index, value in enumerate(values):
        if value != values[0]:
            raise InputError(
                f"pub {index} has {what}={value} and pub 0 has {what}={values[0]}: "
                f"a job of IQM's has one number of shots, so run them one after the other"
            )
    return values[0]


def _job(circuits: Sequence[tuple[QuantumCircuit, str]], shots: int, backend: QRMIBackend) -> Payload:
    configuration = backend.configuration()
    job = {
        "circuits": [circuit_json(circuit, configuration.qubits, where) for circuit, where in circuits],
        "calibration_set_id": configuration.calibration_set_id,
        "shots": shots,
    }
    return IQMServer(json.dumps(job).encode(), "circuit")


def _measurements(data: bytes) -> list[Mapping[str, Any]]:
    try:
        measured = json.loads(data)["measurements"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(f"the result is none of an IQM server's: {error}", transient=True) from error
    if not isinstance(measured, list) or not all(isinstance(one, dict) and one for one in measured):
        raise ResultError("the result has no measurements of some circuit", transient=True)
    return measured


def _pub_result(
    measured: Sequence[Mapping[str, Any]],
    registers: Sequence[Register],
    shape: tuple[int, ...],
    metadata: Mapping[str, Any],
) -> SamplerPubResult:
    points = [register_bits(one, registers) for one in measured]
    arrays = {}
    for name, size in registers:
        bits = np.stack([point[name] for point in points])
        arrays[name] = BitArray.from_bool_array(bits.reshape(*shape, *bits.shape[1:]), order="little")
        if arrays[name].num_bits != size:
            raise ResultError(f"the register {name} has {arrays[name].num_bits} bits instead of {size}")
    shots = next(iter(arrays.values())).num_shots
    return SamplerPubResult(
        DataBin(shape=shape, **arrays), metadata={"circuit_metadata": dict(metadata), "shots": shots}
    )
