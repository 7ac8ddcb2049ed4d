# SPDX-License-Identifier: Apache-2.0
"""Reading the ``params`` of IBM's sampler and estimator: the part that meets strangers' data."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_core import InputError, LimitExceeded
from qrmi_qiskit.codec.arrays import load_array
from qrmi_qiskit.codec.circuits import load_circuit
from qrmi_qiskit.codec.compression import Expander
from qrmi_qiskit.codec.params import DEFAULT_PRECISION, DEFAULT_SHOTS
from qrmi_qiskit.codec.values import read_value

__all__ = ["decode_params"]


def decode_params(
    program_id: str, data: bytes, *, max_decompressed: int
) -> tuple[list[SamplerPub] | list[EstimatorPub], dict[str, Any]]:
    """Return the pubs and options of a job; every pub has its shots or precision.

    Circuits are typed QPY or OpenQASM 3 text, parameter values typed arrays or plain lists (null and [] where
    there are none), observables a mapping or (nested) lists of mappings. To be called only in a process that
    may be killed.

    Raises:
        LimitExceeded: what is packed in it expands to more than ``max_decompressed`` bytes in total.
        InputError: anything else is wrong with it; says in which pub.
    """
    if program_id not in {"sampler", "estimator"}:
        raise InputError(f"the program {program_id!r} is not known; there are sampler and estimator")
    params = _object(data)
    pubs = params.get("pubs")
    if not isinstance(pubs, list) or not pubs:
        raise InputError('"pubs" is missing or empty: a list of at least one pub was expected')
    reader = _Reader(max_decompressed)
    with _place("the options"):
        options = reader.options(params.get("options"))
    if program_id == "sampler":
        return reader.sampler_pubs(pubs, params.get("shots") or options.get("default_shots") or DEFAULT_SHOTS), options
    return reader.estimator_pubs(pubs, params.get("precision") or _default_precision(options)), options


def _object(data: bytes) -> dict[str, Any]:
    try:
        params = json.loads(data)
    except json.JSONDecodeError as error:
        raise InputError(
            f"the parameters are not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the parameters are not JSON: {error}") from error
    if not isinstance(params, dict):
        raise InputError("the parameters are not a JSON object")
    return params


def _default_precision(options: Mapping[str, Any]) -> object:
    if options.get("default_precision"):
        return options["default_precision"]
    shots = options.get("default_shots")
    return shots**-0.5 if isinstance(shots, int) and shots > 0 else DEFAULT_PRECISION


@contextlib.contextmanager
def _place(where: str) -> Iterator[None]:
    """Say where the mistake is, and make an InputError of it."""
    try:
        yield
    except LimitExceeded as error:
        raise LimitExceeded(f"{where}: {error}") from error
    except QiskitError as error:
        raise InputError(f"{where}: {error.message}") from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"{where}: {error}") from error


class _Reader:
    """Reads the pubs of one job; a circuit that is in several pubs is read once."""

    def __init__(self, max_decompressed: int) -> None:
        self._expander = Expander(max_decompressed)
        self._circuits: dict[str, QuantumCircuit] = {}

    def options(self, value: object) -> dict[str, Any]:
        options = read_value(value or {}, self._expander)
        if not isinstance(options, dict):
            raise ValueError("an object was expected")
        return options

    def sampler_pubs(self, pubs: list[object], default_shots: object) -> list[SamplerPub]:
        read = []
        for index, pub in enumerate(pubs):
            with _place(f"pub {index}"):
                text, values, shots = _parts(pub, 3)
                circuit = self._circuit(text)
                shots = _shots(default_shots if shots is None else shots)
                read.append(SamplerPub(circuit, self._values(circuit, values), shots))
        return read

    def estimator_pubs(self, pubs: list[object], default_precision: object) -> list[EstimatorPub]:
        read = []
        for index, pub in enumerate(pubs):
            with _place(f"pub {index}"):
                text, observables, values, precision = _parts(pub, 4)
                array = ObservablesArray(read_value(observables, self._expander))
                circuit = _widened(self._circuit(text), array.num_qubits)
                precision = _precision(default_precision if precision is None else precision)
                read.append(EstimatorPub(circuit, array, self._values(circuit, values), precision))
        return read

    def _circuit(self, value: object) -> QuantumCircuit:
        key = json.dumps(value)
        if key not in self._circuits:
            self._circuits[key] = load_circuit(value, self._expander)
        return self._circuits[key]

    def _values(self, circuit: QuantumCircuit, value: object) -> BindingsArray:
        if isinstance(value, dict) and value.get("__type__") == "ndarray":
            array = load_array(value.get("__value__"), self._expander)
        elif value is None or isinstance(value, list):
            array = load_array(value or [], self._expander)
        else:
            raise ValueError("parameter values are null, a list or a typed array")
        if circuit.num_parameters and array.shape == (0,):
            unbound = ", ".join(parameter.name for parameter in circuit.parameters)
            raise ValueError(f"it has no values for the parameters {unbound}")
        if circuit.num_parameters:
            return BindingsArray({tuple(circuit.parameters): array})
        if array.size:
            raise ValueError(f"{array.size} parameter values for a circuit without parameters")
        return BindingsArray(shape=array.shape[:-1])


def _parts(pub: object, most: int) -> list[Any]:
    if isinstance(pub, str | dict):
        pub = [pub]
    if not isinstance(pub, list) or not 1 <= len(pub) <= most:
        raise ValueError(f"a pub is a list of 1 to {most} values")
    return pub + [None] * (most - len(pub))


def _shots(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{value!r} shots were asked for; a whole number of at least 1 was expected")
    return value


def _precision(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"the precision is {value!r}; a number above 0 was expected")
    return float(value)


def _widened(circuit: QuantumCircuit, width: int) -> QuantumCircuit:
    """Give a circuit with physical qubits of OpenQASM 3 the width of its observables.

    ``$7`` as the highest qubit in use makes a circuit of 8 qubits, whatever the device's size is.
    """
    if circuit.qregs or circuit.num_qubits >= width:
        return circuit
    wider = QuantumCircuit(width, circuit.num_clbits, name=circuit.name)
    return wider.compose(circuit, range(circuit.num_qubits), range(circuit.num_clbits))
