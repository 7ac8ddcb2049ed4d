# SPDX-License-Identifier: Apache-2.0
"""IBM's drivers where a storage, a front or a fork is in the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ibm_compute_case
import ibm_system_case
import pytest
from ibm_system_case import SystemSite
from vendor_site import Site

from qrmi_core import (
    JobContext,
    QiskitPrimitive,
    QuantumResource,
    ResultError,
    SubmissionUncertain,
    TaskStatus,
    VendorError,
)
from qrmi_core.drivers import ibm_compute, ibm_system
from qrmi_core.drivers.background import Background
from qrmi_core.drivers.ibm_compute import IBMQuantumComputeService
from qrmi_core.drivers.ibm_errors import ibm_told
from qrmi_core.drivers.ibm_jobs import job_info
from qrmi_core.drivers.ibm_machine_jobs import machine_job_info
from qrmi_core.drivers.ibm_system import IBMQuantumSystem
from qrmi_core.http import Response
from qrmi_core.polling import pause, wait_until

NOW = {"QRMI_MIN_POLL": "0"}
SIGNED = "https://s3.example/jobs/input?X-Amz-Credential=AKIDSECRET%2F2026&X-Amz-Signature=5ec7e7&X-Amz-Expires=60"


@pytest.fixture(scope="module")
def slow() -> Iterator[SystemSite]:
    """A machine on premises whose tasks take a minute."""
    with ibm_system_case.start(service_time=lambda: 60.0) as running:
        yield running


@pytest.fixture(scope="module")
def cloud() -> Iterator[Site]:
    with ibm_compute_case.CASE.start() as running:
        yield running


def three_running(slow: SystemSite) -> tuple[str, list[str]]:
    """The token of an acquisition, and its tasks."""
    slow.emulator.faults.next_faults, slow.s3.faults.next_faults = [], []
    token = slow.resource(**NOW).acquire()
    of_job = slow.resource(context=JobContext(acquisition_token=token, timeout_seconds=600), **NOW)
    return token, [of_job.task_start(ibm_system_case.CASE.payload(number)) for number in range(3)]


def test_release_cancels_all_although_the_storage_refuses(slow: SystemSite) -> None:
    token, tasks = three_running(slow)
    wrong = {"QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY": "no longer good"}
    slow.resource(**NOW, **wrong).release(token)
    assert ibm_system._later.finish(30)
    assert not set(tasks) & set(slow.emulator.dialect.jobs)


def test_release_needs_no_storage(slow: SystemSite) -> None:
    token, tasks = three_running(slow)
    slow.resource(**NOW, QRMI_IBM_QS_S3_BUCKET="").release(token)
    assert ibm_system._later.finish(30)
    assert not set(tasks) & set(slow.emulator.dialect.jobs)


def test_release_goes_on_after_a_task_that_cannot_be_cancelled(slow: SystemSite) -> None:
    token, tasks = three_running(slow)
    refusing = type("Refusing", (Refusing,), {"refused": tasks[0]})
    with pytest.raises(VendorError, match="not now"):
        slow.resource(refusing, **NOW).release(token)
    jobs = slow.emulator.dialect.jobs
    assert [task in jobs for task in tasks] == [True, False, False]
    assert jobs[tasks[0]].status == "Running"
    slow.resource(**NOW).release(token)
    assert not set(tasks) & set(jobs)
    assert ibm_system._later.finish(30)


class Refusing(IBMQuantumSystem):
    """Cannot cancel one of the tasks."""

    refused = ""

    def _cancel(self, task_id: str) -> bool:
        if task_id == self.refused:
            raise VendorError("not now", transient=True)
        return super()._cancel(task_id)


def test_release_ends_sessions_that_were_opened_in_place_of_the_acquisitions(cloud: Site) -> None:
    resource = cloud.resource(context=ibm_compute_case.CASE.context, **NOW)
    sessions = cloud.emulator.dialect._sessions
    first = resource.acquire()
    sessions[first].close()
    resource.submit(ibm_compute_case.CASE.payload(1)).result(timeout=60)
    second = resource.metadata()["session_id"]
    assert second != first
    resource.release(first)
    assert sessions[second].state == "closed"
    assert "session_id" not in resource.metadata()


def test_a_session_that_cannot_be_ended_keeps_no_other(cloud: Site) -> None:
    resource = cloud.resource(context=ibm_compute_case.CASE.context, **NOW, QRMI_HTTP_DEADLINE="0.3")
    sessions = cloud.emulator.dialect._sessions
    first = resource.acquire()
    sessions[first].accepting_jobs = False
    resource.task_start(ibm_compute_case.CASE.payload(1))
    second = resource.metadata()["session_id"]
    cloud.emulator.faults.retry_after = "60"
    cloud.emulator.faults.next_faults = [("PATCH", "too_many")]
    with pytest.raises(VendorError, match="429"):
        resource.release(first)
    assert sessions[second].state == "closed"
    resource.release(first)
    assert sessions[first].state == "closed"


class Front(BaseHTTPRequestHandler):
    """Answers everything with the same JSON, as the page of a network that wants a login may."""

    text = b"[]"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = b'{"access_token": "t", "expires_in": 3600}'
        body = token if self.path == "/identity/token" else self.text
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  the names are the library's

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[b"[]", b"null", b'"hello"'])
def front(request: pytest.FixtureRequest) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Same", (Front,), {"text": request.param}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


CLOUD_CALLS: dict[str, Callable[[QuantumResource], Any]] = {
    "status": lambda resource: resource.status(),
    "info": lambda resource: resource.task_info("d1"),
    "list": lambda resource: resource.task_ids(),
    "release": lambda resource: resource.release("s1"),
}


@pytest.mark.parametrize("call", CLOUD_CALLS)
def test_a_front_that_answers_instead_of_the_cloud(cloud: Site, front: str, call: str) -> None:
    resource = cloud.resource(QRMI_IBM_QCS_ENDPOINT=front, QRMI_IBM_QCS_IAM_ENDPOINT=front)
    with pytest.raises(ResultError, match=r"qpu: .*promises"):
        CLOUD_CALLS[call](resource)


@pytest.mark.parametrize("call", ["status", "info", "list", "release", "acquire"])
def test_a_front_that_answers_instead_of_the_machine(slow: SystemSite, front: str, call: str) -> None:
    resource = slow.resource(QRMI_IBM_QS_ENDPOINT=front, QRMI_IBM_QS_IAM_ENDPOINT=front)
    calls = CLOUD_CALLS | {"acquire": lambda resource: resource.acquire()}
    with pytest.raises(ResultError, match=r"qpu: .*promises"):
        calls[call](resource)
    with pytest.raises(ResultError, match="qpu: a job has no 'id'"):
        resource._look_up("d1")


def test_a_submission_that_a_front_answers_is_uncertain(cloud: Site, front: str) -> None:
    values = {"QRMI_IBM_QCS_ENDPOINT": front, "QRMI_IBM_QCS_IAM_ENDPOINT": front, "QRMI_IBM_QCS_SESSION_MODE": "none"}
    with pytest.raises(SubmissionUncertain, match=r"a new job has no 'id'.*tag qrmi-"):
        cloud.resource(**values).task_start(ibm_compute_case.CASE.payload(1))


def test_a_job_without_an_id_is_looked_up(cloud: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = cloud.resource(**NOW, QRMI_IBM_QCS_SESSION_MODE="none")
    submit, runs = resource._api.submit, cloud.emulator.device.runs

    def loses_the_id(*args: Any, **more: Any) -> Response:
        answer = submit(*args, **more)
        return Response(answer.status, answer.headers, b"{}", answer.url)

    monkeypatch.setattr(resource._api, "submit", loses_the_id)
    ibm_compute_case.CASE.verify(resource.submit(ibm_compute_case.CASE.payload(5)).result(timeout=60).data, 5)
    assert cloud.emulator.device.runs == runs + 1


def test_a_failure_is_told_although_its_text_does_not_come(cloud: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ibm_compute, "HURRY", 0.3)
    resource = cloud.resource(**NOW, QRMI_IBM_QCS_SESSION_MODE="none")
    assert isinstance(resource, IBMQuantumComputeService)
    payload = QiskitPrimitive("sampler", json.dumps({"pubs": [["no circuit", None, 1]], "version": 2}).encode())
    task = resource.submit(payload)
    job = cloud.emulator.dialect._jobs[task.id]
    told = job.document

    def without_reason(info: Any, *, brief: bool) -> Any:
        document = told(info, brief=brief)
        return document | {"state": {"status": document["status"]}}

    monkeypatch.setattr(job, "document", without_reason)
    cloud.emulator.faults.next_faults = [("results", "hang")]
    info = task.wait(60)
    assert (info.status, info.reason) == (TaskStatus.FAILED, None)
    assert not cloud.emulator.faults.next_faults


def told_by(document: Any) -> str | None:
    return ibm_told(Response(422, {}, json.dumps(document).encode(), "http://qs/v1/jobs")).message


def test_an_echo_of_the_input_is_not_told() -> None:
    storage = {"input": {"type": "s3_compatible", "presigned_url": SIGNED}}
    entries = [
        {"type": "missing", "loc": ["body", "timeout_secs"], "msg": "Field required", "input": {"storage": storage}},
        {"type": "extra", "loc": ["body", "storage", 0], "msg": f"Not good: {SIGNED}", "ctx": {"url": SIGNED}},
    ]
    told = told_by({"detail": entries})
    assert told is not None
    assert told.startswith(
        "body.timeout_secs: Field required; body.storage.0: Not good: https://s3.example/jobs/input?"
    )
    assert "AKIDSECRET" not in told
    assert "5ec7e7" not in told
    assert told_by({"detail": "Not Found"}) == "Not Found"
    assert told_by({"detail": [{"input": SIGNED}]}) == "the request does not fit, and no more was told"
    assert told_by({"detail": {"msg": "no", "input": SIGNED}}) == "no"


def test_reasons_hold_no_signatures() -> None:
    reason = f"PUT {SIGNED}: 403"
    document = {"id": "d1", "status": "Failed", "reason_message": reason, "reason_solution": reason}
    state = {"status": "Failed", "reason": reason, "reason_solution": reason}
    for info in (machine_job_info(document, "machine"), job_info({"state": state}, "d1", lambda _: TaskStatus.FAILED)):
        for text in (info.reason, info.solution):
            assert text is not None
            assert "5ec7e7" not in text
            assert "AKIDSECRET" not in text
            assert text.endswith("&X-Amz-Expires=60: 403")


def in_child(work: Callable[[], object]) -> bool:
    """Whether a forked child has done something within twenty seconds."""
    if pid := os.fork():
        ended: list[int] = []

        def look() -> bool:
            found, status = os.waitpid(pid, os.WNOHANG)
            ended.extend([status] if found == pid else [])
            return bool(ended)

        if not wait_until(look, timeout=20):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return ended == [0]
    try:
        work()
    except BaseException:  # noqa: BLE001  the child must not go on with the tests
        os._exit(1)
    os._exit(0)


@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_that_is_forked_while_a_session_is_opened(cloud: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resource, parent = cloud.resource(**NOW), os.getpid()
    opening, go_on = threading.Event(), threading.Event()

    def hesitates() -> str:
        if os.getpid() != parent:
            return "of the child"
        opening.set()
        assert go_on.wait(30)
        return "of the parent"

    monkeypatch.setattr(resource._sessions, "_open", hesitates)
    thread = threading.Thread(target=resource.acquire)
    thread.start()
    assert opening.wait(10)
    done = in_child(resource.acquire)
    go_on.set()
    thread.join(30)
    assert done


@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_that_is_forked_while_work_is_handed_over() -> None:
    later = Background()
    later.do(threading.Event().set)
    assert later.finish(10)

    def works() -> None:
        done = threading.Event()
        later.do(done.set)
        assert done.wait(10)

    with later._lock:
        assert in_child(works)


def hand_over(path: Path) -> None:
    """What takes half a second, and is handed over by a process that ends at once."""

    def work() -> None:
        pause(0.5)
        path.write_text("done")

    Background().do(work)


@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_work_in_the_background_of_a_child_of_multiprocessing_is_done(method: str, tmp_path: Path) -> None:
    path = tmp_path / "done"
    child = multiprocessing.get_context(method).Process(target=hand_over, args=(path,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert path.read_text() == "done"
