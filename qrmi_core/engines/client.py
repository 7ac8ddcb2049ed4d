# SPDX-License-Identifier: Apache-2.0
"""The client's side of an engine's host: starts it when needed, asks, and waits to be told."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from qrmi_core import polling
from qrmi_core.engines.address import HostAddress
from qrmi_core.engines.spool import Spool
from qrmi_core.environment import child_environment
from qrmi_core.errors import ResourceUnavailable

__all__ = ["HostClient", "HostGone"]

ANSWER_SECONDS = 120.0
ATTEMPTS = 3
START_SECONDS = 60.0
END_SECONDS = 10.0


class HostGone(Exception):
    """The host has ended; what it left unfinished will never end by itself."""


class HostClient:
    """Talks to one host; safe to use from several threads, each request has its own connection."""

    def __init__(self, spool: Spool, engine: str, key: str, worker: str, *, may_start: bool) -> None:
        """Reach the host of a key; only where ``may_start`` is true do requests start one, else only :meth:`hold`."""
        self.address = HostAddress(spool.hosts, engine, key)
        self._spool = spool
        self._worker = worker
        self._may_start = may_start

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, starting the host if it may be, and return its answer.

        Requests may be sent twice, when a host ends just as it is asked: all of them can be.
        """
        for _ in range(ATTEMPTS):
            try:
                with self.connect(start=self._may_start) as connection:
                    return _exchange(connection, request)
            except HostGone:
                continue
        if not self._may_start:
            raise ResourceUnavailable("the allocation that the engine was held for has ended: ask for a new one")
        raise self._ends_at_once()

    def ask_running(self, **request: Any) -> dict[str, Any]:
        """Like :meth:`ask`, but a host that does not run is not started.

        Raises:
            HostGone: no host runs.
        """
        with self.connect(start=False) as connection:
            return _exchange(connection, request)

    def wait(self, resource: str, ids: Iterable[str], *, deadline: float | None, first: bool) -> set[str]:
        """Wait for tasks or jobs to end; those that have when ``deadline`` (monotonic seconds) comes.

        Raises:
            HostGone: the host ended before they did.
        """
        missing = set(ids)
        ended: set[str] = set()
        with self.connect(start=False) as connection:
            connection.sendall(_line({"op": "wait", "resource": resource, "ids": sorted(missing)}))
            for answer in _answers(connection, deadline):
                if "error" in answer:
                    raise ResourceUnavailable(answer["error"], resource=resource)
                missing.discard(answer["ended"])
                ended.add(answer["ended"])
                if not missing or first:
                    break
        return ended

    def hold(self) -> socket.socket:
        """A connection that keeps the host and its tasks alive until it is closed.

        It does not wait until the host has imported what it needs: the program that will use it starts meanwhile.
        """
        for _ in range(ATTEMPTS):
            with contextlib.suppress(HostGone), self.connect(start=True) as connection:
                connection.sendall(_line({"op": "hold"}))
                return connection.dup()
        raise self._ends_at_once()

    @contextmanager
    def connect(self, *, start: bool) -> Iterator[socket.socket]:
        """A connection to the host.

        Raises:
            HostGone: no host runs and it was not to be started; or it ended while it was talked to, perhaps before it
                took the connection.
            ResourceUnavailable: it cannot be started.
        """
        try:
            connection = self.address.connect(ANSWER_SECONDS)
        except OSError:
            if not start:
                raise HostGone from None
            connection = self._start()
        try:
            with connection:
                yield connection
        except ConnectionError as error:
            raise HostGone from error

    def _start(self) -> socket.socket:
        self._spool.prepare()
        starting = os.open(self.address.starting, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(starting, fcntl.LOCK_EX)
            try:
                return self.address.connect(ANSWER_SECONDS)
            except OSError:
                self._spawn()
            return self.address.connect(ANSWER_SECONDS)
        except OSError as error:
            raise self._cannot_start(str(error)) from error
        finally:
            os.close(starting)

    def _spawn(self) -> None:
        import subprocess  # not needed where a host runs already

        address = self.address
        options = {"root": str(self._spool.root), "engine": address.engine, "key": address.key, "worker": self._worker}
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        # The threads of numerical libraries must not exist yet when the host forks.
        environment = child_environment() | {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with address.log.open("wb") as log:
            try:
                code = subprocess.Popen(
                    [sys.executable, "-P", "-m", "qrmi_core.engines.host", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd="/",
                    start_new_session=True,
                ).wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                raise self._cannot_start(f"it does not listen after {START_SECONDS:g} s") from None
        if code != 0:
            lines = address.log.read_text(errors="replace").splitlines()
            raise self._cannot_start(lines[-1] if lines else f"exit code {code}")

    def _ends_at_once(self) -> ResourceUnavailable:
        return ResourceUnavailable(
            f"the engine's host process ends as soon as it is asked: see {self.address.log}", transient=True
        )

    def _cannot_start(self, why: str) -> ResourceUnavailable:
        return ResourceUnavailable(f"the engine's host process cannot be started: {why} (see {self.address.log})")

    def end(self) -> None:
        """End the host with its tasks, and return once it is gone; one that does not run is no error.

        Raises:
            ResourceUnavailable: it does not end, not even when killed.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.host_has_ended():
                return
            with contextlib.suppress(OSError, ValueError, IndexError):
                os.kill(int(self.address.lock.read_text().split()[0]), number)
            polling.wait_until(self.host_has_ended, timeout=END_SECONDS)
        if not self.host_has_ended():
            raise ResourceUnavailable(f"the engine's host process does not end: see {self.address.log}", transient=True)

    def host_now(self) -> str | None:
        """The host process that lives, as it names itself; None when none does."""
        if self.host_has_ended():
            return None
        with contextlib.suppress(FileNotFoundError, IndexError):
            return self.address.lock.read_text().split()[1]
        return None

    def host_has_ended(self) -> bool:
        """True when no host lives, not even one that is on its way out."""
        try:
            lock = os.open(self.address.lock, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(lock)


def _line(request: dict[str, Any]) -> bytes:
    return json.dumps(request).encode() + b"\n"


def _exchange(connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    connection.sendall(_line(request))
    for answer in _answers(connection, time.monotonic() + ANSWER_SECONDS):
        if "error" in answer:
            raise ResourceUnavailable(f"the engine refuses: {answer['error']}")
        return answer
    raise ResourceUnavailable(f"the engine's host process has not answered for {ANSWER_SECONDS:g} s", transient=True)


def _answers(connection: socket.socket, deadline: float | None) -> Iterator[dict[str, Any]]:
    """Answers as they come, until the deadline; HostGone when the host ends."""
    received = b""
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        connection.settimeout(left)
        try:
            part = connection.recv(65536)
        except TimeoutError:
            return
        if not part:
            raise HostGone
        *lines, received = (received + part).split(b"\n")
        for line in lines:
            yield json.loads(line)
