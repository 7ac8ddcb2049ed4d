# SPDX-License-Identifier: Apache-2.0
"""The driver of IBM's cloud: tasks, what they cost in requests, and what its errors say."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from ibm_compute_case import CASE, sampler_payload
from vendor_site import Clock, Site, result_in_new_process

from qrmi_core import (
    AuthenticationFailed,
    InputError,
    JobContext,
    PulserBatch,
    PulserJob,
    QiskitPrimitive,
    QRMIError,
    QRMIWarning,
    ResourceNotFound,
    ResourceStatus,
    ResourceStatusCode,
    ResourceUnavailable,
    ResultError,
    SubmissionUncertain,
    Task,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskStatus,
    UnsupportedPayload,
    VendorError,
    VendorUnreachable,
)
from qrmi_core.drivers import ibm_compute
from qrmi_core.drivers.ibm_compute import IBMQuantumComputeService, QiskitRuntimeService
from qrmi_core.drivers.ibm_jobs import job_info
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.faults import FaultRates
from qrmi_core.polling import pause, wait_until
from qrmi_core.variables import mistakes

NONE = {"QRMI_IBM_QCS_SESSION_MODE": "none"}
GUIDE = Path(__file__).parents[2] / "docs" / "vendors" / "ibm-quantum-compute-service.md"


CLOCK = Clock()


@pytest.fixture(scope="module")
def everything() -> Iterator[Site]:
    with CASE.start(service_time=CLOCK) as running:
        yield running


@pytest.fixture
def site(everything: Site) -> Iterator[Site]:
    """The server as it is at first; some tests change it."""
    yield everything
    faults = everything.emulator.faults
    faults.next_faults, faults.rates, CLOCK.seconds = [], FaultRates(), 0.0


def qpu(site: Site, context: JobContext = CASE.context, **variables: str) -> IBMQuantumComputeService:
    resource = site.resource(context=context, **{"QRMI_MIN_POLL": "0", **NONE, **variables})
    assert isinstance(resource, IBMQuantumComputeService)
    return resource


def served(site: Site, task: Task) -> Any:
    """What the server keeps of a task's job."""
    return site.emulator.dialect._jobs[task.id]


def ended_at_the_server(site: Site, task: Task) -> None:
    """Wait without asking the server, so that its counters stay as they are."""
    engine = site.emulator.device.resource
    assert wait_until(lambda: engine.task_status(served(site, task).task_id).is_final, timeout=60)


def requests(site: Site) -> int:
    return site.emulator.counters.total(without=("token", "backends"))


def test_a_task_that_is_done_at_once_costs_three_requests(site: Site) -> None:
    resource = qpu(site)
    resource.target()
    resource.submit(CASE.payload(1)).result(timeout=60)
    before = requests(site)
    task = resource.submit(CASE.payload(5))
    ended_at_the_server(site, task)
    CASE.verify(task.result(timeout=60).data, 5)
    assert requests(site) - before == 3


@pytest.mark.parametrize(("seconds", "most"), [(0.05, 12), (0.5, 20)])
def test_waiting_costs_few_requests(site: Site, seconds: float, most: int) -> None:
    resource = qpu(site)
    task = resource.submit(CASE.payload(1))
    task.result(timeout=60)  # the engine is warm, and the token is there
    CLOCK.seconds = seconds
    task = resource.submit(CASE.payload(2))
    ended_at_the_server(site, task)
    before = requests(site)
    task.result(timeout=60)
    assert requests(site) - before <= most


def test_polls_leave_the_input_where_it_is(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    resource = qpu(site)
    long = sampler_payload(3)
    filler = f"// {'x' * 200_000}\\n".encode()
    long = dataclasses.replace(
        long, parameters=long.parameters.replace(b"OPENQASM 3.0;\\n", b"OPENQASM 3.0;\\n" + filler)
    )
    with caplog.at_level(logging.DEBUG, logger="qrmi_core.http"):
        task = resource.submit(long)
        CASE.verify(task.result(timeout=60).data, 3)
        resource.task_ids()
    sizes = [int(found[1]) for found in re.finditer(r"GET \S+/jobs\S*: 200, (\d+) bytes", caplog.text)]
    assert len(sizes) >= 3
    assert max(sizes) < 10_000


def test_what_is_known_of_a_task(site: Site) -> None:
    resource = qpu(site)
    payload = dataclasses.replace(
        CASE.payload(7), tags=("mine", "and mine"), log_level="DEBUG", private=True, max_execution_time=30
    )
    task = resource.submit(payload)
    task.result(timeout=60)
    info = task.info()
    assert (info.status, info.vendor_status, info.program) == (TaskStatus.COMPLETED, "Completed", "sampler")
    assert info.created is not None
    assert info.qpu_seconds is not None
    assert info.qpu_seconds > 0
    request = served(site, task).request
    assert request["tags"][:2] == ["mine", "and mine"]
    assert (request["log_level"], request["private"], request["cost"]) == ("DEBUG", True, 30)
    assert "session_id" not in request
    assert task.logs() == ""


@pytest.mark.parametrize(
    ("context", "variables", "asked", "cost"),
    [
        (JobContext(), {}, None, None),
        (JobContext(timeout_seconds=600), {}, None, 600),
        (JobContext(timeout_seconds=600), {}, 900, 600),
        (JobContext(timeout_seconds=600), {"QRMI_IBM_QCS_TIMEOUT_SECONDS": "50"}, None, 50),
        (JobContext(), {}, 20, 20),
    ],
)
def test_the_limit_of_a_task(
    site: Site, context: JobContext, variables: dict[str, str], asked: int | None, cost: int | None
) -> None:
    payload = dataclasses.replace(CASE.payload(1), max_execution_time=asked)
    assert served(site, qpu(site, context, **variables).submit(payload)).request.get("cost") == cost


def test_a_task_beyond_its_limit_has_failed(site: Site) -> None:
    CLOCK.seconds = 30.0
    task = qpu(site, QRMI_IBM_QCS_TIMEOUT_SECONDS="1").submit(CASE.payload(1))
    with pytest.raises(TaskFailed, match=r"\(code 1305\): Job ran longer than 1 s\. Ask for more time") as caught:
        task.result(timeout=60)
    assert (caught.value.code, task.info().vendor_status) == ("1305", "Cancelled - Ran too long")


def test_tasks_are_listed_page_by_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = qpu(site)
    made = [resource.submit(CASE.payload(number)).id for number in range(5)]
    monkeypatch.setattr(ibm_compute, "PAGE", 2)
    assert resource.task_ids()[:5] == made[::-1]
    assert sorted(resource.task_ids()) == sorted(site.emulator.dialect._jobs)


@pytest.mark.parametrize("page", [200, 2])
def test_many_tasks_are_waited_for_by_their_list(site: Site, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    resource = qpu(site)
    made = [resource.submit(CASE.payload(number)) for number in range(6)]
    monkeypatch.setattr(ibm_compute, "PAGE", page)
    ended_at_the_server(site, made[-1])
    before = requests(site)
    assert set(resource.task_wait([task.id for task in made], timeout=60)) == {task.id for task in made}
    assert requests(site) - before <= 6 / page + 5


def test_a_new_process_takes_a_task_over(site: Site) -> None:
    task = qpu(site).submit(CASE.payload(77))
    CASE.verify(result_in_new_process(IBMQuantumComputeService, site.environment, task.id), 77)


def test_cancelling(site: Site) -> None:
    CLOCK.seconds = 60.0
    resource = qpu(site)
    task = resource.submit(CASE.payload(1))
    site.emulator.faults.next_faults = [("cancel", "reset_after")]  # asked again, it is told 409: ended already
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.result(timeout=60)
    task.cancel()
    resource.task_stop(task.id)
    with pytest.raises(TaskNotFound, match="qpu knows no task d0: check the id"):
        resource.task_stop("d0")
    with pytest.raises(TaskNotFound):
        resource.task("../backends")


def test_a_task_that_is_told_as_running_is_told_as_cancelled(site: Site) -> None:
    CLOCK.seconds = 60.0
    task = qpu(site).submit(CASE.payload(1))
    ended_at_the_server(site, task)
    assert task.status() is TaskStatus.RUNNING
    task.cancel()
    assert task.wait(30).status is TaskStatus.CANCELLED


def test_cancelling_what_has_ended_changes_nothing(site: Site) -> None:
    task = qpu(site).submit(CASE.payload(4))
    task.wait(60)
    task.cancel()
    CASE.verify(task.result().data, 4)


@pytest.mark.parametrize("fault", ["error_after", "reset_after", "cut_json", "truncated"])
def test_a_submission_whose_answer_is_lost_is_looked_up(site: Site, fault: str) -> None:
    resource = qpu(site)
    runs = site.emulator.device.runs
    site.emulator.faults.next_faults = [("POST /api/v1/jobs", fault)]
    CASE.verify(resource.submit(CASE.payload(6)).result(timeout=60).data, 6)
    assert site.emulator.device.runs - runs == 1


def test_a_submission_that_cannot_be_looked_up_is_uncertain(site: Site) -> None:
    resource = qpu(site, QRMI_HTTP_DEADLINE="0.5")
    runs = site.emulator.device.runs
    site.emulator.faults.next_faults = [
        ("POST /api/v1/jobs", "error_after"),
        *[("GET /api/v1/jobs", "unavailable")] * 20,
    ]
    with pytest.raises(SubmissionUncertain, match=r"look for a job with the tag qrmi-[0-9a-f]{16} in IBM's list"):
        resource.submit(CASE.payload(6))
    assert site.emulator.device.runs - runs == 1


@pytest.mark.parametrize("fault", ["error", "too_many", "reset_before", "truncated", "cut_json"])
def test_results_are_fetched_again(site: Site, fault: str) -> None:
    task = qpu(site).submit(CASE.payload(8))
    task.wait(60)
    site.emulator.faults.next_faults = [("results", fault), ("results", fault)]
    CASE.verify(task.result().data, 8)


def test_a_result_that_stays_cut_off_is_an_error(site: Site) -> None:
    task = qpu(site, QRMI_HTTP_DEADLINE="0.3").submit(CASE.payload(8))
    task.wait(60)
    site.emulator.faults.next_faults = [("results", "cut_json")] * 20
    with pytest.raises(ResultError, match="is not JSON"):
        task.result()


def test_the_status_of_the_device(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = qpu(site)
    before = resource.status().pending_job_count
    CLOCK.seconds = 60.0
    task = resource.submit(CASE.payload(1))
    told = resource.status()
    assert (told.status, told.status_reason, told.healthy) == (ResourceStatusCode.ONLINE, None, True)
    assert (before, told.pending_job_count) == (before, (before or 0) + 1)
    task.cancel()
    for code in (ResourceStatusCode.PAUSED, ResourceStatusCode.OFFLINE):
        told = ResourceStatus(code, status_reason="new cables")
        monkeypatch.setattr(site.emulator.device.resource, "status", lambda told=told: told)
        assert dataclasses.replace(resource.status(), pending_job_count=None) == dataclasses.replace(
            told, healthy=False
        )
        assert not resource.is_accessible()


def test_the_target_holds_both_parts_and_hides_no_error(site: Site) -> None:
    resource = qpu(site, QRMI_HTTP_DEADLINE="0.3")
    target, ours = resource.target().json(), site.emulator.device.resource.target().json()
    assert target["configuration"] == ours["configuration"] | {"simulator": False, "local": False}
    assert target["properties"] is None
    for part in ("configuration", "properties"):
        site.emulator.faults.next_faults = [(part, "unavailable")] * 20
        with pytest.raises(VendorError, match=f"{part} answered 503"):
            resource.target()


def test_properties_come_as_they_are() -> None:
    with CASE.start(engine="aer_manila") as running:
        target = running.resource().target().json()
        assert target == running.emulator.device.resource.target().json() | {
            "configuration": target["configuration"],
            "properties": target["properties"],
        }
        assert target["properties"]["backend_name"] == "aer_manila"
        assert len(target["properties"]["qubits"]) == target["configuration"]["n_qubits"] == 5


def test_a_wrong_key_is_named(site: Site) -> None:
    resource = qpu(site, QRMI_IBM_QCS_IAM_APIKEY="not-the-key")
    with pytest.raises(
        AuthenticationFailed,
        match=r"answered 400, code BXNIM0415E: .*No token was given: check QRMI_IBM_QCS_IAM_APIKEY of qpu",
    ) as caught:
        resource.submit(CASE.payload(1))
    assert "not-the-key" not in str(caught.value)


def test_a_wrong_instance_is_named(site: Site) -> None:
    with pytest.raises(AuthenticationFailed, match=r"Service-CRN .* check .*QRMI_IBM_QCS_SERVICE_CRN of qpu"):
        qpu(site, QRMI_IBM_QCS_SERVICE_CRN="crn:v1:other").status()


def test_a_token_is_fetched_again_before_it_expires_and_after_it_was_refused() -> None:
    with CASE.start(options=DialectOptions(token_seconds=1.0)) as running:
        tokens = running.emulator.counters.requests
        resource = qpu(running)
        resource.status()
        pause(1.1)
        resource.status()
        assert tokens["POST /identity/token"] == 2
        running.emulator.dialect._iam._signing = b"another"
        resource.status()
        assert tokens["POST /identity/token"] == 3


def test_a_token_that_cannot_be_renewed(site: Site) -> None:
    with CASE.start() as running:
        resource = qpu(running)
        resource.status()
        iam = running.emulator.dialect._iam
        iam._signing, iam._options = b"another", DialectOptions(key="another")
        with pytest.raises(AuthenticationFailed, match="check QRMI_IBM_QCS_IAM_APIKEY of qpu"):
            resource.status()


@pytest.mark.parametrize("variable", ["QRMI_IBM_QCS_ENDPOINT", "QRMI_IBM_QCS_IAM_ENDPOINT"])
def test_a_host_that_is_not_there(site: Site, variable: str) -> None:
    resource = qpu(site, **{variable: "http://127.0.0.1:1/api/v1", "QRMI_HTTP_DEADLINE": "0.3"})
    with pytest.raises(VendorUnreachable, match=r"qpu: http://127\.0\.0\.1:1/api/v1\S* cannot be reached: .*refused"):
        resource.submit(CASE.payload(1))


def test_an_address_without_the_identity_service(site: Site) -> None:
    wrong = f"{site.emulator.url}/elsewhere"
    with pytest.raises(ResourceUnavailable, match=r"Check QRMI_IBM_QCS_IAM_ENDPOINT of qpu, to which /identity/token"):
        qpu(site, QRMI_IBM_QCS_IAM_ENDPOINT=wrong).status()


class Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def of_the_site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server whose certificate is from an authority of the site, and that authority's file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}", tmp_path / "ca.pem"
    server.shutdown()
    server.server_close()


def test_a_certificate_of_the_sites_own_authority(site: Site, of_the_site: tuple[str, Path]) -> None:
    url, authority = of_the_site
    with pytest.raises(VendorUnreachable, match=r"no safe connection to .*name .* file in QRMI_HTTP_CA_FILE of qpu"):
        qpu(site, QRMI_IBM_QCS_ENDPOINT=url).status()
    # The identity service is of the open kind here; the API is reached, and has no such device.
    with pytest.raises(ResourceNotFound):
        qpu(site, QRMI_IBM_QCS_ENDPOINT=url, QRMI_HTTP_CA_FILE=str(authority)).status()


def test_a_device_that_the_instance_has_not(site: Site) -> None:
    resource = qpu(site, QRMI_DEVICE="ibm_nowhere")
    for call in (resource.status, resource.target):
        with pytest.raises(ResourceNotFound, match=r"code 1216: .*Check QRMI_DEVICE of qpu, and that QRMI_IBM_QCS_SER"):
            call()


@pytest.mark.parametrize(
    ("payload", "kind", "message"),
    [
        (PulserBatch(b"{}", (PulserJob(1),)), UnsupportedPayload, "takes QiskitPrimitive, not PulserBatch"),
        (QiskitPrimitive("vqe", b"{}"), UnsupportedPayload, "sampler, estimator, noise-learner, executor, not 'vqe'"),
        (QiskitPrimitive("sampler", b'{"pubs": ['), InputError, "the parameters are not JSON: .*line 1"),
        (QiskitPrimitive("sampler", b'{}, "backend": "mine"'), InputError, "the parameters are not JSON"),
        (QiskitPrimitive("sampler", b"[]"), InputError, "the parameters are not a JSON object"),
    ],
)
def test_what_cannot_be_a_job_is_not_sent(site: Site, payload: Any, kind: type[QRMIError], message: str) -> None:
    before = site.emulator.counters.total()
    with pytest.raises(kind, match=message):
        qpu(site).submit(payload)
    assert site.emulator.counters.total() == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"options": {"zzz": 1}}, r"400, code 1211: params\.options\.zzz: extra inputs are not permitted"),
        ({"options": {"twirling": {"enable": True}}}, r"params\.options\.twirling\.enable: extra inputs"),
        ({"pub": []}, r"params\.pub: extra inputs"),
    ],
)
def test_what_the_vendor_refuses_is_told(site: Site, parameters: Any, message: str) -> None:
    with pytest.raises(VendorError, match=message) as caught:
        qpu(site).submit(QiskitPrimitive("sampler", json.dumps({"pubs": [["x"]], "version": 2} | parameters).encode()))
    assert (caught.value.http_status, caught.value.code) == (400, "1211")


def test_a_task_that_fails_says_why(site: Site) -> None:
    payload = QiskitPrimitive("sampler", json.dumps({"pubs": [["no circuit", None, 1]], "version": 2}).encode())
    task = qpu(site).submit(payload)
    with pytest.raises(TaskFailed, match=r"on qpu failed \(code 1517\): .*\. Correct the input of the job") as caught:
        task.result(timeout=60)
    assert caught.value.reason == task.info().reason
    assert (caught.value.code, task.info().vendor_status) == ("1517", "Failed")
    assert caught.value.solution


def info_of(document: dict[str, Any]) -> Any:
    return job_info(document, "d1", lambda word: IBMQuantumComputeService.words.get(word, TaskStatus.RUNNING))


@pytest.mark.parametrize(
    ("status", "state", "meant", "kept"),
    [
        ("Queued", "Queued", TaskStatus.QUEUED, "Queued"),
        ("Running", "Running", TaskStatus.RUNNING, "Running"),
        ("Completed", "Completed", TaskStatus.COMPLETED, "Completed"),
        ("COMPLETED", None, TaskStatus.COMPLETED, "COMPLETED"),
        ("Cancelled", "Cancelled", TaskStatus.CANCELLED, "Cancelled"),
        ("Cancelled - Ran too long", "Cancelled", TaskStatus.FAILED, "Cancelled - Ran too long"),
        ("Failed", "Failed", TaskStatus.FAILED, "Failed"),
        ("Initializing", "Initializing", TaskStatus.QUEUED, "Initializing"),
        ("Mitigating", "Running", TaskStatus.RUNNING, "Running"),
        ("Mitigating", "Polishing", TaskStatus.RUNNING, "Mitigating"),
        (None, None, TaskStatus.RUNNING, None),
    ],
)
def test_words_for_a_status(status: str | None, state: str | None, meant: TaskStatus, kept: str | None) -> None:
    info = info_of({"status": status, "state": {"status": state}})
    assert (info.status, info.vendor_status) == (meant, kept)


@pytest.mark.parametrize("code", [{"reason_code": 1305}, {"reason_code": "1305"}, {"reasonCode": 1305}])
def test_a_job_that_was_cancelled_for_its_time_has_failed(code: dict[str, Any]) -> None:
    info = info_of({"status": "Cancelled", "state": {"status": "Cancelled", **code}, "cost": 9})
    assert (info.status, info.code) == (TaskStatus.FAILED, "1305")
    assert info.reason == "it ran longer than its limit of 9 s and was cancelled"


def test_a_failure_without_a_reason_is_told_by_the_text_in_place_of_the_result(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = QiskitPrimitive("sampler", json.dumps({"pubs": [["no circuit", None, 1]], "version": 2}).encode())
    resource = qpu(site)
    task = resource.submit(payload)
    job = served(site, task)
    told = job.document
    monkeypatch.setattr(
        job,
        "document",
        lambda info, *, brief: told(info, brief=brief) | {"state": {"status": told(info, brief=brief)["status"]}},
    )
    task.wait(60)
    assert "no circuit" in (task.info().reason or "") or "OpenQASM" in (task.info().reason or "")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("QRMI_IBM_QCS_SESSION_MODE", "eternal", "is 'eternal': one of dedicated, batch, none was expected"),
        ("QRMI_IBM_QCS_SESSION_MAX_TTL", "8h", "is '8h': a positive number was expected"),
        ("QRMI_IBM_QCS_TIMEOUT_SECONDS", "-1", "is '-1': a positive number was expected"),
    ],
)
def test_a_value_that_cannot_be_used(site: Site, variable: str, value: str, message: str) -> None:
    with pytest.raises(ResourceUnavailable, match=f"{variable} of qpu {message}"):
        qpu(site, **{variable: value})


def test_the_old_name_warns_once_and_reads_the_old_variables_only(site: Site) -> None:
    values = {name.replace("_QCS_", "_QRS_"): value for name, value in {**site.environment, **NONE}.items()}
    with pytest.warns(QRMIWarning, match="type qiskit-runtime-service is now called ibm-quantum-compute") as caught:
        resource = QiskitRuntimeService.from_environment("qpu", values, JobContext())
    assert [each.filename for each in caught] == [__file__]
    CASE.verify(resource.submit(CASE.payload(9)).result(timeout=60).data, 9)
    assert resource.resource_type() == "qiskit-runtime-service"
    wrong = mistakes(QiskitRuntimeService.type, QiskitRuntimeService.variables, site.environment)
    assert {name for name, _ in wrong} >= {"QRMI_IBM_QCS_ENDPOINT", "QRMI_IBM_QRS_ENDPOINT"}


def test_every_variable_is_explained() -> None:
    explained = re.findall(r"^\| `(QRMI_\w+)`", GUIDE.read_text(), flags=re.MULTILINE)
    assert explained == [variable.name for variable in IBMQuantumComputeService.variables]
