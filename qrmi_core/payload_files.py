# SPDX-License-Identifier: Apache-2.0
"""Payload files: the JSON that ``qrmi task run`` reads, upstream's payload schema, version 1.

One JSON object; its keys tell its kind:

    {"program_id": "sampler" | "estimator" | "noise-learner" | "executor", "parameters": {...}}      an IBM program
    {"job_runs": 100, "sequence": {...}}                                            a Pulser sequence
    {"human_qir": "...", "input_params": {...}}                                     Alice & Bob Felis
    {"iqmjson": {...}, "job_type": "circuit" | "run" | "sweep", "use_timeslot"?, "tag"?}     IQM server

``sequence`` and ``iqmjson`` may also be strings that hold the JSON. Further keys are allowed, as in the schema.
What is sent is cut out of the file's text, so that numbers reach the vendor as they were written.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from qrmi_core.errors import InputError
from qrmi_core.payloads import AliceBobFelis, IQMServer, Payload, PulserBatch, PulserJob, QiskitPrimitive

__all__ = ["described", "parse_payload", "read_payload"]

LONGEST_TAG = 50
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class _Member:
    """One member of the file's object: its decoded value, and its JSON as it stands in the file."""

    value: Any
    text: str


def read_payload(path: Path) -> Payload:
    """Read a payload file.

    Raises:
        InputError: the file cannot be read, is not JSON (with line and column), or fits no kind of payload.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); a payload file is JSON") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_payload(text, str(path))


def parse_payload(text: str, source: str) -> Payload:
    """The payload that a file's text describes; ``source`` names it in errors.

    Raises:
        InputError: it is not JSON (with line and column), or fits no kind of payload.
    """
    members = _Members(_object_members(text, source), source)
    for form in _FORMS.values():
        if any(key in members for key in form.keys):
            return form.build(members)
    keys = " | ".join("{" + ", ".join(form.keys) + "}" for form in _FORMS.values())
    raise InputError(f"{source}: not a payload: one of {keys} was expected, found {_listed(members.names())}")


def described(kind: type[Any]) -> str:
    """A kind of payload in words, with the keys that its files have."""
    form = _FORMS.get(kind)
    return kind.__name__ if form is None else f"{form.words} (keys {', '.join(form.keys)})"


class _Members:
    """The members of a payload file, with a message for each way in which one can be wrong."""

    def __init__(self, members: dict[str, _Member], source: str) -> None:
        self._members = members
        self._source = source

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def names(self) -> list[str]:
        return list(self._members)

    def refuse_misspelt(self, *known: str) -> None:
        """Further keys are allowed, but not one that is nearly a known one: it would have no effect."""
        for name in self._members:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if name not in known and near:
                self.refuse(name, f"is no key of this payload; did you mean {near[0]}?")

    def refuse(self, key: str, why: str) -> NoReturn:
        raise InputError(f"{self._source}: {key} {why}")

    def get(self, key: str) -> Any:
        if key not in self._members:
            self.refuse(key, f"is missing beside {_listed(self.names())}")
        return self._members[key].value

    def string(self, key: str, *, one_of: tuple[str, ...] = ()) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            self.refuse(key, f"must be a string, not {_json_type(value)}")
        if one_of and value not in one_of:
            self.refuse(key, f"must be one of {', '.join(one_of)}, not {value!r}")
        return value

    def object_text(self, key: str, *, or_string: bool = False) -> bytes:
        """The JSON of an object, as it was written; ``or_string``: or of a string that holds one."""
        value = self.get(key)
        if or_string and isinstance(value, str):
            _load_object(value, f"{self._source}: the string {key}")
            return value.encode()
        if not isinstance(value, dict):
            self.refuse(key, f"must be a JSON object, not {_json_type(value)}")
        return self._members[key].text.encode()


def _qiskit_primitive(members: _Members) -> Payload:
    members.refuse_misspelt("program_id", "parameters")
    program_id = members.string("program_id", one_of=("sampler", "estimator", "noise-learner", "executor"))
    return QiskitPrimitive(program_id, members.object_text("parameters"))


def _pulser_batch(members: _Members) -> Payload:
    members.refuse_misspelt("job_runs", "sequence")
    runs = members.get("job_runs")
    if not isinstance(runs, int) or isinstance(runs, bool) or runs < 1:
        members.refuse("job_runs", f"must be a whole number of at least 1, not {json.dumps(runs)}")
    return PulserBatch(members.object_text("sequence", or_string=True), (PulserJob(runs),))


def _alice_bob_felis(members: _Members) -> Payload:
    members.refuse_misspelt("human_qir", "input_params")
    return AliceBobFelis(members.string("human_qir").encode(), members.object_text("input_params"))


def _iqm_server(members: _Members) -> Payload:
    members.refuse_misspelt("iqmjson", "job_type", "use_timeslot", "tag")
    use_timeslot = members.get("use_timeslot") if "use_timeslot" in members else False
    if not isinstance(use_timeslot, bool):
        members.refuse("use_timeslot", f"must be true or false, not {_json_type(use_timeslot)}")
    tag = members.string("tag") if "tag" in members else None
    if tag is not None and len(tag) > LONGEST_TAG:
        members.refuse("tag", f"has {len(tag)} characters, at most {LONGEST_TAG} are allowed")
    job_type = members.string("job_type", one_of=("circuit", "run", "sweep"))
    return IQMServer(members.object_text("iqmjson", or_string=True), job_type, use_timeslot, tag)


@dataclass(frozen=True)
class _Form:
    """How the files of one kind of payload look."""

    words: str
    keys: tuple[str, str]
    build: Callable[[_Members], Payload]


_FORMS: dict[type[Any], _Form] = {
    QiskitPrimitive: _Form("an IBM program", ("program_id", "parameters"), _qiskit_primitive),
    PulserBatch: _Form("a Pulser sequence", ("job_runs", "sequence"), _pulser_batch),
    AliceBobFelis: _Form("a program for Felis", ("human_qir", "input_params"), _alice_bob_felis),
    IQMServer: _Form("a job for an IQM server", ("iqmjson", "job_type"), _iqm_server),
}


def _load_object(text: str, source: str) -> dict[str, Any]:
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}: line {error.lineno} column {error.colno}: not JSON: {error.msg}") from None
    except _NotANumber as error:
        raise InputError(f"{source}: not JSON: it holds {error}") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply to be read") from None
    if not isinstance(value, dict):
        raise InputError(f"{source}: a JSON object was expected, not {_json_type(value)}")
    return value


class _NotANumber(Exception):
    pass


def _refuse_constant(word: str) -> NoReturn:
    raise _NotANumber(word)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _object_members(text: str, source: str) -> dict[str, _Member]:
    """The members of the outermost object; a key that stands there twice is refused."""
    _load_object(text, source)
    members: dict[str, _Member] = {}
    for key, member in _scan(text):
        if key in members:
            raise InputError(f"{source}: the key {key} stands there twice")
        members[key] = member
    return members


def _scan(text: str) -> Iterator[tuple[str, _Member]]:
    """Walk over the members of an object that is known to be JSON."""

    def after_space(position: int) -> int:
        found = _SPACE.match(text, position)
        return found.end() if found else position

    position = after_space(text.index("{") + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        start = after_space(after_space(position) + 1)
        value, end = _DECODER.raw_decode(text, start)
        yield key, _Member(value, text[start:end])
        position = after_space(end)
        if text[position] == ",":
            position = after_space(position + 1)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown or "nothing"


def _json_type(value: object) -> str:
    words = {
        bool: "a boolean",
        str: "a string",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return words.get(type(value), "null")
