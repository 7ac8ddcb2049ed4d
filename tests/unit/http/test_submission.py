# SPDX-License-Identifier: Apache-2.0
"""Submissions that are answered ambiguously."""

from __future__ import annotations

import pytest

from qrmi_core import VendorError
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
