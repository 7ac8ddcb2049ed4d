# SPDX-License-Identifier: Apache-2.0
"""What the gateway's journal says, read by the helper itself.

The file is the gateway's. So a child that has become the gateway's user opens it: a link planted there leads root
nowhere, and files that SQLite makes beside it belong to their owner.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from qrmi_core.errors import QRMIError
from qrmi_core.gateway.root_helper.children import run_as

__all__ = ["JournalUnreadable", "JournalView"]

PATIENCE = 5.0

_HOLDS = """
SELECT 1 FROM leases JOIN acquisitions ON acquisitions.lease = leases.id
WHERE leases.uid = ? AND leases.may_hold AND leases.state <> 'refused'
AND acquisitions.resource IN (SELECT value FROM json_each(?)) LIMIT 1
"""
_HAD = "SELECT 1 FROM leases WHERE cluster = ? AND job_id = ? AND submitted = ? AND state <> 'refused' LIMIT 1"


class JournalUnreadable(QRMIError):
    """The journal does not answer, so nobody can tell which leases there are."""


class JournalView:
    """The two questions that the verbs ask; ``uid`` and ``gid`` are those of the gateway."""

    def __init__(self, journal: Path, uid: int, gid: int) -> None:
        self._journal = journal
        # Whoever asks has become another user by then, who may not be able to read the modules that this imports.
        self._address = f"{journal.as_uri()}?mode=ro"
        self._uid = uid
        self._gid = gid

    def holds(self, uid: int, resources: Iterable[str]) -> bool:
        """Whether the user has a live lease of one of these resources."""
        return self._any(_HOLDS, uid, json.dumps(list(resources)))

    def had_lease(self, cluster: str, job_id: int, submitted: int) -> bool:
        """Whether the job had a lease, which may have ended."""
        return self._any(_HAD, cluster, job_id, submitted)

    def _any(self, query: str, *values: str | int) -> bool:
        def ask() -> str:
            with closing(sqlite3.connect(self._address, uri=True, timeout=PATIENCE)) as journal:
                return "yes" if journal.execute(query, values).fetchone() else "no"

        try:
            return run_as(self._uid, self._gid, ask) == "yes"
        except QRMIError as error:
            raise JournalUnreadable(
                f"the journal {self._journal} cannot be read ({error}): does the gateway run?", transient=True
            ) from error
