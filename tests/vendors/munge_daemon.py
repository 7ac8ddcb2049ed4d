# SPDX-License-Identifier: Apache-2.0
"""A private munged with a key of its own, for as long as a ``with`` block lasts.

Where munge is not installed, Debian's packages are fetched and unpacked under ``build/munge``; nothing is installed and
nothing needs root. A second daemon in a user namespace speaks for another user: it has the same key, and takes whoever
asks it for that user.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from qrmi_core import polling

__all__ = ["OTHER_UID", "Munged", "libraries", "munged"]

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "munge"
PACKAGES = ("munge", "libmunge2", "libgcrypt20", "libgpg-error0")
OTHER_UID = 4242
START_SECONDS = 20.0


class Munged:
    """The sockets of two daemons with one key: at ``socket`` this user is who they are, at ``other`` OTHER_UID."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._at: dict[str, str] = {}
        self._key = directory / "key"
        self._key.write_bytes(os.urandom(64))
        self._key.chmod(0o400)
        self.socket = self._start("own")

    def at(self, address: str) -> str:
        """The socket of a daemon as on another host: credentials that it makes have this address for their origin."""
        if address not in self._at:
            self._at[address] = self._start(f"at-{address}", origin=address)
        return self._at[address]

    @functools.cached_property
    def other(self) -> str:
        return self._start("other", "unshare", "--user", f"--map-user={OTHER_UID}", "--")

    def _start(self, name: str, *before: str, origin: str | None = None) -> str:
        socket = str(self._directory / name)
        self._stack.enter_context(_daemon(self._key, socket, before, origin))
        return socket


@contextlib.contextmanager
def munged() -> Iterator[Munged]:
    """A daemon, and the other where it is asked for; both end with the block, and with this process."""
    with contextlib.ExitStack() as stack:
        yield Munged(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="munge-"))), stack)


@contextlib.contextmanager
def _daemon(key: Path, socket: str, before: tuple[str, ...], origin: str | None) -> Iterator[None]:
    files = {"socket": socket, "key-file": key}
    files |= {f"{name}-file": f"{socket}.{name}" for name in ("pid", "seed", "log")}
    options = [f"--{name}={file}" for name, file in files.items()]
    if origin is not None:
        options.append(f"--origin={origin}")
    command = ["setpriv", "--pdeathsig", "TERM", "--", *before, _munged(), "--foreground", "--force", *options]
    environment = os.environ | {"LD_LIBRARY_PATH": libraries()}
    with Path(f"{socket}.out").open("wb") as out, subprocess.Popen(command, env=environment, stderr=out) as daemon:
        try:
            polling.wait_until(lambda: daemon.poll() is not None or Path(socket).exists(), timeout=START_SECONDS)
            assert daemon.poll() is None, f"{command}\n{Path(out.name).read_text()}"
            assert Path(socket).exists(), f"munged does not listen after {START_SECONDS:g} s"
            yield
        finally:
            # Between a look at its flag and its next wait it misses a signal.
            assert polling.wait_until(lambda: _is_over(daemon), timeout=START_SECONDS), f"{command} does not end"


def _is_over(daemon: subprocess.Popen[bytes]) -> bool:
    if daemon.poll() is None:
        daemon.terminate()
    return daemon.poll() is not None


def _munged() -> str:
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}{_unpacked() / 'usr' / 'sbin'}"
    found = shutil.which("munged", path=path)
    assert found is not None
    return found


@functools.cache
def libraries() -> str:
    """Directories for LD_LIBRARY_PATH; this process has libmunge loaded from there afterwards."""
    found = [str(file) for file in _unpacked().glob("**/libmunge.so.2")]
    for file in found:
        ctypes.CDLL(file)
    return os.pathsep.join([*(str(Path(file).parent) for file in found), os.environ.get("LD_LIBRARY_PATH", "")])


@functools.cache
def _unpacked() -> Path:
    """Where the packages lie unpacked; empty where the host has munge of its own."""
    tree = KEPT / "tree"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists() and not _is_installed():
            with tempfile.TemporaryDirectory(dir=KEPT) as draft:
                _fetch(Path(draft))
                (Path(draft) / "tree").rename(tree)
    return tree


def _is_installed() -> bool:
    try:
        ctypes.CDLL("libmunge.so.2")
    except OSError:
        return False
    return shutil.which("munged", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin") is not None


def _fetch(directory: Path) -> None:
    download = ["apt-get", "--quiet", "-o", "APT::Sandbox::User=", "download", *PACKAGES]
    if _run(download, directory).returncode:
        # The lists of packages are missing or old; fresh ones of our own need no rights.
        state = directory / "state"
        (state / "lists" / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::Cache={state}"]
        for command in (["apt-get", "--quiet", *own, "update"], [*download[:1], *own, *download[1:]]):
            done = _run(command, directory)
            assert done.returncode == 0, f"munge is not installed and cannot be fetched: {command}\n{done.stdout}"
    for package in directory.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, directory / "tree"], check=True, timeout=60)


def _run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100, check=False
    )


if __name__ == "__main__":
    libraries()
