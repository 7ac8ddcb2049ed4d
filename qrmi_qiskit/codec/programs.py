# SPDX-License-Identifier: Apache-2.0
"""What IBM's program ``executor`` is given and answers: circuits, each with an array of arguments, schema v2.0.

An item of a quantum program either holds the arguments of its circuit, or a samplex (package samplomatic), which draws
them at random: the twirling of qiskit-ibm-runtime's newer Sampler and Estimator.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit, qasm3, qpy
from qiskit.quantum_info import PauliLindbladMap

from qrmi_core import InputError, LimitExceeded
from qrmi_qiskit.codec.compression import Expander
from qrmi_qiskit.codec.tensors import is_tensor, load_tensor, tensor_json

__all__ = ["VERSION", "Arrays", "Item", "ItemResult", "Program", "decode_program", "encode_program_result"]

VERSION = "v2.0"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Item:
    """A circuit and its arguments: an array over ``circuit.parameters``, or a samplex and what it is given."""

    circuit: QuantumCircuit
    shape: tuple[int, ...]
    arguments: NDArray[np.float64] | None = None
    samplex: Any = None
    samplex_arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """Items that are run with the same number of shots; what passes through comes back as it was."""

    shots: int
    items: Sequence[Item]
    passthrough: Any = None
    role: str | None = None


@dataclass(frozen=True)
class ItemResult:
    """The arrays that an item gave, and when it was run."""

    arrays: Arrays
    shape: tuple[int, ...]
    start: datetime
    stop: datetime


def decode_program(data: bytes, *, max_decompressed: int) -> Program:
    """The quantum program in the ``params`` of a job; only for a process that may be killed.

    Raises:
        LimitExceeded: what is packed in it expands to more than ``max_decompressed`` bytes.
        InputError: it is not of the schema's form, or asks for what no simulator of shots gives.
    """
    try:
        return _program(json.loads(data), Expander(max_decompressed))
    except (InputError, LimitExceeded):
        raise
    except Exception as error:  # strangers' QPY and samplexes make their readers raise anything
        raise InputError(f"the quantum program cannot be read ({type(error).__name__}: {error})") from error


def _program(params: Mapping[str, Any], expander: Expander) -> Program:
    if params.get("schema_version") != VERSION:
        raise InputError(f"the schema of the program is {params.get('schema_version')!r}; {VERSION} is read")
    program = params["quantum_program"]
    level = program.get("meas_level", "classified")
    if level != "classified":
        raise InputError(f"meas_level is {level!r}: a simulator has no raw signals, only classified ones")
    shots, items = program["shots"], program["items"]
    if not isinstance(shots, int) or isinstance(shots, bool) or shots < 1:
        raise InputError(f"shots are a whole number of at least 1, not {shots!r}")
    circuits = _circuits(program["circuits"], expander)
    if len(circuits) != len(items):
        raise InputError(f"the program has {len(circuits)} circuits and {len(items)} items; each item needs its own")
    read = [_item(circuit, item, expander) for circuit, item in zip(circuits, items, strict=True)]
    return Program(shots, read, program.get("passthrough_data"), program.get("semantic_role"))


def _circuits(packed: Mapping[str, Any], expander: Expander) -> list[QuantumCircuit]:
    if isinstance(texts := packed.get("data"), list):
        return [qasm3.loads(text) for text in texts]
    found = qpy.load(io.BytesIO(expander.expand(packed.get("b64_data"))), annotation_factories=_annotations())
    if not all(isinstance(circuit, QuantumCircuit) for circuit in found):
        raise InputError("the program's QPY holds something else than circuits")
    return list(found)


def _annotations() -> dict[str, Any]:
    """Who reads the annotations of boxes; only programs that have any need the package."""
    try:
        from ibm_quantum_schemas.common.annotation_serializer import AnnotationSerializer
    except ImportError:
        return {}
    return {"samplomatic": AnnotationSerializer}


def _item(circuit: QuantumCircuit, item: Mapping[str, Any], expander: Expander) -> Item:
    shape = tuple(item["shape"])
    if item["item_type"] == "circuit":
        arguments = load_tensor(item["circuit_arguments"], expander).astype(np.float64)
        return Item(circuit, np.broadcast_shapes(shape, arguments.shape[:-1]), arguments)
    from samplomatic.serialization import samplex_from_json  # costs half a second, and few programs have a samplex

    given = {name: _argument(value, expander) for name, value in item["samplex_arguments"].items()}
    samplex = samplex_from_json(item["samplex"]["samplex_json"])
    samplex.finalize()
    return Item(circuit, shape, samplex=samplex, samplex_arguments=given)


def _argument(value: Any, expander: Expander) -> Any:
    if is_tensor(value):
        return load_tensor(value, expander)
    if isinstance(value, Mapping):
        terms = [(paulis, qubits, rate) for paulis, qubits, rate in value["sparse_terms"]]
        return PauliLindbladMap.from_sparse_list(terms, num_qubits=value["num_qubits"])
    return value


def encode_program_result(program: Program, results: Sequence[ItemResult]) -> bytes:
    """The answer to a program."""
    document = {
        "schema_version": VERSION,
        "data": [
            {"results": {name: tensor_json(array) for name, array in result.arrays.items()}, "metadata": {}}
            for result in results
        ],
        "metadata": {"chunk_timing": [_chunk(index, result) for index, result in enumerate(results)]},
        "passthrough_data": program.passthrough,
        "semantic_role": program.role,
    }
    return json.dumps(document).encode()


def _chunk(index: int, result: ItemResult) -> dict[str, Any]:
    size = int(np.prod(result.shape, dtype=int))
    part = {
        "idx_item": index,
        "size": size,
        "permutation": list(range(len(result.shape))),
        "element_range": [0, size, 1],
    }
    return {"start": _utc(result.start), "stop": _utc(result.stop), "parts": [part]}


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
