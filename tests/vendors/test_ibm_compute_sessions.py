# SPDX-License-Identifier: Apache-2.0
"""Sessions of IBM's cloud: opened once, replaced when they have ended, closed however a job ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ibm_compute_case import CASE
from vendor_site import Clock, Site

from qrmi_core import JobContext, QuantumResource, ResourceUnavailable, TaskCancelled, TaskStatus, VendorError
from qrmi_core.drivers import ibm_sessions

TEN_MINUTES = JobContext(timeout_seconds=600)
OPENED = "POST /api/v1/sessions"


CLOCK = Clock()


@pytest.fixture(scope="module")
def everything() -> Iterator[Site]:
    with CASE.start(service_time=CLOCK) as running:
        yield running


@pytest.fixture
def site(everything: Site) -> Iterator[Site]:
    yield everything
    everything.emulator.faults.next_faults, CLOCK.seconds = [], 0.0


def qpu(site: Site, context: JobContext = TEN_MINUTES, **variables: str) -> QuantumResource:
    return site.resource(context=context, QRMI_MIN_POLL="0", **variables)


def opened(site: Site) -> int:
    return site.emulator.counters.requests[OPENED]


def at_the_server(site: Site, session: str) -> Any:
    return site.emulator.dialect._sessions[session]


def session_of(site: Site, task_id: str) -> Any:
    return site.emulator.dialect._jobs[task_id].session


@pytest.mark.parametrize(
    ("context", "variables", "mode", "ttl"),
    [
        (JobContext(), {}, "dedicated", 28800),
        (TEN_MINUTES, {}, "dedicated", 660),
        (TEN_MINUTES, {"QRMI_IBM_QCS_SESSION_MODE": "Batch"}, "batch", 660),
        (TEN_MINUTES, {"QRMI_IBM_QCS_SESSION_MAX_TTL": "300"}, "dedicated", 300),
        (JobContext(timeout_seconds=10**6), {}, "dedicated", 28800),
    ],
)
def test_the_first_task_opens_a_session_that_ends_with_the_job(
    site: Site, context: JobContext, variables: dict[str, str], mode: str, ttl: int
) -> None:
    resource, before = qpu(site, context, **variables), opened(site)
    resource.status()
    assert opened(site) == before
    assert "session_id" not in resource.metadata()
    tasks = [resource.task_start(CASE.payload(number)) for number in (1, 2)]
    assert opened(site) == before + 1
    session = at_the_server(site, resource.metadata()["session_id"])
    assert (session.mode, session.max_ttl) == (mode, ttl)
    assert {session_of(site, task) for task in tasks} == {session.id}


def test_without_sessions_there_are_none(site: Site) -> None:
    resource, before = qpu(site, QRMI_IBM_QCS_SESSION_MODE="none"), opened(site)
    token = resource.acquire()
    assert token
    assert session_of(site, resource.task_start(CASE.payload(1))) is None
    total = site.emulator.counters.total()
    resource.release(token)
    assert (opened(site), site.emulator.counters.total()) == (before, total)


def test_threads_open_one_session_together(site: Site) -> None:
    resource, before = qpu(site), opened(site)
    together = threading.Barrier(6)
    tasks: list[str] = []

    def submit(number: int) -> None:
        together.wait(10)
        tasks.append(resource.task_start(CASE.payload(number)))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert opened(site) == before + 1
    assert len({session_of(site, task) for task in tasks}) == 1
    assert len(tasks) == 6


@pytest.mark.parametrize("variable", [True, False])
def test_the_session_of_the_acquisition_is_used(site: Site, variable: bool) -> None:
    session = qpu(site).acquire()
    before = opened(site)
    if variable:
        resource = qpu(site, QRMI_IBM_QCS_SESSION_ID=session)
    else:
        resource = qpu(site, JobContext(acquisition_token=session))
    assert session_of(site, resource.task_start(CASE.payload(1))) == session
    assert resource.acquire() == session
    assert opened(site) == before


def test_an_empty_acquisition_is_none(site: Site) -> None:
    resource, before = qpu(site, JobContext(acquisition_token="")), opened(site)
    assert session_of(site, resource.task_start(CASE.payload(1)))
    assert opened(site) == before + 1


def ended(site: Site, how: str) -> str:
    """A session that takes no jobs any more."""
    resource = qpu(site)
    session = resource.acquire()
    match how:
        case "closed":
            resource.release(session)
        case "never was":
            return "0" * 20
        case "closes":
            CLOCK.seconds = 60.0
            qpu(site, JobContext(acquisition_token=session)).task_start(CASE.payload(1))
            at_the_server(site, session).accepting_jobs = False
            CLOCK.seconds = 0.0
        case "out of time":
            at_the_server(site, session).look(pending=1)
            at_the_server(site, session).activated -= 10**5
    return session


ENDINGS = ["closed", "never was", "closes", "out of time"]


@pytest.mark.parametrize("how", ENDINGS)
def test_acquire_opens_a_session_instead_of_one_that_has_ended(site: Site, how: str) -> None:
    session = ended(site, how)
    another = qpu(site, JobContext(acquisition_token=session)).acquire()
    assert another != session
    assert at_the_server(site, another).accepting_jobs


@pytest.mark.parametrize("how", ENDINGS)
def test_a_task_opens_a_session_instead_of_one_that_has_ended(site: Site, how: str) -> None:
    session, runs = ended(site, how), site.emulator.device.runs
    resource, before = qpu(site, JobContext(acquisition_token=session)), opened(site)
    task = resource.submit(CASE.payload(9))
    CASE.verify(task.result(timeout=60).data, 9)
    assert resource.metadata()["session_id"] == session_of(site, task.id) != session
    assert (opened(site), site.emulator.device.runs) == (before + 1, runs + 1)


def test_a_job_whose_lease_was_given_back_opens_no_session_of_its_own(site: Site) -> None:
    """Nobody would close it: the gateway does not know of it."""
    of_lease = qpu(site).acquire()
    leased = qpu(site, JobContext(of_lease, 600, lease="0" * 32))
    leased.submit(CASE.payload(1)).result(timeout=60)
    qpu(site).release(of_lease)
    before = opened(site)
    for _ in range(2):
        with pytest.raises(ResourceUnavailable, match="not this job's any more: the session of its lease was ended"):
            leased.submit(CASE.payload(2))
    assert opened(site) == before


def test_a_job_that_is_longer_than_a_session_may_be_goes_on_in_another(site: Site) -> None:
    of_lease = qpu(site, QRMI_IBM_QCS_SESSION_MAX_TTL="2").acquire()
    leased = qpu(site, JobContext(of_lease, 600, lease="0" * 32))
    first = leased.submit(CASE.payload(1))
    first.result(timeout=60)
    at_the_server(site, of_lease).activated -= 2
    second = leased.submit(CASE.payload(2))
    assert session_of(site, second.id) != of_lease
    second.result(timeout=60)
    leased.release(of_lease)


def test_what_is_refused_for_itself_opens_no_session(site: Site) -> None:
    resource = qpu(site)
    session, before = resource.acquire(), opened(site)
    payload = CASE.payload(1)
    wrong = type(payload)("sampler", payload.parameters.replace(b'"options": {}', b'"options": {"zzz": 1}'))
    with pytest.raises(VendorError, match="zzz"):
        resource.task_start(wrong)
    assert (resource.metadata()["session_id"], opened(site)) == (session, before)


def test_a_session_that_is_refused_says_how_to_do_without(site: Site) -> None:
    resource = qpu(site, JobContext(), QRMI_IBM_QCS_SESSION_MAX_TTL="28801")
    message = r"400, code 1211: max_ttl .* plan has no sessions, set QRMI_IBM_QCS_SESSION_MODE of qpu to none"
    for call in (resource.acquire, lambda: resource.task_start(CASE.payload(1))):
        with pytest.raises(VendorError, match=message):
            call()


@pytest.mark.parametrize("fault", ["error_after", "reset_after"])
def test_a_session_whose_creation_was_answered_by_silence(
    site: Site, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ibm_sessions, "PAUSE", 0.01)
    site.emulator.faults.next_faults = [(OPENED, fault)]
    resource, known = qpu(site), set(site.emulator.dialect._sessions)
    with caplog.at_level(logging.WARNING):
        session = resource.acquire()
    made = set(site.emulator.dialect._sessions) - known
    assert session in made
    assert len(made) == 2
    assert "the answer to the creation of a session was lost; if it is there, it ends by itself in 660 s" in caplog.text
    (orphan,) = made - {session}
    assert at_the_server(site, orphan).state == "open"  # it was never charged, for no job ran in it


def test_an_empty_session_is_closed(site: Site) -> None:
    resource = qpu(site)
    session = resource.acquire()
    before = site.emulator.counters.total()
    resource.release(session)
    assert site.emulator.counters.total() - before == 2
    assert at_the_server(site, session).state == "closed"
    assert "session_id" not in resource.metadata()


def test_release_cancels_what_has_not_ended(site: Site) -> None:
    CLOCK.seconds = 60.0
    session = qpu(site).acquire()
    user = qpu(site, JobContext(acquisition_token=session))
    tasks = [user.submit(CASE.payload(number)) for number in range(3)]
    qpu(site).release(session)
    for task in tasks:
        assert task.wait(30).status is TaskStatus.CANCELLED
        with pytest.raises(TaskCancelled):
            task.result()


@pytest.mark.parametrize("fault", [None, "error_after", "reset_after", "reset_before", "unavailable"])
def test_release_may_be_repeated_and_interrupted(site: Site, fault: str | None) -> None:
    CLOCK.seconds = 60.0
    session = qpu(site).acquire()
    qpu(site, JobContext(acquisition_token=session)).task_start(CASE.payload(1))
    if fault:
        site.emulator.faults.next_faults = [("PATCH", fault), ("DELETE", fault)]
    for _ in range(2):
        qpu(site).release(session)
        assert at_the_server(site, session).state == "closed"
    qpu(site).release("0" * 20)
    qpu(site).release("")


def test_release_without_a_token_ends_the_own_session(site: Site) -> None:
    resource = qpu(site)
    resource.submit(CASE.payload(1)).result(timeout=60)
    session = resource.metadata()["session_id"]
    resource.release("")
    assert at_the_server(site, session).state == "closed"


@pytest.mark.parametrize(("mode", "gap"), [("dedicated", 0.1), ("batch", 0.1), ("none", 0.5)])
def test_the_least_time_between_looks(site: Site, mode: str, gap: float) -> None:
    assert site.resource(QRMI_IBM_QCS_SESSION_MODE=mode).min_poll == gap
    assert site.resource(QRMI_IBM_QCS_SESSION_MODE=mode, QRMI_MIN_POLL="0").min_poll == 0.0
