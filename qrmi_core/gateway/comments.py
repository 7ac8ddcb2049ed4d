# SPDX-License-Identifier: Apache-2.0
"""Lines for jobs' records in Slurm's accounting, tried until they are written: a job never waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from qrmi_core.errors import QRMIError

__all__ = ["Comment", "CommentWriter", "gap"]

_log = logging.getLogger(__name__)

FIRST_GAP = 1.0
LONGEST_GAP = 600.0
KEPT_SECONDS = 7 * 86400.0
IN_A_ROW = 5
"""Tries of different jobs that fail one after the other before the accounting is taken to be away."""


class WritesComments(Protocol):
    """Who writes into the accounting: the root helper's client."""

    def system_comment(self, cluster: str, job_id: int, submitted: int, text: str) -> None:
        """Write a job's line; raises QRMIError, ``transient`` where trying again may help."""


@dataclass(frozen=True, slots=True)
class Comment:
    """The line of one job; ``since`` is when its writing was first asked for, ``submitted`` when the job was."""

    cluster: str
    job_id: int
    submitted: int
    text: str
    since: float


@dataclass(slots=True)
class _Pending:
    comment: Comment
    tries: int = 0
    due: float = 0.0


def gap(tries: int) -> float:
    """Seconds to wait after so many tries that failed: from a second on twice as long each time, to ten minutes."""
    return float(min(FIRST_GAP * 2.0 ** min(tries - 1, 30), LONGEST_GAP))


class CommentWriter:
    """Keeps comments until they are written, one after the other; to be used from one event loop.

    What is pending is in memory only: after a restart, whoever keeps the journal adds again what was not ``settled``.

    Args:
        helper: who writes.
        settled: is called with a comment that is written, refused for good, or given up after seven days.
    """

    def __init__(self, helper: WritesComments, *, settled: Callable[[Comment], None] | None = None) -> None:
        self._helper = helper
        self._settled = settled
        self._pending: dict[tuple[str, int, int], _Pending] = {}
        self._added = asyncio.Event()

    @property
    def pending(self) -> int:
        """How many wait to be written."""
        return len(self._pending)

    def add(self, cluster: str, job_id: int, submitted: int, text: str, *, since: float | None = None) -> None:
        """Have a job's line written, in place of one that waits still; ``since`` for one that waited before a restart.

        All times are epoch seconds; the record is found by ``job_id``, an array's task by its own, and ``submitted``.
        """
        comment = Comment(cluster, job_id, submitted, text, time.time() if since is None else since)
        self._pending[cluster, job_id, submitted] = _Pending(comment)
        self._added.set()

    async def run(self) -> None:
        """Write until cancelled; nothing that goes wrong ends it.

        While the accounting is away, one is tried from time to time, and the others as soon as that is written.
        """
        failed = 0
        while True:
            self._added.clear()
            wait = 0.0
            for each in [each for each in self._pending.values() if each.due <= time.monotonic()]:
                failed = 0 if await self._try(each) else failed + 1
                if failed >= IN_A_ROW:
                    wait = gap(failed - IN_A_ROW + 1)
                    break
            due = min((each.due for each in self._pending.values()), default=None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._added.wait(), None if due is None else max(wait, due - time.monotonic()))

    async def _try(self, pending: _Pending) -> bool:
        """Whether it needs no other try."""
        comment = pending.comment
        try:
            await asyncio.to_thread(
                self._helper.system_comment, comment.cluster, comment.job_id, comment.submitted, comment.text
            )
        except QRMIError as error:
            if not error.transient:
                _log.info("job %d has no usage in its SystemComment: %s", comment.job_id, error)
                self._drop(pending)
                return True
            self._later(pending, error)
        except Exception as error:  # noqa: BLE001  the comments of other jobs are still to be written
            self._later(pending, error)
        else:
            self._drop(pending)
            return True
        return False

    def _later(self, pending: _Pending, error: Exception) -> None:
        comment = pending.comment
        if time.time() - comment.since >= KEPT_SECONDS:
            _log.warning("job %d has no usage in its SystemComment, it is given up: %s", comment.job_id, error)
            self._drop(pending)
            return
        if not pending.tries:
            _log.info("the SystemComment of job %d is tried again: %s", comment.job_id, error)
        pending.tries += 1
        pending.due = time.monotonic() + gap(pending.tries)

    def _drop(self, pending: _Pending) -> None:
        comment = pending.comment
        key = (comment.cluster, comment.job_id, comment.submitted)
        if self._pending.get(key) is not pending:  # another text was added meanwhile
            return
        del self._pending[key]
        if self._settled is None:
            return
        try:
            self._settled(comment)
        except Exception:  # noqa: BLE001  as above
            _log.exception("job %d: that its SystemComment is settled is not noted", comment.job_id)
