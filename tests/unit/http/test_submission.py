# SPDX-License-Identifier: Apache-2.0
"""Submissions that are answered ambiguously."""

from __future__ import annotations

import time

import pytest

from qrmi_core import SubmissionUncertain, VendorError
from qrmi_core.submission import Undecided, submit_once


def test_a_server_that_fails_again_and_again_is_not_pressed() -> None:
    sent = []

    def send() -> str:
        sent.append("task")
        raise Undecided(VendorError("the server failed"))

    with pytest.raises(VendorError, match="the server failed"):
        submit_once(send, lambda: None, resource="qpu", deadline=0.6)
    # Pauses of 0.05 s at least, each but for chance twice as long as the last.
    assert 2 <= len(sent) <= 5


def test_it_is_sent_again_until_it_is_there() -> None:
    seen = iter([None, None, "id"])
    sent = []

    def send() -> str:
        sent.append("task")
        raise Undecided(VendorError("the server failed"))

    assert submit_once(send, lambda: next(seen), resource="qpu", deadline=30.0) == "id"
    assert len(sent) == 3


def test_a_task_that_a_list_shows_late_is_found_as_soon_as_it_shows_it_and_never_sent_again() -> None:
    sent, looks = [], []

    def send() -> str:
        sent.append("task")
        raise Undecided(VendorError("the server failed"))

    def look_up() -> str | None:
        looks.append(time.monotonic())
        return "id" if len(looks) == 2 else None

    assert submit_once(send, look_up, resource="qpu", deadline=600.0, lag=300.0) == "id"
    assert len(sent) == 1


def test_it_is_not_sent_again_before_a_look_that_began_when_the_list_shows_it_for_sure() -> None:
    moments: list[tuple[str, float]] = []

    def send() -> str:
        moments.append(("sent", time.monotonic()))
        if len(moments) > 1:
            return "id"
        raise Undecided(VendorError("the server failed"))

    def look_up() -> str | None:
        moments.append(("looked", time.monotonic()))
        return None

    lag = 0.6
    assert submit_once(send, look_up, resource="qpu", deadline=30.0, lag=lag) == "id"
    (_, first), *looks, (what, _) = moments
    assert what == "sent"
    assert {kind for kind, _ in looks} == {"looked"}
    assert looks[-1][1] - first >= lag


def test_while_the_server_may_be_at_work_it_is_looked_for_until_the_deadline() -> None:
    sent, looks = [], []

    def send() -> str:
        sent.append("task")
        raise Undecided(VendorError("the server was silent"), at_work=True)

    def look_up() -> str | None:
        looks.append("look")
        return None

    with pytest.raises(SubmissionUncertain, match="it is not there yet"):
        submit_once(send, look_up, resource="qpu", deadline=0.6)
    assert len(sent) == 1
    assert 2 <= len(looks) <= 3
