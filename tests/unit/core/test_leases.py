# SPDX-License-Identifier: Apache-2.0
"""Leases: all resources or none, and everything given back."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from tiny_engine import TinyEngine

from qrmi_core import (
    JobContext,
    LeaseRefused,
    QiskitPrimitive,
    QRMIError,
    ReleaseIncomplete,
    ResourceUnavailable,
    TaskStatus,
)
from qrmi_core.leases import AcquisitionState, Leases, LeaseState, MemoryJournal

HERE = Path(__file__).parent


class Watched(TinyEngine):
    """A tiny engine that keeps count of what it holds, and can be told to fail."""

    def __init__(self, name: str, *, refuses: Exception | None = None, keeps: int = 0) -> None:
        super().__init__(name, {}, JobContext())
        self.refuses = refuses
        self.keeps = keeps
        self.held: list[str] = []

    def acquire(self) -> str:
        if self.refuses is not None:
            raise self.refuses
        self.held.append(super().acquire())
        return self.held[-1]

    def release(self, acquisition_token: str) -> None:
        if self.keeps:
            self.keeps -= 1
            raise ResourceUnavailable("the vendor is away", transient=True)
        super().release(acquisition_token)
        self.held.remove(acquisition_token)


@pytest.fixture(autouse=True)
def tiny_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def leases(journal: MemoryJournal) -> Leases:
    return Leases(journal)


def test_a_lease_holds_every_resource_until_it_is_released(leases: Leases, journal: MemoryJournal) -> None:
    first, second = Watched("first"), Watched("second")
    lease = leases.grant([first, second], seconds=60)
    assert lease.tokens == {"first": first.held[0], "second": second.held[0]}
    assert lease.expires is not None
    assert [record.id for record in journal.live()] == [lease.id]
    leases.release(lease.id)
    assert first.held == second.held == []
    assert journal.live() == []
    record = journal.read(lease.id)
    assert record is not None
    assert record.state is LeaseState.RELEASED
    leases.release(lease.id)


def test_a_refusal_gives_back_what_was_acquired_before_it(leases: Leases, journal: MemoryJournal) -> None:
    first, last = Watched("first"), Watched("last")
    second = Watched("second", refuses=ResourceUnavailable("no lane is free", transient=True))
    with pytest.raises(LeaseRefused, match="second could not be acquired: no lane is free") as refused:
        leases.grant([first, second, last])
    assert refused.value.transient
    assert refused.value.resource == "second"
    assert first.held == last.held == []
    assert journal.live() == []


def test_an_unexpected_error_gives_everything_back_too(leases: Leases, journal: MemoryJournal) -> None:
    first, second = Watched("first"), Watched("second", refuses=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        leases.grant([first, second])
    assert first.held == []
    assert journal.live() == []


def test_what_cannot_be_given_back_is_kept_and_can_be_retried(leases: Leases, journal: MemoryJournal) -> None:
    stuck, fine = Watched("stuck", keeps=1), Watched("fine")
    lease = leases.grant([stuck, fine])
    with pytest.raises(ReleaseIncomplete, match="stuck: the vendor is away; release it again") as incomplete:
        leases.release(lease.id)
    assert incomplete.value.transient
    assert fine.held == []
    (record,) = journal.live()
    assert [each.state for each in record.acquisitions] == [AcquisitionState.RELEASE_PENDING, AcquisitionState.RELEASED]
    leases.release(lease.id)
    assert stuck.held == []
    assert journal.live() == []


def test_a_refused_lease_keeps_what_could_not_be_given_back(leases: Leases, journal: MemoryJournal) -> None:
    stuck = Watched("stuck", keeps=1)
    with pytest.raises(LeaseRefused):
        leases.grant([stuck, Watched("second", refuses=QRMIError("no"))])
    (record,) = journal.live()
    assert record.state is LeaseState.REFUSED
    leases.release(record.id)
    assert stuck.held == []
    assert journal.live() == []


def test_releasing_cancels_the_tasks_of_the_lease(leases: Leases) -> None:
    resource = Watched("first")
    lease = leases.grant([resource])
    in_lease = TinyEngine("first", {}, JobContext(acquisition_token=lease.tokens["first"]))
    task = in_lease.submit(QiskitPrimitive("sampler", json.dumps({"sleep": 60}).encode()))
    leases.release(lease.id)
    assert task.status() is TaskStatus.CANCELLED


def test_the_intent_is_in_the_journal_before_the_vendor_is_called(leases: Leases, journal: MemoryJournal) -> None:
    seen = []

    class Looking(Watched):
        def acquire(self) -> str:
            (record,) = journal.live()
            seen.append((record.state, record.acquisitions[0].state))
            return super().acquire()

    lease = leases.grant([Looking("first")])
    assert seen == [(LeaseState.GRANTING, AcquisitionState.ACQUIRING)]
    leases.release(lease.id)


def test_no_token_shows_in_texts(leases: Leases, journal: MemoryJournal) -> None:
    lease = leases.grant([Watched("first")])
    assert lease.tokens["first"] not in f"{lease!r} {journal.read(lease.id)!r}"
    leases.release(lease.id)
    assert os.environ.get("QRMI_JOB_ACQUISITION_TOKEN") is None


def test_a_resource_is_granted_once_in_a_lease(leases: Leases, journal: MemoryJournal) -> None:
    with pytest.raises(LeaseRefused, match="first is asked for twice"):
        leases.grant([Watched("first"), Watched("first")])
    assert journal.live() == []


def test_two_threads_may_release_the_same_lease(leases: Leases, journal: MemoryJournal) -> None:
    resource = Watched("first")
    lease = leases.grant([resource])
    failures: list[Exception] = []

    def release() -> None:
        try:
            leases.release(lease.id)
        except Exception as error:  # noqa: BLE001  whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=release) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert resource.held == []
    assert journal.live() == []
