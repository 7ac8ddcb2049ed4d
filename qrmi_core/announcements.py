# SPDX-License-Identifier: Apache-2.0
"""Telling the gateway which tasks a job has started, so that it can cancel them whatever becomes of the job.

Nothing waits for the gateway: a task is noted in a file of the user's own, and a thread sends what is noted. What
could not be sent, because the gateway was away or the process ended, is sent by the job's next process.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import uuid
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
    """Sends what is noted for one lease from this process."""

    def __init__(self, lease: str) -> None:
        self.pid = os.getpid()
        self._lease = lease
        self._directory = spool_directory() / "announcements" / lease
        self._noted = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcements", daemon=True)
        self._thread.start()
        atexit.register(self._finish)

    def note(self, resource: str, task_id: str) -> None:
        """Note a task; it is sent soon."""
        text = json.dumps({"resource": resource, "task": task_id})
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._directory / f".{uuid.uuid4().hex}"
            draft.write_text(text, encoding="utf-8")
            draft.rename(draft.with_name(draft.name[1:]))
        except OSError as error:
            _log.warning(
                "the task %s cannot be noted in %s (%s), so the gateway will not cancel it when this job dies",
                *(task_id, self._directory, error.strerror),
            )
        self._noted.set()

    def _run(self) -> None:
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
                polling.pause(polling.backoff(failures))
                failures += 1
                self._noted.set()
            if self._ending.is_set() and not self._noted.is_set():
                return

    def _send_all(self, client: AdminClient) -> None:
        for file in self._files():
            told = json.loads(file.read_text(encoding="utf-8"))
            try:
                client.add_task(self._lease, told["resource"], told["task"])
            except QRMIError as error:
                if error.transient:
                    raise
                _log.warning("the gateway does not take the task %s as one of this job's: %s", told["task"], error)
            file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        return [file for file in self._directory.iterdir() if not file.name.startswith(".")]

    def _finish(self) -> None:
        if self.pid == os.getpid():
            self._ending.set()
            self._noted.set()
            self._thread.join(LAST_SECONDS)


_senders: dict[str, _Sender] = {}
_lock = ForkSafeLock()


def announce(lease: str, resource: str, task_id: str) -> None:
    """Tell the gateway that a task is one of a lease: soon, in the background, and as often as it takes."""
    with _lock:
        sender = _senders.get(lease)
        if sender is None or sender.pid != os.getpid():
            sender = _senders[lease] = _Sender(lease)
    sender.note(resource, task_id)


def _client() -> AdminClient:
    from qrmi_core.admin_client import AdminClient  # in the thread, where the import delays nobody
    from qrmi_core.client_settings import load_client_settings

    return AdminClient(load_client_settings())
