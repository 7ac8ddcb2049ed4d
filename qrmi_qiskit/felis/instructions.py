# SPDX-License-Identifier: Apache-2.0
"""The QIR functions that the engine runs, and the description of its target in the form of Felis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FUNCTIONS", "MEASUREMENTS", "MOST_SHOTS", "QUBITS", "READS", "RECORDS", "Function", "description"]

QUBITS = 30
MOST_SHOTS = 10_000_000
DEFAULT_SHOTS = 1000

QIS = "__quantum__qis__"
RT = "__quantum__rt__"


@dataclass(frozen=True)
class Function:
    """A function of QIR: ``gate`` is what it does, ``takes`` the kinds of its arguments."""

    gate: str
    takes: tuple[str, ...]
    gives: str = "void"


_SPELLING = {"bool": "i1", "double": "double", "int": "i64", "qubit": "%Qubit*", "result": "%Result*", "label": "i8*"}

_GATES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("h", "x", "y", "z", "s", "t", "reset"), ("qubit",)),
    **dict.fromkeys(("rx", "ry", "rz", "delay"), ("double", "qubit")),
    **dict.fromkeys(("cnot", "cx", "cz", "swap"), ("qubit", "qubit")),
    "rzz": ("double", "qubit", "qubit"),
    **dict.fromkeys(("ccx", "toffoli"), ("qubit", "qubit", "qubit")),
    **dict.fromkeys(("prepare_x", "prepare_y", "prepare_z"), ("bool", "qubit")),
    **dict.fromkeys(("m", "measure", "mx", "my", "mz"), ("qubit", "result")),
    "barrier": (),
}

_SYNONYMS = {"cnot": "cx", "toffoli": "ccx", "m": "mz", "measure": "mz"}

_INSTRUCTIONS: Mapping[str, Function] = {
    **{f"{QIS}{name}__body": Function(_SYNONYMS.get(name, name), takes) for name, takes in _GATES.items()},
    f"{QIS}s__adj": Function("sdg", ("qubit",)),
    f"{QIS}t__adj": Function("tdg", ("qubit",)),
    f"{QIS}read_result__body": Function("read", ("result",), "i1"),
}
"""What the target lists."""

FUNCTIONS: Mapping[str, Function] = {
    **_INSTRUCTIONS,
    f"{RT}initialize": Function("initialize", ("label",)),
    f"{RT}read_result": Function("read", ("result",), "i1"),
    f"{RT}array_record_output": Function("group", ("int", "label")),
    f"{RT}tuple_record_output": Function("group", ("int", "label")),
    f"{RT}result_record_output": Function("record", ("result", "label")),
}
"""What a program may call: the instructions, and the functions of the runtime that belong to every program."""

MEASUREMENTS = frozenset({"mx", "my", "mz"})
READS = "read"
RECORDS = "record"


def signature(name: str, function: Function) -> str:
    """A function as Felis spells it: ``__quantum__qis__h__body:void (%Qubit*)``."""
    return f"{name}:{function.gives} ({', '.join(_SPELLING[kind] for kind in function.takes)})"


def description(qubits: int, shots: int) -> dict[str, Any]:
    """The target's entry in the list of targets; its name says that it is an emulator without any noise."""
    return {
        "name": f"EMU:{qubits}Q:IDEAL",
        "numQubits": qubits,
        "instructions": [{"signature": signature(name, function)} for name, function in _INSTRUCTIONS.items()],
        "inputParams": {
            "nbShots": {
                "required": True,
                "type": "int",
                "default": min(DEFAULT_SHOTS, shots),
                "constraints": [{"min": 1, "max": shots}],
            }
        },
    }
