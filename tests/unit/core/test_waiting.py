# SPDX-License-Identifier: Apache-2.0
"""Waiting for tasks whose server is in trouble meanwhile."""

from __future__ import annotations

import time

import pytest

from qrmi_core import QRMIError, TaskInfo, TaskStatus, VendorError
from qrmi_core.polling import callers_deadline, poll, until

RUNNING = TaskInfo("1", TaskStatus.RUNNING)
DONE = TaskInfo("1", TaskStatus.COMPLETED)


class Looks:
    """Answers of a task, one for each look; an error is raised."""

    def __init__(self, *answers: TaskInfo | QRMIError) -> None:
        self.answers = list(answers)

    def __call__(self, _task_id: str) -> TaskInfo:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, QRMIError):
            raise answer
        return answer


AWAY = VendorError("not now", transient=True)


def test_trouble_in_the_middle_of_a_wait_is_borne(caplog: pytest.LogCaptureFixture) -> None:
    assert poll(Looks(RUNNING, AWAY, AWAY, RUNNING, AWAY, DONE), ["1"]) == {"1": DONE}
    assert [record.message for record in caplog.records] == ["not now. The wait goes on"] * 2


def test_trouble_from_the_start_is_told_at_once() -> None:
    with pytest.raises(VendorError, match="not now"):
        poll(Looks(AWAY), ["1"], timeout=60)


def test_an_error_that_stays_ends_a_wait() -> None:
    with pytest.raises(VendorError, match="for ever"):
        poll(Looks(RUNNING, VendorError("for ever")), ["1"], timeout=60)


def test_a_time_out_ends_a_wait_in_trouble() -> None:
    assert poll(Looks(RUNNING, AWAY), ["1"], timeout=0.05) == {}


def test_those_below_know_the_callers_deadline() -> None:
    seen: list[float | None] = []

    def look(_task_id: str) -> TaskInfo:
        seen.append(callers_deadline())
        return DONE

    start = time.monotonic()
    poll(look, ["1"], timeout=30)
    poll(look, ["1"])
    with until(start):
        assert callers_deadline() is not None
    assert callers_deadline() is None
    assert seen[0] is not None
    assert start + 30 <= seen[0] <= start + 31
    assert seen[1] is None
