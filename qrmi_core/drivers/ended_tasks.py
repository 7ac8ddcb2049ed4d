# SPDX-License-Identifier: Apache-2.0
"""What this process remembers of tasks that have ended, whose traces at the vendor are removed."""

from __future__ import annotations

from collections import OrderedDict

from qrmi_core.locks import ForkSafeLock
from qrmi_core.tasks import TaskInfo

__all__ = ["EndedTasks"]

MOST_TASKS = 10_000
MOST_BYTES = 64 * 2**20


class EndedTasks:
    """Ends, results and logs by task id; of large ones only the last are kept, but the very last always is."""

    def __init__(self, *, most_tasks: int = MOST_TASKS, most_bytes: int = MOST_BYTES) -> None:
        self._lock = ForkSafeLock()
        self._infos: OrderedDict[str, TaskInfo] = OrderedDict()
        self._texts: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0
        self._most_tasks = most_tasks
        self._most_bytes = most_bytes

    def info(self, task_id: str) -> TaskInfo | None:
        """How the task ended, None if that is not known."""
        with self._lock:
            return self._infos.get(task_id)

    def remember(self, info: TaskInfo) -> None:
        """Keep how a task ended."""
        with self._lock:
            self._infos[info.id] = info
            while len(self._infos) > self._most_tasks:
                self._infos.popitem(last=False)

    def text(self, kind: str, task_id: str) -> bytes | None:
        """The task's result or log, None if it is not here."""
        with self._lock:
            return self._texts.get((kind, task_id))

    def keep(self, kind: str, task_id: str, text: bytes) -> None:
        """Keep a task's result or log."""
        with self._lock:
            self._size += len(text) - len(self._texts.pop((kind, task_id), b""))
            self._texts[kind, task_id] = text
            while self._size > self._most_bytes and len(self._texts) > 1:
                self._size -= len(self._texts.popitem(last=False)[1])
