# SPDX-License-Identifier: Apache-2.0
"""The driver of Alice & Bob's Felis, against a server that speaks its API and computes."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from felis_case import CASE, SHOTS, qir, qubit, result
from felis_programs import RandomProgram
from vendor_site import Site

from qrmi_core import (
    AliceBobFelis,
    AuthenticationFailed,
    InputError,
    JobContext,
    QiskitPrimitive,
    QRMIError,
    QuantumResource,
    ResourceNotFound,
    ResourceStatusCode,
    ResourceUnavailable,
    ResultError,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskStatus,
    UnsupportedPayload,
    VendorError,
    VendorUnreachable,
)
from qrmi_core.drivers.felis import AliceBobFelisDriver, target_name
from qrmi_core.drivers.felis_answers import WORDS, announcement, info_of
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects import DialectOptions, felis
from qrmi_core.gateway.dialects.felis_jobs import Job

SECONDS = 60.0
KEY = base64.b64encode(b"someone:pass:word").decode()
UPLOAD, OUTPUT, CREATE = "POST /v1/jobs/{id}/input", "/output", "POST /v1/jobs/"
BROKEN = AliceBobFelis(qir("hh__body %Qubit* null", results=1), b'{"nbShots": 1}')


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


@pytest.fixture
def resource(server: Site) -> QuantumResource:
    return server.resource(QRMI_MIN_POLL="0")


@pytest.fixture
def slow() -> Iterator[Site]:
    """Its tasks take a minute."""
    with CASE.start(service_time=lambda: 60.0) as running:
        yield running


def jobs(running: Site) -> dict[str, Job]:
    dialect = running.emulator.dialect
    assert isinstance(dialect, felis.Felis)
    return dialect._jobs


def made(**values: str) -> AliceBobFelisDriver:
    return AliceBobFelisDriver.from_environment("ab_emu_6q_cats", values, JobContext())


def test_a_task_and_what_is_known_of_it(resource: QuantumResource) -> None:
    before = time.time()
    task = resource.submit(CASE.payload(201))
    CASE.verify(task.result(SECONDS).data, 201)
    info = task.info()
    assert (info.status, info.vendor_status, info.shots) == (TaskStatus.COMPLETED, "SUCCEEDED", SHOTS)
    assert info.created is not None
    assert info.started is not None
    assert info.ended is not None
    assert before - 1 <= info.created <= info.started <= info.ended <= time.time() + 1
    assert info.qpu_seconds is None
    assert [line.split()[-1] for line in task.logs().splitlines()] == [
        *("CREATED", "INPUT_READY", "COMPILING", "COMPILED", "TRANSPILING", "TRANSPILED", "EXECUTING", "SUCCEEDED"),
    ]


def test_requests_of_a_task_that_is_done_at_once() -> None:
    """Create, upload, look, usage, output; and what was looked at before it was done."""
    with CASE.start() as running:
        task = running.resource(QRMI_MIN_POLL="0").submit(CASE.payload(1))
        assert running.emulator.device.resource.task_wait(running.emulator.device.resource.task_ids()[:1], timeout=60)
        task.result(SECONDS)
        assert running.emulator.counters.total() == 5, running.emulator.counters.requests


def test_what_a_compiler_needs(resource: QuantumResource, server: Site) -> None:
    target = resource.target()
    assert target.json() == server.emulator.device.resource.target().json()
    assert '"default": 1000,' in target.value, "whole numbers stay whole"
    assert resource.metadata() == {"backend_name": "EMU:30Q:IDEAL", "felis_target": "EMU:30Q:IDEAL"}


def test_another_process_finds_the_task(resource: QuantumResource, server: Site) -> None:
    task = resource.submit(CASE.payload(9))
    task.wait(SECONDS)
    again = server.resource()
    CASE.verify(again.task_output(task.id), 9)
    CASE.verify(again.task(task.id).result(SECONDS).data, 9)


def test_tasks_are_listed_the_newest_first() -> None:
    with CASE.start() as running:
        resource = running.resource(QRMI_MIN_POLL="0")
        sent = [resource.submit(CASE.payload(number)).id for number in range(3)]
        assert resource.task_ids() == sent[::-1]


def test_more_tasks_are_listed_than_fit_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrmi_core.drivers.felis.PAGE", 2)
    with CASE.start() as running:
        resource = running.resource()
        sent = [resource.submit(CASE.payload(number)).id for number in range(5)]
        assert resource.task_ids() == sent[::-1]


class TestVariables:
    def test_the_key_is_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ResourceUnavailable, match="QRMI_AB_FELIS_API_KEY of ab_emu_6q_cats is not set"):
            made()

    @pytest.mark.parametrize(
        "key", ["not base64!", base64.b64encode(b"nocolon").decode(), base64.b64encode(b"user:").decode(), "//79"]
    )
    def test_the_key_is_checked_and_not_shown(self, key: str) -> None:
        said = "QRMI_AB_FELIS_API_KEY of ab_emu_6q_cats cannot be used: .* base64 of user:password"
        with pytest.raises(ResourceUnavailable, match=said) as caught:
            made(QRMI_AB_FELIS_API_KEY=key)
        assert key not in str(caught.value)

    def test_variables_without_a_name_serve_where_the_resource_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QRMI_AB_FELIS_API_KEY", KEY)
        monkeypatch.setenv("QRMI_AB_FELIS_BASE_ENDPOINT", "http://127.0.0.1:1/")
        assert made()._http.base == "http://127.0.0.1:1"
        assert made(QRMI_AB_FELIS_BASE_ENDPOINT="http://127.0.0.1:2")._http.base == "http://127.0.0.1:2"

    def test_the_vendors_own_server_is_the_default(self) -> None:
        assert made(QRMI_AB_FELIS_API_KEY=KEY)._http.base == "https://api-gcp.alice-bob.com"

    @pytest.mark.parametrize(
        ("name", "target"),
        [
            ("ab_emu_40q_physical_cats", "EMU:40Q:PHYSICAL_CATS"),
            ("qpu_1q", "QPU:1Q"),
            ("ab_emu_1q_lescanne_2020", "EMU:1Q:LESCANNE_2020"),
            ("cats", "CATS"),
        ],
    )
    def test_the_target_follows_from_the_name(self, name: str, target: str) -> None:
        assert target_name(name) == target

    def test_the_device_is_taken_as_it_is(self) -> None:
        assert made(QRMI_AB_FELIS_API_KEY=KEY, QRMI_DEVICE="x:y:z:a").device == "x:y:z:a"
        assert made(QRMI_AB_FELIS_API_KEY=KEY).device == "EMU:6Q:CATS"

    def test_a_wrong_key_is_refused_by_the_vendor(self, server: Site) -> None:
        resource = server.resource(QRMI_AB_FELIS_API_KEY=KEY)
        for call in (resource.status, resource.target, lambda: resource.submit(CASE.payload(0))):
            with pytest.raises(AuthenticationFailed, match="check QRMI_AB_FELIS_API_KEY of qpu") as caught:
                call()
            assert "pass:word" not in str(caught.value)
            assert KEY not in str(caught.value)

    def test_no_server(self) -> None:
        resource = made(
            QRMI_AB_FELIS_API_KEY=KEY, QRMI_AB_FELIS_BASE_ENDPOINT="http://127.0.0.1:9", QRMI_HTTP_DEADLINE="0.2"
        )
        with pytest.raises(VendorUnreachable, match="cannot be reached"):
            resource.status()


class TestRefusals:
    def test_an_unknown_target_lists_those_that_are_there(self, server: Site) -> None:
        resource = server.resource(QRMI_DEVICE="EMU:99Q:DOGS")
        said = "qpu: the vendor has no target EMU:99Q:DOGS, it has EMU:30Q:IDEAL: set QRMI_DEVICE of qpu"
        for call in (resource.status, resource.target, lambda: resource.submit(CASE.payload(0))):
            with pytest.raises(ResourceNotFound, match=said):
                call()

    @pytest.mark.parametrize(
        ("parameters", "said"),
        [
            (b'{"nbShots": 0}', r'qpu refuses the job: Input param "nbShots" must be in the range \[1, 1000000\]\.'),
            (b'{"averageNbPhotons": 4.0, "nbShots": 1}', 'Input param "averageNbPhotons" is not supported'),
            (b"{}", 'Input param "nbShots" is required'),
            (b'{"nbShots": 1.5}', 'Input param "nbShots" must be of type int, not 1.5'),
            (b"{", "qpu: input_params is not JSON"),
            (b"[1]", "qpu: input_params must be an object"),
        ],
    )
    def test_parameters(self, resource: QuantumResource, parameters: bytes, said: str) -> None:
        with pytest.raises(InputError, match=said):
            resource.submit(AliceBobFelis(qir(results=1), parameters))

    def test_a_payload_of_another_vendor(self, resource: QuantumResource) -> None:
        with pytest.raises(UnsupportedPayload, match=r"qpu \(alice-bob-felis\) takes AliceBobFelis, not Qiskit"):
            resource.submit(QiskitPrimitive("sampler", b"{}"))

    def test_an_unknown_task(self, resource: QuantumResource) -> None:
        for call in (resource.task, resource.task_stop, resource.task_output, resource.task_logs):
            with pytest.raises(TaskNotFound, match=r"qpu knows no task nothing/\.\./here"):
                call("nothing/../here")


class TestFailures:
    def test_a_failed_task_says_why(self, resource: QuantumResource) -> None:
        task = resource.submit(BROKEN)
        with pytest.raises(
            TaskFailed, match=r"failed \(code OperationNotSupported\): line 6: __quantum__qis__hh__body"
        ):
            task.result(SECONDS)
        assert task.info().vendor_status == "TRANSPILATION_FAILED"
        assert "OperationNotSupported: line 6: " in task.logs()

    def test_what_is_no_program_fails_where_it_is_compiled(self, resource: QuantumResource) -> None:
        info = resource.submit(AliceBobFelis(b"no program", b'{"nbShots": 1}')).wait(SECONDS)
        assert (info.vendor_status, info.code) == ("COMPILATION_FAILED", "InvalidProgram")
        assert info.reason == "line 1: no program is not understood"

    def test_cancelling_what_has_failed_or_succeeded_is_no_error(self, resource: QuantumResource) -> None:
        for payload in (BROKEN, CASE.payload(3)):
            task = resource.submit(payload)
            ended = task.wait(SECONDS)
            resource.task_stop(task.id)
            assert resource.task_info(task.id) == ended

    def test_the_command_line_shows_the_reason(self, server: Site, tmp_path: Path) -> None:
        config = {"resources": [{"name": "cats", "type": "alice-bob-felis", "environment": dict(server.environment)}]}
        (tmp_path / "config.json").write_text(json.dumps(config))

        def run(payload: AliceBobFelis) -> subprocess.CompletedProcess[str]:
            document = {"human_qir": payload.human_qir.decode(), "input_params": json.loads(payload.input_params)}
            (tmp_path / "payload.json").write_text(json.dumps(document))
            command = [
                str(Path(sys.executable).with_name("qrmi")),
                "task",
                "run",
                "cats",
                "payload.json",
                "--config",
                "config.json",
            ]
            return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)

        done = run(CASE.payload(6))
        assert (done.returncode, done.stdout) == (0, f"00000110,{SHOTS}\n"), done.stderr
        failed = run(BROKEN)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert "line 6: __quantum__qis__hh__body is no function of this target" in failed.stderr
        assert "OperationNotSupported" in failed.stderr


class TestCancelling:
    def test_a_task_that_runs(self, slow: Site) -> None:
        resource = slow.resource()
        task = resource.submit(CASE.payload(5))
        with pytest.raises(TaskNotReady, match=r"is (queued|running): wait for it"):
            resource.task_result(task.id)
        with pytest.raises(TaskNotReady, match="does not have the output of task"):
            resource.task_output(task.id)
        task.cancel()
        task.cancel()
        with pytest.raises(TaskCancelled, match="was cancelled"):
            task.result(SECONDS)

    def test_a_conflict_over_a_task_that_goes_on_is_told(self, slow: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        resource = slow.resource()
        task = resource.submit(CASE.payload(5))

        async def refuse(*_: Any) -> None:
            raise felis.Refused(409, "not now")

        monkeypatch.setattr(Device, "cancel", refuse)
        with pytest.raises(VendorError, match="not now"):
            task.cancel()


class TestLostAnswers:
    """Whatever happens to the answers, a task runs once."""

    @pytest.mark.parametrize("fault", ["error", "error_after", "reset_before", "reset_after", "too_many", "cut_json"])
    @pytest.mark.parametrize("step", [CREATE, UPLOAD])
    def test_a_task_runs_once(self, server: Site, fault: str, step: str) -> None:
        emulator = server.emulator
        before = emulator.device.runs
        emulator.faults.next_faults.append((step, fault))
        number = random.SystemRandom().randrange(256)
        CASE.verify(server.resource(QRMI_MIN_POLL="0").submit(CASE.payload(number)).result(SECONDS).data, number)
        assert not emulator.faults.next_faults
        assert emulator.device.runs == before + 1

    def test_an_empty_job_that_a_lost_answer_left_is_no_task(self) -> None:
        with CASE.start() as running:
            resource = running.resource(QRMI_MIN_POLL="0")
            running.emulator.faults.next_faults.append((CREATE, "reset_after"))
            task = resource.submit(CASE.payload(4))
            assert len(jobs(running)) == 2
            assert resource.task_ids() == [task.id]
            CASE.verify(task.result(SECONDS).data, 4)
            assert running.emulator.device.runs == 1

    def test_an_upload_that_is_silent_is_looked_up_and_sent_again(self, server: Site) -> None:
        emulator = server.emulator
        before = emulator.device.runs
        emulator.faults.next_faults.append((UPLOAD, "hang"))
        resource = server.resource(QRMI_MIN_POLL="0", QRMI_HTTP_READ_TIMEOUT="0.5")
        CASE.verify(resource.submit(CASE.payload(4)).result(SECONDS).data, 4)
        assert emulator.device.runs == before + 1

    def test_without_its_look_up_a_task_whose_upload_arrived_is_lost(self, server: Site) -> None:
        server.emulator.faults.next_faults.append((UPLOAD, "reset_after"))
        with pytest.raises(VendorError, match="takes no input"):
            server.resource(CASE.blind).submit(CASE.payload(4))

    def test_a_job_whose_upload_fails_is_cancelled(self, server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        async def refuse(*_: Any) -> str:
            raise felis.Refused(413, "the program is too large")

        monkeypatch.setattr(Device, "submit", refuse)
        with pytest.raises(VendorError, match="the program is too large") as caught:
            server.resource().submit(CASE.payload(4))
        assert caught.value.task_id is not None
        assert jobs(server)[caught.value.task_id].word == "CANCELLED"

    def test_a_server_that_fails_at_every_upload_is_left_with_no_job(
        self, server: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: Any) -> str:
            raise QRMIError("the device is away", transient=True)

        monkeypatch.setattr(Device, "submit", fail)
        with pytest.raises(VendorError, match="the device is away") as caught:
            server.resource(QRMI_HTTP_DEADLINE="0.5").submit(CASE.payload(4))
        assert caught.value.task_id is not None
        assert jobs(server)[caught.value.task_id].word == "CANCELLED"


class TestOutputs:
    @pytest.mark.parametrize("fault", ["cut_json", "truncated", "error", "slow"])
    def test_one_that_was_cut_off_is_fetched_again(self, server: Site, fault: str) -> None:
        coins = [f"h__body {qubit(index)}" for index in range(6)]
        looks = [f"mz__body {qubit(index)}, {result(index)}" for index in range(6)]
        resource = server.resource(QRMI_MIN_POLL="0")
        task = resource.submit(AliceBobFelis(qir(*coins, *looks, results=6), b'{"nbShots": 5000}'))
        task.wait(SECONDS)
        server.emulator.faults.next_faults.append((OUTPUT, fault))
        lines = task.result().value.splitlines()
        assert not server.emulator.faults.next_faults
        assert len(lines) == 64
        assert sum(int(line.split(",")[1]) for line in lines) == 5000

    def test_one_that_stays_cut_off_is_an_error(self, server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(felis, "_text", lambda body: web.Response(body=body.replace(b",20", b",2")))
        task = server.resource(QRMI_MIN_POLL="0").submit(CASE.payload(4))
        with pytest.raises(ResultError, match="the output counts 2 shots of 20: it was cut off") as caught:
            task.result(SECONDS)
        assert (caught.value.resource, caught.value.task_id) == ("qpu", task.id)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"outcomes: many", "line 1 of the output is 'outcomes: many': bits,count was expected"),
            (b"00,10\n1,10\n", "line 2 of the output is '1,10': bits,count was expected"),
            (b"", "the output counts 0 shots of 20"),
        ],
    )
    def test_what_is_no_output(self, server: Site, monkeypatch: pytest.MonkeyPatch, body: bytes, said: str) -> None:
        monkeypatch.setattr(felis, "_text", lambda _: web.Response(body=body))
        with pytest.raises(ResultError, match=said):
            server.resource(QRMI_MIN_POLL="0").submit(CASE.payload(4)).result(SECONDS)

    @pytest.mark.parametrize(
        "answer",
        [
            lambda body: web.json_response(body.decode()),
            lambda body: web.Response(body=body, content_type="text/csv"),
            lambda body: web.Response(body=body.replace(b"\n", b"\r\n"), content_type="application/octet-stream"),
            lambda body: web.Response(body=body.rstrip()),
        ],
    )
    def test_every_form_of_it(
        self, server: Site, monkeypatch: pytest.MonkeyPatch, answer: Callable[[bytes], web.Response]
    ) -> None:
        monkeypatch.setattr(felis, "_text", answer)
        output = server.resource(QRMI_MIN_POLL="0").submit(CASE.payload(7)).result(SECONDS)
        assert output.value.strip() == f"00000111,{SHOTS}"


class TestWords:
    def test_all_that_the_vendor_documents(self) -> None:
        expected = {
            TaskStatus.QUEUED: "CREATED FETCHING_INPUT INPUT_READY",
            TaskStatus.RUNNING: "COMPILING COMPILED TRANSPILING TRANSPILED EXECUTING",
            TaskStatus.COMPLETED: "SUCCEEDED",
            TaskStatus.FAILED: "COMPILATION_FAILED TRANSPILATION_FAILED EXECUTION_FAILED TIMED_OUT",
            TaskStatus.CANCELLED: "CANCELLED",
        }
        assert {word: status for status, words in expected.items() for word in words.split()} == WORDS

    def test_an_unknown_one_ends_nothing_and_is_visible(self, server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        task = server.resource(QRMI_MIN_POLL="0").submit(CASE.payload(8))
        task.resource.task_wait([task.id], timeout=SECONDS)
        told = Job.document
        odd = [{"type": "POLISHING", "createdAt": "tomorrow"}]
        with monkeypatch.context() as patch:
            patch.setattr(Job, "document", lambda job: {**told(job), "events": odd})
            info = task.info()
            assert (info.status, info.vendor_status) == (TaskStatus.RUNNING, "POLISHING")
        CASE.verify(task.result(SECONDS).data, 8)

    @pytest.mark.parametrize("events", [[], None, "CREATED", [None]])
    def test_no_events(self, resource: QuantumResource, monkeypatch: pytest.MonkeyPatch, events: Any) -> None:
        told = Job.document
        monkeypatch.setattr(Job, "document", lambda job: {**told(job), "events": events})
        task = resource.submit(CASE.payload(8))
        assert (task.status(), task.info().vendor_status) == (TaskStatus.QUEUED, None)
        assert task.logs() == ""

    @pytest.mark.parametrize(
        ("errors", "code", "reason"),
        [
            ([{"content": {"code": "TooHot", "message": "it melted"}}], "TooHot", "it melted"),
            ([{"content": {"code": 500, "message": "oh"}}, {"content": "and more"}], "500", "oh; and more"),
            ([{"content": {"what": 1}}], None, "{'what': 1}"),
            ([], None, "the vendor gives no reason beside TIMED_OUT"),
            (None, None, "the vendor gives no reason beside TIMED_OUT"),
        ],
    )
    def test_the_reasons_of_a_failure(self, errors: Any, code: str | None, reason: str) -> None:
        job = {"events": [{"type": "TIMED_OUT"}], "errors": errors, "inputParams": None}
        info = info_of(job, "id", WORDS.__getitem__)
        assert (info.status, info.code, info.reason) == (TaskStatus.FAILED, code, reason)


class TestUsage:
    def test_the_time_on_the_processor(self, server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Job, "metrics", lambda _: {"qpu_duration_ns": 1_500_000_000})
        assert server.resource(QRMI_MIN_POLL="0").submit(CASE.payload(2)).wait(SECONDS).qpu_seconds == 1.5

    @pytest.mark.parametrize("told", [None, [], {"qpu_duration_ns": "long"}, "much"])
    def test_what_cannot_be_read_is_no_error(self, server: Site, monkeypatch: pytest.MonkeyPatch, told: Any) -> None:
        monkeypatch.setattr(Job, "metrics", lambda _: told)
        task = server.resource(QRMI_MIN_POLL="0").submit(CASE.payload(2))
        assert task.wait(SECONDS).qpu_seconds is None
        CASE.verify(task.result(SECONDS).data, 2)


class TestStatus:
    def test_online(self, resource: QuantumResource) -> None:
        assert resource.status().to_dict()["status"] == "online"
        assert resource.is_accessible()

    def test_a_device_that_is_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with CASE.start() as running:
            engine = running.emulator.device.resource
            monkeypatch.setattr(engine, "missing_packages", lambda: ["qiskit_aer"])
            status = running.resource().status()
        assert (status.status, status.healthy) == (ResourceStatusCode.OFFLINE, False)
        assert status.status_reason is not None
        assert "EMU:30Q:IDEAL is OFF by its vendor: felis_ideal needs qiskit_aer" in status.status_reason

    @pytest.mark.parametrize(
        ("availabilities", "told"),
        [
            ([], (True, None)),
            ("none", (True, None)),
            ([{"enabled": False, "createdAt": "2026-01-01T00:00:00", "message": "repair"}], (False, "repair")),
            (
                [
                    {"enabled": False, "createdAt": "2026-01-01T00:00:00", "message": "repair"},
                    {"enabled": True, "createdAt": "2026-02-01T00:00:00"},
                ],
                (True, None),
            ),
            (
                [{"enabled": False, "createdAt": "2026-01-01T00:00:00", "timestamp": "2999-01-01T00:00:00"}],
                (True, None),
            ),
        ],
    )
    def test_announcements(self, availabilities: Any, told: tuple[bool, str | None]) -> None:
        assert announcement(availabilities) == told


def test_tokens_are_our_own(resource: QuantumResource) -> None:
    token = resource.acquire()
    assert token != resource.acquire()
    resource.release(token)
    resource.release(token)


def test_random_programs_come_through_unchanged(server: Site) -> None:
    """The bytes that the device was given are those that were submitted."""
    seed = random.SystemRandom().randrange(2**32)
    program = RandomProgram(seed).text
    task = server.resource(QRMI_MIN_POLL="0").submit(AliceBobFelis(program, b'{"nbShots": 50}'))
    assert sum(int(line.split(",")[1]) for line in task.result(SECONDS).value.splitlines()) == 50, f"seed {seed}"
    assert jobs(server)[task.id].program == program


def test_lists_that_lag_lose_nothing() -> None:
    with CASE.start(options=DialectOptions(list_delay=2.0, seed=3)) as running:
        task = running.resource(QRMI_MIN_POLL="0").submit(CASE.payload(11))
        CASE.verify(task.result(SECONDS).data, 11)


def test_the_driver_loads_no_framework() -> None:
    code = "import sys, qrmi_core.drivers.felis; assert not {'qiskit', 'aiohttp', 'boto3'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS)
