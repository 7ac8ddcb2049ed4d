# SPDX-License-Identifier: Apache-2.0
"""The three objects of a job in a bucket: its input, its results and its logs."""

from __future__ import annotations

import json
from collections.abc import Callable

from qrmi_core import polling
from qrmi_core.drivers.s3 import WEEK, Bucket
from qrmi_core.errors import ResultError
from qrmi_core.exchanges import Body

__all__ = ["INPUT", "LOGS", "RESULTS", "JobObjects"]

INPUT, RESULTS, LOGS = "input", "results", "logs"

MAY_WAIT = 24 * 3600
"""Seconds that a job which was taken may wait before it runs, so that its URLs must live longer by this."""

READS = 4
FIRST_PAUSE = 0.1


class JobObjects:
    """Named as IBM's own tools name them, so that both find each other's."""

    def __init__(self, resource: str, bucket: Bucket) -> None:
        self._resource = resource
        self._bucket = bucket

    def put_input(self, task_id: str, data: Body) -> None:
        """Store the input before the job is sent."""
        self._bucket.put(_key(INPUT, task_id), data)

    def input(self, task_id: str) -> bytes | None:
        """The input, None where there is none."""
        return self._bucket.get(_key(INPUT, task_id))

    def storage(self, task_id: str, timeout: int) -> dict[str, dict[str, str]]:
        """Where a job finds its input and puts the rest, with URLs that outlive its wait and ``timeout`` seconds."""
        life = min(timeout + MAY_WAIT, WEEK)
        methods = {INPUT: "GET", RESULTS: "PUT", LOGS: "PUT"}
        urls = {
            kind: self._bucket.url_for_device(method, _key(kind, task_id), life) for kind, method in methods.items()
        }
        return {kind: {"type": "s3_compatible", "presigned_url": url} for kind, url in urls.items()}

    def result(self, task_id: str, elsewhere: Callable[[], bytes | None]) -> bytes:
        """The result as a whole: JSON that was cut off is fetched again.

        ``elsewhere`` is asked where the bucket has none: another thread may have read and removed it a moment ago.

        Raises:
            ResultError: it is not there, or it stays damaged.
        """
        problem = "is not there"
        for read in range(READS):
            data = self._bucket.get(_key(RESULTS, task_id))
            if data is None:
                data = elsewhere()
            if data is not None:
                try:
                    json.loads(data)
                except (ValueError, RecursionError) as error:
                    problem = f"is not JSON: {error}"
                else:
                    return data
            polling.pause(FIRST_PAUSE * 2**read)
        raise ResultError(
            f"the result of task {task_id} on {self._resource}, {_key(RESULTS, task_id)} in its bucket, {problem}. "
            f"Nothing was removed; ask for it again, and look at the task's logs",
            resource=self._resource,
            task_id=task_id,
        )

    def has_result(self, task_id: str) -> bool:
        """Whether the result is there; it is not downloaded."""
        return self._bucket.has(_key(RESULTS, task_id))

    def log(self, task_id: str) -> bytes | None:
        """The log, None where there is none."""
        return self._bucket.get(_key(LOGS, task_id))

    def delete(self, task_id: str) -> None:
        """Remove all three; those that are not there are no error."""
        for kind in (INPUT, RESULTS, LOGS):
            self._bucket.delete(_key(kind, task_id))


def _key(kind: str, task_id: str) -> str:
    return f"{kind}_{task_id}.json"
