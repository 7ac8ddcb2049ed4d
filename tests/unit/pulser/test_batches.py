# SPDX-License-Identifier: Apache-2.0
"""Batches: open ones, partial failure, cancelling, logs, taking up in another process, and patient waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pasqal_cloud import RemoteEmuFreeBackend
from pulser import Pulse, QPUBackend, Sequence
from pulser.backend import BitStrings, EmulationConfig
from pulser.backend.remote import BatchStatus, JobStatus, RemoteResultsError
from pulser.devices import MockDevice
from pulser.register.register_layout import RegisterLayout
from pulser_programs import PI_NS, PI_OMEGA, long_running, rabi

from qrmi_core import BatchResource, InputError, TaskInfo, TaskNotFound, TaskStatus
from qrmi_pulser import QRMIConnection, progress
from qrmi_pulser.progress import batch_status, job_status

BATCH_OF_NO_ONE = "0" * 32


def growing() -> Sequence:
    """A pulse on some atoms of a large layout; each job says on how many."""
    layout = RegisterLayout([(5.0 * place, 0.0) for place in range(80)])
    sequence = Sequence(layout.make_mappable_register(40), MockDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(PI_NS, PI_OMEGA, 0, 0), "rydberg")
    return sequence


def placed(atoms: int) -> dict[str, Any]:
    return {"variables": {"qubits": {f"q{place}": place for place in range(atoms)}}}


def running(connection: QRMIConnection, batch_id: str) -> bool:
    """True once a job of the batch runs; waits for it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(info.status is TaskStatus.RUNNING for info in connection.resource.batch_jobs(batch_id)):
            return True
        time.sleep(0.02)
    return False


def test_an_open_batch_in_two_rounds(connection: QRMIConnection) -> None:
    backend = QPUBackend(rabi(), connection)
    with backend.open_batch():
        first = backend.run([{"runs": 10}], wait=True)
        assert first.get_batch_status() is BatchStatus.RUNNING
        assert first[0].final_bitstrings == {"1": 10}
        second = backend.run([{"runs": 20}, {"runs": 30}])
        assert second.batch_id == first.batch_id
    connection.resource.batch_wait(second.batch_id, second.job_ids, timeout=60)
    assert second.get_batch_status() is BatchStatus.DONE
    assert [sum(result.final_bitstrings.values()) for result in second] == [20, 30]
    together = connection.get_results(first.batch_id)
    assert together.job_ids == first.job_ids + second.job_ids
    with pytest.raises(InputError, match=f"batch {first.batch_id} on atoms is closed"):
        connection.submit(rabi(), job_params=[{"runs": 10}], batch_id=first.batch_id)


def test_an_open_batch_is_closed_after_an_exception(connection: QRMIConnection) -> None:
    backend = RemoteEmuFreeBackend(rabi(device=MockDevice), connection)
    started = []

    def interrupted() -> None:
        with backend.open_batch():
            started.append(backend.run(wait=True))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    (results,) = started
    assert not connection.resource.batch_is_open(results.batch_id)
    assert results.get_batch_status() is BatchStatus.DONE


def test_an_open_batch_without_jobs(connection: QRMIConnection) -> None:
    results = connection.submit(rabi(), open=True)
    assert results.job_ids == []
    assert results.get_batch_status() in {BatchStatus.PENDING, BatchStatus.RUNNING}
    assert connection._query_job_progress(results.batch_id) == {}
    with pytest.raises(InputError, match="there is no job to submit"):
        connection.submit(rabi(), batch_id=results.batch_id, job_params=[])
    connection.cancel_batch(results.batch_id)
    assert results.get_batch_status() in {BatchStatus.CANCELED, BatchStatus.DONE}


def test_one_job_fails_and_the_others_keep_their_results(
    connection: QRMIConnection, caplog: pytest.LogCaptureFixture
) -> None:
    backend = RemoteEmuFreeBackend(growing(), connection)
    with backend.open_batch():
        results = backend.run([placed(1)], wait=True)
        # Only the engine knows, from the sequence that it builds, that this is too much for it.
        more = backend.run([placed(24), placed(2)], wait=True)
    assert more.get_batch_status() is BatchStatus.DONE
    statuses = [status for status, _ in connection._query_job_progress(more.batch_id).values()]
    assert statuses == [JobStatus.DONE, JobStatus.ERROR, JobStatus.DONE]
    assert list(more.get_available_results()) == [more.job_ids[1]]
    assert len([message for message in caplog.messages if more.job_ids[0] in message]) == 1
    assert sum(results[0].final_bitstrings.values()) == 1000
    with pytest.raises(RemoteResultsError, match="get_available_results") as refused:
        more.results  # noqa: B018
    reason = str(refused.value.__cause__)
    assert f"batch {more.batch_id}: task {more.job_ids[0]} on atoms failed" in reason
    assert "24 atoms of 2 levels for 500 ns need about" in reason
    assert "use fewer atoms" in reason
    assert caplog.messages.count(reason) == 1
    assert "24 atoms" in connection.get_batch_logs(more.batch_id)


def test_cancelling_a_batch(connection: QRMIConnection, caplog: pytest.LogCaptureFixture) -> None:
    config = EmulationConfig(observables=[BitStrings()])
    results = RemoteEmuFreeBackend(long_running(), connection, config=config).run([{}, {}, {}])
    assert running(connection, results.batch_id)
    connection.cancel_batch(results.batch_id)
    assert results.get_batch_status() is BatchStatus.CANCELED
    assert {status for status, _ in connection._query_job_progress(results.batch_id).values()} == {JobStatus.CANCELED}
    with pytest.raises(RemoteResultsError) as refused:
        results.results  # noqa: B018
    assert "was cancelled" in str(refused.value.__cause__)
    assert "was cancelled" in caplog.text
    connection.cancel_batch(results.batch_id)


def test_cancelling_one_job(connection: QRMIConnection) -> None:
    backend = RemoteEmuFreeBackend(long_running(), connection)
    with backend.open_batch():
        results = backend.run([{}, {}])
    connection.cancel_jobs(results.batch_id, results.job_ids[:1])
    statuses = [status for status, _ in connection._query_job_progress(results.batch_id).values()]
    assert statuses[0] is JobStatus.CANCELED
    assert statuses[1] in {JobStatus.PENDING, JobStatus.RUNNING}
    with pytest.raises(TaskNotFound, match="has no job nothing"):
        connection.cancel_jobs(results.batch_id, ["nothing"])
    connection.cancel_batch(results.batch_id)


def test_unknown_batches_and_jobs(connection: QRMIConnection) -> None:
    with pytest.raises(TaskNotFound, match=BATCH_OF_NO_ONE):
        connection.get_results(BATCH_OF_NO_ONE)
    results = QPUBackend(rabi(), connection).run([{"runs": 10}], wait=True)
    with pytest.raises(RuntimeError, match="does not contain jobs"):
        connection.get_results(results.batch_id, job_ids=["other"])
    assert connection.get_results(results.batch_id, results.job_ids)[0].final_bitstrings == {"1": 10}


SUBMIT = """
import sys
from pulser import Pulse, QPUBackend, Register, Sequence
from qrmi_pulser import QRMIConnection, progress
connection = QRMIConnection()
device = connection.fetch_available_devices()["pulser_analog"]
sequence = Sequence(Register({"left": (-10, 0), "right": (10, 0)}).with_automatic_layout(device), device)
sequence.declare_channel("rydberg", "rydberg_global")
omega = sequence.declare_variable("omega")
sequence.add(Pulse.ConstantPulse(500, omega, 0, 0), "rydberg")
jobs = [{"runs": 10, "variables": {"omega": omega}} for omega in (0, 6.283185307179586)]
print(QPUBackend(sequence, connection).run(jobs).batch_id)
"""

FETCH = """
import sys
from qrmi_pulser import QRMIConnection, progress
connection = QRMIConnection("pulser_analog")
connection.resource.task(sys.argv[1]).wait(60)
for result in connection.get_results(sys.argv[1]):
    print(result.atom_order, result.total_duration, result.final_bitstrings)
"""


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_another_process_takes_a_batch_up(spool: Path) -> None:
    batch_id = python(SUBMIT)
    assert python(FETCH, batch_id).splitlines() == [
        "('left', 'right') 500 {'00': 10}",
        "('left', 'right') 500 {'11': 10}",
    ]


def test_asking_for_progress_in_a_loop_makes_few_calls(
    connection: QRMIConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As qoolqit does, which leaves the pace to the connection."""
    backend = RemoteEmuFreeBackend(rabi(atoms=12, spacing=7.0, duration=1500, omega=3, device=MockDevice), connection)
    results = backend.run([{}, {}])
    looks = []
    batch_jobs = connection.resource.batch_jobs
    monkeypatch.setattr(connection.resource, "batch_jobs", lambda batch_id: (looks.append(1), batch_jobs(batch_id))[1])
    start, asked = time.monotonic(), 0
    unfinished = {JobStatus.PENDING, JobStatus.RUNNING}
    while any(status in unfinished for status, _ in connection._query_job_progress(results.batch_id).values()):
        asked += 1
        assert asked < 100
    waited = time.monotonic() - start
    assert asked <= 3 + waited
    assert len(looks) <= 2 * (asked + 1)


def test_an_ended_job_ends_the_wait(connection: QRMIConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONGEST_WAIT", 60.0)
    results = RemoteEmuFreeBackend(long_running(), connection).run([{}])
    connection._query_job_progress(results.batch_id)
    timer = threading.Timer(0.2, connection.cancel_batch, [results.batch_id])
    timer.start()
    start = time.monotonic()
    ((status, _),) = connection._query_job_progress(results.batch_id).values()
    timer.join()
    assert status is JobStatus.CANCELED
    assert 0.1 < time.monotonic() - start < 30


def test_rare_questions_are_answered_at_once(connection: QRMIConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    batch_wait = connection.resource.batch_wait
    monkeypatch.setattr(
        connection.resource, "batch_wait", lambda *ids, **how: (waits.append(how), batch_wait(*ids, **how))[1]
    )
    monkeypatch.setattr(progress, "LONGEST_WAIT", 0.05)
    results = RemoteEmuFreeBackend(long_running(), connection).run([{}])
    for _ in range(3):
        results.get_available_results()
        time.sleep(0.1)
    assert waits == []
    connection.cancel_batch(results.batch_id)


def test_results_are_fetched_once(connection: QRMIConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    results = QPUBackend(rabi(), connection).run([{"runs": 10}] * 3, wait=True)
    fetched = []
    output = connection.resource.batch_job_output
    monkeypatch.setattr(connection.resource, "batch_job_output", lambda *ids: (fetched.append(ids), output(*ids))[1])
    for _ in range(3):
        assert len(results.get_available_results()) == 3
    assert len(results.results) == 3
    assert len(fetched) == 3


@pytest.mark.parametrize("data", [b"", b'{"counter": {"1": 10}, "raw": null, "serialised_results": null}', b"[]"])
def test_results_that_cannot_be_read(
    connection: QRMIConnection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    results = QPUBackend(rabi(), connection).run([{"runs": 10}], wait=True)
    monkeypatch.setattr(connection.resource, "batch_job_output", lambda *_: data)
    with pytest.raises(RemoteResultsError):
        results.results  # noqa: B018
    assert f"the result of job {results.job_ids[0]} on atoms cannot be read" in caplog.text


def test_eight_threads_get_their_own_results(connection: QRMIConnection) -> None:
    found: dict[int, Any] = {}

    def run(number: int) -> None:
        results = QPUBackend(rabi(), connection).run([{"runs": 10 + number}], wait=True)
        found[number] = results[0].final_bitstrings

    threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {number: {"1": 10 + number} for number in range(8)}


def test_words_of_a_vendor_are_kept_where_pulser_knows_them() -> None:
    queued = TaskInfo("a", TaskStatus.QUEUED, vendor_status="PAUSED")
    assert (job_status(queued), batch_status(queued)) == (JobStatus.PAUSED, BatchStatus.PAUSED)
    failed = TaskInfo("a", TaskStatus.FAILED, vendor_status="TIMED_OUT")
    assert (job_status(failed), batch_status(failed)) == (JobStatus.ERROR, BatchStatus.TIMED_OUT)
    other = TaskInfo("a", TaskStatus.RUNNING, vendor_status="in queue at home")
    assert (job_status(other), batch_status(other)) == (JobStatus.RUNNING, BatchStatus.RUNNING)


def test_the_connection_speaks_to_any_batch_resource(connection: QRMIConnection) -> None:
    assert isinstance(connection.resource, BatchResource)
    assert repr(connection) == "QRMIConnection('atoms')"
