# SPDX-License-Identifier: Apache-2.0
"""Circuits in typed JSON: ``{"__type__": "QuantumCircuit", "__value__": base64(zlib(qpy))}``."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings

from qiskit import QuantumCircuit, qasm3, qpy
from qiskit.exceptions import MissingOptionalLibraryError, QiskitError

from qrmi_core import InputError
from qrmi_qiskit.codec.compression import Expander, pack
from qrmi_qiskit.codec.values import ValueEncoder

__all__ = ["NEWEST_QPY", "circuit_json", "load_circuit"]

NEWEST_QPY = min(17, qpy.QPY_VERSION)
"""The newest QPY that IBM's service reads (17, as qiskit-ibm-runtime has it) and that this Qiskit writes."""


def circuit_json(circuit: QuantumCircuit) -> bytes:
    """Return the JSON text of a circuit.

    Raises:
        InputError: the circuit holds something that QPY cannot.
    """
    stream = io.BytesIO()
    try:
        qpy.dump(circuit, stream, metadata_serializer=ValueEncoder, version=NEWEST_QPY)
    except (QiskitError, TypeError, ValueError) as error:
        raise InputError(
            f"the circuit {circuit.name!r} cannot be written as QPY version {NEWEST_QPY}: {error}"
        ) from error
    return b'{"__type__":"QuantumCircuit","__value__":"' + pack(stream.getvalue()) + b'"}'


def load_circuit(value: object, expander: Expander) -> QuantumCircuit:
    """Return the circuit that a pub holds: typed QPY, or OpenQASM 3 text.

    Only for a process that may be killed: QPY and QASM of a stranger are decoded here.

    Raises:
        LimitExceeded: see :meth:`Expander.expand`.
        ValueError: it is neither, or it cannot be read.
    """
    if isinstance(value, str):
        return _load_qasm(value)
    if isinstance(value, dict) and value.get("__type__") == "QuantumCircuit":
        return _load_qpy(expander.expand(value.get("__value__")))
    raise ValueError("a circuit is OpenQASM 3 text or a typed QuantumCircuit (QPY)")


def _load_qasm(text: str) -> QuantumCircuit:
    printed = io.StringIO()  # the parser prints where the mistake is; the error that it raises holds nothing
    try:
        with contextlib.redirect_stderr(printed):
            circuit = qasm3.loads(text)
    except MissingOptionalLibraryError as error:
        raise ValueError("OpenQASM 3 is read with qiskit-qasm3-import: pip install 'qiskit[qasm3-import]'") from error
    except Exception as error:  # each layer of the parser has errors of its own
        said = _mistake(error, printed.getvalue())
        raise ValueError(f"its OpenQASM 3 cannot be read: {said}") from error
    sys.stderr.write(printed.getvalue())
    return circuit


def _mistake(error: Exception, printed: str) -> str:
    """What the parser says is wrong, with line and column; not every mistake is printed."""
    if isinstance(error, QiskitError) and error.message:
        return str(error.message)
    if said := next((line for line in printed.splitlines() if line.startswith("line ")), None):
        return said
    for reason in getattr(error.__cause__, "args", ()):
        if token := getattr(reason, "offendingToken", None):
            return f"line {token.line}:{token.column} unexpected {token.text!r}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _load_qpy(data: bytes) -> QuantumCircuit:
    if not data.startswith(b"QISKIT"):
        raise ValueError("what it holds is not QPY")
    stream = io.BytesIO(data)
    try:
        version = qpy.get_qpy_version(stream)
        if version > qpy.QPY_VERSION:
            raise ValueError(
                f"it is QPY version {version}, and this Qiskit reads up to {qpy.QPY_VERSION}: "
                f"write it with qpy.dump(..., version={qpy.QPY_VERSION})"
            )
        with warnings.catch_warnings():
            # The writer's Qiskit may be newer than this one; what matters is the format's version, seen above.
            warnings.filterwarnings("ignore", message="The qiskit version used to generate", category=UserWarning)
            circuits = qpy.load(stream)
    except ValueError:
        raise
    except Exception as error:  # hostile bytes make the reader raise anything
        raise ValueError(f"its QPY cannot be read ({type(error).__name__}: {error})") from error
    if len(circuits) != 1 or not isinstance(circuits[0], QuantumCircuit):
        raise ValueError(f"its QPY holds {len(circuits)} programs instead of one circuit")
    return circuits[0]
