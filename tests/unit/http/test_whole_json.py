# SPDX-License-Identifier: Apache-2.0
"""Large answers are known to be whole, or not, without decoding them."""

from __future__ import annotations

import json

import pytest

from qrmi_core.http import LARGE, Response, _is_json


def told(text: str) -> bytes:
    return json.dumps({"pubs": [text * (LARGE // len(text) + 1), {"": -1.5e3, "k": [None, True]}], "z": "end"}).encode()


@pytest.mark.parametrize("text", ["abc", 'with "quotes" and \\', "[{"])
def test_an_answer_that_was_cut_is_not_whole(text: str) -> None:
    body = told(text)
    assert _is_json(Response(200, {}, body, "url"))
    for length in (*range(len(body) - 60, len(body)), LARGE, len(body) // 2, 1, 0):
        assert not _is_json(Response(200, {}, body[:length], "url")), length


@pytest.mark.parametrize("body", [b"<html>" + b"x" * LARGE, b'{"a": "' + b"x" * LARGE + b'"} {}', b"[" * LARGE])
def test_what_is_not_json_is_told(body: bytes) -> None:
    assert not _is_json(Response(200, {}, body, "url"))
