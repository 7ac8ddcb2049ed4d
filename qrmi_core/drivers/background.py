# SPDX-License-Identifier: Apache-2.0
"""Work that nobody waits for, such as removing what is no longer needed; done in threads of this process."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
from collections.abc import Callable
from multiprocessing import parent_process, util

from qrmi_core import polling
from qrmi_core.errors import QRMIError
from qrmi_core.locks import ForkSafeLock

__all__ = ["Background"]

_log = logging.getLogger(__name__)

THREADS = 4
AT_EXIT = 10.0


class Background:
    """Does what it is handed soon; the end of the interpreter waits for it, but not for long."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._pid: int | None = None
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads = 0
        self._unfinished = 0

    def do(self, work: Callable[[], None]) -> None:
        """Do it when a thread is free; an error of it is logged and hurts nobody."""
        with self._lock:
            if self._pid != os.getpid():  # a forked child has neither the threads of its parent nor its work
                self._pid, self._queue, self._threads, self._unfinished = os.getpid(), queue.SimpleQueue(), 0, 0
                if parent_process() is None:
                    atexit.register(self.finish, AT_EXIT)
                else:  # a child of multiprocessing ends without what atexit holds
                    util.Finalize(None, self.finish, args=(AT_EXIT,), exitpriority=0)
            self._unfinished += 1
            self._queue.put(work)
            if self._threads < min(self._unfinished, THREADS):
                self._threads += 1
                threading.Thread(target=self._serve, args=(self._queue,), name="qrmi background", daemon=True).start()

    def finish(self, timeout: float) -> bool:
        """Wait until nothing is left to do, at most ``timeout`` seconds; whether that is so."""
        return self._pid != os.getpid() or polling.wait_until(lambda: self._unfinished == 0, timeout=timeout)

    def _serve(self, work: queue.SimpleQueue[Callable[[], None]]) -> None:
        while True:
            each = work.get()
            try:
                each()
            except QRMIError as error:
                _log.info("%s", error)
            except Exception:  # noqa: BLE001  one piece of work must not end the thread that others need
                _log.exception("work in the background failed")
            finally:
                with self._lock:
                    self._unfinished -= 1
