# SPDX-License-Identifier: Apache-2.0
"""What a job used is written into its record once its lease has ended, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qrmi_core import polling
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.job_comments import JobComments
from qrmi_core.leases import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState, LeaseTask
from qrmi_core.leases.sqlite_journal import SqliteJournal

PATIENCE = 30.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    with contextlib.closing(SqliteJournal(tmp_path / "journal.sqlite")) as opened:
        yield opened


class Helper:
    """Writes into a list; while it is away, nothing."""

    def __init__(self) -> None:
        self.away = False
        self.written: list[tuple[str, int, int, str]] = []

    def system_comment(self, cluster: str, job_id: int, submitted: int, text: str) -> None:
        if self.away:
            raise QRMIError("slurmdbd is away", transient=True)
        self.written.append((cluster, job_id, submitted, text))


def lease(number: int, job: int, restarts: int = 0) -> LeaseRecord:
    holder = Holder(JobKey("c", job, 1000, restarts), 7, "anna", "physics", ("n1",))
    acquired = tuple(Acquisition(name, AcquisitionState.ACQUIRED) for name in ("Fez", "kyiv"))
    return LeaseRecord(f"{number:032x}", LeaseState.GRANTED, time.time(), None, acquired, holder)


def ended(record: LeaseRecord) -> LeaseRecord:
    over = tuple(replace(each, state=AcquisitionState.RELEASED) for each in record.acquisitions)
    return replace(record, state=LeaseState.RELEASED, acquisitions=over, ended=time.time())


async def within(_: str, work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(work, *arguments)


def run(work: Awaitable[Any]) -> None:
    asyncio.run(asyncio.wait_for(work, PATIENCE))


async def settled(comments: JobComments, journal: SqliteJournal, *, accounting: bool = True) -> None:
    """Look and write until nothing is left."""
    writing = asyncio.ensure_future(comments.run())
    try:
        await comments.look(accounting=accounting)
        await comments.look(accounting=accounting)
        untold = functools.partial(journal.rows, "SELECT 1 FROM leases WHERE ended IS NOT NULL AND told IS NOT ended")
        while untold():
            await polling.pause_async(0.01)
    finally:
        writing.cancel()


def add(journal: SqliteJournal, record: LeaseRecord, *tasks: LeaseTask) -> None:
    journal.write(record)
    for task in tasks:
        journal.add_task(record.id, task, most=100).result(PATIENCE)


def test_a_job_that_has_ended_gets_its_usage_once(journal: SqliteJournal) -> None:
    helper = Helper()
    first, idle, running = lease(1, 41), lease(2, 42), lease(3, 43)
    tasks = [
        LeaseTask("Fez", "a", usage=1.5, shots=100), LeaseTask("Fez", "b", usage=2.0, shots=50),
        LeaseTask("Fez", "s", kind="session"), LeaseTask("kyiv", "c"),
    ]  # fmt: skip
    add(journal, first, *tasks)
    add(journal, idle)
    add(journal, running, LeaseTask("Fez", "d"))
    for record in (first, idle):
        journal.write(ended(record))
    run(settled(JobComments(journal, helper, within), journal))
    assert helper.written == [("c", 41, 1000, "qpu v=1 fez.s=3.5 fez.n=2 fez.shots=150 kyiv.n=1")]
    run(settled(JobComments(journal, helper, within), journal))
    assert len(helper.written) == 1


def test_what_was_not_written_is_written_by_the_next_process(journal: SqliteJournal) -> None:
    helper = Helper()
    helper.away = True
    add(journal, lease(1, 41), LeaseTask("Fez", "a", usage=1.0))
    journal.write(ended(lease(1, 41)))

    async def try_once() -> None:
        comments = JobComments(journal, helper, within)
        await comments.look(accounting=True)
        assert comments.pending == 1
        writing = asyncio.ensure_future(comments.run())
        await polling.pause_async(0.1)
        assert comments.pending == 1
        writing.cancel()

    run(try_once())
    assert helper.written == []
    helper.away = False
    run(settled(JobComments(journal, helper, within), journal))
    assert helper.written == [("c", 41, 1000, "qpu v=1 fez.s=1 fez.n=1")]


def test_the_runs_of_a_requeued_job_are_one_record(journal: SqliteJournal) -> None:
    helper = Helper()
    for number in (0, 1):
        record = lease(number, 41, restarts=number)
        add(journal, record, LeaseTask("Fez", f"t{number}", usage=1.0))
        journal.write(ended(record))
    run(settled(JobComments(journal, helper, within), journal))
    assert helper.written == [("c", 41, 1000, "qpu v=1 fez.s=2 fez.n=2")]


def test_a_task_that_comes_late_is_told_too(journal: SqliteJournal) -> None:
    helper = Helper()
    record = lease(1, 41)
    add(journal, record, LeaseTask("Fez", "a"))
    journal.write(ended(record))
    run(settled(JobComments(journal, helper, within), journal))
    add(journal, record, LeaseTask("Fez", "b"))
    journal.write(ended(record))
    run(settled(JobComments(journal, helper, within), journal))
    assert [text for *_, text in helper.written] == ["qpu v=1 fez.n=1", "qpu v=1 fez.n=2"]


def test_without_an_accounting_nothing_waits(journal: SqliteJournal) -> None:
    helper = Helper()
    add(journal, lease(1, 41), LeaseTask("Fez", "a"))
    journal.write(ended(lease(1, 41)))
    run(settled(JobComments(journal, helper, within), journal, accounting=False))
    assert helper.written == []
