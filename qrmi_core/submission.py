# SPDX-License-Identifier: Apache-2.0
"""Submissions that happen once: after an answer that leaves it open, look; never send again blindly."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import TypeVar

from qrmi_core import polling
from qrmi_core.errors import QRMIError, SubmissionUncertain

__all__ = ["LIST_LAG", "Undecided", "submit_once"]

LIST_LAG = 2.5
"""Seconds after which a vendor's list shows a new task for sure; none documents it, so this is an assumption."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0

Answer = TypeVar("Answer")


class Undecided(Exception):
    """A submission was sent and no answer tells whether it was taken; ``cause`` says what happened."""

    def __init__(self, cause: QRMIError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def submit_once(
    send: Callable[[], Answer],
    look_up: Callable[[], Answer | None] | None,
    *,
    resource: str,
    deadline: float,
    lag: float = 0.0,
    advice: str = "",
) -> Answer:
    """Send a task so that it is taken once.

    After an undecided answer ``look_up`` tells whether the task is there, asked a second time ``lag`` seconds later
    where lists show new tasks late; only when it is not is the task sent again, after growing pauses, for ``deadline``
    seconds in all.

    Raises:
        SubmissionUncertain: there is no way to look it up, or looking it up failed; ``advice`` says what to do then.
        QRMIError: it was refused, or could not be sent before the deadline; then it was not taken.
    """
    give_up = time.monotonic() + deadline
    for attempt in itertools.count():
        try:
            return send()
        except Undecided as undecided:
            cause = undecided.cause
        if look_up is None:
            raise _uncertain(resource, cause, advice) from cause
        try:
            found = look_up()
            if found is None and lag:
                polling.pause(lag)
                found = look_up()
        except QRMIError as error:
            raise _uncertain(resource, cause, f"looking it up failed too ({error}); {advice}") from error
        if found is not None:
            return found
        pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311  no secret
        if time.monotonic() + pause >= give_up:
            raise cause
        polling.pause(pause)
    raise AssertionError("an attempt returns, raises or is followed by another")


def _uncertain(resource: str, cause: QRMIError, advice: str) -> SubmissionUncertain:
    return SubmissionUncertain(
        f"{resource}: nobody knows whether the task was taken ({cause}); it was not sent again{': ' if advice else ''}"
        f"{advice}",
        resource=resource,
        http_status=cause.http_status,
        code=cause.code,
        reason=cause.reason,
    )
