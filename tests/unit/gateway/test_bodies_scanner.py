# SPDX-License-Identifier: Apache-2.0
"""What the scanner takes, json.loads takes too, with the same members; however the bytes come in pieces."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qrmi_core.gateway.bodies import scanner as scanner_module
from qrmi_core.gateway.bodies import structure
from qrmi_core.gateway.bodies.nested import LONGEST_NUMBER
from qrmi_core.gateway.bodies.scanner import Member, Scanner
from qrmi_core.gateway.bodies.small import members_of
from qrmi_core.gateway.request_rules import BadRequest

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)
PLAIN_KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=8)
OBJECTS = st.dictionaries(PLAIN_KEYS, VALUES, max_size=6)
SEEDS = st.integers(min_value=0, max_value=2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def small_windows() -> Any:
    """Values are cut from their first bytes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner_module, "WINDOW", 3)
        patch.setattr(scanner_module, "WINDOW_GROWTH", 2)
        patch.setattr(structure, "_LEAF", 4)
        yield


def fed(*pieces: bytes) -> list[Member]:
    scanner = Scanner()
    for piece in pieces:
        scanner.feed(piece)
    scanner.end()
    return scanner.members


def scanned(body: bytes, seed: int | None = None, most: int = 40) -> list[Member]:
    """Fed in pieces of random length, or at once."""
    if seed is None:
        return fed(body)
    pieces, at, draw = [], 0, random.Random(seed)
    while at < len(body):
        pieces.append(body[at : at + draw.randint(1, most)])
        at += len(pieces[-1])
    return fed(*pieces)


def outcome(body: bytes, seed: int | None = None) -> list[Member] | None:
    try:
        return scanned(body, seed)
    except BadRequest:
        return None


def values_at(body: bytes, members: list[Member]) -> dict[str, Any]:
    for member in members:
        assert body[member.key : member.key + 1] == b'"'
    return {member.name: json.loads(body[member.start : member.end]) for member in members}


def written(value: Any, draw: random.Random) -> str:
    """JSON with blanks anywhere and characters escaped or not."""
    blank = lambda: "".join(draw.choices(" \t\n\r", k=draw.choice([0, 0, 0, 1, 5])))  # noqa: E731
    if isinstance(value, dict):
        inner = (
            f"{blank()}{written(key, draw)}{blank()}:{blank()}{written(each, draw)}" for key, each in value.items()
        )
        return "{" + blank() + f"{blank()},".join(inner) + blank() + "}"
    if isinstance(value, list):
        return "[" + blank() + f"{blank()},{blank()}".join(written(each, draw) for each in value) + blank() + "]"
    return json.dumps(value, ensure_ascii=draw.random() < 0.5)


def object_text(value: dict[str, Any], seed: int) -> bytes:
    draw = random.Random(seed)
    members = (f"{json.dumps(key, ensure_ascii=False)}: {written(each, draw)}" for key, each in value.items())
    return (" {" + " ,".join(members) + "}\n").encode()


@given(OBJECTS, SEEDS)
@settings(max_examples=100, deadline=None)
@example({"a": ["\\", '"', "\U0001f600\U0001f600", "é" * 9, {"\\\\": [[], {}]}]}, 1)
def test_every_object_is_taken_as_it_is(value: dict[str, Any], seed: int) -> None:
    body = object_text(value, seed)
    members = scanned(body)
    assert values_at(body, members) == json.loads(body) == value
    assert [member.name for member in members] == list(value)
    assert scanned(body, seed) == members
    assert members_of(body) == members


@given(OBJECTS, SEEDS, st.integers(min_value=1, max_value=3))
@settings(max_examples=150, deadline=None)
def test_what_is_taken_of_damaged_objects_is_json(value: dict[str, Any], seed: int, damages: int) -> None:
    draw, body = random.Random(seed), bytearray(object_text(value, seed))
    for _ in range(damages):
        at = draw.randrange(len(body))
        sign = draw.choice([*b'{}[]",:\\ \x00\x1f\xff\xed0-.eE1tnuN', *b'"\\,[]{}'])
        if draw.random() < 0.4:
            body[at] = sign
        elif draw.random() < 0.5:
            body.insert(at, sign)
        else:
            del body[at]
    agrees_with_json(bytes(body), seed)


@given(
    st.lists(st.sampled_from([*'{}[]",:\\ 10-.eEtfn', '"a"', '"a":', "null", "true", "\\u0061", "\\ud83d", "é"])), SEEDS
)
@settings(max_examples=150, deadline=None)
def test_what_is_taken_of_soups_is_json(parts: list[str], seed: int) -> None:
    agrees_with_json(("{" + "".join(parts)).encode(), seed)
    agrees_with_json(('{"a":[' + "".join(parts) + "]}").encode(), seed)


def agrees_with_json(body: bytes, seed: int) -> None:
    members = outcome(body)
    assert outcome(body, seed) == members
    try:
        small = members_of(body)
    except BadRequest:
        small = None
    assert small == members
    if members is not None:
        assert values_at(body, members) == json.loads(body)
    else:
        assert not plainly_good(body)


def plainly_good(body: bytes) -> bool:
    """Whether nothing is to be said against it: of what json.loads takes, all but what the scanner refuses on top."""
    try:
        pairs = json.loads(body, object_pairs_hook=list, parse_constant=lambda name: 1 / 0)
        json.dumps(pairs, ensure_ascii=False).encode()
    except (ValueError, ZeroDivisionError, RecursionError):
        return False
    top = json.loads(body)
    return isinstance(top, dict) and len(top) == len(pairs) and b"\\" not in body


HOSTILE = {
    "nothing": (b"", "empty"),
    "blanks": (b"  \n", "too early|was expected|truncated"),
    "array": (b"[1]", "{ was expected"),
    "text": (b'"a"', "{ was expected"),
    "byte order mark": (b'\xef\xbb\xbf{"a":1}', "{ was expected|invalid character"),
    "utf-16": ('{"a":1}'.encode("utf-16"), "not UTF-8"),
    "utf-16 without a mark": ('{"a":1}'.encode("utf-16-le"), "expected|must be"),
    "duplicate": (b'{"backend":1,"b":2,"backend":1}', "stands twice"),
    "duplicate written with an escape": (rb'{"backend":1,"\u0062ackend":1}', "with an escape"),
    "escape in a key": (rb'{"\u0062ackend":1}', "with an escape"),
    "slash escaped in a key": (rb'{"a\/b":1}', "with an escape"),
    "surrogate": (rb'{"a":"\ud800"}', "surrogate|too early|truncated|invalid|hex escape"),
    "surrogate deep down": (rb'{"a":[["\udc00"]]}', "surrogate"),
    "surrogates in the wrong order": (rb'{"a":["\udc00\ud800"]}', "surrogate"),
    "surrogate in a key deep down": (rb'{"a":[{"\ud800":1}]}', "surrogate|too early|truncated|invalid|hex escape"),
    "trailing data": (b'{"a":1}x', "follows|trailing"),
    "second object": (b'{"a":1}{"a":2}', "follows|trailing"),
    "trailing NUL": (b'{"a":1}\x00', "follows|trailing"),
    "NaN": (b'{"a":NaN}', "invalid character"),
    "Infinity deep down": (b'{"a":[-Infinity]}', "invalid character"),
    "mismatch": (b'{"a":[1}]}', "brackets|expected"),
    "unclosed": (b'{"a":[1,2,[3]', "too early|truncated"),
    "closed too often": (b'{"a":[1]]}', "expected"),
    "utf-8 broken": (b'{"a":["\xff"]}', "not UTF-8"),
    "utf-8 of a surrogate": (b'{"a":["\xed\xa0\x80"]}', "not UTF-8"),
    "utf-8 overlong": (b'{"a":"\xc0\xaf"}', "not UTF-8"),
    "utf-8 cut off": (b'{"a":1}\xc3', "not UTF-8|follows"),
    "control character": (b'{"a":"\n"}', "invalid character"),
    "control character deep down": (b'{"a":[["x","\x00"]]}', "invalid character"),
    "control character in a key": (b'{"a\x01":1}', "control character|invalid character"),
    "trailing comma": (b'{"a":1,}', "expected|trailing"),
    "trailing comma deep down": (b'{"a":{"b":[1,]}}', "trailing comma"),
    "leading comma": (b'{"a":[,1]}', "invalid character"),
    "no value": (b'{"a":}', "too early|truncated|invalid"),
    "no colon": (b'{"a" 1}', "expected"),
    "single quotes": (b"{'a':1}", "expected|must be"),
    "comment": (b'{"a":1/**/}', "expected|invalid"),
    "leading zero": (b'{"a":[01]}', "number|expected"),
    "half a literal": (b'{"a":tru}', "invalid|too early|truncated"),
    "backslash outside of strings": (b'{"a":[1,\\",2]}', "invalid character"),
    "form feed as blank": (b'{"a":\x0c1}', "invalid|too early|truncated"),
    "number of many digits": (b'{"a":[%s]}' % (b"1" * 4301), "4300 digits"),
    "number of many digits on top": (b'{"a":%s}' % (b"1" * 4301), "4300 digits"),
    "many keys": (json.dumps({str(each): each for each in range(65)}).encode(), "more than 64"),
    "long key": (b'{"%s":1}' % (b"k" * 257), "longer than 256"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_refused(name: str) -> None:
    body, reason = HOSTILE[name]
    for take in (scanned, members_of, *(lambda text, seed=seed: scanned(text, seed, 4) for seed in range(10))):
        with pytest.raises(BadRequest, match=reason) as caught:
            take(body)
        assert caught.value.status == 400


@pytest.mark.parametrize("opener", [b"[", b'{"a":', b'[{"a":'])
def test_nesting(opener: bytes) -> None:
    closer = b"".join({b"[": b"]", b"{": b"}"}.get(bytes([sign]), b"") for sign in reversed(opener))
    levels = opener.count(b"[") + opener.count(b"{")
    fits = (structure.DEEPEST - 1) // levels
    for depth, taken in ((fits, True), (fits + 2, False), (1200, False), (100_000, False)):
        body = b'{"a":' + opener * depth + b"1" + closer * depth + b"}"
        for take in (scanned, members_of, lambda text: scanned(text, 3, 5000)):
            if taken:
                assert [member.name for member in take(body)] == ["a"]
            else:
                with pytest.raises(BadRequest, match="nested"):
                    take(body)


def test_patience_with_brackets_ends() -> None:
    deep, flat = b"[" * 400 + b"]" * 400 + b",", b'[[{}],{"a":[]}],' * 60
    assert len(scanned(b'{"a":[' + deep * 100 + b"0]}", 1, 65536)) == 1
    assert len(scanned(b'{"a":[' + flat * 3000 + b"0]}", 1, 65536)) == 1
    with pytest.raises(BadRequest, match="too much of it is nested deep"):
        scanned(b'{"a":[' + deep * 3000 + b"0]}", 1, 65536)


def test_digits_and_keys_up_to_the_limits() -> None:
    digits = b"1" * LONGEST_NUMBER
    body = b'{"%s":%s,"s":"%s","n":["%s",0.%s]}' % (b"k" * 256, digits, digits * 9, digits * 40, digits)
    assert scanned(body, 7, 999) == scanned(body) == members_of(body)
    assert len(scanned(json.dumps({str(each): each for each in range(64)}).encode())) == 64


def test_blanks_without_end_are_refused() -> None:
    with pytest.raises(BadRequest, match="without a comma"):
        scanned(b'{"a":[1' + b" " * 600_000 + b"]}", 1, 65536)


LONG = json.dumps(
    {
        "backend": "ibm_fez",
        "params": {"text": 'é\U0001f600\\"\n' * 9000, "numbers": [[n / 7, {"k" * (n % 9): None}] for n in range(9000)]},
        "more": "\U0001f600" * 9000,
        "last": [],
    }
)


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("size", [65536, 65535, 4099, 997])
def test_a_long_body_in_pieces(ascii_only: bool, size: int) -> None:
    body = json.dumps(json.loads(LONG), ensure_ascii=ascii_only).encode()
    assert values_at(body, fed(*(body[at : at + size] for at in range(0, len(body), size)))) == json.loads(LONG)


@pytest.mark.parametrize("text", [r"\ud83d\ude00", r"\\\"", r"é€😀".encode().decode(), r"\u0041\n"])
def test_a_border_of_pieces_at_every_place(text: str) -> None:
    body = ('{"a":"' + text + '","b":{"' + text + '":["' + text + '",{"c":"' + text + '"}]},"d":1}').encode()
    members = scanned(body)
    for border in range(1, len(body)):
        for second in range(border, min(border + 8, len(body))):
            assert fed(body[:border], body[border:second], body[second:]) == members


def test_a_string_that_has_just_begun_behind_an_escape() -> None:
    body = rb'{"a":{"b":1,"k\t":"v\ud83d\ude00","k\n":["\t","x"]}}'
    for border in range(1, len(body)):
        assert fed(body[:border], body[border:]) == scanned(body)


def test_a_duplicate_across_every_border() -> None:
    body = b'{"backend": [1, 2], "x": {"y": 1}, "backend": 3}'
    for border in range(1, len(body)):
        with pytest.raises(BadRequest, match="stands twice"):
            fed(body[:border], body[border:])


def test_names_within_values_are_nobodys() -> None:
    body = rb'{"params": {"backend": 1, "backend": 2, "\u0062ackend": "}, \"backend\": {"}, "backend": "fez"}'
    assert (
        [member.name for member in scanned(body)] == ["params", "backend"] == [each.name for each in members_of(body)]
    )
    assert values_at(body, scanned(body))["backend"] == "fez"


def test_no_reason_shows_what_was_sent() -> None:
    for body in (b'{"a": secret}', b'{"secret": 1, "secret": 2}', b'{"a": "secret\x01"}', b'{"a": ["secret\xff"]}'):
        for take in (scanned, members_of):
            with pytest.raises(BadRequest) as caught:
                take(body)
            assert "secret" not in caught.value.reason
