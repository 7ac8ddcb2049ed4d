# SPDX-License-Identifier: Apache-2.0
"""Processes that outlive whoever starts them, and are found again, and ended, by their pid files.

A pid file that is left over may name a process of somebody else: one counts as a daemon's only while it is what was
started, by its command line or the moment of its start.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qrmi_core import polling
from qrmi_core.errors import QRMIError

__all__ = ["Daemon", "DaemonFailed", "Service", "started_at"]

STOP_SECONDS = 10.0
START_SECONDS = 20.0
PID_FILE_SECONDS = 10.0
LINES_TOLD = 3


class DaemonFailed(QRMIError):
    """A daemon did not start, or did not end."""


@dataclass(frozen=True)
class Daemon:
    """A program that goes into the background by itself and writes its pid file.

    ``mark`` is a text in its command line which no other process has, such as the path of its configuration.
    """

    name: str
    command: Sequence[str]
    pid_file: Path
    mark: str
    log: Path

    def pid(self) -> int | None:
        """Its process, None while it does not run."""
        found = _number(self.pid_file)
        return found if found is not None and _is_alive(found) and self.mark in _command_line(found) else None

    def start(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """Begin to start it, unless it runs: :meth:`failure` waits until it does."""
        if self.pid() is not None:
            return None
        self.pid_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd="/",
            )  # fmt: skip

    def failure(self, process: subprocess.Popen[bytes] | None) -> str | None:
        """Wait until it has gone into the background; why it did not, None where it did."""
        if process is None:
            return None
        try:
            code = process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"{self.name} did not start in {START_SECONDS:g} s; {self._see()}"
        if code or not polling.wait_until(lambda: self.pid() is not None, timeout=PID_FILE_SECONDS):
            return f"{self.name} did not start (exit code {code}); {self._see()}"
        return None

    def signal(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it runs."""
        if (pid := self.pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def gone(self, *, timeout: float = STOP_SECONDS) -> bool:
        """Wait until it has ended."""
        return polling.wait_until(lambda: self.pid() is None, timeout=timeout)

    def stop(self) -> None:
        """End it; one that does not listen is killed.

        Raises:
            DaemonFailed: it lives on.
        """
        self.signal(signal.SIGTERM)
        if not self.gone():
            self.signal(signal.SIGKILL)
            if not self.gone():
                raise DaemonFailed(f"{self.name} (process {self.pid()}) does not end")
        self.pid_file.unlink(missing_ok=True)

    def _see(self) -> str:
        for log in (self.log, self.log.with_suffix(".log")):
            with contextlib.suppress(OSError):
                lines = log.read_text(errors="replace").strip().splitlines()
                if lines:
                    return f"it said: {' / '.join(lines[-LINES_TOLD:])} ({log})"
        return f"see {self.log}"


@dataclass
class Service:
    """A program in the foreground that belongs to a cluster: a gateway, a vendor's emulator.

    Its output goes to ``LOG_DIRECTORY/NAME.log``. ``user`` is whom it runs as, where root starts it.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    user: str | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def pid(self, run: Path) -> int | None:
        """Its process, None while it does not run."""
        if self._process is not None and self._process.poll() is not None:
            return None
        with contextlib.suppress(OSError, ValueError):
            number, moment = self._pid_file(run).read_text().split()
            if _is_alive(int(number)) and started_at(int(number)) == moment:
                return int(number)
        return None

    def start(self, run: Path, log: Path) -> None:
        """Start it, unless it runs."""
        if self.pid(run) is not None:
            return
        self._reap()
        with (log / f"{self.name}.log").open("ab") as output:
            self._process = subprocess.Popen(
                self.command, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, cwd="/", user=self.user,
                group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
                extra_groups=None if self.user is None else [],
            )  # fmt: skip
        self._pid_file(run).write_text(f"{self._process.pid} {started_at(self._process.pid)}\n")

    def signal(self, run: Path, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it runs."""
        if (pid := self.pid(run)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def gone(self, run: Path, *, timeout: float = STOP_SECONDS) -> bool:
        """Wait until it has ended."""
        gone = polling.wait_until(lambda: self.pid(run) is None, timeout=timeout)
        if gone:
            self._reap()
        return gone

    def _reap(self) -> None:
        """One that has ended may still be a zombie of this process."""
        if self._process is not None:
            self._process.wait(STOP_SECONDS)

    def stop(self, run: Path) -> None:
        """End it; one that does not listen is killed."""
        self.signal(run, signal.SIGTERM)
        if not self.gone(run):
            self.signal(run, signal.SIGKILL)
            self.gone(run)
        self._pid_file(run).unlink(missing_ok=True)

    def _pid_file(self, run: Path) -> Path:
        return run / f"service-{self.name}.pid"


def started_at(pid: int) -> str | None:
    """When a process began, in ticks since the host did; None where there is none."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _is_alive(pid: int) -> bool:
    fields = _stat(pid)
    # a process may stay a zombie for seconds where PID 1 reaps slowly
    return bool(fields) and fields[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()
    except OSError:
        return []


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
