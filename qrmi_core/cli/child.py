# SPDX-License-Identifier: Apache-2.0
"""A command that runs in a process group of its own, from its start until nothing of it is left.

Signals that ask this process to end are passed on to the group, and SIGKILL follows after a grace period. On a
terminal the group is the foreground job, so that Ctrl-C and Ctrl-Z reach the command and not this process.
Processes that leave the group (daemons) are adopted by this process, as a container's init does, and end with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

from qrmi_core.errors import InputError

__all__ = ["Child", "Signals", "Stopped"]

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASSED_ON = (*ENDING, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
JOB_CONTROL = (signal.SIGTSTP, signal.SIGCONT)
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
LOOK_AT_GROUP = 0.1
AFTER_KILL = 5.0
PR_SET_CHILD_SUBREAPER = 36


class Stopped(BaseException):
    """A signal asks this process to end while no command runs."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Signals:
    """The signals that this process is sent.

    At first those that ask it to end raise :class:`Stopped`, wherever it is; after :meth:`collect` every signal
    waits for :meth:`next` instead and interrupts nothing. Signals that were ignored before (nohup) stay ignored.
    """

    def __enter__(self) -> Self:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._collecting = False
        self._received: list[int] = []
        self._before = {}
        self._wakeup_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in (*PASSED_ON, *JOB_CONTROL, signal.SIGCHLD):
            if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._read.close()
        self._write.close()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._collecting:
            self._received.append(number)
        elif number in ENDING:
            raise Stopped(number)
        elif number == signal.SIGTSTP:
            self.stop_as_asked(os.getpid())

    def collect(self) -> None:
        """From now on, signals are asked for."""
        self._collecting = True

    def next(self, timeout: float | None) -> int | None:
        """The next signal; None after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._received:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._read], [], [], left)
            if not ready:
                return None
            with contextlib.suppress(BlockingIOError):
                self._read.recv(4096)
        return self._received.pop(0)

    def stop_as_asked(self, whom: int) -> None:
        """Stop this process (or, given 0, its whole group) as SIGTSTP does by default; returns once continued.

        Where no shell could continue it, the kernel does not stop it.
        """
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(whom, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)


class Child:
    """One command; make it with :meth:`start`."""

    def __init__(self, pid: int, signals: Signals, *, grace: float, others: frozenset[int]) -> None:
        self.pid = pid
        self._signals = signals
        self._grace = grace
        self._others = others
        self._terminal = _Terminal(pid)
        self._code: int | None = None
        self._deadline: float | None = None
        self._killed = False

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], signals: Signals, *, grace: float) -> Self:
        """Start a command; ``grace`` is the time in seconds that it has to end when it is asked to.

        Raises:
            InputError: there is no such command, or it cannot be executed.
        """
        _adopt_orphans()
        others = frozenset(_children())
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
        return cls(pid, signals, grace=grace, others=others)

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

    def end_descendants(self) -> None:
        """Kill whatever the command has left running outside of its process group."""
        while left := [pid for pid in _children() if pid not in self._others]:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

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
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
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
        if number in (signal.SIGTTIN, signal.SIGTTOU) and self._terminal.is_given():
            self._signal_group(signal.SIGCONT)  # it asked for the terminal before it was given it
            return
        self._terminal.take_back()
        self._signals.stop_as_asked(0)
        self._go_on()

    def _go_on(self) -> None:
        self._terminal.give()
        self._signal_group(signal.SIGCONT)


class _Terminal:
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


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> Iterator[int]:
    """The children of this process, adopted ones included."""
    own = str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name) state parent ...; the name may hold spaces and parentheses
            if entry.read_text(errors="replace").rpartition(")")[2].split()[1] == own:
                yield int(entry.parent.name)


def _why_not_started(program: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{program}: there is no such command; look at its spelling and at PATH"
    if isinstance(error, PermissionError):
        return f"{program}: may not be executed; is it a program, and marked as executable?"
    if error.errno == errno.ENOEXEC:
        return f"{program}: is no program; a script needs a first line such as #!/bin/sh"
    return f"{program}: cannot be started: {error.strerror}"
