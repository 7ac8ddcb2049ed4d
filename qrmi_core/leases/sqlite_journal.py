# SPDX-License-Identifier: Apache-2.0
"""The journal in SQLite: one thread writes, and what several callers write at the same time is one commit."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from qrmi_core.leases.journal import Journal, JournalUnavailable, LeaseTask
from qrmi_core.leases.journal_schema import VERSION, bring_up_to_date
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState

__all__ = ["SqliteJournal"]

BUSY_SECONDS = 30.0
MOST_IN_ONE_COMMIT = 200
PRUNED_AT_ONCE = 500
MOST_COUNTS = 10_000
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_LEASE = (
    "id, cluster, job_id, submitted, restarts, uid, user, account, nodes, ends, batch, array, "
    "state, granted, expires, reason, transient, owner, nodes_done, ended, may_hold"
)
_ACQUISITION = "lease, place, resource, lanes, asked, state, token, reason, until, tries, next_try"
TASK_COLUMNS = tuple(each.name for each in fields(LeaseTask))
_KNOWN_TASK = "SELECT 1 FROM tasks WHERE lease = ? AND resource = ? AND task_id = ?"
_NEW_TASK = f"INSERT INTO tasks (lease, {', '.join(TASK_COLUMNS)}) VALUES ({', '.join('?' * (1 + len(TASK_COLUMNS)))})"  # noqa: S608
_CHANGED = ", ".join(f"{name} = ?" for name in TASK_COLUMNS[2:])
_CHANGED_TASK = f"UPDATE tasks SET {_CHANGED} WHERE resource = ? AND task_id = ? AND (ended IS NULL OR ?)"  # noqa: S608
_RUN = "cluster = ? AND job_id = ? AND submitted = ? AND restarts = ? AND state <> 'refused'"


@dataclass
class _Write:
    """Something to be done in a transaction, and where its answer goes."""

    work: Callable[[sqlite3.Connection], Any]
    answer: Future[Any]


class SqliteJournal(Journal):
    """A journal in one file, which only its owner may read: it holds acquisition tokens.

    Every write is on the disk when its call returns. Readers never wait for writers.

    Raises:
        JournalUnavailable: the file cannot be opened, is damaged, or is of a newer version than this program.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading = threading.Lock()
        self.changes = self.commits = 0
        """What was written since it was opened, and how often that went to the disk."""
        self._counts: dict[str, int] = {}  # the writer's alone: to count the tasks of a lease anew each time is slow
        self._asking = threading.Lock()
        self._closed = False
        with contextlib.ExitStack() as opened:
            try:
                self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                opened.callback(os.close, self._lock)
                self._take_lock()
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
                self._writer = self._connect()
                opened.callback(self._writer.close)
                self._prepare(self._writer)
                self._reader = self._connect()
            except (OSError, sqlite3.Error) as error:
                raise self._unavailable(error) from error
            opened.pop_all()
        self._work: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    def _take_lock(self) -> None:
        """Let no second process grant leases from the same journal; the system unlocks it when this one ends."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalUnavailable(f"the journal {self._path} is in use: another gateway runs with it") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise self._damaged(found)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise JournalUnavailable(
                f"the journal {self._path} is of version {version}, and this program knows {VERSION}: "
                f"start the newer version of this program"
            )
        bring_up_to_date(connection, version)

    def _unavailable(self, error: Exception) -> JournalUnavailable:
        if isinstance(error, JournalUnavailable):
            return error
        if getattr(error, "sqlite_errorcode", None) in DAMAGED:
            return self._damaged(error)
        return JournalUnavailable(
            f"the journal {self._path} cannot be used ({error}): look at the disk it is on, and at its owner and mode",
            transient=True,
        )

    def _damaged(self, found: object) -> JournalUnavailable:
        path, what = self._path, " ".join(str(found).split())
        return JournalUnavailable(
            f"the journal {path} is damaged ({what}): stop the gateway, move {path.name}, {path.name}-wal and "
            f"{path.name}-shm out of {path.parent}, put a copy of the journal there if there is one, and start the "
            f"gateway. What was granted since that copy is given back by Slurm alone: see 'Back up and restore' in the "
            f"administrator's guide"
        )

    def _write_all(self) -> None:
        while (first := self._work.get()) is not None:
            batch = [first]
            ends = False
            while len(batch) < MOST_IN_ONE_COMMIT and not self._work.empty():
                following = self._work.get()
                if following is None:
                    ends = True
                    break
                batch.append(following)
            self._commit(batch)
            if ends:
                return

    def _commit(self, batch: list[_Write]) -> None:
        """One transaction; where it fails and there were several, each by itself, so that none fails for another."""
        answers = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                answers = [write.work(self._writer) for write in batch]
                self._writer.execute("COMMIT")
            except BaseException:
                self._counts.clear()
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        except Exception as error:  # noqa: BLE001  whoever waits for the write is told of any error
            if len(batch) > 1:
                for write in batch:
                    self._commit([write])
            else:
                batch[0].answer.set_exception(self._unavailable(error))
            return
        self.commits += 1
        self.changes += len(batch)
        for write, answer in zip(batch, answers, strict=True):
            write.answer.set_result(answer)

    def change(self, work: Callable[[sqlite3.Connection], Any]) -> Future[Any]:
        """Do something in a transaction of the writer's; what others ask for at the same time is one commit with it.

        The future has what ``work`` returned once that is on the disk, or JournalUnavailable.

        Raises:
            JournalUnavailable: the journal is closed.
        """
        write = _Write(work, Future())
        with self._asking:
            if self._closed:
                raise JournalUnavailable(f"the journal {self._path} is closed: the gateway is stopping", transient=True)
            self._work.put(write)
        return write.answer

    def rows(self, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query of SQL finds.

        Raises:
            JournalUnavailable: the journal cannot be read.
        """
        with self._reading:
            try:
                return self._reader.execute(query, tuple(values)).fetchall()
            except sqlite3.Error as error:
                raise self._unavailable(error) from error

    def _do(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        return self.change(work).result()

    def claim(self, record: LeaseRecord) -> LeaseRecord:
        def work(connection: sqlite3.Connection) -> LeaseRecord:
            if record.holder is not None:
                key = record.holder.key
                run = (key.cluster, key.job_id, key.submitted, key.restarts)
                if others := _records(connection, f"WHERE {_RUN}", run):
                    return others[0]
            _keep(connection, record)
            return record

        claimed: LeaseRecord = self._do(work)
        return claimed

    def write(self, record: LeaseRecord) -> None:
        self._do(lambda connection: _keep(connection, record))

    def read(self, lease_id: str) -> LeaseRecord | None:
        return next(iter(self._read("WHERE id = ?", (lease_id,))), None)

    def live(self) -> list[LeaseRecord]:
        return self._read("WHERE may_hold ORDER BY granted", ())

    def _read(self, where: str, values: Iterable[Any]) -> list[LeaseRecord]:
        with self._reading:
            try:
                self._reader.execute("BEGIN")
                try:
                    return _records(self._reader, where, values)
                finally:
                    self._reader.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._unavailable(error) from error

    def add_task(self, lease_id: str, task: LeaseTask, *, most: int) -> Future[bool]:
        row = (lease_id, task.resource, task.task_id)
        values = (lease_id, *task.row())

        def work(connection: sqlite3.Connection) -> bool:
            if connection.execute(_KNOWN_TASK, row).fetchone():
                return True
            count = self._counts.pop(lease_id, None)
            if count is None:
                (count,) = connection.execute("SELECT count(*) FROM tasks WHERE lease = ?", row[:1]).fetchone()
            if count >= most:
                return False
            connection.execute(_NEW_TASK, values)
            if len(self._counts) >= MOST_COUNTS:
                self._counts.pop(next(iter(self._counts)))
            self._counts[lease_id] = count + 1
            return True

        return self.change(work)

    def update_task(self, task: LeaseTask, *, once: bool = False) -> Future[None]:
        values = (*task.row()[2:], task.resource, task.task_id, task.ended is not None and not once)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_CHANGED_TASK, values)

        return self.change(work)

    def tasks(self, lease_id: str) -> list[LeaseTask]:
        query = f"SELECT {', '.join(TASK_COLUMNS)} FROM tasks WHERE lease = ? AND ended IS NULL ORDER BY rowid"  # noqa: S608
        return [LeaseTask(*row) for row in self.rows(query, (lease_id,))]

    def prune(self, before: float) -> int:
        # Few at a time: grants wait for the same writer.
        old = "SELECT id FROM leases WHERE NOT may_hold AND ended < ? LIMIT ?"

        def work(connection: sqlite3.Connection) -> int:
            found = connection.execute(f"DELETE FROM leases WHERE id IN ({old})", (before, PRUNED_AT_ONCE))  # noqa: S608
            return found.rowcount

        pruned = 0
        while (count := int(self._do(work))) > 0:
            pruned += count
        return pruned

    def close(self) -> None:
        with self._asking:
            if self._closed:
                return
            self._closed = True
            self._work.put(None)
        self._thread.join()
        self._writer.close()
        with self._reading:  # SQLite crashes where a connection is closed under a statement of another thread
            self._reader.close()
        os.close(self._lock)


def _keep(connection: sqlite3.Connection, record: LeaseRecord) -> None:
    holder = record.holder
    key = holder and holder.key
    of_job = (key.cluster, key.job_id, key.submitted, key.restarts) if key else (None,) * 4
    of_holder: tuple[Any, ...] = (None,) * 7
    if holder:
        nodes = json.dumps(holder.nodes)
        of_holder = (holder.uid, holder.user, holder.account, nodes, holder.ends, holder.batch, holder.array)
    row = (
        *(record.id, *of_job, *of_holder, record.state.value, record.granted, record.expires, record.reason),
        *(record.transient, record.owner, json.dumps(record.nodes_done), record.ended, record.may_hold),
    )
    names = _LEASE.split(", ")
    changed = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    marks = ", ".join("?" * len(names))
    connection.execute(
        f"INSERT INTO leases ({_LEASE}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changed}",  # noqa: S608
        row,
    )
    connection.execute("DELETE FROM acquisitions WHERE lease = ?", (record.id,))
    connection.executemany(
        f"INSERT INTO acquisitions ({_ACQUISITION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        [
            (
                *(record.id, place, each.resource, each.lanes, each.asked, each.state.value, each.token, each.reason),
                *(each.until, each.tries, each.next_try),
            )
            for place, each in enumerate(record.acquisitions)
        ],
    )


def _records(connection: sqlite3.Connection, where: str, values: Iterable[Any]) -> list[LeaseRecord]:
    records = []
    for row in connection.execute(f"SELECT {_LEASE} FROM leases {where}", tuple(values)).fetchall():  # noqa: S608
        known = dict(zip(_LEASE.split(", "), row, strict=True))
        query = f"SELECT {_ACQUISITION} FROM acquisitions WHERE lease = ? ORDER BY place"  # noqa: S608
        acquisitions = [
            dict(zip(_ACQUISITION.split(", "), each, strict=True)) for each in connection.execute(query, (row[0],))
        ]
        records.append(_record(known, acquisitions))
    return records


def _record(known: dict[str, Any], acquisitions: list[dict[str, Any]]) -> LeaseRecord:
    holder = None
    if known["job_id"] is not None:
        key = JobKey(known["cluster"], known["job_id"], known["submitted"], known["restarts"])
        nodes = tuple(json.loads(known["nodes"]))
        holder = Holder(
            *(key, known["uid"], known["user"], known["account"], nodes, known["ends"]),
            batch=bool(known["batch"]),
            array=known["array"],
        )
    for each in acquisitions:
        del each["lease"], each["place"]
        each["state"] = AcquisitionState(each["state"])
    return LeaseRecord(
        id=known["id"],
        state=LeaseState(known["state"]),
        granted=known["granted"],
        expires=known["expires"],
        acquisitions=tuple(Acquisition(**each) for each in acquisitions),
        holder=holder,
        reason=known["reason"],
        transient=bool(known["transient"]),
        owner=known["owner"],
        nodes_done=tuple(json.loads(known["nodes_done"])),
        ended=known["ended"],
    )
