# SPDX-License-Identifier: Apache-2.0
"""What a vendor must take once: what each outcome of a request, and of the look afterwards, leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from qrmi_core.gateway.doors import submitting
from qrmi_core.gateway.doors.submitting import Unanswered, sent_once
from qrmi_core.gateway.doors.upstream import VendorAway


def away(*, arrived: bool, silent: bool = False) -> VendorAway:
    error = VendorAway("the vendor is away", arrived=arrived)
    error.__cause__ = TimeoutError() if silent else ConnectionResetError()
    return error


class Vendor:
    """Answers in turn, and what is found in turn."""

    def __init__(self, answers: Sequence[str | VendorAway], found: Sequence[str | None] = ()) -> None:
        self.answers, self.found = list(answers), list(found)

    async def send(self) -> str:
        answer = self.answers.pop(0)
        if isinstance(answer, VendorAway):
            raise answer
        return answer

    async def look_up(self) -> str | None:
        return self.found.pop(0)

    def submitted(self, *, looks: bool) -> str:
        return asyncio.run(sent_once(self.send, self.look_up if looks else None))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting.polling, "backoff", lambda attempt: 0.01)


@pytest.mark.parametrize("looks", [False, True])
def test_what_cannot_have_arrived_is_sent_again(looks: bool) -> None:
    vendor = Vendor([away(arrived=False), away(arrived=False, silent=True), "taken"])
    assert vendor.submitted(looks=looks) == "taken"


def test_it_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "PATIENCE", 0.0)
    with pytest.raises(VendorAway, match="the vendor is away") as error:
        Vendor([away(arrived=False)]).submitted(looks=True)
    assert not isinstance(error.value, Unanswered)


def test_what_may_have_arrived_is_not_sent_again_where_nobody_can_look() -> None:
    with pytest.raises(Unanswered, match="the vendor is away") as error:
        Vendor([away(arrived=True)]).submitted(looks=False)
    assert error.value.arrived


def test_what_is_found_is_the_answer() -> None:
    assert Vendor([away(arrived=True, silent=True)], ["found"]).submitted(looks=True) == "found"


def test_what_is_not_there_is_sent_again_unless_the_vendor_may_be_at_work_on_it() -> None:
    vendor = Vendor([away(arrived=True), away(arrived=True), "taken"], [None, None])
    assert vendor.submitted(looks=True) == "taken"
    with pytest.raises(Unanswered, match="the vendor is away"):
        Vendor([away(arrived=True, silent=True)], [None]).submitted(looks=True)
