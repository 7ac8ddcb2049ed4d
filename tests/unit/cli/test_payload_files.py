# SPDX-License-Identifier: Apache-2.0
"""Payload files: upstream's schema, and a clear answer to each way in which a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrmi_core import AliceBobFelis, InputError, IQMServer, PulserBatch, PulserJob, QiskitPrimitive
from qrmi_core.payload_files import parse_payload, read_payload


def parse(payload: Any) -> Any:
    return parse_payload(payload if isinstance(payload, str) else json.dumps(payload), "p.json")


def test_an_ibm_primitive() -> None:
    assert parse({"program_id": "estimator", "parameters": {"pubs": []}}) == QiskitPrimitive(
        "estimator", b'{"pubs": []}'
    )


@pytest.mark.parametrize("sequence", [{"a": [1]}, '{"a": [1]}'])
def test_a_pulser_sequence_as_an_object_or_as_text(sequence: Any) -> None:
    assert parse({"sequence": sequence, "job_runs": 100}) == PulserBatch(b'{"a": [1]}', (PulserJob(100),))


def test_a_felis_program_keeps_its_lines() -> None:
    qir = 'define void @main() {\n  ret void "é"\n}\n'
    payload = parse({"human_qir": qir, "input_params": {"nbShots": 10}})
    assert payload == AliceBobFelis(qir.encode(), b'{"nbShots": 10}')


@pytest.mark.parametrize("body", [{"circuits": []}, '{"circuits": []}'])
def test_an_iqm_job_as_an_object_or_as_text(body: Any) -> None:
    assert parse({"iqmjson": body, "job_type": "circuit"}) == IQMServer(b'{"circuits": []}', "circuit")


def test_an_iqm_job_with_everything() -> None:
    payload = parse({"iqmjson": {}, "job_type": "run", "use_timeslot": True, "tag": "t" * 50})
    assert payload == IQMServer(b"{}", "run", use_timeslot=True, tag="t" * 50)


def test_what_is_sent_is_the_text_of_the_file() -> None:
    inner = '{ "a" : 1.10e+2,\t"b":[ 12345678901234567890, 0.1000000000000000055 ],\n "c":"\\u00e9"}'
    payload = parse(f' {{"comment": [{{}}], "parameters" :{inner} , "program_id": "sampler"}} ')
    assert payload.parameters == inner.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.dictionaries(st.text(), json_values), st.sampled_from([None, 0, 3]), st.booleans())
def test_any_object_arrives_unchanged(parameters: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    whole = {"before": parameters, "program_id": "sampler", "parameters": parameters, "after": 1}
    payload = parse(json.dumps(whole, indent=indent, ensure_ascii=ascii_only))
    assert json.loads(payload.parameters) == parameters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"program_id": "sampler",\n "parameters": {"a" 1}}', r"p\.json: line 2 column 21: not JSON: Expecting ':'"),
        ('{"program_id": "sampler", "parameters": {}', r"p\.json: line 1 column 43: not JSON"),
        ("", r"p\.json: line 1 column 1: not JSON"),
        ('{"program_id": "sampler", "parameters": {"a": NaN}}', r"p\.json: not JSON: it holds NaN"),
        ("[" * 100_000, r"p\.json: nested too deeply"),
        ('["sampler"]', r"p\.json: a JSON object was expected, not an array"),
        ('{"program_id": "sampler", "parameters": {}, "program_id": "x"}', r"the key program_id stands there twice"),
        ("{}", r"p\.json: not a payload: one of \{program_id, parameters\} \| \{job_runs, sequence\}.* found nothing"),
        ('{"job_spec": 1}', r"not a payload: .*found job_spec"),
    ],
)
def test_what_is_no_payload(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"program_id": "sampler"}, r"p\.json: parameters is missing beside program_id"),
        (
            {"program_id": "sample", "parameters": {}},
            r"must be one of sampler, estimator, noise-learner, executor, not",
        ),
        ({"program_id": 3, "parameters": {}}, r"program_id must be a string, not a number"),
        ({"program_id": "sampler", "parameters": "{}"}, r"parameters must be a JSON object, not a string"),
        ({"program_id": "sampler", "parameter": {}}, r"parameter is no key of this payload; did you mean parameters\?"),
        ({"job_runs": 0, "sequence": {}}, r"job_runs must be a whole number of at least 1, not 0"),
        ({"job_runs": True, "sequence": {}}, r"job_runs must be a whole number of at least 1, not true"),
        ({"job_runs": 1.5, "sequence": {}}, r"job_runs must be a whole number of at least 1, not 1\.5"),
        ({"job_runs": 1, "sequence": "{"}, r"the string sequence: line 1 column 2: not JSON"),
        ({"job_runs": 1, "sequence": []}, r"sequence must be a JSON object, not an array"),
        ({"human_qir": None, "input_params": {}}, r"human_qir must be a string, not null"),
        ({"human_qir": "", "input_params": False}, r"input_params must be a JSON object, not a boolean"),
        ({"iqmjson": "[]", "job_type": "run"}, r"the string iqmjson: a JSON object was expected, not an array"),
        ({"iqmjson": {}, "job_type": "walk"}, r"job_type must be one of circuit, run, sweep, not 'walk'"),
        ({"iqmjson": {}, "job_type": "run", "use_timeslot": 1}, r"use_timeslot must be true or false, not a number"),
        ({"iqmjson": {}, "job_type": "run", "tag": "t" * 51}, r"tag has 51 characters, at most 50 are allowed"),
    ],
)
def test_what_is_wrong_is_named(payload: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(payload)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(InputError, match=r"none\.json: there is no such file"):
        read_payload(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"binary: not UTF-8 text \(byte 7\)"):
        read_payload(tmp_path / "binary")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read_payload(tmp_path)
