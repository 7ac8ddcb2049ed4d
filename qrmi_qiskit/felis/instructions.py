# SPDX-License-Identifier: Apache-2.0
"""The QIR functions that the engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CATS", "INSTRUCTIONS", "MEASUREMENTS", "READS", "RECORDS", "RUNTIME", "Function", "signature"]

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

INSTRUCTIONS: Mapping[str, Function] = {
    **{f"{QIS}{name}__body": Function(_SYNONYMS.get(name, name), takes) for name, takes in _GATES.items()},
    f"{QIS}s__adj": Function("sdg", ("qubit",)),
    f"{QIS}t__adj": Function("tdg", ("qubit",)),
    f"{QIS}read_result__body": Function("read", ("result",), "i1"),
}
"""All that a target may list."""

_OF_CATS = frozenset({"x", "z", "rz", "cx", "delay", "reset", "prepare_x", "prepare_z", "mx", "mz", "barrier", "read"})

CATS: Mapping[str, Function] = {name: each for name, each in INSTRUCTIONS.items() if each.gate in _OF_CATS}
"""What does not turn a cat's rare bit flips into its frequent phase flips, and so is native to it."""

RUNTIME: Mapping[str, Function] = {
    f"{RT}initialize": Function("initialize", ("label",)),
    f"{RT}read_result": Function("read", ("result",), "i1"),
    f"{RT}array_record_output": Function("group", ("int", "label")),
    f"{RT}tuple_record_output": Function("group", ("int", "label")),
    f"{RT}result_record_output": Function("record", ("result", "label")),
}
"""What every program may call beside its target's instructions."""

MEASUREMENTS = frozenset({"mx", "my", "mz"})
READS = "read"
RECORDS = "record"


def signature(name: str, function: Function) -> str:
    """A function as Felis spells it: ``__quantum__qis__h__body:void (%Qubit*)``."""
    return f"{name}:{function.gives} ({', '.join(_SPELLING[kind] for kind in function.takes)})"
