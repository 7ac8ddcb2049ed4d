# SPDX-License-Identifier: Apache-2.0
"""Where the host process of an engine listens: a Unix socket in the spool."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qrmi_core import polling
from qrmi_core.errors import ResourceUnavailable

__all__ = ["HostAddress"]

_LONGEST_PATH = 100
_SHOWN_OF_KEY = 13


@dataclass(frozen=True)
class HostAddress:
    """One host process: of an engine type, for one lease (or for the user, outside of any), on one machine."""

    hosts: Path
    engine: str
    key: str

    @property
    def stem(self) -> str:
        return f"{self.engine}-{self.key[:_SHOWN_OF_KEY]}-{socket.gethostname()}"

    @property
    def socket_path(self) -> Path:
        return self.hosts / f"{self.stem}.sock"

    @property
    def lock(self) -> Path:
        """Held by the host as long as it lives; its process id and a random word stand in it."""
        return self.hosts / f"{self.stem}.lock"

    @property
    def starting(self) -> Path:
        """Held by the client that starts the host."""
        return self.hosts / f"{self.stem}.starting"

    @property
    def log(self) -> Path:
        return self.hosts / f"{self.stem}.log"

    def remove_files(self) -> None:
        """Remove what a host of a lease leaves, which no other will come after; a log only if nothing is in it."""
        for path in (self.socket_path, self.starting, self.lock):
            path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size == 0:
                self.log.unlink()

    def connect(self, timeout: float) -> socket.socket:
        """A connection to the host.

        Raises:
            OSError: nobody listens.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            with self._short() as path:
                # With its queue full, a socket says so at once instead of letting wait.
                if not polling.wait_until(lambda: _connected(connection, path), timeout=timeout):
                    raise TimeoutError(f"{self.socket_path} takes no connection for {timeout:g} s")
        except BaseException:
            connection.close()
            raise
        return connection

    def listen(self) -> socket.socket:
        """The host's listening socket; an old one is replaced."""
        self.socket_path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._short() as path:
            listener.bind(path)
        self.socket_path.chmod(0o600)
        listener.listen(1024)
        listener.setblocking(False)
        return listener

    @contextlib.contextmanager
    def _short(self) -> Iterator[str]:
        """The socket's path; a long one through /proc, since an address holds about 100 bytes only."""
        path = os.fsencode(self.socket_path)
        if len(path) <= _LONGEST_PATH:
            yield os.fsdecode(path)
            return
        if not Path("/proc/self/fd").is_dir():
            raise ResourceUnavailable(
                f"the path {self.socket_path} is too long for a socket: set XDG_STATE_HOME to a shorter one"
            )
        directory = os.open(self.hosts, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{directory}/{self.socket_path.name}"
        finally:
            os.close(directory)


def _connected(connection: socket.socket, path: str) -> bool:
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True
