# SPDX-License-Identifier: Apache-2.0
"""What the tasks of a job used, written into its record in Slurm's accounting when its lease has ended.

The journal knows which leases are settled, so that nothing is lost or written twice when the gateway starts anew.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from qrmi_core.gateway.comments import Comment, CommentWriter, WritesComments
from qrmi_core.leases.sqlite_journal import SqliteJournal
from qrmi_core.usage import ResourceUsage, system_comment

__all__ = ["JobComments"]

KEPT_SECONDS = 7 * 86400.0
"""Leases that ended before are left alone: the accounting was away for that long."""

MOST_AT_ONCE = 1000

_ENDED = "ended > ? AND told IS NOT ended AND ended IS NOT NULL"
_USED = f"""
    WITH due AS (SELECT cluster, job_id, submitted, max(ended) AS last FROM leases WHERE {_ENDED}
                 GROUP BY cluster, job_id, submitted ORDER BY last LIMIT {MOST_AT_ONCE})
    SELECT due.cluster, due.job_id, due.submitted, last, resource, count(*), sum(usage), sum(shots)
    FROM due JOIN leases USING (cluster, job_id, submitted)
    JOIN tasks ON tasks.lease = leases.id AND tasks.kind = 'task'
    GROUP BY 1, 2, 3, resource ORDER BY 1, 2, 3, min(tasks.rowid)
"""  # noqa: S608  constants
_NOTHING = f"""
    UPDATE leases SET told = ended WHERE {_ENDED}
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE lease = id AND kind = 'task')
"""  # noqa: S608  constants
_ALL = f"UPDATE leases SET told = ended WHERE {_ENDED}"  # noqa: S608  constants
_TOLD = "UPDATE leases SET told = ended WHERE cluster = ? AND job_id = ? AND submitted = ? AND ended <= ?"


class JobComments:
    """Looks for leases that have ended. Used in one event loop; ``within`` calls what blocks in a thread of a kind."""

    def __init__(self, journal: SqliteJournal, helper: WritesComments, within: Callable[..., Awaitable[Any]]) -> None:
        self._journal = journal
        self._within = within
        self._writer = CommentWriter(helper, settled=self._settled)
        self._asked: set[tuple[Any, ...]] = set()

    @property
    def pending(self) -> int:
        """How many lines wait to be written."""
        return self._writer.pending

    async def run(self) -> None:
        """Write until cancelled."""
        await self._writer.run()

    async def look(self, *, accounting: bool) -> None:
        """Have the usage of leases that have ended written; without an accounting they are settled as they are.

        Raises:
            JournalUnavailable: the journal cannot be read or written; the next look finds the same.
        """
        since = time.time() - KEPT_SECONDS
        query = _NOTHING if accounting else _ALL
        writing = self._journal.change(lambda connection: connection.execute(query, (since,)).rowcount)
        await asyncio.wrap_future(writing)
        if accounting:
            rows = await self._within("journal", self._journal.rows, _USED, (since,))
            asked, self._asked = self._asked, set()
            for job, used in itertools.groupby(rows, key=lambda row: row[:4]):
                self._asked.add(job)
                if job not in asked:
                    cluster, job_id, submitted, ended = job
                    text = system_comment(ResourceUsage(*row[4:]) for row in used)
                    self._writer.add(cluster, job_id, submitted, text, since=ended)

    def _settled(self, comment: Comment) -> None:
        """Written, or given up. What has ended since is not told with it."""
        values = (comment.cluster, comment.job_id, comment.submitted, comment.since)
        self._journal.change(lambda connection: connection.execute(_TOLD, values).rowcount)
