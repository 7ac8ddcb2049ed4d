# SPDX-License-Identifier: Apache-2.0
"""Telling the gateway which tasks a job has started, so that it can cancel them whatever becomes of the job.

No submission waits for it: one thread notes each task in a file of the user's own, another sends what is noted. What
could not be sent, because the gateway was away or the process ended, is sent by the job's next process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from qrmi_core import polling
from qrmi_core.environment import spool_directory
from qrmi_core.errors import QRMIError
from qrmi_core.locks import ForkSafeLock

if TYPE_CHECKING:
    from qrmi_core.admin_client import AdminClient

__all__ = ["announce"]

_log = logging.getLogger(__name__)

LAST_SECONDS = 2.0
"""Seconds that a process gives the thread at its end."""


class _Sender:
    """Notes and sends the tasks of one lease for this process.

    Two threads, so that no submission waits: one writes files, the other sends, and imports much at first.
    """

    def __init__(self, lease: str) -> None:
        self.pid = os.getpid()
        self._lease = lease
        self._directory = spool_directory() / "announcements" / lease
        self._tasks: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._noted = threading.Event()
        self._ending = threading.Event()
        self._sending = threading.Thread(target=self._send, name="announcements", daemon=True)
        self._noting = threading.Thread(target=self._note, name="announcements-noted", daemon=True)
        # Both at once: some Pythons (3.12.0, 3.12.1) start no thread any more while a process ends.
        self._noting.start()
        self._sending.start()
        atexit.register(self._finish)

    def take(self, resource: str, task_id: str) -> None:
        """Take a task, to be noted at once and sent soon."""
        self._tasks.put((resource, task_id))

    def _note(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                try:
                    self._write(*task)
                except FileNotFoundError:  # another process of the job has just ended
                    self._write(*task)
            except OSError as error:
                _log.warning(
                    "the task %s cannot be noted in %s (%s), so the gateway will not cancel it when this job dies",
                    *(task[1], self._directory, error.strerror),
                )
            self._noted.set()

    def _write(self, resource: str, task_id: str) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._directory / f".{os.urandom(16).hex()}"
        draft.write_text(json.dumps({"resource": resource, "task": task_id}), encoding="utf-8")
        draft.rename(draft.with_name(draft.name[1:]))

    def _send(self) -> None:
        failures = 0
        client: AdminClient | None = None
        while True:
            self._noted.wait()
            self._noted.clear()
            try:
                client = client or _client()
                self._send_all(client)
                failures = 0
            except QRMIError as error:
                if failures == 0:
                    _log.warning("the gateway is not told of this job's tasks yet, it is tried again: %s", error)
                if self._ending.is_set():
                    return
                self._ending.wait(polling.backoff(failures))  # and once more when the process ends
                failures += 1
                self._noted.set()
            if self._ending.is_set() and not self._noted.is_set():
                return

    def _send_all(self, client: AdminClient) -> None:
        for file in self._files():
            try:
                told = json.loads(file.read_text(encoding="utf-8"))
                resource, task = str(told["resource"]), str(told["task"])
            except FileNotFoundError:
                continue  # another process of the job has told it
            except (OSError, ValueError, TypeError, KeyError) as error:
                _log.warning("%s names no task and is thrown away: %s", file, error)
                self._forget(file)
                continue
            try:
                client.add_task(self._lease, resource, task)
            except QRMIError as error:
                if error.transient:
                    raise
                _log.warning("the gateway does not take the task %s as one of this job's: %s", task, error)
            self._forget(file)

    def _files(self) -> list[Path]:
        try:
            return [file for file in self._directory.iterdir() if not file.name.startswith(".")]
        except OSError:
            return []

    def _forget(self, file: Path) -> None:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self.pid != os.getpid():
            return
        self._tasks.put(None)
        self._noting.join(LAST_SECONDS)
        self._ending.set()
        self._noted.set()
        self._sending.join(LAST_SECONDS)
        with contextlib.suppress(OSError):
            self._directory.rmdir()  # where nothing is left in it


_senders: dict[str, _Sender] = {}
_lock = ForkSafeLock()


def announce(lease: str, resource: str, task_id: str) -> None:
    """Tell the gateway that a task is one of a lease: soon, in the background, and as often as it takes."""
    with _lock:
        sender = _senders.get(lease)
        if sender is None or sender.pid != os.getpid():
            sender = _senders[lease] = _Sender(lease)
    sender.take(resource, task_id)


def _client() -> AdminClient:
    from qrmi_core.admin_client import AdminClient  # in the thread, where the import delays nobody
    from qrmi_core.client_settings import load_client_settings

    return AdminClient(load_client_settings())
