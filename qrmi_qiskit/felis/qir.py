# SPDX-License-Identifier: Apache-2.0
"""A strict parser of QIR, as LLVM text, in time proportional to its length.

Understood is one function without parameters whose blocks call the target's instructions and branch forward on
measured results, with typed (``%Qubit*``) or opaque (``ptr``) pointers to qubits and results that are numbers.
Whatever else stands there is refused with its line.
"""

from __future__ import annotations

import difflib
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from qrmi_core import InputError
from qrmi_qiskit.felis.instructions import MEASUREMENTS, READS, RUNTIME, Function

__all__ = ["INVALID", "NOT_SUPPORTED", "Block", "Call", "parse"]

INVALID = "InvalidProgram"
NOT_SUPPORTED = "OperationNotSupported"
"""Codes of the errors: the text is no QIR that is understood; it asks for what the target does not have."""

Argument = float | int

_NAME = r'(?:[-\w.$]+|"[^"]*")'
_DEFINE = re.compile(rf"define (?:dso_local )?(?:void|i64) @{_NAME}\((?P<parameters>[^)]*)\)[^{{]*\{{\s*$")
_IGNORED = re.compile(r"source_filename|target (?:datalayout|triple)|declare |attributes #|!|@|%\w+ = type opaque\s*$")
_LABEL = re.compile(rf"(?P<name>{_NAME}):")
_CALL = re.compile(
    rf"(?:(?P<value>%{_NAME}) = )?(?:tail |notail )?call (?P<gives>\w+) @(?P<function>{_NAME})"
    r"\((?P<arguments>[^()]*+(?:\([^()]*+\)[^()]*+)*+)\)(?: #\d+)?"
)
_JUMP = re.compile(rf"br label %(?P<target>{_NAME})")
_BRANCH = re.compile(rf"br i1 (?P<value>%{_NAME}), label %(?P<then>{_NAME}), label %(?P<otherwise>{_NAME})")
_RETURN = re.compile(r"ret (?:void|i64 0)")

_ATTRIBUTES = r"(?: (?:nonnull|nocapture|noundef|readonly|writeonly))*"
_ARGUMENTS = {
    "bool": re.compile(r"i1 (?P<value>true|false|0|1)"),
    "double": re.compile(r"double (?P<value>0x[0-9A-Fa-f]{16}|[-+]?[0-9]+\.[0-9]*(?:e[-+][0-9]+)?)"),
    "int": re.compile(r"i64 (?P<value>[0-9]{1,18})"),
    "qubit": re.compile(
        rf"(?:%Qubit\*|ptr){_ATTRIBUTES} (?:null|inttoptr \(i64 (?P<value>[0-9]{{1,18}}) to (?:%Qubit\*|ptr)\))"
    ),
    "result": re.compile(
        rf"(?:%Result\*|ptr){_ATTRIBUTES} (?:null|inttoptr \(i64 (?P<value>[0-9]{{1,18}}) to (?:%Result\*|ptr)\))"
    ),
    "label": re.compile(rf"(?:i8\*|ptr){_ATTRIBUTES} (?:null|@{_NAME}|getelementptr[^()]*\([^()]*\))(?P<value>)"),
}
_SEPARATOR = re.compile(r", *")


@dataclass(frozen=True, slots=True)
class Call:
    """A call: ``gate`` and its ``numbers`` (angle, time or bit), qubits and result; ``function`` as it was written."""

    line: int
    function: str
    gate: str
    numbers: tuple[Argument, ...]
    qubits: tuple[int, ...]
    result: int | None


@dataclass(slots=True)
class Block:
    """Calls without a branch among them; then ``follows`` names the next block, or two: if ``condition`` is 1, or 0."""

    name: str
    line: int
    calls: list[Call] = field(default_factory=list)
    condition: int | None = None
    follows: tuple[str, ...] = ()
    ended: bool = False


def parse(program: bytes, instructions: Mapping[str, Function]) -> list[Block]:
    """The blocks of a program for a target with these instructions, in the order in which they stand.

    Raises:
        InputError: it is not understood; says in which line, and what.
    """
    try:
        text = program.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"the program is not UTF-8 text (byte {error.start})", code=INVALID) from None
    lines = enumerate(_lines(text), start=1)
    blocks: list[Block] = []
    for number, line in lines:
        if not line or line.startswith(";") or _IGNORED.match(line):
            continue
        define = _DEFINE.match(line)
        if define is None:
            _refuse(number, f"{_shown(line)} is not understood")
        if blocks:
            _refuse(number, "a second function is defined: a program is one function that calls the target's")
        if define["parameters"].strip():
            _refuse(number, f"the function has parameters ({_shown(define['parameters'])}): a program has none")
        blocks = _body(lines, number, {**instructions, **RUNTIME})
    if not blocks:
        raise InputError("the program defines no function: LLVM text of QIR was expected", code=INVALID)
    return blocks


def _lines(text: str) -> Iterator[str]:
    start = 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end].strip()
        start = end + 1


def _body(lines: Iterator[tuple[int, str]], number: int, functions: Mapping[str, Function]) -> list[Block]:
    blocks: list[Block] = []
    names: set[str] = set()
    reads: dict[str, int] = {}
    code = ""
    while code != "}":
        number, line = next(lines, (number, None))
        if line is None:
            _refuse(number, "the program ends within its function: it was cut off")
        code = line.partition(";")[0].rstrip()
        if not code or code == "}":
            continue
        label = _LABEL.fullmatch(code)
        if label or not blocks:
            if blocks and not blocks[-1].ended:
                _refuse(number, f"the block before {code} does not end with ret or br")
            name = label["name"] if label else ""
            if name in names:
                _refuse(number, f"there are two blocks {name}")
            names.add(name)
            blocks.append(Block(name, number))
            reads = {}
            if label:
                continue
        _instruction(blocks[-1], number, code, reads, functions)
    if not blocks or not blocks[-1].ended:
        _refuse(number, "the function's last block does not end with ret or br")
    return blocks


def _instruction(
    block: Block, number: int, code: str, reads: dict[str, int], functions: Mapping[str, Function]
) -> None:
    if block.ended:
        _refuse(number, f"{_shown(code)} follows the end of its block")
    if found := _CALL.fullmatch(code):
        _call(block, number, found, reads, functions)
    elif found := _JUMP.fullmatch(code):
        block.follows, block.ended = (found["target"],), True
    elif found := _BRANCH.fullmatch(code):
        if found["value"] not in reads:
            _refuse(number, f"{found['value']} is no result that was read in the same block: only such may decide")
        block.condition = reads[found["value"]]
        block.follows, block.ended = (found["then"], found["otherwise"]), True
    elif _RETURN.fullmatch(code):
        block.ended = True
    else:
        _refuse(number, f"{_shown(code)} is not understood: calls, branches on results and ret are")


def _call(
    block: Block, number: int, found: re.Match[str], reads: dict[str, int], functions: Mapping[str, Function]
) -> None:
    name = found["function"]
    function = functions.get(name)
    if function is None:
        near = difflib.get_close_matches(name[:100], functions, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        _refuse(number, f"{_shown(name)} is no function of this target{hint}", NOT_SUPPORTED)
    if found["gives"] != function.gives or (found["value"] and function.gives == "void"):
        _refuse(number, f"{name} returns {function.gives}, not {_shown(found['gives'])}")
    call = _with_arguments(number, name, function, found["arguments"])
    if len(set(call.qubits)) < len(call.qubits):
        _refuse(number, f"{name} is given a qubit twice: qubits {', '.join(map(str, call.qubits))}")
    if function.gate == READS:
        if found["value"] and call.result is not None:
            reads[found["value"]] = call.result
    elif function.gate in MEASUREMENTS:
        for value in [value for value, result in reads.items() if result == call.result]:
            del reads[value]
        block.calls.append(call)
    elif function.gate not in {"initialize", "group"}:
        block.calls.append(call)


def _with_arguments(number: int, name: str, function: Function, text: str) -> Call:
    numbers: list[Argument] = []
    qubits: list[int] = []
    result = None
    position = 0
    for index, kind in enumerate(function.takes):
        if index:
            separator = _SEPARATOR.match(text, position)
            position = separator.end() if separator else len(text)
        found = _ARGUMENTS[kind].match(text, position)
        if found is None:
            _refuse_arguments(number, name, function, text)
        position = found.end()
        if kind == "qubit":
            qubits.append(int(found["value"] or 0))
        elif kind == "result":
            result = int(found["value"] or 0)
        elif kind != "label":
            value = _number(kind, found["value"])
            if not math.isfinite(value):
                _refuse(number, f"{name} is given {found['value']}, which is no finite number")
            numbers.append(value)
    if text[position:].strip():
        _refuse_arguments(number, name, function, text)
    return Call(number, name, function.gate, tuple(numbers), tuple(qubits), result)


def _number(kind: str, text: str) -> Argument:
    if kind == "bool":
        return text in {"true", "1"}
    if kind == "int":
        return int(text)
    if text.startswith("0x"):
        (value,) = struct.unpack(">d", bytes.fromhex(text[2:]))
        return float(value)
    return float(text)


def _refuse_arguments(number: int, name: str, function: Function, text: str) -> NoReturn:
    wanted = ", ".join(function.takes) or "nothing"
    _refuse(number, f"{name} takes {wanted}; found {_shown(text) or 'nothing'}")


def _refuse(number: int, problem: str, code: str = INVALID) -> NoReturn:
    raise InputError(f"line {number}: {problem}", code=code)


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."
