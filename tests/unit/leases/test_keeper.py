# SPDX-License-Identifier: Apache-2.0
"""The keeper: one lease for a run of a job, lanes never shared, and everything given back whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from shelf import Shelf, ShelfSource, holder, look, retry

from qrmi_core import JobContext, LeaseRefused, polling
from qrmi_core.leases import AcquisitionState, LeaseState, LeaseTask, failpoints
from qrmi_core.leases.journal import JournalUnavailable
from qrmi_core.leases.keeper import LeaseKeeper
from qrmi_core.leases.records import LeaseRecord
from qrmi_core.leases.sqlite_journal import SqliteJournal

LEASES = Path(failpoints.__file__).parent
STEPS = sorted(set(re.findall(r'step\("([^"]+)"\)', "".join(file.read_text() for file in LEASES.glob("*.py")))))
PLACES = [f"{step}:{place}" for step in STEPS for place in ("before", "after")]


@pytest.fixture
def source(tmp_path: Path) -> ShelfSource:
    return ShelfSource(tmp_path)


@pytest.fixture
def keeper(journal: SqliteJournal, source: ShelfSource) -> LeaseKeeper:
    lanes = {"a": 1, "b": 3, "c": 1, "local": 1}
    return LeaseKeeper(journal, source, lanes, {"pool": ("a", "c")})


def shelf(source: ShelfSource, name: str) -> Shelf:
    return Shelf(name, source.directory, JobContext())


def states(record: LeaseRecord | None) -> list[AcquisitionState]:
    assert record is not None
    return [each.state for each in record.acquisitions]


def test_a_lease_survives_a_new_process(keeper: LeaseKeeper, journal: SqliteJournal, source: ShelfSource) -> None:
    granted = keeper.grant(holder(ends=time.time() + 60), {"a": 1, "local": 1}, wait=0)
    assert granted.acquisition("a").token == shelf(source, "a").held()[0]
    journal.close()
    again = SqliteJournal(source.directory / "journal")
    other = LeaseKeeper(again, source, {"a": 1})
    other.recover()
    assert [record.id for record in other.live()] == [granted.id]
    assert other.grant(holder(), {"a": 1}, wait=0) == granted
    other.node_done(granted.id, "n1")
    assert shelf(source, "a").held() == []
    assert states(again.read(granted.id)) == [AcquisitionState.RELEASED] * 2
    with pytest.raises(
        LeaseRefused, match=r"the lease of this run of job 1 was given back already \(the job has ended"
    ):
        other.grant(holder(), {"a": 1}, wait=0)
    again.close()


def test_what_this_process_grants_meanwhile_is_no_leftover(
    keeper: LeaseKeeper, journal: SqliteJournal, source: ShelfSource
) -> None:
    granted = keeper.grant(holder(), {"a": 1}, wait=0)
    journal.write(replace(granted, state=LeaseState.GRANTING))
    keeper.recover()
    assert shelf(source, "a").held() == [granted.acquisition("a").token]
    assert [record.state for record in keeper.live()] == [LeaseState.GRANTED]


def test_only_one_process_keeps_a_journal(journal: SqliteJournal, tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="is in use: another gateway runs with it"):
        SqliteJournal(tmp_path / "journal")


def test_a_newer_journal_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "newer")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalUnavailable, match=r"is of version 99, and this program knows \d+: start"):
        SqliteJournal(tmp_path / "newer")


def test_sixteen_at_once_get_one_lease(keeper: LeaseKeeper, source: ShelfSource) -> None:
    found: list[LeaseRecord] = []
    asking = [
        threading.Thread(target=lambda: found.append(keeper.grant(holder(), {"a": 1, "b": 3}, wait=5)))
        for _ in range(16)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(10)
    assert len(found) == 16
    assert len({record.id for record in found}) == 1
    assert len(shelf(source, "a").held()) == len(shelf(source, "b").held()) == 1


def test_lanes_are_waited_for_and_never_shared(keeper: LeaseKeeper, source: ShelfSource) -> None:
    first = keeper.grant(holder(1), {"b": 2}, wait=0)
    keeper.grant(holder(2), {"b": 1}, wait=0)
    assert keeper.used("b") == 3
    with pytest.raises(LeaseRefused, match="b is held by job 1 and job 2: it is still being given back") as refused:
        keeper.grant(holder(3), {"b": 1}, wait=0)
    assert refused.value.transient
    late = threading.Timer(0.2, lambda: keeper.release(first.id, why="test"))
    late.start()
    assert keeper.grant(holder(3), {"b": 2}, wait=5).state is LeaseState.GRANTED
    late.join()
    with pytest.raises(LeaseRefused, match="b has no 4 lanes at this site") as refused:
        keeper.grant(holder(4), {"b": 4}, wait=5)
    assert not refused.value.transient


def test_all_or_nothing(keeper: LeaseKeeper, source: ShelfSource) -> None:
    (shelf(source, "b").directory / "refuse").touch()
    with pytest.raises(LeaseRefused, match="b could not be acquired: b is not for you") as refused:
        keeper.grant(holder(), {"a": 1, "b": 1}, wait=5)
    assert not refused.value.transient
    assert shelf(source, "a").held() == []
    assert keeper.live() == []
    with pytest.raises(LeaseRefused, match="ada may not use secret"):
        keeper.grant(holder(), {"a": 1, "secret": 1}, wait=5)


def test_a_vendor_that_comes_back_in_time_is_waited_for(keeper: LeaseKeeper, source: ShelfSource) -> None:
    away = shelf(source, "b").directory / "away"
    away.touch()
    with pytest.raises(LeaseRefused, match="b could not be acquired: b does not answer") as refused:
        keeper.grant(holder(), {"a": 1, "b": 1}, wait=0.2)
    assert refused.value.transient
    assert shelf(source, "a").held() == []
    back = threading.Timer(0.3, away.unlink)
    back.start()
    assert keeper.grant(holder(), {"a": 1, "b": 1}, wait=20).state is LeaseState.GRANTED
    back.join()


def test_of_a_pool_the_shortest_queue(keeper: LeaseKeeper, source: ShelfSource) -> None:
    source.queues = {"a": 5, "c": 2}
    first = keeper.grant(holder(1), {"pool": 1}, wait=0)
    assert [(each.resource, each.asked) for each in first.acquisitions] == [("c", "pool")]
    second = keeper.grant(holder(2), {"pool": 1}, wait=0)
    assert [each.resource for each in second.acquisitions] == ["a"]
    with pytest.raises(LeaseRefused, match="a is held by job 2, c is held by job 1"):
        keeper.grant(holder(3), {"pool": 1}, wait=0)


def test_who_waits_for_a_pool_hurries_what_its_members_are_still_to_give_back(
    keeper: LeaseKeeper, source: ShelfSource
) -> None:
    first, second = (keeper.grant(holder(job), {name: 1}, wait=0) for job, name in ((1, "a"), (2, "c")))
    away = shelf(source, "a").directory / "away"
    away.touch()
    keeper.release(first.id, why="test")
    assert keeper.due() == []
    with pytest.raises(LeaseRefused, match="a is held by job 1"):
        keeper.grant(holder(3), {"pool": 1}, wait=0)
    assert [record.id for record in keeper.due()] == [first.id]
    assert keeper.current(second.id) == second


def test_the_last_node_releases(keeper: LeaseKeeper, source: ShelfSource) -> None:
    lease = keeper.grant(holder(nodes=("n1", "n2")), {"a": 1}, wait=0)
    keeper.node_done(lease.id, "n1")
    keeper.node_done(lease.id, "n1")
    assert shelf(source, "a").held()
    keeper.nodes_done_of(1, "n2", before=lease.granted)
    assert shelf(source, "a").held()
    keeper.nodes_done_of(1, "n2", before=time.time())
    assert shelf(source, "a").held() == []


def test_jobs_that_are_no_more_lose_their_leases(keeper: LeaseKeeper, source: ShelfSource) -> None:
    ends = time.time() + 60
    over, lives, reused = (keeper.grant(holder(job, ends=ends), {"b": 1}, wait=0) for job in (1, 2, 3))
    key = holder(2).key
    alive = {2: (key, ends + 30), 3: (holder(3, restarts=1).key, ends)}
    look(keeper, alive, taken=over.granted)
    assert len(keeper.live()) == 3, "a list from before a grant says nothing of it"
    look(keeper, alive, taken=time.time() + 1)
    assert [record.id for record in keeper.live()] == [lives.id]
    (record,) = keeper.live()
    assert record.expires == ends + 90
    assert len(shelf(source, "b").held()) == 1
    del reused


def test_a_release_is_tried_until_it_succeeds(keeper: LeaseKeeper, source: ShelfSource) -> None:
    lease = keeper.grant(holder(), {"a": 1}, wait=0)
    away = shelf(source, "a").directory / "away"
    away.touch()
    record = keeper.release(lease.id, why="test")
    assert states(record) == [AcquisitionState.RELEASE_PENDING]
    assert "a does not answer" in str(record and record.acquisitions[0].reason)
    retry(keeper)
    with pytest.raises(LeaseRefused, match="a is held by job 1"):
        keeper.grant(holder(2), {"a": 1}, wait=0)
    away.unlink()
    retry(keeper)
    assert keeper.live() == []
    assert shelf(source, "a").held() == []


def test_tasks_are_cancelled_and_what_cannot_be_keeps_its_lane(keeper: LeaseKeeper, source: ShelfSource) -> None:
    first = keeper.grant(holder(1), {"a": 1, "b": 1}, wait=0)
    for name in ("a", "b"):
        keeper.note_task(first.id, LeaseTask(name, shelf(source, name).start("task"))).result()
    (shelf(source, "b").directory / "cannot-cancel").touch()
    record = keeper.release(first.id, why="test")
    assert states(record) == [AcquisitionState.RELEASED, AcquisitionState.DRAINING]
    assert shelf(source, "a").task_status("task").value == "cancelled"
    assert keeper.used("b") == 1
    shelf(source, "b").end("task", "completed")
    polling.wait_until(lambda: retry(keeper) or not keeper.live(), timeout=10)
    assert keeper.used("b") == 0
    with pytest.raises(LeaseRefused, match="no lease 12 has a resource a"):
        keeper.note_task("12", LeaseTask("a", "x")).result()


def test_a_task_that_is_announced_late_is_cancelled(keeper: LeaseKeeper, source: ShelfSource) -> None:
    lease = keeper.grant(holder(), {"a": 1}, wait=0)
    task = shelf(source, "a").start("late")
    keeper.release(lease.id, why="test")
    keeper.note_task(lease.id, LeaseTask("a", task)).result()
    retry(keeper)
    assert shelf(source, "a").task_status(task).value == "cancelled"
    assert keeper.live() == []


def test_tasks_that_nobody_announced_are_found_by_their_mark_and_cancelled(
    keeper: LeaseKeeper, journal: SqliteJournal, source: ShelfSource
) -> None:
    """Also one that the vendor's list shows after the release; its lane is somebody else's by then."""
    lease = keeper.grant(holder(), {"a": 1}, wait=0)
    source.direct.add("a")
    a = shelf(source, "a")
    listed = a.directory / f"of-{lease.id}"
    listed.write_text(a.start("first"))
    record = keeper.release(lease.id, why="test")
    assert (states(record), keeper.used("a")) == ([AcquisitionState.SETTLING], 0)
    assert record is not None
    assert record.is_given_back
    assert (a.task_status("first").value, a.held()) == ("cancelled", [])
    other = keeper.grant(holder(2), {"a": 1}, wait=0)
    listed.write_text(f"first {a.start('late')}")
    retry(keeper)
    assert a.task_status("late").value == "running"  # the list is not asked before its lag is over
    journal.close()
    again = SqliteJournal(source.directory / "journal")
    heir = LeaseKeeper(again, source, {"a": 1})
    heir.recover()
    assert polling.wait_until(lambda: retry(heir) or len(heir.live()) == 1, timeout=10)
    assert a.task_status("late").value == "cancelled"
    assert (heir.live(), a.held()) == ([other], [other.acquisition("a").token])
    rows = again.rows("SELECT task_id, outcome FROM tasks WHERE lease = ? ORDER BY 1", (lease.id,))
    assert rows == [("first", "cancelled"), ("late", "cancelled")]
    again.close()


def test_what_came_of_tasks_is_noted_when_the_lease_ends(
    keeper: LeaseKeeper, journal: SqliteJournal, source: ShelfSource
) -> None:
    """Their program may never have asked; one that goes on after its cancellation is asked for again."""
    lease = keeper.grant(holder(), {"a": 1, "b": 1}, wait=0)
    a, b = shelf(source, "a"), shelf(source, "b")
    for name in ("done", "gone"):
        keeper.note_task(lease.id, LeaseTask("a", a.start(name))).result()
    a.end("done", "completed")
    (a.directory / "tasks" / "gone").unlink()
    (a.directory / "sticky").touch()
    (b.directory / "sticky").touch()
    keeper.note_task(lease.id, LeaseTask("b", b.start("slow"))).result()
    record = keeper.release(lease.id, why="test")
    assert states(record) == [AcquisitionState.RELEASED, AcquisitionState.SETTLING]
    b.end("slow", "completed")
    assert polling.wait_until(lambda: retry(keeper) or not keeper.live(), timeout=10)
    rows = journal.rows("SELECT task_id, outcome, ended IS NULL FROM tasks ORDER BY 1")
    assert rows == [("done", "completed", 0), ("gone", None, 1), ("slow", "completed", 0)]


def test_results_can_be_read_while_tasks_are_cancelled(keeper: LeaseKeeper, source: ShelfSource) -> None:
    lease = keeper.grant(holder(), {"a": 1}, wait=0)
    keeper.note_task(lease.id, LeaseTask("a", shelf(source, "a").start("task"))).result()
    keeper.cancel_tasks(lease.id)
    assert shelf(source, "a").task_status("task").value == "cancelled"
    assert keeper.live()[0].state is LeaseState.GRANTED


def test_what_cannot_be_written_down_is_not_granted(
    keeper: LeaseKeeper, journal: SqliteJournal, source: ShelfSource
) -> None:
    journal._writer.execute("PRAGMA max_page_count = 1")
    with pytest.raises(JournalUnavailable, match=r"cannot be used \(database or disk is full\): look at the disk"):
        keeper.grant(replace(holder(), account="x" * 100_000), {"a": 1}, wait=0)
    assert shelf(source, "a").held() == []
    journal._writer.execute("PRAGMA max_page_count = 100000")
    assert keeper.grant(holder(), {"a": 1}, wait=0).state is LeaseState.GRANTED


def test_a_release_that_cannot_be_written_down_is_made_later(
    keeper: LeaseKeeper, journal: SqliteJournal, source: ShelfSource
) -> None:
    lease = keeper.grant(holder(), {"a": 1}, wait=0)
    journal._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalUnavailable, match="cannot be used"):
        keeper.release(lease.id, why="test")
    retry(keeper)
    journal._writer.execute("PRAGMA query_only = OFF")
    retry(keeper)
    assert shelf(source, "a").held() == []
    assert keeper.live() == []


def test_what_cannot_be_cancelled_keeps_its_lane_beyond_the_jobs_time(
    keeper: LeaseKeeper, journal: SqliteJournal, source: ShelfSource
) -> None:
    """The limit ends what the vendor acquired, and no task of it, nor what a vendor without limits holds."""
    task, away = (
        keeper.grant(holder(job, ends=time.time() + 60), {name: 1}, wait=0) for job, name in ((1, "a"), (2, "b"))
    )
    keeper.note_task(task.id, LeaseTask("a", shelf(source, "a").start("task"))).result()
    (shelf(source, "a").directory / "cannot-cancel").touch()
    (shelf(source, "b").directory / "away").touch()
    for lease in (task, away):
        record = keeper.release(lease.id, why="test")
        assert record is not None
        over = replace(record.acquisitions[0], until=time.time() - 1, next_try=0.0)
        keeper._lanes.keep(record.with_acquisition(over))
    retry(keeper)
    assert [states(record) for record in keeper.live()] == [
        [AcquisitionState.DRAINING],
        [AcquisitionState.RELEASE_PENDING],
    ]
    assert len(shelf(source, "b").held()) == 1


def crash(directory: Path, place: str) -> int:
    environment = os.environ | {"QRMI_FAILPOINT": place}
    command = [sys.executable, str(Path(__file__).with_name("shelf.py")), str(directory)]
    return subprocess.run(command, env=environment, timeout=60, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("place", PLACES)
def test_a_crash_at_any_step_leaves_nothing_behind(place: str, tmp_path: Path) -> None:
    assert crash(tmp_path, place) == -signal.SIGKILL, "the step was never reached"
    source = ShelfSource(tmp_path)
    journal = SqliteJournal(tmp_path / "journal")
    keeper = LeaseKeeper(journal, source, {"a": 1, "b": 1})
    keeper.recover()
    look(keeper, {}, taken=time.time() + 1)
    retry(keeper)
    left = keeper.live()
    held = shelf(source, "a").held() + shelf(source, "b").held()
    if place in {"grant.acquire:after", "grant.outcome:before"}:
        # The vendor's answer never reached the journal: its own time limit ends it.
        assert len(held) == 1
        assert not left
    else:
        assert (held, left) == ([], [])
    task = tmp_path / "a" / "tasks" / "task-1"
    assert not task.exists() or task.read_text() == "cancelled"
    assert keeper.grant(holder(2), {"a": 1, "b": 1}, wait=0).state is LeaseState.GRANTED
    journal.close()


def test_an_acquisition_whose_answer_was_lost_is_shown_until_it_has_ended(tmp_path: Path) -> None:
    source = ShelfSource(tmp_path)
    journal = SqliteJournal(tmp_path / "journal")
    keeper = LeaseKeeper(journal, source, {"a": 1})
    lease = keeper.grant(holder(ends=time.time() + 1000), {"a": 1}, wait=0)
    asking = lease.acquisition("a")
    journal.write(
        lease.with_acquisition(
            type(asking)("a", AcquisitionState.ACQUIRING, until=time.time() + 0.3),
        )
    )
    journal.close()
    journal = SqliteJournal(tmp_path / "journal")
    keeper = LeaseKeeper(journal, source, {"a": 1})
    keeper.recover()
    look(keeper, {}, taken=time.time() + 1)
    (record,) = keeper.live()
    assert states(record) == [AcquisitionState.UNCERTAIN]
    assert "the answer to its acquisition was lost; the vendor ends it at its time limit" in str(
        record.acquisitions[0].reason
    )
    assert keeper.used("a") == 0
    polling.wait_until(lambda: retry(keeper) or not keeper.live(), timeout=10)
    assert states(journal.read(lease.id)) == [AcquisitionState.RELEASED]
    journal.close()
