# SPDX-License-Identifier: Apache-2.0
"""The driver of Warden, against a server that attests users with a real munged and computes with qutip."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from munge_daemon import OTHER_UID, Munged, munged
from pasqal_local_case import CASE, CONTEXT, pulse, warden
from pulser import Pulse, Register, Sequence
from pulser.devices import AnalogDevice
from vendor_site import Site

from qrmi_core import (
    AuthenticationFailed,
    InputError,
    JobContext,
    LimitExceeded,
    PulserBatch,
    PulserJob,
    QiskitPrimitive,
    QRMIWarning,
    ResourceStatusCode,
    ResourceUnavailable,
    ResultError,
    SubmissionUncertain,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskStatus,
    UnsupportedFunction,
    UnsupportedPayload,
    VendorError,
    VendorUnreachable,
    munge,
)
from qrmi_core.converters import converter
from qrmi_core.drivers.pasqal_local import PasqalLocal
from qrmi_core.drivers.warden import MUNGE_SOCKET
from qrmi_core.drivers.warden_batch import Batch, Built
from qrmi_core.gateway.dialects import DialectOptions, pasqal_local
from qrmi_core.http_settings import HTTP_VARIABLES
from qrmi_core.tasks import TaskInfo

SEQUENCE = pulse(math.pi).to_abstract_repr().encode()
ONE_JOB = PulserBatch(SEQUENCE, (PulserJob(20),))
QUICK = {"QRMI_MIN_POLL": "0", "QRMI_HTTP_DEADLINE": "3"}


@pytest.fixture(scope="module")
def daemons() -> Iterator[Munged]:
    with munged() as both:
        yield both


@pytest.fixture(scope="module")
def running(daemons: Munged) -> Iterator[Site]:
    """A Warden with every route."""
    with warden(daemons) as site:
        yield site


@pytest.fixture(scope="module")
def bare(daemons: Munged) -> Iterator[Site]:
    """A Warden 0.1.0, which cannot cancel and keeps no logs."""
    with warden(daemons, options=DialectOptions(without=frozenset({"cancel", "logs"}))) as site:
        yield site


def driver(site: Site, context: JobContext = CONTEXT, **variables: str) -> PasqalLocal:
    made = site.resource(PasqalLocal, context, **(QUICK | variables))
    assert isinstance(made, PasqalLocal)
    return made


def in_session(site: Site, **variables: str) -> PasqalLocal:
    made = driver(site, **variables)
    made.acquire()
    return made


def slow(duration: int = 200_000) -> PulserBatch:
    """A job whose emulation takes minutes."""
    register = Register.rectangle(3, 4, spacing=7.0, prefix="q").with_automatic_layout(AnalogDevice)
    sequence = Sequence(register, lasting(duration))
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(duration, 6.0, 0.5, 0), "rydberg")
    return PulserBatch(sequence.to_abstract_repr().encode(), (PulserJob(10),))


def lasting(duration: int) -> Any:
    return replace(AnalogDevice, max_sequence_duration=duration)


def test_a_task_done_at_once_costs_two_requests(running: Site) -> None:
    resource = in_session(running)
    resource.target()
    before = running.emulator.counters.total()
    task = resource.submit(ONE_JOB)
    running.emulator.device.resource.task_wait(running.emulator.device.resource.task_ids()[:1], timeout=60)
    result = json.loads(task.result(timeout=60).data)
    assert running.emulator.counters.total() - before == 2
    assert sum(result["counter"].values()) == 20
    assert (result["atom_order"], result["total_duration"]) == (["q0"], 400)


def test_root_opens_a_session_and_another_user_runs_in_it(running: Site, daemons: Munged) -> None:
    session = driver(running, JobContext(uid=OTHER_UID, job_id="7")).acquire()
    theirs = driver(running, JobContext(session, None, OTHER_UID, "7"), QRMI_WARDEN_MUNGE_SOCKET=daemons.other)
    task = theirs.submit(ONE_JOB)
    assert sum(json.loads(task.result(timeout=60).data)["counter"].values()) == 20
    assert task.id.partition("~")[0] == theirs.task_ids()[0]
    ours = driver(running)
    assert task.id.partition("~")[0] not in ours.task_ids()
    with pytest.raises(TaskNotFound, match="qpu knows no task"):
        ours.task(task.id)
    ours.release(session)
    ours.release(session)
    with pytest.raises(AuthenticationFailed, match=r"answered 403: The session was revoked"):
        theirs.submit(ONE_JOB)
    assert theirs.task(task.id).status() is TaskStatus.COMPLETED


def test_only_root_opens_sessions(running: Site, daemons: Munged) -> None:
    other = driver(running, JobContext(uid=OTHER_UID, job_id="7"), QRMI_WARDEN_MUNGE_SOCKET=daemons.other)
    with pytest.raises(AuthenticationFailed, match=r"restricted to root user.* check munge on this host"):
        other.acquire()


@pytest.mark.parametrize(
    ("session", "error", "match"),
    [
        (None, ResourceUnavailable, r"in a session only, and QRMI_JOB_ACQUISITION_TOKEN is not set: .* \(--qpu=qpu\)"),
        ("no-uuid", VendorError, "answered 422: The session is not a UUID"),
        ("00000000-0000-4000-8000-000000000000", AuthenticationFailed, "answered 403: Session not found"),
        ("another's", AuthenticationFailed, "answered 403: The session belongs to another user"),
    ],
)
def test_a_session_that_is_none(running: Site, session: str | None, error: type[Exception], match: str) -> None:
    if session == "another's":
        session = driver(running, JobContext(uid=OTHER_UID, job_id="7")).acquire()
    before = running.emulator.device.runs
    with pytest.raises(error, match=match):
        driver(running, JobContext(session, None, 0, "7")).submit(ONE_JOB)
    assert running.emulator.device.runs == before


def test_outside_a_job_a_session_is_for_who_runs_the_program(running: Site) -> None:
    resource = driver(running, JobContext())
    session = resource.acquire()
    assert resource.submit(ONE_JOB).result(timeout=60).data
    resource.release(session)
    with pytest.raises(ResourceUnavailable, match="in a session only"):
        resource.submit(ONE_JOB)


def test_a_batch_is_one_job_each(running: Site) -> None:
    resource = in_session(running)
    task = resource.submit(PulserBatch(SEQUENCE, tuple(PulserJob(runs) for runs in (5, 6, 7))))
    jobs = resource.batch_jobs(task.id)
    assert task.id.partition("~")[0] == "-".join(info.id for info in jobs)
    assert set(resource.batch_wait(task.id, [info.id for info in jobs], timeout=60)) == {info.id for info in jobs}
    result = json.loads(task.result(timeout=60).data)
    assert [sum(each["result"]["counter"].values()) for each in result["jobs"]] == [5, 6, 7]
    assert sum(json.loads(resource.batch_job_output(task.id, jobs[1].id))["counter"].values()) == 6
    assert not resource.batch_is_open(task.id)
    resource.batch_close(task.id)
    with pytest.raises(TaskNotFound, match="has no job 99999"):
        resource.batch_job_output(task.id, "99999")
    with pytest.raises(InputError, match="Warden has no open batches: submit a new one"):
        resource.batch_add(task.id, [PulserJob(5)])


def test_another_process_needs_the_id_only(running: Site) -> None:
    task = in_session(running).submit(ONE_JOB)
    elsewhere = driver(running, JobContext())
    result = json.loads(elsewhere.task(task.id).result(timeout=60).data)
    assert (result["atom_order"], result["total_duration"]) == (["q0"], 400)
    bare_id = task.id.partition("~")[0]
    result = json.loads(elsewhere.task(bare_id).result(timeout=60).data)
    assert sum(result["counter"].values()) == 20
    assert (result["atom_order"], result["total_duration"]) == (None, None)


@pytest.mark.parametrize("task_id", ["999999", "999999-7", "", "x", "0", "1-", "12~!", "12~AAAA", "1_0", "٣"])
def test_a_task_that_is_not_there(running: Site, task_id: str) -> None:
    resource = driver(running)
    for call in (resource.task_info, resource.task_output, resource.task_logs, resource.task_stop):
        with pytest.raises(TaskNotFound, match=r"(knows|has) no task"):
            call(task_id)


REFUSED = {
    "a Qiskit program": (
        QiskitPrimitive("sampler", b"{}"),
        UnsupportedPayload,
        "takes PulserBatch, not QiskitPrimitive",
    ),
    "an emulator": (
        replace(ONE_JOB, device_type="EMU_FREE"),
        UnsupportedPayload,
        r"qpu: Warden does not take the device type EMU_FREE: it has its QPU only \(QPUBackend\)",
    ),
    "a configuration": (
        replace(ONE_JOB, configuration=b"{}"),
        UnsupportedPayload,
        "Warden does not take an emulation configuration: its QPU gives bitstrings, and no other observables",
    ),
    "an open batch": (
        replace(ONE_JOB, open=True),
        UnsupportedPayload,
        "Warden does not take open batches: give all jobs at once",
    ),
    "no jobs": (replace(ONE_JOB, jobs=()), UnsupportedPayload, "Warden does not take batches without jobs"),
    "no shots": (PulserBatch(SEQUENCE, (PulserJob(),)), InputError, "job 1: a QPU needs the number of shots"),
    "negative shots": (PulserBatch(SEQUENCE, (PulserJob(3), PulserJob(-1))), InputError, "job 2: .* 1 or more"),
    "too many shots": (
        PulserBatch(SEQUENCE, (PulserJob(AnalogDevice.max_runs + 1),)),
        LimitExceeded,
        rf"job 1: {AnalogDevice.max_runs + 1} runs were asked for and qpu takes {AnalogDevice.max_runs} at most",
    ),
    "no sequence": (PulserBatch(b"{}", (PulserJob(3),)), InputError, "the sequence cannot be read"),
    "another device": (slow(), InputError, "AnalogDevice cannot run the sequence"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_warden_would_not_refuse_is_refused_before_it_is_sent(running: Site, what: str) -> None:
    payload, error, match = REFUSED[what]
    resource = in_session(running)
    before = running.emulator.counters.requests["POST /jobs"]
    with pytest.raises(error, match=match):
        resource.submit(payload)
    assert running.emulator.counters.requests["POST /jobs"] == before


@pytest.fixture
def inaccessible(running: Site) -> Iterator[str]:
    """What the server says of its QPU meanwhile."""
    dialect = running.emulator.dialect
    assert isinstance(dialect, pasqal_local.Warden)
    told = dialect._accessible
    dialect._accessible = {"is_accessible": False, "message": "laser room closed until Monday"}
    yield "laser room closed until Monday"
    dialect._accessible = told


def test_the_message_of_a_qpu_that_is_not_accessible_is_told(running: Site, inaccessible: str) -> None:
    resource = driver(running)
    status = resource.status()
    assert (status.status, status.status_reason) == (ResourceStatusCode.OFFLINE, inaccessible)
    assert not resource.is_accessible()
    with pytest.raises(AuthenticationFailed, match=f"Session not found.*not accessible: {inaccessible}"):
        driver(running, JobContext("00000000-0000-4000-8000-000000000000")).submit(ONE_JOB)
    task = in_session(running).submit(ONE_JOB)
    assert task.result(timeout=60).data


def test_a_failed_job_says_what_warden_says(running: Site, inaccessible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = in_session(running)
    monkeypatch.setattr(
        "qrmi_core.drivers.pasqal_local.converter", lambda name, extra: lambda text, _, __: (text, ("q0",), 1)
    )
    task = resource.submit(PulserBatch(b"{}", (PulserJob(3),)))
    with pytest.raises(TaskFailed, match=f"gives no reason for a failed job. .* not accessible: {inaccessible}"):
        task.result(timeout=60)


def test_a_server_without_cancel_and_logs(bare: Site) -> None:
    resource = in_session(bare)
    task = resource.submit(PulserBatch(SEQUENCE, tuple(PulserJob(runs) for runs in (400, 401))))
    task.wait(timeout=60)
    task.cancel()
    with pytest.raises(UnsupportedFunction, match="qpu: this Warden keeps no logs of jobs"):
        task.logs()
    driver(bare).task(task.id).cancel()


def test_what_has_ended_is_not_cancelled(running: Site) -> None:
    resource = in_session(running)
    task = resource.submit(ONE_JOB)
    task.wait(timeout=60)
    before = running.emulator.counters.requests["POST /jobs/{job}/cancel"]
    task.cancel()
    assert running.emulator.counters.requests["POST /jobs/{job}/cancel"] == before
    driver(running).task(task.id).cancel()
    assert task.result().data


def test_a_queued_job_of_a_server_without_cancel(daemons: Munged) -> None:
    options = DialectOptions(without=frozenset({"cancel", "logs"}))
    with warden(daemons, options=options, service_time=lambda: 600.0) as site:
        resource = in_session(site)
        task = resource.submit(ONE_JOB)
        with pytest.raises(
            UnsupportedFunction, match=r"this Warden cannot cancel job 1, which runs when its turn comes"
        ):
            task.cancel()
        with pytest.raises(TaskNotReady):
            resource.task_result(task.id)
        resource.release(str(resource._session))


def test_a_running_job_is_cancelled(daemons: Munged) -> None:
    with warden(daemons, service_time=lambda: 600.0) as site:
        resource = in_session(site)
        task = resource.submit(PulserBatch(SEQUENCE, tuple(PulserJob(runs) for runs in (5, 6))))
        first, second = (info.id for info in resource.batch_jobs(task.id))
        resource.batch_cancel_jobs(task.id, [first])
        assert resource.batch_wait(task.id, [first], timeout=60)[first].status.is_final
        assert not resource.task_info(second).status.is_final
        task.cancel()
        assert task.wait(timeout=60).status.is_final
        task.cancel()
        assert resource.task_logs(task.id) == ""


def test_a_release_cancels_what_was_started_here(daemons: Munged) -> None:
    with warden(daemons, service_time=lambda: 600.0) as site:
        resource = driver(site)
        session = resource.acquire()
        task = resource.submit(ONE_JOB)
        resource.release(session)
        assert task.info().status.is_final
        assert site.emulator.counters.requests["POST /jobs/{job}/cancel"] == 1


def test_a_release_closes_the_session_though_a_job_cannot_be_cancelled(daemons: Munged) -> None:
    with warden(daemons, service_time=lambda: 600.0) as site:
        resource = driver(site, QRMI_HTTP_DEADLINE="0.5")
        session = resource.acquire()
        first, second = resource.submit(ONE_JOB), resource.submit(ONE_JOB)
        job = int(first.id.partition("~")[0])
        cancel, refused = resource._warden.cancel, VendorError("the first cannot be cancelled", http_status=500)
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(resource._warden, "cancel", lambda each: cancel(each) if each != job else fail(refused))
            with pytest.raises(VendorError) as caught:
                resource.release(session)
        assert caught.value is refused
        assert second.info().status.is_final
        assert not first.info().status.is_final
        with pytest.raises(AuthenticationFailed, match="The session was revoked"):
            driver(site, JobContext(session, None, CONTEXT.uid, CONTEXT.job_id)).submit(ONE_JOB)
        first.cancel()


def fail(error: Exception) -> None:
    raise error


class Scripted(pasqal_local.Warden):
    """A Warden that tells of every job what a test wants."""

    tells: ClassVar[dict[str, Any]] = {}

    async def _told(self, job: Any) -> dict[str, Any]:
        return {"id": job.id, "user_id": job.uid, "status": "DONE", "results": None, **self.tells}


@pytest.fixture(scope="module")
def scripted(daemons: Munged) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pasqal_local, "Warden", Scripted)
            site = stack.enter_context(warden(daemons))
        yield site


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("PENDING", TaskStatus.QUEUED),
        ("RUNNING", TaskStatus.RUNNING),
        ("CANCELING", TaskStatus.RUNNING),
        ("DONE", TaskStatus.COMPLETED),
        ("ERROR", TaskStatus.FAILED),
        ("CANCELED", TaskStatus.CANCELLED),
        ("DEFROSTING", TaskStatus.RUNNING),
    ],
)
def test_every_word_for_a_status_is_known(scripted: Site, word: str, status: TaskStatus) -> None:
    resource = in_session(scripted)
    task_id = resource.task_start(ONE_JOB)
    Scripted.tells = {"status": word}
    info = resource.task_info(task_id)
    assert (info.id, info.status, info.vendor_status) == (task_id, status, word)


@pytest.mark.parametrize(
    ("results", "match"),
    [
        ("{'counter': {'0': 5}}", r"results of job \d+ are not the JSON object .* but \"\{'counter': .*administrators"),
        ("[1]", "not the JSON object with a counter"),
        ('{"counter": {"0": "many"}}', "not the JSON object with a counter"),
        (None, "are not there, though it is done: ask again later"),
    ],
)
def test_results_that_are_none(scripted: Site, results: str | None, match: str) -> None:
    resource = in_session(scripted)
    Scripted.tells = {"results": results}
    task = resource.submit(ONE_JOB)
    with pytest.raises(ResultError, match=match):
        task.result(timeout=60)
    Scripted.tells = {"results": '{"counter": {"0": 5}}'}
    if results is None:
        assert json.loads(task.result(timeout=60).data)["counter"] == {"0": 5}


@pytest.mark.parametrize("given", ["error", "error_after", "reset_before", "reset_after", "truncated", "cut_json"])
def test_an_ambiguous_answer_is_told_and_nothing_is_sent_again(running: Site, given: str) -> None:
    resource = in_session(running)
    resource.target()
    before = running.emulator.counters.requests["POST /jobs"]
    running.emulator.faults.next_faults = [("POST /jobs", given)]
    with pytest.raises(
        SubmissionUncertain, match=r"not sent again: .* only if no job is listed that you cannot account"
    ):
        resource.submit(ONE_JOB)
    assert running.emulator.counters.requests["POST /jobs"] == before + 1


def test_an_answer_without_an_id_is_ambiguous(scripted: Site) -> None:
    Scripted.tells = {"id": "twelve"}
    with pytest.raises(SubmissionUncertain, match="has the id 'twelve'"):
        in_session(scripted).submit(ONE_JOB)


def test_a_batch_of_which_a_part_was_taken(running: Site) -> None:
    resource = in_session(running)
    resource.target()
    running.emulator.faults.next_faults = [
        ("POST /jobs", "slow"),
        ("POST /jobs", "slow"),
        ("POST /jobs", "reset_after"),
    ]
    with pytest.raises(SubmissionUncertain, match=r"the jobs before it were taken, as task \d+-\d+~") as told:
        resource.submit(PulserBatch(SEQUENCE, tuple(PulserJob(runs) for runs in (5, 6, 7))))
    result = json.loads(resource.task(str(told.value.task_id)).result(timeout=60).data)
    assert [sum(each["result"]["counter"].values()) for each in result["jobs"]] == [5, 6]


def test_a_silent_server_costs_its_time_out(running: Site) -> None:
    resource = driver(running, QRMI_HTTP_READ_TIMEOUT="0.3")
    running.emulator.faults.next_faults = [("GET /qpu/specs", "hang")]
    with pytest.raises(VendorUnreachable, match=r"was silent for 0\.3 s"):
        resource.target()


def test_the_old_name_of_the_address_is_taken_with_a_warning(running: Site) -> None:
    values = {"QRMI_URL": running.emulator.url + "/"}
    with pytest.warns(QRMIWarning, match="QRMI_URL of qpu will stop working: call it QRMI_WARDEN_URL") as told:
        resource = PasqalLocal.from_environment("qpu", values, CONTEXT)
    assert resource.is_accessible()
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PasqalLocal.from_environment("qpu", values | {"QRMI_WARDEN_URL": running.emulator.url}, CONTEXT)
    with pytest.raises(ResourceUnavailable, match="the type pasqal-local needs QRMI_WARDEN_URL"):
        PasqalLocal.from_environment("qpu", {}, CONTEXT)


def test_without_munged(running: Site) -> None:
    with munged() as gone:
        pass
    resource = driver(running, QRMI_WARDEN_MUNGE_SOCKET=gone.socket)
    assert resource.is_accessible()
    match = (
        rf"qpu: Warden knows its users by munge, and munged does not answer at {gone.socket} .* {MUNGE_SOCKET} of qpu"
    )
    for call in (resource.target, resource.acquire, resource.task_ids, lambda: resource.task_info("1")):
        with pytest.raises(ResourceUnavailable, match=match):
            call()


def test_a_munged_that_is_being_restarted_is_waited_for(running: Site, daemons: Munged, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    resource = driver(running, QRMI_WARDEN_MUNGE_SOCKET=str(socket))
    start = threading.Timer(0.7, socket.symlink_to, [daemons.socket])
    start.start()
    assert resource.target().json()["name"] == "AnalogDevice"
    start.join()


def test_jobs_that_wait_for_others_are_not_asked_for(daemons: Munged) -> None:
    with warden(daemons, service_time=lambda: 600.0) as site:
        resource = in_session(site)
        task = resource.submit(PulserBatch(SEQUENCE, tuple(PulserJob(runs) for runs in range(1, 9))))
        before = site.emulator.counters.requests["GET /jobs/{job}"]
        assert resource.task_wait([task.id], timeout=0.0) == {}
        assert site.emulator.counters.requests["GET /jobs/{job}"] - before <= 2
        jobs = resource.batch_job_ids(task.id)
        resource.batch_cancel_jobs(task.id, jobs[1:2])
        assert set(resource.batch_wait(task.id, jobs, timeout=0.5)) == {jobs[1]}
        assert set(resource.batch_wait(task.id, jobs, timeout=30, first=True)) == {jobs[1]}


def test_without_libmunge(running: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = driver(running)
    with monkeypatch.context() as patch:
        patch.setattr(munge, "LIBRARIES", ("libmunge-of-nobody.so.2",))
        munge._library.cache_clear()
        assert resource.is_accessible()
        with pytest.raises(ResourceUnavailable, match=r"and libmunge cannot be loaded .*: install munge on this host"):
            resource.target()
    munge._library.cache_clear()


def template() -> bytes:
    register = Register.from_coordinates([(0.0, 0.0)], prefix="q").with_automatic_layout(AnalogDevice)
    sequence = Sequence(register, AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    duration = sequence.declare_variable("duration", dtype=int)
    sequence.add(Pulse.ConstantPulse(duration, math.pi, 0, 0), "rydberg")
    return sequence.to_abstract_repr().encode()


def test_a_template_is_built_for_each_job(running: Site) -> None:
    resource = in_session(running)
    jobs = tuple(PulserJob(20, json.dumps({"duration": duration}).encode()) for duration in (1000, 2000))
    result = json.loads(resource.submit(PulserBatch(template(), jobs)).result(timeout=60).data)
    assert [each["result"]["counter"] for each in result["jobs"]] == [{"1": 20}, {"0": 20}]
    assert [each["result"]["total_duration"] for each in result["jobs"]] == [1000, 2000]
    with pytest.raises(InputError, match="cannot be built from the job's variables"):
        resource.submit(PulserBatch(template(), (PulserJob(20),)))


def test_without_pulser_only_templates_are_refused(running: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = in_session(running)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "qrmi_pulser.building", None)
        converter.cache_clear()
        with pytest.raises(
            ResourceUnavailable, match=r"cannot be built here: .* pip install 'qrmi-providers\[pulser\]'"
        ):
            resource.submit(PulserBatch(template(), (PulserJob(20, b'{"duration": 1000}'),)))
        task = resource.submit(ONE_JOB)
        assert task.id.isdigit()
        assert json.loads(task.result(timeout=60).data)["atom_order"] is None
    converter.cache_clear()


BUILT = st.builds(Built, st.lists(st.text(max_size=5), max_size=5).map(tuple), st.integers(0, 10**9))


@settings(deadline=None)
@given(jobs=st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=5, unique=True), data=st.data())
def test_a_batch_is_found_by_its_id(jobs: list[int], data: st.DataObject) -> None:
    alike = BUILT.map(lambda built: (built,) * len(jobs))
    different = st.lists(BUILT, min_size=len(jobs), max_size=len(jobs)).map(tuple)
    batch = Batch(tuple(jobs), data.draw(st.none() | alike | different))
    assert Batch.of(batch.id) == batch


def test_the_id_of_an_ordinary_batch_is_short() -> None:
    built = Built(tuple(f"q{number}" for number in range(100)), 4000)
    assert len(Batch((12, 13, 14), (built,) * 3).id) < 60


@settings(deadline=None)
@given(st.from_regex(r"[1-9](-[1-9])?~[A-Za-z0-9_-]{1,60}", fullmatch=True) | st.text())
def test_any_other_text_is_no_id(text: str) -> None:
    try:
        batch = Batch.of(text)
    except ValueError:
        return
    assert batch.jobs


def test_the_case_of_the_common_suites_tells_its_tasks_apart(running: Site) -> None:
    resource = in_session(running)
    for number in (0, 1):
        data = resource.submit(CASE.payload(number)).result(timeout=60).data
        CASE.verify(data, number)
        with pytest.raises(AssertionError):
            CASE.verify(data, 1 - number)


def test_the_uid_is_this_users(running: Site) -> None:
    resource = in_session(running)
    job = resource._warden.job(int(resource.task_start(ONE_JOB).partition("~")[0]))
    assert job["user_id"] == str(os.getuid())
    assert isinstance(resource.task_info(str(job["id"])), TaskInfo)


def test_its_page_explains_its_variables() -> None:
    page = (Path(__file__).parents[2] / "docs" / "vendors" / "pasqal-local.md").read_text()
    own = {variable.name for variable in PasqalLocal.variables} - {variable.name for variable in HTTP_VARIABLES}
    assert {name for name in own if f"`{name}`" not in page} == set()
