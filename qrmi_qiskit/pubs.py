# SPDX-License-Identifier: Apache-2.0
"""From what a user hands to ``run`` to pubs that are complete, or to an error that says which one is not and why."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.estimator_pub import EstimatorPub, EstimatorPubLike
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub, SamplerPubLike

from qrmi_core import InputError, LimitExceeded

__all__ = ["checked_shots", "estimator_pubs", "precision_of", "sampler_pubs"]

Pub = TypeVar("Pub", SamplerPub, EstimatorPub)


def sampler_pubs(
    pubs: Iterable[SamplerPubLike], shots: int | None, default: int, max_shots: int | None
) -> list[SamplerPub]:
    """The pubs, each with its shots: its own, else those of the run, else the default.

    Raises:
        InputError: one of them is not complete, or its shots are not a whole number from 1 to ``max_shots``.
    """
    if shots is not None:
        shots = checked_shots(shots, max_shots, "run(shots=...)")

    def complete(pub: Any, where: str) -> SamplerPub:
        circuit, values, own = _parts(pub, where, "(circuit, parameter values, shots)", 1, 3)
        _refuse_unbound(circuit, values, where, "(circuit, values)")
        used = checked_shots(own, max_shots, where) if own is not None else shots
        used = used or checked_shots(default, max_shots, "options.default_shots")
        return SamplerPub.coerce((circuit, values, used))

    return _complete(pubs, "run([circuit]) or run([(circuit, values)])", complete)


def estimator_pubs(pubs: Iterable[EstimatorPubLike], precision: float | None, default: float) -> list[EstimatorPub]:
    """The pubs, each with its precision: its own, else that of the run, else the default.

    Raises:
        InputError: one of them is not complete, or its precision is not a number above 0.
    """
    if precision is not None:
        precision = _checked_precision(precision, "run(precision=...)")

    def complete(pub: Any, where: str) -> EstimatorPub:
        circuit, observables, values, own = _parts(
            pub, where, "(circuit, observables, parameter values, precision)", 2, 4
        )
        _refuse_unbound(circuit, values, where, "(circuit, observables, values)")
        used = _checked_precision(own, where) if own is not None else precision
        array = ObservablesArray.coerce(observables)
        _refuse_observables(array, circuit, where)
        return EstimatorPub.coerce((circuit, array, values, used or default))

    return _complete(pubs, "run([(circuit, observables)])", complete)


def precision_of(shots: int) -> float:
    """The precision for which a device takes just so many shots: ``ceil(1 / precision**2) == shots``."""
    precision = 1 / math.sqrt(shots)
    while math.ceil(1 / precision**2) > shots:
        precision = math.nextafter(precision, math.inf)
    return precision


def checked_shots(shots: Any, max_shots: int | None, where: str) -> int:
    """The shots as an integer.

    Raises:
        InputError: they are not a whole number of at least 1.
        LimitExceeded: they are more than ``max_shots``.
    """
    if not isinstance(shots, numbers.Integral) or isinstance(shots, bool):
        raise InputError(f"{where}: shots are a whole number, not {shots!r} ({type(shots).__name__})")
    whole = int(shots)
    if whole < 1:
        raise InputError(f"{where}: {whole} shots were asked for; at least 1 is needed")
    if max_shots is not None and whole > max_shots:
        raise LimitExceeded(
            f"{where}: {whole} shots were asked for; at most {max_shots} are run at once, use several pubs"
        )
    return whole


def _checked_precision(precision: Any, where: str) -> float:
    if not isinstance(precision, numbers.Real) or isinstance(precision, bool):
        raise InputError(f"{where}: a precision is a number, not {precision!r} ({type(precision).__name__})")
    error = float(precision)
    if not 0 < error < math.inf:
        raise InputError(f"{where}: the precision is {error:g}; a standard error above 0 is needed, such as 0.02")
    return error


def _complete(pubs: Any, form: str, complete: Callable[[Any, str], Pub]) -> list[Pub]:
    if isinstance(pubs, QuantumCircuit | SamplerPub | EstimatorPub | str) or not isinstance(pubs, Iterable):
        raise InputError(f"run() takes a list of pubs, not {_a(pubs)}: write {form}")
    listed = list(pubs)
    if not listed:
        raise InputError("run() was given an empty list: there is nothing to run")
    if isinstance(pubs, tuple) and isinstance(listed[0], QuantumCircuit) and not isinstance(listed[-1], QuantumCircuit):
        raise InputError(f"run() takes a list of pubs, not one pub: write {form}")
    return [_one(pub, f"pub {index}", complete) for index, pub in enumerate(listed)]


def _one(pub: Any, where: str, complete: Callable[[Any, str], Pub]) -> Pub:
    try:
        found = complete(pub, where)
        values = found.parameter_values.as_array(found.circuit.parameters)
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, QiskitError) as error:
        told = error.message if isinstance(error, QiskitError) else str(error.args[0] if error.args else error)
        names = _names(pub)
        raise InputError(f"{where}: {told}{f' The parameters are {names}.' if names else ''}") from error
    if found.size == 0:
        raise InputError(f"{where}: it has the shape {found.shape}, so there is nothing to run")
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        name = found.circuit.parameters[wrong[0][-1]].name
        raise InputError(f"{where}: the value of {name} at index {tuple(wrong[0][:-1].tolist())} is not finite")
    return found


def _parts(pub: Any, where: str, form: str, least: int, most: int) -> list[Any]:
    if isinstance(pub, SamplerPub):
        return [pub.circuit, pub.parameter_values, pub.shots]
    if isinstance(pub, EstimatorPub):
        return [pub.circuit, pub.observables, pub.parameter_values, pub.precision]
    if isinstance(pub, CircuitInstruction):
        raise InputError("run() takes a list of pubs, not one circuit: write run([circuit])")
    parts = [pub] if isinstance(pub, QuantumCircuit) else list(pub) if isinstance(pub, Sequence) else None
    if parts is None or isinstance(pub, str):
        hint = ": read it with qiskit.qasm3.loads(text) first" if isinstance(pub, str) else ""
        raise InputError(f"{where}: a pub is {form}, not {_a(pub)}{hint}")
    if not least <= len(parts) <= most:
        missing = ": its observables are missing" if len(parts) < least else ""
        raise InputError(f"{where}: a pub is {form}, not {len(parts)} things{missing}")
    if not isinstance(parts[0], QuantumCircuit):
        raise InputError(f"{where}: its first part must be a QuantumCircuit, not {_a(parts[0])}")
    return parts + [None] * (most - len(parts))


def _refuse_unbound(circuit: QuantumCircuit, values: Any, where: str, form: str) -> None:
    if values is None and circuit.num_parameters:
        raise InputError(
            f"{where}: the circuit has unbound parameters ({', '.join(p.name for p in circuit.parameters)}) "
            f"and no values were given: write {form}, or circuit.assign_parameters(...)"
        )


def _refuse_observables(observables: ObservablesArray, circuit: QuantumCircuit, where: str) -> None:
    if observables.size == 0:
        raise InputError(f"{where}: its observables are empty")
    width = observables.num_qubits
    if width != circuit.num_qubits:
        raise InputError(
            f"{where}: the observables have {width} qubits and the circuit has {circuit.num_qubits}; "
            f"once a circuit is transpiled, adapt them to it: observable.apply_layout(circuit.layout)"
        )


def _names(pub: Any) -> str:
    circuit = pub[0] if isinstance(pub, Sequence) and not isinstance(pub, str) and len(pub) else pub
    return ", ".join(p.name for p in circuit.parameters) if isinstance(circuit, QuantumCircuit) else ""


def _a(thing: Any) -> str:
    name = type(thing).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
