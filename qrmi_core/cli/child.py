# SPDX-License-Identifier: Apache-2.0
"""A command that runs in a process group of its own, from its start until nothing of the group is left.

Signals that ask this process to end are passed on to the group, and SIGKILL follows after a grace period. On a
terminal the group is the foreground job, so that Ctrl-C and Ctrl-Z reach the command and not this process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from qrmi_core.cli.signals import ENDING, Signals
from qrmi_core.cli.terminal import Terminal
from qrmi_core.errors import InputError

__all__ = ["Child", "require_command"]

IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
LOOK_AT_GROUP = 0.1
AFTER_KILL = 5.0


class Child:
    """One command; make it with :meth:`start`."""

    def __init__(self, pid: int, signals: Signals, *, grace: float) -> None:
        self.pid = pid
        self._signals = signals
        self._grace = grace
        self._terminal = Terminal(pid)
        self._code: int | None = None
        self._deadline: float | None = None
        self._killed = False

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], signals: Signals, *, grace: float) -> Self:
        """Start a command; ``grace`` is the time in seconds that it has to end when it is asked to.

        Raises:
            InputError: there is no such command, or it cannot be executed.
        """
        ignored = {number for number in signal.Signals if signal.getsignal(number) is signal.SIG_IGN}
        try:
            pid = os.posix_spawnp(
                command[0],
                list(command),
                dict(environment),
                setpgroup=0,
                setsigdef=[number for number in IGNORED_BY_PYTHON if number in ignored],
            )
        except OSError as error:
            raise InputError(_why_not_started(command[0], error)) from None
        return cls(pid, signals, grace=grace)

    def wait(self) -> int:
        """Wait until the command and its process group have ended; return its exit code, 128 + n for signal n."""
        self._terminal.give()
        while self._code is None or self._group_lives():
            self._act_on(self._signals.next(self._patience()))
            if self._deadline is not None and time.monotonic() >= self._deadline:
                if self._killed:
                    break  # nothing can end a process that hangs in the kernel
                self._kill()
        return 128 + signal.SIGKILL if self._code is None else self._code

    def _patience(self) -> float | None:
        """How long to wait for a signal; of the end of the last process in the group, none may tell."""
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        return left if self._code is None or left is None else min(left, LOOK_AT_GROUP)

    def _act_on(self, number: int | None) -> None:
        if number is None:
            return
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGTSTP:
            self._signal_group(signal.SIGTSTP)
            self._signals.stop_as_asked(os.getpid())
            self._go_on()
        elif number == signal.SIGCONT:
            self._go_on()
        elif number in ENDING:
            self._ask_to_end(number)
        else:
            self._signal_group(number)

    def _ask_to_end(self, number: int) -> None:
        self._signal_group(number)
        self._signal_group(signal.SIGCONT)
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace

    def _kill(self) -> None:
        self._signal_group(signal.SIGKILL)
        self._killed = True
        self._deadline = time.monotonic() + AFTER_KILL

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it may have become another user's
            os.killpg(self.pid, number)

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _reap(self) -> None:
        """Collect every child that has ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
                if pid == 0:
                    break
                if pid == self.pid and os.WIFSTOPPED(status):
                    self._stopped(os.WSTOPSIG(status))
                elif pid == self.pid:
                    self._ended(os.waitstatus_to_exitcode(status))

    def _ended(self, code: int) -> None:
        self._code = code if code >= 0 else 128 - code
        self._terminal.take_back(restore=code < 0)
        self._ask_to_end(signal.SIGTERM)

    def _stopped(self, number: int) -> None:
        """The command has stopped: on a terminal stop with it, so that the shell takes over."""
        if not self._terminal.exists or self._deadline is not None:
            return
        if number in (signal.SIGTTIN, signal.SIGTTOU) and self._terminal.give():
            self._signal_group(signal.SIGCONT)  # a shell's fg may have put us in front without a word
            return
        self._terminal.take_back()
        self._signals.stop_as_asked(0)
        self._go_on()

    def _go_on(self) -> None:
        self._terminal.give()
        self._signal_group(signal.SIGCONT)


def require_command(program: str) -> None:
    """Find out that there is no such command before anything is acquired for it.

    Raises:
        InputError: there is none, or it may not be executed.
    """
    if shutil.which(program) is None:
        there = Path(program).exists()
        raise InputError(_why_not_started(program, PermissionError() if there else FileNotFoundError()))


def _why_not_started(program: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{program}: there is no such command; look at its spelling and at PATH"
    if isinstance(error, PermissionError):
        return f"{program}: may not be executed; is it a program, and marked as executable?"
    if error.errno == errno.ENOEXEC:
        return f"{program}: is no program; a script needs a first line such as #!/bin/sh"
    return f"{program}: cannot be started: {error.strerror}"
