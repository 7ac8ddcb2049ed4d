# SPDX-License-Identifier: Apache-2.0
"""The terminal of a command: which process group is its foreground job."""

from __future__ import annotations

import contextlib
import os
import signal

__all__ = ["Terminal"]


class Terminal:
    """The terminal on stdin, if there is one, and which process group is its foreground job."""

    def __init__(self, group: int) -> None:
        self.exists = os.isatty(0)
        self._group = group
        self._given = False
        if self.exists:
            import termios

            self._termios = termios
            self._modes = termios.tcgetattr(0)

    def is_given(self) -> bool:
        return self._given and os.tcgetpgrp(0) == self._group

    def give(self) -> None:
        """Make the command the foreground job, if this process is it now."""
        self._given = False
        if self.exists and os.tcgetpgrp(0) == os.getpgrp():
            self._set_foreground(self._group)
            self._given = True

    def take_back(self, *, restore: bool = False) -> None:
        """Be the foreground job again; ``restore`` the terminal's modes, which a killed command may have changed."""
        if self._given:
            self._given = False
            self._set_foreground(os.getpgrp())
            if restore:
                self._termios.tcsetattr(0, self._termios.TCSADRAIN, self._modes)

    @staticmethod
    def _set_foreground(group: int) -> None:
        # Who is not the foreground job itself would be stopped for setting it.
        handler = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(0, group)
        finally:
            signal.signal(signal.SIGTTOU, handler)
