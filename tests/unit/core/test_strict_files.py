# SPDX-License-Identifier: Apache-2.0
"""Models of files: what each kind of value may be, and what is said of others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pytest

from qrmi_core.strict_files import Expected, Mistake, Strict, Text, above, at_least, between, filled, place


class Inner(Strict):
    path: Text


class Model(Strict):
    count: Annotated[int, at_least(1)] = 1
    share: Annotated[float, between(0, 1)] = 0.5
    speed: Annotated[float, above(0)] = 1
    on: bool = False
    colour: Literal["red", "green", "blue"] = "red"
    text: str | None = None
    inner: Inner | None = None
    names: Annotated[tuple[Text, ...], filled] = ("a",)
    inners: tuple[Inner, ...] = ()
    table: Mapping[str, Annotated[str | Inner, Expected("text or an object was expected")]] = MappingProxyType({})


def test_values_are_as_the_model_says() -> None:
    table = {"k": {"path": "q"}}
    read = Model.checked({"count": 2, "share": 1, "names": ["b"], "inners": [{"path": "/p"}], "table": table})
    assert (read.count, read.names, read.inners, read.table) == (2, ("b",), (Inner(path="/p"),), {"k": Inner(path="q")})
    assert type(read.share) is float
    assert Model.checked({"inner": Inner(path="/i")}).inner == Inner(path="/i")


@pytest.mark.parametrize(
    ("told", "where", "text"),
    [
        ({"count": 0}, "count", "at least 1 was expected"),
        ({"count": True}, "count", "a whole number was expected"),
        ({"count": 1.0}, "count", "a whole number was expected"),
        ({"share": 1.1}, "share", "a number from 0 to 1 was expected"),
        ({"share": float("nan")}, "share", "a number from 0 to 1 was expected"),
        ({"share": "1"}, "share", "a number was expected"),
        ({"share": 10**400}, "share", "a number was expected, and this one is too large"),
        ({"speed": 0}, "speed", "a number above 0 was expected"),
        ({"on": 1}, "on", "true or false was expected"),
        ({"colour": "pink"}, "colour", "'red', 'green' or 'blue' was expected"),
        ({"colour": ["red"]}, "colour", "'red', 'green' or 'blue' was expected"),
        ({"text": 1}, "text", "text in quotes was expected"),
        ({"inner": "/p"}, "inner", "an object was expected"),
        ({"inner": {}}, "inner.path", "this key is missing"),
        ({"names": "ab"}, "names", "a list was expected"),
        ({"names": []}, "names", "at least one was expected, and it is empty"),
        ({"names": ["a", ""]}, "names[1]", "text was expected, and it is empty"),
        ({"inners": [{"path": "a"}, {"paths": "b"}]}, "inners[1].paths", r"unknown key; did you mean path\?"),
        ({"table": []}, "table", "an object was expected"),
        ({"table": {"k": {"path": ""}}}, "table.k", "text or an object was expected"),
        ({"zzz": 1}, "zzz", "unknown key; known are count, share,"),
        ([], "", "an object was expected"),
    ],
)
def test_the_first_mistake_is_told_with_its_place(told: Any, where: str, text: str) -> None:
    with pytest.raises(Mistake, match=f"^{text}") as found:
        Model.checked(told)
    assert place(found.value.location) == where


def test_a_model_is_made_by_its_keys_and_stays_as_it_is() -> None:
    made = Inner(path="/secret")
    assert "secret" not in repr(made)
    assert made != Inner(path="/other")
    with pytest.raises(AttributeError, match="Inner cannot be changed"):
        made.path = "/other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="Inner needs path"):
        Inner()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Inner has no paths"):
        Inner(paths="/p")  # type: ignore[call-arg]
