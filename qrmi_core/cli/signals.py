# SPDX-License-Identifier: Apache-2.0
"""The signals that a command of `qrmi` is sent while it waits for something."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType
from typing import Self

__all__ = ["ENDING", "Signals", "Stopped"]

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OTHERS = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT, signal.SIGCHLD)


class Stopped(BaseException):
    """A signal asks this process to end while no command runs."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Signals:
    """The signals that this process is sent.

    The first that asks it to end raises :class:`Stopped`, wherever it is. After that, and after :meth:`collect`,
    signals wait for :meth:`next` and interrupt nothing. Those that were ignored before (nohup) stay ignored.
    """

    def __enter__(self) -> Self:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._collecting = False
        self._received: list[int] = []
        self._before = {}
        self._wakeup_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in (*ENDING, *_OTHERS):
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
            self._collecting = True
            raise Stopped(number)
        elif number == signal.SIGTSTP:
            self.stop_as_asked(os.getpid())

    def collect(self) -> None:
        """From now on, signals are asked for."""
        self._collecting = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile nothing is interrupted; a signal that asked for the end raises :class:`Stopped` afterwards."""
        self._collecting = True
        yield
        self._collecting = False
        for number in self._received:
            if number in ENDING:
                raise Stopped(number)

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
        # What continued this process has done so; acted on later, it would undo a stop that comes in between.
        self._received = [number for number in self._received if number != signal.SIGCONT]
