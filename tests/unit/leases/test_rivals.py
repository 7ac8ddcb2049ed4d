# SPDX-License-Identifier: Apache-2.0
"""What happens to a lease at the same time, and what its own user may try with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from shelf import Shelf, ShelfSource, holder, retry

from qrmi_core import JobContext, LeaseRefused, SubmissionUncertain, VendorError, VendorUnreachable
from qrmi_core.leases import AcquisitionState, LeaseState, LeaseTask, keeper, releasing
from qrmi_core.leases.keeper import LeaseKeeper
from qrmi_core.leases.records import Holder, LeaseRecord
from qrmi_core.leases.sqlite_journal import SqliteJournal

SECONDS = 10


class Counter(Shelf):
    """Waits where it is told to, and notes what it is asked to cancel."""

    def __init__(self, name: str, source: HookedSource, context: JobContext) -> None:
        super().__init__(name, source.directory, context)
        self._source = source

    def acquire(self) -> str:
        self._source.on_acquire()
        return super().acquire()

    def release(self, acquisition_token: str) -> None:
        self._source.on_release()
        self._source.released.append(acquisition_token)
        super().release(acquisition_token)

    def task_stop(self, task_id: str) -> None:
        self._source.stopped.append(task_id)
        self._source.on_stop(task_id)
        super().task_stop(task_id)


class HookedSource(ShelfSource):
    """A shelf whose answers a test holds back."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.on_acquire: Callable[[], object] = lambda: None
        self.on_release: Callable[[], object] = lambda: None
        self.on_stop: Callable[[str], object] = lambda _: None
        self.released: list[str] = []
        self.stopped: list[str] = []

    def make(self, name: str, holder: Holder, token: str | None, seconds: float) -> Shelf | None:
        return Counter(name, self, JobContext(token))


@pytest.fixture
def source(tmp_path: Path) -> HookedSource:
    return HookedSource(tmp_path)


@pytest.fixture
def leases(journal: SqliteJournal, source: HookedSource) -> LeaseKeeper:
    return LeaseKeeper(journal, source, {"a": 1, "b": 2})


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


class Gate:
    """Called by what is held back; the test waits until it came and lets it go on."""

    def __init__(self) -> None:
        self.came, self.may_go = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        self.came.set()
        assert self.may_go.wait(SECONDS)


def state_of(record: LeaseRecord | None) -> AcquisitionState:
    assert record is not None
    return record.acquisitions[0].state


def test_a_lease_that_is_released_while_it_is_granted_keeps_its_lane_and_is_refused(
    leases: LeaseKeeper, journal: SqliteJournal, source: HookedSource, threads: ThreadPoolExecutor
) -> None:
    source.on_acquire = gate = Gate()
    granting = threads.submit(leases.grant, holder(1), {"a": 1}, wait=0)
    assert gate.came.wait(SECONDS)
    (record,) = leases.live()
    leases.release(record.id, why="ada released it")
    assert leases.used("a") == 1
    gate.may_go.set()
    with pytest.raises(LeaseRefused, match=r"given back before it was granted \(ada released it\)"):
        granting.result(SECONDS)
    assert leases.live() == []
    assert Shelf("a", source.directory, JobContext()).held() == []
    ended = journal.read(record.id)
    assert ended is not None
    assert ended.state is LeaseState.REFUSED


def test_a_task_of_a_lease_that_is_not_granted_yet_changes_nothing(
    leases: LeaseKeeper, source: HookedSource, threads: ThreadPoolExecutor
) -> None:
    source.on_acquire = gate = Gate()
    granting = threads.submit(leases.grant, holder(1), {"a": 1}, wait=0)
    assert gate.came.wait(SECONDS)
    (record,) = leases.live()
    with pytest.raises(LeaseRefused, match="was not granted"):
        leases.note_task(record.id, LeaseTask("a", "12")).result()
    gate.may_go.set()
    granting.result(SECONDS)
    assert state_of(leases.get(record.id)) is AcquisitionState.ACQUIRED


def test_a_task_that_is_announced_during_the_release_is_cancelled(
    leases: LeaseKeeper, source: HookedSource, threads: ThreadPoolExecutor
) -> None:
    lease = leases.grant(holder(), {"a": 1}, wait=0)
    source.on_release = gate = Gate()
    releasing = threads.submit(leases.release, lease.id, why="test")
    assert gate.came.wait(SECONDS)
    leases.note_task(lease.id, LeaseTask("a", Shelf("a", source.directory, JobContext()).start("late"))).result()
    gate.may_go.set()
    releasing.result(SECONDS)
    retry(leases)
    assert source.stopped == ["late"]
    assert leases.live() == []


def test_a_report_or_a_new_limit_that_comes_during_the_release_brings_nothing_back(
    leases: LeaseKeeper,
    journal: SqliteJournal,
    source: HookedSource,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report has read the lease and is held back before it writes; the release must not overtake it."""
    lease = leases.grant(holder(nodes=("n1", "n2"), ends=time.time() + 100), {"a": 1}, wait=0)
    gate, write = Gate(), journal.write

    def held_back(record: LeaseRecord) -> None:
        if record.state is LeaseState.GRANTED:
            gate()
        write(record)

    monkeypatch.setattr(journal, "write", held_back)
    report = threads.submit(leases.node_done, lease.id, "n1")
    assert gate.came.wait(SECONDS)
    release = threads.submit(leases.release, lease.id, why="test")
    with pytest.raises(TimeoutError):
        release.result(0.2)
    gate.may_go.set()
    report.result(SECONDS)
    release.result(SECONDS)
    ended = journal.read(lease.id)
    assert ended is not None
    assert (ended.state, ended.nodes_done, leases.live()) == (LeaseState.RELEASED, ("n1",), [])
    assert len(source.released) == 1


def test_who_waits_for_a_lane_brings_no_released_lease_back(leases: LeaseKeeper, source: HookedSource) -> None:
    lease = leases.grant(holder(), {"a": 1}, wait=0)
    (Shelf("a", source.directory, JobContext()).directory / "away").touch()
    record = leases.release(lease.id, why="test")
    assert state_of(record) is AcquisitionState.RELEASE_PENDING
    (Shelf("a", source.directory, JobContext()).directory / "away").unlink()

    class Lanes(list[LeaseRecord]):
        def __iter__(self) -> Iterator[LeaseRecord]:
            leases.release(lease.id, why="test")  # between looking and keeping
            return super().__iter__()

    live = leases._lanes.live
    leases._lanes.live = lambda: Lanes(live())  # type: ignore[method-assign]
    leases._releaser.hurry("a")
    leases.release(lease.id, why="test")
    assert live() == []
    assert len(source.released) == 2, "once when it was away, and once more"


def test_what_the_vendor_refuses_to_cancel_keeps_no_lane_for_ever(leases: LeaseKeeper, source: HookedSource) -> None:
    lease = leases.grant(holder(), {"a": 1}, wait=0)

    def refuse(task_id: str) -> None:
        if task_id == "somebody-elses":
            raise VendorError("not yours", http_status=403)

    source.on_stop = refuse
    leases.note_task(lease.id, LeaseTask("a", "somebody-elses")).result()
    leases.note_task(lease.id, LeaseTask("a", "own")).result()
    leases.release(lease.id, why="test")
    for _ in range(20):
        leases._lanes.hurry("a")
        retry(leases)
    assert leases.live() == []
    assert source.stopped.count("own") == 1
    assert source.stopped.count("somebody-elses") == releasing.TRIES_OF_A_TASK + 1


def test_a_vendor_that_is_away_is_asked_once_and_not_for_each_task(leases: LeaseKeeper, source: HookedSource) -> None:
    lease = leases.grant(holder(), {"a": 1}, wait=0)
    for number in range(50):
        leases.note_task(lease.id, LeaseTask("a", str(number))).result()

    def away(_: str) -> None:
        raise VendorUnreachable("away", transient=True)

    source.on_stop = away
    assert state_of(leases.release(lease.id, why="test")) is AcquisitionState.RELEASE_PENDING
    assert source.stopped == ["49"]


def test_many_tasks_do_not_keep_the_session_open(
    leases: LeaseKeeper, source: HookedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "CANCEL_SECONDS", -1.0)
    lease = leases.grant(holder(), {"a": 1}, wait=0)
    leases.note_task(lease.id, LeaseTask("a", "1")).result()
    record = leases.release(lease.id, why="test")
    assert record is not None
    assert len(source.released) == 1
    assert record.acquisitions[0].reason == "1 of its tasks are still to be cancelled"


def test_an_old_lease_takes_no_tasks_and_a_late_one_no_lane(
    leases: LeaseKeeper, journal: SqliteJournal, source: HookedSource
) -> None:
    lease = leases.grant(holder(), {"a": 1}, wait=0)
    leases.release(lease.id, why="test")
    leases.note_task(lease.id, LeaseTask("a", "late")).result()
    assert leases.used("a") == 0
    leases.grant(holder(2), {"a": 1}, wait=0)
    retry(leases)
    assert source.stopped == ["late"]
    ended = journal.read(lease.id)
    assert ended is not None
    assert ended.ended is not None
    journal.write(replace(ended, ended=ended.ended - keeper.LATE_SECONDS))
    with pytest.raises(LeaseRefused, match="ended long ago"):
        leases.note_task(lease.id, LeaseTask("a", "another")).result()


def test_a_lease_has_only_so_many_tasks(leases: LeaseKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "MOST_TASKS", 3)
    lease = leases.grant(holder(), {"a": 1}, wait=0)
    for number in (1, 2, 3, 3):
        leases.note_task(lease.id, LeaseTask("a", str(number))).result()
    with pytest.raises(LeaseRefused, match="has 3 tasks already"):
        leases.note_task(lease.id, LeaseTask("a", "4")).result()


def test_what_the_vendor_has_ended_by_itself_keeps_no_lane(leases: LeaseKeeper, source: HookedSource) -> None:
    lease = leases.grant(holder(ends=time.time() + 100), {"a": 1}, wait=0)
    (Shelf("a", source.directory, JobContext()).directory / "away").touch()
    record = leases.release(lease.id, why="test")
    assert record is not None
    assert leases.used("a") == 1
    leases._lanes.keep(record.with_acquisition(replace(record.acquisitions[0], until=time.time() - 1)))
    assert leases.used("a") == 0
    assert leases.live() != []


def test_a_session_whose_answer_was_lost_is_shown_until_it_ends(leases: LeaseKeeper, source: HookedSource) -> None:
    def lose() -> None:
        raise SubmissionUncertain("nobody knows")

    source.on_acquire = lose
    with pytest.raises(LeaseRefused, match="nobody knows"):
        leases.grant(holder(ends=time.time() + 100), {"a": 1}, wait=0)
    (record,) = leases.live()
    assert (record.state, state_of(record)) == (LeaseState.REFUSED, AcquisitionState.UNCERTAIN)


def test_a_resource_that_is_configured_otherwise_is_not_forgotten(
    leases: LeaseKeeper, source: HookedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = leases.grant(holder(), {"a": 1}, wait=0)
    monkeypatch.setattr(source, "make", lambda *_: None)
    record = leases.release(lease.id, why="test")
    assert record is not None
    assert state_of(record) is AcquisitionState.RELEASE_PENDING
    assert "put back its access or credential" in str(record.acquisitions[0].reason)


def test_what_was_acquired_by_a_process_that_is_gone_keeps_nobody_from_starting(
    leases: LeaseKeeper, journal: SqliteJournal, source: HookedSource
) -> None:
    lease = leases.grant(holder(), {"a": 1}, wait=0)
    journal.write(replace(lease, state=LeaseState.GRANTING))
    other = LeaseKeeper(journal, source, {"a": 1, "b": 2})
    other.recover()
    assert source.released == []
    retry(other)
    assert len(source.released) == 1
    assert other.live() == []


def test_nothing_is_left_of_leases_that_ended(leases: LeaseKeeper) -> None:
    for job in range(20):
        lease = leases.grant(holder(job + 1), {"a": 1}, wait=0)
        leases.note_task(lease.id, LeaseTask("a", "task")).result()
        leases.release(lease.id, why="test")
    left = {name: len(value) for name, value in vars(leases._releaser).items() if hasattr(value, "__len__")}
    assert set(left.values()) == {0}, left
