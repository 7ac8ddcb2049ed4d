# SPDX-License-Identifier: Apache-2.0
"""Processes that a command leaves behind: daemons that have left its process group."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from qrmi_core.cli.signals import Signals

__all__ = ["Descendants"]

PR_SET_CHILD_SUBREAPER = 36
LOOK_AGAIN = 0.1
AFTER_KILL = 5.0


class Descendants:
    """Everything that this process and its children start, from entering the context to its end.

    Orphans among them are adopted by this process, as a container's init does. At the end those that are left
    get SIGTERM, and SIGKILL after ``grace`` seconds. Nothing else in this process may wait for children meanwhile.
    """

    def __init__(self, signals: Signals, *, grace: float) -> None:
        self._signals = signals
        self._grace = grace

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._others = frozenset(_children())
        return self

    def __exit__(self, *_: object) -> None:
        self._signals.collect()
        deadline = time.monotonic() + self._grace
        told: set[int] = set()
        while (left := self._left()) and time.monotonic() < deadline + AFTER_KILL:
            number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
            for pid in left if number == signal.SIGKILL else left - told:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            told |= left
            self._signals.next(LOOK_AGAIN)

    def _left(self) -> set[int]:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        return set(_children()) - self._others


def _children() -> Iterator[int]:
    """The children of this process, adopted ones included."""
    own = str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name) state parent ...; the name may hold spaces and parentheses
            if entry.read_text(errors="replace").rpartition(")")[2].split()[1] == own:
                yield int(entry.parent.name)
