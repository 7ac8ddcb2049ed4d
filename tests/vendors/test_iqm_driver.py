# SPDX-License-Identifier: Apache-2.0
"""The driver of IQM's servers, on one that speaks their API and computes, and on answers written down by a test."""

from __future__ import annotations

import dataclasses
import gzip
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web
from iqm_case import CASE, circuit, job, measure, prx
from qiskit_agreement import check_estimator, check_sampler
from vendor_site import Site

from qrmi_core import (
    AuthenticationFailed,
    InputError,
    IQMServer,
    JobContext,
    PulserBatch,
    ResourceNotFound,
    ResourceStatusCode,
    ResultError,
    SubmissionUncertain,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskStatus,
    UnsupportedPayload,
    VendorError,
    VendorUnreachable,
)
from qrmi_core.characteristics import characteristics
from qrmi_core.drivers.iqm import IQMServerDriver

sys.path.append(str(Path(__file__).parents[1] / "unit" / "http"))

from small_server import Server

PATIENCE = 60.0
TOKEN = "a+secret/token"
FLIPPED = IQMServer(job(circuit(prx(1), measure(1))), "circuit")
IMPOSSIBLE = IQMServer(job(circuit({"name": "cz", "locus": ["QB1", "QB20"], "args": {}}, measure(1))), "circuit")
POST = "POST /api/v1/jobs/{qc}/{type}"
GET = "GET /api/v1/jobs/{id}"


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


@pytest.fixture(scope="module")
def slow_server() -> Iterator[Site]:
    """Its tasks take a minute."""
    with CASE.start(service_time=lambda: 60.0) as running:
        yield running


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """A server that answers what a test writes down."""
    with ExitStack() as stack:
        yield lambda *routes: stack.enter_context(Server(list(routes)))


def iqm(url: str, *, name: str = "qpu", **variables: str) -> IQMServerDriver:
    block = {"QRMI_IQM_ISA_ENDPOINT": url, "QRMI_IQM_ISA_TOKEN": TOKEN, "QRMI_MIN_POLL": "0", **variables}
    return IQMServerDriver.from_environment(name, block, JobContext())


def answering(path: str, answer: Any, *, status: int = 200, method: str = "GET") -> web.RouteDef:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(answer, status=status)

    return web.route(method, f"/api/v1{path}", handler)


def told(status: str, **fields: Any) -> dict[str, Any]:
    """A job as an IQM server tells of it."""
    return {
        "id": str(uuid.uuid4()), "type": "circuit", "qc": {"id": str(uuid.uuid4())}, "status": status,
        "artifacts": [], "messages": [], "timeline": [], **fields,
    }  # fmt: skip


def test_a_task_from_its_submission_to_its_logs(server: Site) -> None:
    task = server.resource().submit(dataclasses.replace(FLIPPED, tag="mine"))
    assert str(uuid.UUID(task.id)) == task.id
    result = json.loads(task.result(PATIENCE).value)
    assert result == {
        "measurement_counts": [{"counts": {"1": 5}, "measurement_keys": ["m"]}],
        "measurements": [{"m": [[1]] * 5}],
    }
    info = task.info()
    assert (info.status, info.vendor_status, info.program) == (TaskStatus.COMPLETED, "completed", "circuit")
    assert info.created <= info.started <= info.ended
    assert info.qpu_seconds > 0
    logs = task.logs()
    assert [line.split()[-1] for line in logs.splitlines()] == ["Timeline:", "created", "received", "completed"]
    assert server.resource().task(task.id).result(PATIENCE).data == task.result().data


def test_a_task_takes_four_requests(server: Site) -> None:
    resource = server.resource()
    before = server.emulator.counters.total()
    resource.submit(FLIPPED).result(PATIENCE)
    assert server.emulator.counters.total() - before == 4


def test_a_failed_task_tells_the_vendors_reason_and_code(server: Site) -> None:
    task = server.resource().submit(IMPOSSIBLE)
    with pytest.raises(TaskFailed, match="QB1 and QB20 are not coupled") as caught:
        task.result(PATIENCE)
    assert caught.value.task_id == task.id
    assert "Errors:\n  [iqm-station-control] circuit 0, instruction 0 (cz): QB1 and QB20" in task.logs()
    unknown = IQMServer(job(circuit(measure(1)), calibration_set_id=str(uuid.uuid4())), "circuit")
    with pytest.raises(TaskFailed, match="no calibration set") as caught:
        server.resource().submit(unknown).result(PATIENCE)
    assert caught.value.code == "calibration_set_not_found"


def test_all_errors_of_a_failed_job_are_told(serve: Callable[..., Server]) -> None:
    errors = [
        {"error_code": "compilation_failed", "message": "too long", "source": "compiler"},
        {"message": "and too wide", "source": "station"},
    ]
    messages = [{"source": "iqm-server", "message": "hello"}]
    running = serve(answering("/jobs/1", told("failed", errors=errors, messages=messages, id="1")))
    resource = iqm(running.url)
    with pytest.raises(TaskFailed, match=r"failed \(code compilation_failed\): too long; and too wide"):
        resource.task_result("1")
    assert resource.task_logs("1").splitlines() == [
        "Messages:",
        "  [iqm-server] hello",
        "Errors:",
        "  [compiler] compilation_failed: too long",
        "  [station] and too wide",
    ]
    running = serve(answering("/jobs/1", told("failed", messages=messages, id="1")))
    with pytest.raises(TaskFailed, match="failed: hello"):
        iqm(running.url).task_result("1")


def test_an_unknown_status_word_is_kept_and_ends_nothing(serve: Callable[..., Server]) -> None:
    info = iqm(serve(answering("/jobs/1", told("pondering"))).url).task_info("1")
    assert (info.status, info.vendor_status) == (TaskStatus.RUNNING, "pondering")


def test_a_waiting_job_tells_its_place_in_the_queue(serve: Callable[..., Server]) -> None:
    info = iqm(serve(answering("/jobs/1", told("waiting", queue_position=3))).url).task_info("1")
    assert (info.status, info.position) == (TaskStatus.QUEUED, 3)


def test_jobs_wait_behind_each_other(slow_server: Site) -> None:
    resource = slow_server.resource()
    tasks = [resource.submit(IQMServer(job(circuit(measure(1)), shots=5), "circuit")) for _ in range(8)]
    positions = [info.position for info in (task.info() for task in tasks) if info.position is not None]
    assert positions == sorted(positions)
    for task in tasks:
        task.cancel()


def test_a_task_is_waited_for_in_one_request(slow_server: Site) -> None:
    resource = slow_server.resource()
    task = resource.submit(FLIPPED)
    before = slow_server.emulator.counters.requests[GET]
    assert resource.task_wait([task.id], timeout=2.5) == {}
    # The server holds the first for 2 s; the rest of the time is too short for it to hold another.
    assert slow_server.emulator.counters.requests[GET] - before < 20
    task.cancel()
    assert resource.task_wait([task.id], timeout=PATIENCE)[task.id].status is TaskStatus.CANCELLED


def test_a_server_without_long_polls_is_polled(serve: Callable[..., Server]) -> None:
    looks: list[dict[str, str]] = []

    async def look(request: web.Request) -> web.Response:
        looks.append(dict(request.query))
        return web.json_response(told("processing" if len(looks) < 4 else "completed", id="1"))

    resource = iqm(serve(web.get("/api/v1/jobs/1", look)).url)
    assert resource.task_wait(["1"], timeout=PATIENCE)["1"].status is TaskStatus.COMPLETED
    assert looks == [{"wait_until_terminal": "true", "timeout_seconds": "30"}, {}, {}, {}]


def test_the_server_is_asked_to_answer_before_the_time_out(serve: Callable[..., Server]) -> None:
    asked: list[str] = []

    async def look(request: web.Request) -> web.Response:
        asked.append(request.query["timeout_seconds"])
        return web.json_response(told("completed", id="1"))

    iqm(serve(web.get("/api/v1/jobs/1", look)).url, QRMI_HTTP_READ_TIMEOUT="10").task_wait(["1"])
    assert asked == ["5"]


def test_several_tasks_are_waited_for_in_one_loop(server: Site) -> None:
    resource = server.resource(QRMI_MIN_POLL="0")
    ids = [resource.task_start(CASE.payload(number)) for number in range(4)]
    ended = resource.task_wait(ids, timeout=PATIENCE)
    assert {info.status for info in ended.values()} == {TaskStatus.COMPLETED}
    assert list(ended) != []
    for number, task_id in enumerate(ids):
        CASE.verify(resource.task_output(task_id), number)


def test_a_task_is_cancelled_without_a_look_first(slow_server: Site) -> None:
    resource = slow_server.resource()
    task = resource.submit(FLIPPED)
    before = dict(slow_server.emulator.counters.requests)
    task.cancel()
    assert slow_server.emulator.counters.requests[GET] == before.get(GET, 0)
    assert resource.task_status(task.id) is TaskStatus.CANCELLED
    with pytest.raises(TaskCancelled):
        task.result(PATIENCE)
    task.cancel()


def test_a_task_that_has_ended_is_left_as_it_is(server: Site) -> None:
    task = server.resource().submit(FLIPPED)
    task.wait(PATIENCE)
    server.resource().task_stop(task.id)
    assert task.status() is TaskStatus.COMPLETED


def test_an_unknown_task_is_told_from_one_without_a_result(server: Site, slow_server: Site) -> None:
    unknown = str(uuid.uuid4())
    resource = server.resource()
    for ask in (resource.task_info, resource.task_result, resource.task_stop, resource.task_logs, resource.task_output):
        with pytest.raises(TaskNotFound, match=unknown):
            ask(unknown)
    with pytest.raises(TaskNotFound):
        resource.task_wait([unknown])
    task = slow_server.resource().submit(FLIPPED)
    with pytest.raises(TaskNotReady):
        slow_server.resource().task_result(task.id)
    with pytest.raises(ResultError, match=r"has no measurements, its artifacts are: none"):
        slow_server.resource().task_output(task.id)
    task.cancel()


def test_the_result_of_a_sweep_is_what_iqm_sends(serve: Callable[..., Server]) -> None:
    def missing(name: str) -> web.RouteDef:
        return answering(f"/jobs/1/artifacts/{name}", {"error_code": "job_artifact_not_found"}, status=404)

    async def sweep(request: web.Request) -> web.Response:
        return web.Response(body=b"\x0a\xff", content_type="application/protobuf")

    running = serve(
        answering("/jobs/1", told("completed", type="sweep", artifacts=[{"type": "sweep_results"}])),
        missing("measurements"),
        missing("measurement_counts"),
        web.get("/api/v1/jobs/1/artifacts/sweep_results", sweep),
    )
    assert iqm(running.url).task_result("1").data == b"\x0a\xff"


def test_a_truncated_result_is_fetched_again(server: Site) -> None:
    task = server.resource().submit(FLIPPED)
    task.wait(PATIENCE)
    for fault in ("truncated", "cut_json"):
        server.emulator.faults.next_faults.append(("artifacts", fault))
        assert json.loads(task.result().value)["measurements"] == [{"m": [[1]] * 5}]


@pytest.mark.parametrize("fault", ["error", "error_after", "reset_after", "cut_json"])
def test_an_ambiguous_submission_names_the_tag(server: Site, fault: str) -> None:
    resource = server.resource()
    runs, sent = server.emulator.device.runs, server.emulator.counters.requests[POST]
    server.emulator.faults.next_faults.append((POST, fault))
    with pytest.raises(
        SubmissionUncertain, match=r"look for a job with the tag qrmi-[0-9a-f-]{36} on the server's web"
    ):
        resource.submit(FLIPPED)
    assert server.emulator.counters.requests[POST] == sent + 1
    assert server.emulator.device.runs == runs + (fault != "error")
    server.emulator.faults.next_faults.append((POST, fault))
    with pytest.raises(SubmissionUncertain, match="with the tag mine"):
        resource.submit(dataclasses.replace(FLIPPED, tag="mine"))


def test_a_submission_that_was_refused_for_now_is_sent_again(server: Site) -> None:
    server.emulator.faults.next_faults.append((POST, "too_many"))
    task = server.resource().submit(FLIPPED)
    assert task.wait(PATIENCE).status is TaskStatus.COMPLETED


@pytest.mark.parametrize(
    ("code", "solution"),
    [
        ("not_enough_credits", "Ask whoever manages the account"),
        ("quota_exceeded", "Wait until jobs"),
        ("timeslot_required", "Book a timeslot"),
    ],
)
def test_a_refusal_that_is_not_about_the_credentials(serve: Callable[..., Server], code: str, solution: str) -> None:
    answer = {"error_code": code, "message": "not today", "request_id": "r"}
    resource = iqm(serve(answering("/jobs/qpu/circuit", answer, status=403, method="POST")).url)
    with pytest.raises(VendorError, match=rf"qpu takes no job now, code {code}: not today\. {solution}") as caught:
        resource.submit(FLIPPED)
    assert type(caught.value) is VendorError
    assert (caught.value.http_status, caught.value.code, caught.value.reason) == (403, code, "not today")
    assert TOKEN not in str(caught.value)


def test_timeslots_are_asked_for_where_the_payload_says_so(server: Site) -> None:
    with pytest.raises(VendorError, match=r"no_booked_timeslots: .*Book a timeslot on the server's web page"):
        server.resource().submit(dataclasses.replace(FLIPPED, use_timeslot=True))


def test_what_iqm_would_not_take_is_not_sent(server: Site) -> None:
    resource = server.resource()
    before = server.emulator.counters.total()
    with pytest.raises(UnsupportedPayload, match="takes IQMServer, not PulserBatch"):
        resource.submit(PulserBatch(b"{}", ()))
    with pytest.raises(UnsupportedPayload, match="jobs of the type run are protobuf, and this payload is JSON"):
        resource.submit(IQMServer(b"{}", "run"))
    with pytest.raises(UnsupportedPayload, match="job types circuit, run and sweep, not 'dance'"):
        resource.submit(IQMServer(b"{}", "dance"))
    with pytest.raises(InputError, match="the tag has 51 characters, IQM takes 50"):
        resource.submit(dataclasses.replace(FLIPPED, tag="x" * 51))
    assert server.emulator.counters.total() == before


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"{", "invalid_job_payload"), (b"[]", "invalid_job_payload"), (b'{"circuits": []}', "invalid_job_payload")],
)
def test_a_job_that_is_none_is_refused(server: Site, body: bytes, code: str) -> None:
    with pytest.raises(VendorError) as caught:
        server.resource().submit(IQMServer(body, "circuit"))
    assert (caught.value.http_status, caught.value.code) == (400, code)


def test_a_sweep_is_sent_and_refused_by_a_server_that_runs_circuits_only(server: Site) -> None:
    with pytest.raises(VendorError, match="type circuit, not 'sweep'") as caught:
        server.resource().submit(IQMServer(b"{}", "sweep"))
    assert caught.value.code == "unsupported_job_type"


def test_the_target_is_four_documents(server: Site) -> None:
    target = server.resource().target()
    assert target.json() == server.emulator.device.resource.target().json()
    assert target.json()["quality_metrics"] is None
    assert characteristics(target).num_qubits == 20


def test_a_calibration_set_is_chosen_by_its_id(server: Site) -> None:
    known = server.resource().target().json()["calibration_set"]["observation_set_id"]
    assert server.resource(QRMI_IQM_CALIBRATION_SET=known).target().json()["calibration_set"] is not None
    with pytest.raises(VendorError, match="Check QRMI_IQM_CALIBRATION_SET") as caught:
        server.resource(QRMI_IQM_CALIBRATION_SET=str(uuid.uuid4())).target()
    assert caught.value.code == "calibration_set_not_found"


def test_metrics_are_part_of_the_target_where_the_server_has_some(serve: Callable[..., Server]) -> None:
    running = serve(
        answering("/calibration-sets/qpu/default/metrics", {"observations": [1]}),
        answering("/calibration-sets/qpu/default/dynamic-quantum-architecture", {"qubits": []}),
        answering("/calibration-sets/qpu/default", {"observations": []}),
        answering("/quantum-computers/qpu/artifacts/static-quantum-architectures", {"error_code": "x"}, status=404),
    )
    target = iqm(running.url).target().json()
    assert target["quality_metrics"] == {"observations": [1]}
    assert target["static_quantum_architecture"] is None


def listing(*aliases: str) -> web.RouteDef:
    return answering("/quantum-computers", {"quantum_computers": [{"id": "1", "alias": alias} for alias in aliases]})


@pytest.mark.parametrize(
    ("name", "aliases", "alias"),
    [
        ("sirius_mock", ["emerald", "sirius:mock"], "sirius:mock"),
        ("sirius_mock", ["sirius_mock", "sirius:mock"], "sirius:mock"),
        ("sirius_mock", ["sirius_mock"], "sirius_mock"),
        ("a_b_c", ["a_b:c"], "a_b:c"),
    ],
)
def test_the_name_tells_the_alias(serve: Callable[..., Server], name: str, aliases: list[str], alias: str) -> None:
    running = serve(listing(*aliases), answering(f"/quantum-computers/{alias}", {"queue_length": 1}))
    resource = iqm(running.url, name=name)
    assert resource.status().pending_job_count == 1
    assert resource.alias == alias
    assert resource.metadata() == {"backend_name": alias}
    resource.status()
    assert running.faults.counters.requests["GET /api/v1/quantum-computers"] == 1


def test_a_resource_of_the_computers_name_needs_no_device(server: Site) -> None:
    block = {name: value for name, value in server.environment.items() if name != "QRMI_DEVICE"}
    resource = IQMServerDriver.from_environment("iqm_crystal", block, JobContext())
    assert resource.submit(FLIPPED).wait(PATIENCE).status is TaskStatus.COMPLETED
    assert resource.alias == "iqm:crystal"


def test_a_name_that_no_computer_has(serve: Callable[..., Server]) -> None:
    running = serve(listing("emerald", "garnet"))
    with pytest.raises(
        ResourceNotFound, match=r"no quantum computer a:b and no a_b, it has emerald, garnet: set QRMI_D"
    ):
        iqm(running.url, name="a_b").status()


def test_a_device_is_taken_as_it_is_given(server: Site) -> None:
    resource = server.resource(name="any_name_at_all")
    assert resource.status().status is ResourceStatusCode.ONLINE
    with pytest.raises(VendorError, match=r"code qc_not_found: .*Set QRMI_DEVICE to the alias or the id") as caught:
        server.resource(QRMI_DEVICE="emerald").status()
    assert caught.value.http_status == 404
    with pytest.raises(VendorError, match="qc_not_found"):
        server.resource(QRMI_DEVICE="emerald").target()
    (computer,) = requests.get(
        f"{server.environment['QRMI_IQM_ISA_ENDPOINT']}/api/v1/quantum-computers",
        headers={"Authorization": f"Bearer {server.environment['QRMI_IQM_ISA_TOKEN']}"},
        timeout=10,
    ).json()["quantum_computers"]
    by_id = server.resource(QRMI_DEVICE=computer["id"])
    assert by_id.submit(FLIPPED).wait(PATIENCE).status is TaskStatus.COMPLETED


HEALTHY = {"healthy": True, "updated_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("answer", "code", "accessible", "reason"),
    [
        ({"operational": "online", "health": HEALTHY}, "online", True, "healthy at 2026-01-01T00:00:00Z"),
        ({"queue_length": 3}, "online", True, None),
        ({"operational_status": "maintenance"}, "paused", False, "IQM says: maintenance"),
        ({"operational": "cooling"}, "offline", False, "IQM says: cooling"),
        ({"status": {"health": HEALTHY}, "queue_length": 2}, "online", True, "healthy at 2026-01-01T00:00:00Z"),
        ({"status": {"health": HEALTHY | {"healthy": False}}}, "online", False, "not healthy at 2026-01-01T00:00:00Z"),
    ],
)
def test_status(serve: Callable[..., Server], answer: Any, code: str, accessible: bool, reason: str | None) -> None:
    resource = iqm(serve(answering("/quantum-computers/qpu", answer)).url)
    status = resource.status()
    assert (status.status.value, status.status_reason) == (code, reason)
    assert status.pending_job_count == answer.get("queue_length")
    assert resource.is_accessible() is accessible


def test_a_server_that_tells_its_health_only(serve: Callable[..., Server]) -> None:
    status = iqm(serve(answering("/quantum-computers/qpu/health", HEALTHY)).url).status()
    assert (status.status, status.healthy) == (ResourceStatusCode.ONLINE, True)
    running = serve(answering("/quantum-computers/qpu", {"error_code": "qc_not_found", "message": "none"}, status=404))
    with pytest.raises(VendorError, match="Set QRMI_DEVICE"):
        iqm(running.url).status()


def test_a_wrong_token_is_told_with_its_variable(server: Site) -> None:
    resource = iqm(server.environment["QRMI_IQM_ISA_ENDPOINT"], QRMI_DEVICE="iqm:crystal")
    for ask in (resource.status, resource.target, lambda: resource.submit(FLIPPED)):
        with pytest.raises(AuthenticationFailed, match="check QRMI_IQM_ISA_TOKEN of qpu") as caught:
            ask()
        assert TOKEN not in str(caught.value)


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(VendorUnreachable, match="cannot be reached"):
        iqm("http://127.0.0.1:9", QRMI_HTTP_DEADLINE="0.5").status()


def test_the_endpoint_may_be_written_with_the_path_of_the_api(server: Site) -> None:
    for ending in ("", "/", "/api/v1", "/api/v1/"):
        endpoint = server.environment["QRMI_IQM_ISA_ENDPOINT"] + ending
        assert server.resource(QRMI_IQM_ISA_ENDPOINT=endpoint).is_accessible()


def test_the_acquisition_is_of_no_effect(server: Site) -> None:
    resource = server.resource()
    token = resource.acquire()
    assert token != resource.acquire()
    resource.release(token)
    resource.release(token)
    assert server.resource(context=JobContext(acquisition_token="t")).metadata() == {
        "backend_name": "iqm:crystal",
        "acquisition_token": "t",
    }


def test_no_secret_is_shown(server: Site) -> None:
    assert server.environment["QRMI_IQM_ISA_TOKEN"] not in repr(server.resource())


@pytest.mark.timeout(240)
def test_qiskit_programs_run(server: Site) -> None:
    check_sampler(server.resource())
    check_estimator(server.resource())


class TestServer:
    """What the server itself refuses, as IQM's does."""

    @pytest.fixture
    def ask(self, server: Site) -> Callable[..., requests.Response]:
        def ask(
            method: str, path: str, *, of: Site = server, headers: dict[str, str] | None = None, **kwargs: Any
        ) -> requests.Response:
            sent = {"Authorization": f"Bearer {of.environment['QRMI_IQM_ISA_TOKEN']}", **(headers or {})}
            url = f"{of.environment['QRMI_IQM_ISA_ENDPOINT']}/api/v1{path}"
            return requests.request(method, url, headers=sent, timeout=10, **kwargs)

        return ask

    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/jobs", 404, "not_found"),
            ("GET", "/jobs/1", 404, "job_not_found"),
            ("GET", "/quantum-computers?page=1", 400, "invalid_input"),
            ("GET", "/quantum-computers/emerald", 404, "qc_not_found"),
            ("GET", "/quantum-computers/iqm:crystal/artifacts/settings", 404, "not_found"),
            ("GET", "/calibration-sets/iqm:crystal/1/metrics", 404, "calibration_set_not_found"),
            ("GET", "/calibration-sets/iqm:crystal/default/metrics", 404, "quality_metrics_not_found"),
            ("POST", "/jobs/iqm:crystal/circuit?tag=" + "x" * 51, 400, "invalid_input"),
            ("POST", "/jobs/iqm:crystal/circuit?use_timeslot=maybe", 400, "invalid_input"),
            ("POST", "/jobs/iqm:crystal/circuit", 400, "invalid_job_payload"),
            ("POST", "/jobs/iqm:crystal/run", 400, "unsupported_job_type"),
            ("POST", "/jobs/emerald/circuit", 404, "qc_not_found"),
            ("POST", "/jobs/1/cancel", 404, "job_not_found"),
        ],
    )
    def test_refusals(
        self, ask: Callable[..., requests.Response], method: str, path: str, status: int, code: str
    ) -> None:
        answer = ask(method, path)
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)
        assert answer.json()["request_id"]

    @pytest.mark.parametrize("seconds", ["0", "31", "a", "-1", "1.5"])
    def test_a_wait_is_from_1_to_30_seconds(
        self, ask: Callable[..., requests.Response], slow_server: Site, seconds: str
    ) -> None:
        task = slow_server.resource().submit(FLIPPED)
        query = {"wait_until_terminal": "true", "timeout_seconds": seconds}
        answer = ask("GET", f"/jobs/{task.id}", of=slow_server, params=query)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_input")
        task.cancel()

    def test_a_job_can_be_deleted(self, ask: Callable[..., requests.Response], server: Site) -> None:
        task = server.resource().submit(FLIPPED)
        payload = ask("GET", f"/jobs/{task.id}/payload")
        assert (payload.content, payload.headers["IQM-Job-Type"]) == (FLIPPED.iqmjson, "circuit")
        assert ask("DELETE", f"/jobs/{task.id}").status_code == 204
        assert ask("GET", f"/jobs/{task.id}").status_code == 404

    def test_a_compressed_body_is_taken(self, ask: Callable[..., requests.Response]) -> None:
        body = gzip.compress(FLIPPED.iqmjson)
        answer = ask("POST", "/jobs/iqm:crystal/circuit", data=body, headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["type"]) == (201, "circuit")
        assert ask("GET", f"/jobs/{answer.json()['id']}/payload").content == FLIPPED.iqmjson
