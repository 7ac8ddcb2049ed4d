# SPDX-License-Identifier: Apache-2.0
"""The host process of an engine: imports the worker module once, then forks a worker for each job.

It listens on a Unix socket in the spool; one JSON object a line. Requests and answers:

    {"op": "submit", "resource", "task"}           {"ok": true}          queue the jobs that are new
    {"op": "cancel", "resource", "task", "jobs"}   {"ok": true}          once their workers are gone; jobs null: all
    {"op": "wait", "resource", "ids"}              {"ended": id} ...     one each, as tasks or jobs end
    {"op": "closed", "resource", "task"}           {"ok": true}          a batch was closed: it may have ended by that
    {"op": "status", "resource"}                   {"queued": n, "running": n}
    {"op": "hold"}                                                       the host lives as long as this connection

A host that was held ends, with its tasks, when nobody holds it any more: that is how the tasks of a lease end
with it even if the process that granted it is killed. One that was never held ends after a minute without work. SIGTERM
ends a host at once, its tasks are cancelled.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from qrmi_core.engines.address import HostAddress
from qrmi_core.engines.jobs import Job, Jobs
from qrmi_core.engines.spool import Spool, SpooledTask
from qrmi_core.errors import QRMIError

__all__ = ["main"]

IDLE_SECONDS = 60.0
_LONGEST_LINE = 2**20


@dataclass(eq=False)
class Connection:
    """A client; ``waits`` are the ids whose end it wants to hear of."""

    socket: socket.socket
    received: bytes = b""
    unsent: bytes = b""
    holds: bool = False
    waits: set[str] = field(default_factory=set)


class Host:
    """The loop of the host process."""

    def __init__(self, address: HostAddress, spool: Spool, listener: socket.socket, identity: str) -> None:
        self._address = address
        self._spool = spool
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._jobs = Jobs(identity, self._job_ended, self._close_in_worker)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._loaded = False
        self.was_held = False
        self._stopping = False

    def run(self, worker: str) -> None:
        """Serve until the last holder leaves, a signal comes, or there was nothing to do for a minute."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        try:
            self._load(worker)
            self._serve()
        finally:
            self._address.socket_path.unlink(missing_ok=True)
            self._listener.close()
            reason = "its allocation has ended" if self.was_held else "the engine was told to end"
            self._jobs.cancel(self._jobs.unfinished(), reason, lambda: None)
            self._jobs.reap_all()

    def _load(self, worker: str) -> None:
        """Import the worker module; meanwhile clients wait in the listener's queue.

        Not in a thread of its own: Qiskit crashes in a process forked after the thread that imported it has ended.
        """
        try:
            run, broken = importlib.import_module(worker).run, None
        except Exception as error:  # noqa: BLE001  a worker that cannot be imported fails its tasks, with the reason
            run, broken = None, f"the engine cannot be started: {type(error).__name__}: {error}"
        self._loaded = True
        gc.collect()
        gc.freeze()
        self._jobs.ready(run, broken)

    def _serve(self) -> None:
        idle_since = time.monotonic()
        while not self._stopping:
            busy = bool(self._jobs or self._connections)
            if busy:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= IDLE_SECONDS and not self.was_held:
                return
            patience = None if busy else IDLE_SECONDS
            for key, events in self._selector.select(1.0 if self._jobs.has_unwritten_states else patience):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                else:
                    self._talk(key.data, events)
            self._jobs.reap()
            self._jobs.write_again()
            if self.was_held and not any(connection.holds for connection in self._connections):
                return

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if not self._loaded:
            raise SystemExit  # out of an import that may take seconds

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            accepted, _ = self._listener.accept()
            accepted.setblocking(False)
            connection = Connection(accepted)
            self._connections.add(connection)
            self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _talk(self, connection: Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._send(connection, b"")
            if events & selectors.EVENT_READ:
                part = connection.socket.recv(65536)
                if not part:
                    raise ConnectionResetError
                connection.received += part
                *lines, connection.received = connection.received.split(b"\n")
                if len(connection.received) > _LONGEST_LINE:
                    raise ConnectionResetError
                for line in lines:
                    self._answer(connection, line)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def _tell(self, connection: Connection, **answer: Any) -> None:
        if connection in self._connections:
            try:
                self._send(connection, json.dumps(answer).encode() + b"\n")
            except OSError:
                self._drop(connection)

    def _send(self, connection: Connection, data: bytes) -> None:
        connection.unsent += data
        with contextlib.suppress(BlockingIOError):
            sent = connection.socket.send(connection.unsent)
            connection.unsent = connection.unsent[sent:]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        self._selector.modify(connection.socket, events, connection)

    def _answer(self, connection: Connection, line: bytes) -> None:
        try:
            request = json.loads(line)
            self._do(connection, request)
        except (QRMIError, ValueError, KeyError, TypeError) as error:
            self._tell(connection, error=str(error))

    def _do(self, connection: Connection, request: dict[str, Any]) -> None:
        match request["op"]:
            case "submit":
                self._jobs.add(self._spool.task(request["resource"], request["task"]))
                self._tell(connection, ok=True)
            case "cancel":
                self._cancel(connection, self._spool.task(request["resource"], request["task"]), request["jobs"])
            case "wait":
                self._wait(connection, request["resource"], request["ids"])
            case "closed":
                self._task_ended(self._spool.task(request["resource"], request["task"]))
                self._tell(connection, ok=True)
            case "status":
                queued, running = self._jobs.count(request["resource"])
                self._tell(connection, queued=queued, running=running)
            case "hold":
                connection.holds = self.was_held = True
            case unknown:
                self._tell(connection, error=f"there is no request {unknown!r}")

    def _cancel(self, connection: Connection, task: SpooledTask, job_ids: Sequence[str] | None) -> None:
        def gone() -> None:
            self._task_ended(task)
            self._tell(connection, ok=True)

        self._jobs.add(task)  # perhaps its client ended before it could say so
        unfinished = [job for job in self._jobs.unfinished(task.resource) if job.task.id == task.id]
        chosen = [job for job in unfinished if job_ids is None or job.id in job_ids]
        self._jobs.cancel(chosen, "cancelled by its user", gone)

    def _wait(self, connection: Connection, resource: str, ids: Sequence[str]) -> None:
        for wanted in ids:
            task = self._spool.task(resource, wanted.partition(".")[0])
            info = task.job_info(task.number(wanted)) if "." in wanted else task.info()
            if info.status.is_final:
                self._tell(connection, ended=wanted)
            else:
                connection.waits.add(wanted)
                self._jobs.add(task)  # perhaps its client ended before it could say so

    def _job_ended(self, job: Job) -> None:
        self._announce(job.id)
        self._task_ended(job.task)

    def _task_ended(self, task: SpooledTask) -> None:
        with contextlib.suppress(OSError):
            if task.info().status.is_final:
                self._announce(task.id)

    def _announce(self, ended: str) -> None:
        for connection in list(self._connections):
            if ended in connection.waits:
                connection.waits.discard(ended)
                self._tell(connection, ended=ended)

    def _close_in_worker(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        self._listener.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        for connection in self._connections:
            connection.socket.close()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the host: listen, go to the background, and serve; the caller returns once it listens."""
    parser = argparse.ArgumentParser(description="host process of an engine; started by the first task")
    for option in ("root", "engine", "key", "worker"):
        parser.add_argument(f"--{option}", required=True)
    options = parser.parse_args(arguments)
    spool = Spool(Path(options.root))
    address = HostAddress(spool.hosts, options.engine, options.key)
    lock = os.open(address.lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    listener = address.listen()
    incarnation = os.urandom(8).hex()
    # Of one length each time, so that a reader sees one or the other and no mixture.
    os.pwrite(lock, f"{os.getpid():>12} {incarnation}".encode(), 0)
    if pid := os.fork():
        os.pwrite(lock, f"{pid:>12} {incarnation}".encode(), 0)
        os._exit(0)
    host = Host(address, spool, listener, incarnation)
    with contextlib.suppress(SystemExit):
        host.run(options.worker)
    spool.remove_old(time.time())
    sys.stderr.flush()
    if host.was_held:
        address.remove_files()
    os._exit(0)


if __name__ == "__main__":
    main()
