# SPDX-License-Identifier: Apache-2.0
"""The journal's file over months: what it forgets, and what to do when it is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from shelf import Shelf, ShelfSource, holder, look

from qrmi_core import JobContext
from qrmi_core.leases import LeaseRecord, LeaseState, LeaseTask
from qrmi_core.leases.journal import JournalUnavailable, MemoryJournal
from qrmi_core.leases.keeper import LeaseKeeper
from qrmi_core.leases.sqlite_journal import SqliteJournal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal")
    yield journal
    journal.close()


def shelf(source: ShelfSource, name: str) -> Shelf:
    return Shelf(name, source.directory, JobContext())


def open_files() -> list[str]:
    """The files that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.append(str(descriptor.readlink()))
    return found


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_what_is_noted_once_is_in_place_of_nothing_that_has_ended(kind: str, journal: SqliteJournal) -> None:
    kept = journal if kind == "file" else MemoryJournal()
    kept.write(LeaseRecord("lease", LeaseState.GRANTED, 1.0, None, ()))
    tasks = [LeaseTask("a", name) for name in ("unseen", "seen")]
    for task in tasks:
        kept.add_task("lease", task, most=9).result(10)
    unseen, seen = (replace(task, ended=5.0, usage=1.5, outcome="completed") for task in tasks)
    kept.update_task(seen).result(10)
    for task in tasks:
        kept.update_task(replace(task, ended=6.0, outcome="cancelled"), once=True).result(10)
    assert kept.tasks("lease") == []
    kept.update_task(unseen).result(10)
    if isinstance(kept, SqliteJournal):
        rows = kept.rows("SELECT task_id, ended, usage, outcome FROM tasks ORDER BY 1")
        assert rows == [("seen", 5.0, 1.5, "completed"), ("unseen", 5.0, 1.5, "completed")]
    else:
        assert {task.row() for task in kept._tasks["lease"]} == {seen.row(), unseen.row()}


def test_leases_are_forgotten_a_month_after_their_end(journal: SqliteJournal, tmp_path: Path) -> None:
    source = ShelfSource(tmp_path)
    keeper = LeaseKeeper(journal, source, {"a": 1, "b": 3})
    month = 30 * 86400.0
    old, young, held, pending = (keeper.grant(holder(job), {name: 1}, wait=0) for job, name in enumerate("bbba", 1))
    for lease in (old, pending):
        task = LeaseTask(lease.acquisitions[0].resource, shelf(source, lease.resources).start("task"))
        keeper.note_task(lease.id, task).result()
    for lease in (old, young):
        keeper.release(lease.id, why="test")
    (shelf(source, "a").directory / "away").touch()
    keeper.release(pending.id, why="test")
    for lease, age in ((old, month + 60), (young, month - 60), (held, 2 * month), (pending, 2 * month)):
        record = journal.read(lease.id)
        assert record is not None
        ended = None if record.may_hold else time.time() - age
        journal.write(replace(record, granted=time.time() - age - 60, ended=ended))
    keeper.prune()
    assert [journal.read(lease.id) is None for lease in (old, young, held, pending)] == [True, False, False, False]
    assert journal.tasks(old.id) == []
    assert len(journal.tasks(pending.id)) == 1
    assert sorted(record.id for record in journal.live()) == sorted([held.id, pending.id])


def test_thousands_are_forgotten_while_others_write(journal: SqliteJournal) -> None:
    ended = LeaseRecord("", LeaseState.RELEASED, 1.0, None, (), ended=2.0)
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda number: journal.write(replace(ended, id=str(number))), range(1200)))
        pruning = pool.submit(journal.prune, 3.0)
        list(pool.map(lambda number: journal.write(replace(ended, id=f"new{number}", ended=4.0)), range(50)))
    assert pruning.result() == 1200
    assert journal.prune(3.0) == 0
    assert journal.read("new7") is not None


@pytest.mark.parametrize("damage", ["not a database", "a page", "the start"])
def test_a_damaged_journal_says_what_to_do_and_the_way_back_holds(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "journal.sqlite"
    source = ShelfSource(tmp_path)
    journal = SqliteJournal(file)
    keeper = LeaseKeeper(journal, source, {"a": 1})
    granted = keeper.grant(holder(), {"a": 1}, wait=0)
    with contextlib.closing(sqlite3.connect(file)) as own, contextlib.closing(sqlite3.connect(tmp_path / "copy")) as to:
        own.backup(to)
    for number in range(200):
        journal.write(replace(granted, id=f"{number:032x}", holder=None, state=LeaseState.RELEASED, acquisitions=()))
    journal.close()
    content = bytearray(file.read_bytes())
    match damage:
        case "not a database":
            content[:] = b"x" * 5000
        case "a page":
            content[4096 * 3 : 4096 * 8] = bytes(range(256)) * 80
        case "the start":
            content[100:600] = b"x" * 500
    file.write_bytes(content)
    with pytest.raises(
        JournalUnavailable, match=r"journal.sqlite is damaged .*: stop the gateway, move journal"
    ) as told:
        SqliteJournal(file)
    assert not told.value.transient
    assert [each for each in open_files() if each.startswith(str(file))] == []
    for name in ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "copy").rename(file)
    again = SqliteJournal(file)
    other = LeaseKeeper(again, source, {"a": 1})
    other.recover()
    assert [record.id for record in other.live()] == [granted.id]
    look(other, {}, taken=time.time() + 1)
    assert (other.live(), shelf(source, "a").held()) == ([], [])
    again.close()


def test_what_waits_goes_to_the_disk_in_one_commit_and_both_are_counted(journal: SqliteJournal) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: sqlite3.Connection) -> bool:
        begun.set()
        return go_on.wait(30)

    first = journal.change(slow)
    assert begun.wait(30)
    rest = [journal.change(lambda _: None) for _ in range(20)]
    go_on.set()
    assert first.result(30)
    for change in rest:
        change.result(30)
    journal.change(lambda _: None).result(30)
    assert (journal.changes, journal.commits) == (22, 3)


def test_a_journal_in_memory_forgets_as_well() -> None:
    journal = MemoryJournal()
    for name, ended in (("old", 2.0), ("young", 4.0), ("held", None)):
        state = LeaseState.RELEASED if ended else LeaseState.GRANTED
        journal.write(LeaseRecord(name, state, 1.0, None, (), ended=ended))
    assert journal.prune(3.0) == 1
    assert [journal.read(name) is None for name in ("old", "young", "held")] == [True, False, False]


def test_who_asks_a_journal_that_is_being_closed_is_told_so(tmp_path: Path) -> None:
    held = [LeaseRecord(f"lease{number}", LeaseState.GRANTED, 1.0, None, ()) for number in range(200)]

    def read_until_closed(journal: SqliteJournal) -> None:
        while len(journal.live()) == len(held):
            pass

    for attempt in range(5):
        journal = SqliteJournal(tmp_path / f"journal{attempt}")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(journal.write, held))
            reading = [pool.submit(read_until_closed, journal) for _ in range(4)]
            journal.close()
            for each in reading:
                with pytest.raises(JournalUnavailable, match="cannot be used"):
                    each.result(10)
        with pytest.raises(JournalUnavailable, match="is closed: the gateway is stopping"):
            journal.write(held[0])
        journal.close()


def test_a_journal_of_the_first_version_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    SqliteJournal(file).close()
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript("""
            DROP TABLE tokens; DROP TABLE secrets; DROP TABLE tasks;
            DROP INDEX untold; ALTER TABLE leases DROP COLUMN told;
            CREATE TABLE tasks (
                lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE, resource TEXT NOT NULL,
                task_id TEXT NOT NULL, PRIMARY KEY (lease, resource, task_id));
            INSERT INTO leases (id, state, granted, transient, owner, nodes_done, may_hold)
                VALUES ('old', 'granted', 1.0, 0, '', '[]', 1);
            INSERT INTO tasks VALUES ('old', 'a', '12');
            PRAGMA user_version = 1;""")
    journal = SqliteJournal(file)
    try:
        assert journal.tasks("old") == [LeaseTask("a", "12")]
        journal.update_task(LeaseTask("a", "12", ended=5.0, shots=100, usage=1.5, outcome="completed")).result(10)
        assert journal.tasks("old") == []
        assert journal.rows("SELECT kind, shots, usage, outcome FROM tasks") == [("task", 100, 1.5, "completed")]
        journal.change(lambda connection: connection.execute("INSERT INTO tokens VALUES (x'00', 'old')")).result(10)
        assert journal.rows("SELECT lease FROM tokens") == [("old",)]
    finally:
        journal.close()
