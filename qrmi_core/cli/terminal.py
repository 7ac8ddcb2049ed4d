# SPDX-License-Identifier: Apache-2.0
"""The terminal of a command: which process group is its foreground job."""

from __future__ import annotations

import contextlib
import os
import signal
import termios

__all__ = ["Terminal"]


class Terminal:
    """The terminal on stdin, and whether the command's process group is its foreground job.

    Does nothing where stdin is no terminal, or one that has gone.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._given = False
        self.exists = self._front() is not None
        with contextlib.suppress(termios.error):
            self._modes = termios.tcgetattr(0)

    def give(self) -> bool:
        """Make the command the foreground job if this process is it now; True when the command is it."""
        front = self._front()
        if front == os.getpgrp():
            self._set_front(self._group)
        self._given = front in (os.getpgrp(), self._group)
        return self._given

    def take_back(self, *, restore: bool = False) -> None:
        """Be the foreground job again; ``restore`` the terminal's modes, which a killed command may have changed."""
        if not self._given:
            return
        self._given = False
        self._set_front(os.getpgrp())
        if restore:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._modes)

    @staticmethod
    def _front() -> int | None:
        try:
            return os.tcgetpgrp(0)
        except OSError:
            return None

    @staticmethod
    def _set_front(group: int) -> None:
        # Who is not the foreground job itself would be stopped for setting it.
        handler = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(0, group)
        finally:
            signal.signal(signal.SIGTTOU, handler)
