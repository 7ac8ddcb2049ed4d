# SPDX-License-Identifier: Apache-2.0
"""Submissions that happen once: after an answer that leaves it open, look; never send again blindly."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

from qrmi_core import polling
from qrmi_core.errors import QRMIError, SubmissionUncertain

__all__ = ["LIST_LAG", "Undecided", "submit_once"]

LIST_LAG = 2.5
"""Seconds after which a vendor's list shows a new task for sure; none documents it, so this is an assumption."""

FIRST_GAP = 0.5

Answer = TypeVar("Answer")


class Undecided(Exception):
    """A submission was sent and no answer tells whether it was taken; ``cause`` says what happened.

    ``at_work`` tells that the server may take it still: it was silent, or what stands in front of it gave it up.
    """

    def __init__(self, cause: QRMIError, *, at_work: bool = False) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.at_work = at_work


def submit_once(
    send: Callable[[], Answer],
    look_up: Callable[[], Answer | None] | None,
    *,
    resource: str,
    deadline: float,
    lag: float = 0.0,
    repeatable: bool = False,
    advice: str = "",
) -> Answer:
    """Send a task so that it is taken once.

    After an undecided answer ``look_up`` tells whether the task is there, asked again for ``lag`` seconds where lists
    show new tasks late; only when it is not there then is the task sent again, after growing pauses, for ``deadline``
    seconds in all. While the server may be at work on it still, a look that finds nothing proves nothing: then it is
    looked for until the deadline, and not sent again, unless it is ``repeatable``, which means that the vendor itself
    takes what is sent twice only once.

    Raises:
        SubmissionUncertain: there is no way to look it up, looking it up failed, or the server may be at work on it
            still; ``advice`` says what to do then.
        QRMIError: it was refused, or could not be sent before the deadline; then it was not taken.
    """
    give_up = time.monotonic() + deadline
    for attempt in itertools.count():
        try:
            return send()
        except Undecided as undecided:
            cause, at_work = undecided.cause, undecided.at_work and not repeatable
        if look_up is None:
            raise _uncertain(resource, cause, advice) from cause
        try:
            found = _looked_up(look_up, lag, give_up if at_work else None)
        except QRMIError as error:
            raise _uncertain(resource, cause, f"looking it up failed too ({error}); {advice}") from error
        if found is not None:
            return found
        if at_work:
            raise _uncertain(resource, cause, f"it is not there yet; {advice}") from cause
        pause = polling.backoff(attempt)
        if time.monotonic() + pause >= give_up:
            raise cause
        polling.pause(pause)
    raise AssertionError("an attempt returns, raises or is followed by another")


def _looked_up(look_up: Callable[[], Answer | None], lag: float, give_up: float | None) -> Answer | None:
    """The task where it is found, by looks that grow apart, the last ``lag`` seconds later or at ``give_up``."""
    looked = time.monotonic()
    end = looked + lag if give_up is None else give_up
    gap = FIRST_GAP
    while (found := look_up()) is None and looked < end:
        polling.pause(min(gap, end - time.monotonic()))
        gap = min(gap * 2, polling.LONGEST_PAUSE)
        looked = time.monotonic()
    return found


def _uncertain(resource: str, cause: QRMIError, advice: str) -> SubmissionUncertain:
    return SubmissionUncertain(
        f"{resource}: nobody knows whether the task was taken ({cause}); it was not sent again{': ' if advice else ''}"
        f"{advice}",
        resource=resource,
        http_status=cause.http_status,
        code=cause.code,
        reason=cause.reason,
    )
