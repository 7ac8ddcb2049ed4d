# SPDX-License-Identifier: Apache-2.0
"""What a process knows of batches of Pasqal's cloud, whose lists show new jobs late."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from qrmi_core.errors import ResultError
from qrmi_core.locks import ForkSafeLock
from qrmi_core.tasks import TaskInfo

__all__ = ["Known", "KnownBatches"]

REMEMBERED = 256


class Known:
    """A batch as this process knows it: whether it is closed for good, its jobs once all have ended, their results.

    ``sent`` is how many jobs it has at least, None where nothing told that yet.
    """

    def __init__(self) -> None:
        self.closed = False
        self.sent: int | None = None
        self.ended: tuple[TaskInfo, ...] = ()
        self.results: dict[str, Any] = {}
        self.handed_out: set[str] = set()
        self.sequence: bytes | None = None
        self.variables: dict[str, Any] = {}
        self.adding = ForkSafeLock()
        self.fetching = ForkSafeLock()

    def learn(self, jobs: Any) -> None:
        """Remember how many jobs something says that it has."""
        if isinstance(jobs, int):
            self.sent = max(self.sent or 0, jobs)

    def shows_all(self, jobs: Sequence[TaskInfo]) -> bool:
        """True where these are as many as it is known to have, and some."""
        return bool(jobs) and len(jobs) >= (self.sent or 0)

    def need_all(self, jobs: Sequence[TaskInfo], batch_id: str, resource: str) -> None:
        """Go on with all of its jobs only.

        Raises:
            ResultError: these are fewer; says how many.
        """
        if len(jobs) < (self.sent or 0):
            raise ResultError(
                f"{resource}: batch {batch_id} shows {len(jobs)} of its {self.sent} jobs: try again later",
                resource=resource,
                task_id=batch_id,
                transient=True,
            )


class KnownBatches:
    """The batches that were asked for last."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._batches: OrderedDict[str, Known] = OrderedDict()

    def of(self, batch_id: str) -> Known:
        """What is known of a batch; at first nothing."""
        with self._lock:
            known = self._batches.setdefault(batch_id, Known())
            self._batches.move_to_end(batch_id)
            while len(self._batches) > REMEMBERED:
                self._batches.popitem(last=False)
            return known
