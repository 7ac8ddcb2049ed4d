# SPDX-License-Identifier: Apache-2.0
"""The driver of Pasqal's cloud, on a server that speaks its API and computes."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import random
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pasqal_cloud_case import CASE, FRESNEL, Blind, batch, rabi
from pulser import Pulse
from pulser.backend import BitStrings, EmulationConfig, Occupation, Results
from vendor_site import Site

from qrmi_core import (
    AuthenticationFailed,
    BatchResource,
    InputError,
    IQMServer,
    PulserBatch,
    PulserJob,
    QRMIError,
    ResourceStatusCode,
    ResourceUnavailable,
    ResultError,
    SubmissionUncertain,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskStatus,
    UnsupportedFunction,
    UnsupportedPayload,
    VendorUnreachable,
)
from qrmi_core.characteristics import characteristics
from qrmi_core.drivers.pasqal_batches import batch_info, job_info
from qrmi_core.drivers.pasqal_cloud import PasqalCloud
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.faults import FaultRates, Faults
from qrmi_pulser import device

PREFIX = "QRMI_PASQAL_CLOUD_"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


@pytest.fixture(scope="module")
def slow_server() -> Iterator[Site]:
    """Its tasks take a minute."""
    with CASE.start(service_time=lambda: 60.0) as running:
        yield running


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No account of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("PASQAL_USERNAME", "PASQAL_PASSWORD", "PASQAL_CONFIG_ROOT"):
        monkeypatch.delenv(variable, raising=False)


def pasqal(running: Site, *, without: tuple[str, ...] = (), **variables: str) -> PasqalCloud:
    """The driver, without some variables of its block."""
    known = {name: value for name, value in running.environment.items() if name not in without}
    return PasqalCloud.from_environment("qpu", {**known, "QRMI_MIN_POLL": "0", **variables}, CASE.context)


@functools.cache
def areas() -> bytes:
    """A pulse whose area comes with the job."""
    sequence = rabi(0.0, pulses=False)
    area = sequence.declare_variable("area", dtype=float)
    sequence.add(Pulse.ConstantPulse(500, area / 0.5, 0, 0), "rydberg")
    sequence.measure("ground-rydberg")
    text: str = sequence.to_abstract_repr()
    return text.encode()


def variables(area: float) -> bytes:
    return json.dumps({"area": area}).encode()


def long_batch(jobs: int = 1) -> PulserBatch:
    """Each of its jobs takes minutes."""
    sequence = rabi(0.0, atoms=12, pulses=False)
    for _ in range(3):
        sequence.add(Pulse.ConstantPulse(2000, 6.0, 0.5, 0), "rydberg")
    sequence.measure("ground-rydberg")
    return PulserBatch(sequence.to_abstract_repr().encode(), (PulserJob(10),) * jobs)


SERVICE = (f"{PREFIX}CLIENT_ID", f"{PREFIX}CLIENT_SECRET")


def runs(resource: PasqalCloud, number: int = 1) -> None:
    """A batch comes back with its result."""
    CASE.verify(resource.submit(batch(number)).result(PATIENCE).data, number)


class TestAccounts:
    def test_service_account(self, server: Site) -> None:
        runs(pasqal(server))

    def test_user_of_the_process(self, server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PASQAL_USERNAME", "user@example.org")
        monkeypatch.setenv("PASQAL_PASSWORD", server.emulator.dialect.options.key)
        runs(pasqal(server, without=SERVICE))

    def test_user_of_the_resource(self, server: Site) -> None:
        key = server.emulator.dialect.options.key
        runs(pasqal(server, without=SERVICE, **{f"{PREFIX}USERNAME": "user@example.org", f"{PREFIX}PASSWORD": key}))

    def test_token(self, server: Site) -> None:
        before = server.emulator.counters.requests["POST /oauth/token"]
        runs(pasqal(server, without=SERVICE, **{f"{PREFIX}AUTH_TOKEN": server.emulator.dialect.options.key}))
        assert server.emulator.counters.requests["POST /oauth/token"] == before

    def test_a_user_counts_before_a_service_account(self, server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PASQAL_USERNAME", "user@example.org")
        monkeypatch.setenv("PASQAL_PASSWORD", "wrong")
        with pytest.raises(AuthenticationFailed, match=r"Wrong email or password.*PASQAL_USERNAME and PASQAL_PASSWORD"):
            pasqal(server).submit(batch(1))

    @pytest.mark.parametrize("used", ["a user", "nothing else"])
    def test_a_token_that_has_expired(self, server: Site, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
        expired = "e30.eyJleHAiOiAxfQ.x"  # {"exp": 1}
        resource = pasqal(server, without=SERVICE, **{f"{PREFIX}AUTH_TOKEN": expired})
        if used == "nothing else":
            with pytest.raises(
                AuthenticationFailed, match=f"{PREFIX}AUTH_TOKEN has expired.* PASQAL_USERNAME"
            ) as caught:
                resource.submit(batch(1))
            assert expired not in str(caught.value)
        else:
            monkeypatch.setenv("PASQAL_USERNAME", "user@example.org")
            monkeypatch.setenv("PASQAL_PASSWORD", server.emulator.dialect.options.key)
            runs(resource)

    def test_a_token_that_is_refused_gives_way_to_an_account(self, server: Site) -> None:
        runs(pasqal(server, **{f"{PREFIX}AUTH_TOKEN": "revoked"}))
        with pytest.raises(AuthenticationFailed, match=f"401.*check {PREFIX}AUTH_TOKEN of qpu") as caught:
            pasqal(server, without=SERVICE, **{f"{PREFIX}AUTH_TOKEN": "revoked-one"}).submit(batch(1))
        assert "revoked-one" not in str(caught.value)

    def test_a_wrong_secret_names_its_variable(self, server: Site) -> None:
        with pytest.raises(AuthenticationFailed, match=f"Unauthorized.*{PREFIX}CLIENT_SECRET of qpu") as caught:
            pasqal(server, **{f"{PREFIX}CLIENT_SECRET": "not-the-secret"}).submit(batch(1))
        assert "not-the-secret" not in str(caught.value)

    def test_no_account(self, server: Site) -> None:
        with pytest.raises(AuthenticationFailed, match=r"nothing to log in .*PASQAL_USERNAME.*~/\.pasqal/config"):
            pasqal(server, without=SERVICE).submit(batch(1))

    def test_the_status_needs_no_account(self, server: Site) -> None:
        assert pasqal(server, without=SERVICE).is_accessible()

    @pytest.mark.parametrize("project", ["", "another"])
    def test_a_wrong_project_names_its_variable(self, server: Site, project: str) -> None:
        with pytest.raises(QRMIError, match=f"{PREFIX}PROJECT_ID") as caught:
            pasqal(server, **{f"{PREFIX}PROJECT_ID": project}).submit(batch(1))
        assert isinstance(caught.value, AuthenticationFailed if project else ResourceUnavailable)

    def test_tokens_are_fetched_again_before_they_end(self) -> None:
        with CASE.start(options=DialectOptions(token_seconds=1.0)) as running:
            resource = pasqal(running)
            open_batch = resource.submit(dataclasses.replace(batch(1), open=True))
            for _ in range(200):
                resource.task_info(open_batch.id)
                if running.emulator.counters.requests["POST /oauth/token"] >= 3:
                    break
                threading.Event().wait(0.02)
            answers = running.emulator.counters.answers
            assert running.emulator.counters.requests["POST /oauth/token"] >= 3
            assert not any(401 in statuses for statuses in answers.values())
            open_batch.cancel()

    def test_a_token_that_the_server_forgets_is_fetched_again(self, server: Site) -> None:
        resource = pasqal(server)
        runs(resource)
        server.emulator.dialect._accounts._signing = b"another key"
        runs(resource)


class TestConfigurationFile:
    def write(self, directory: Any, **lines: str) -> None:
        (directory / ".pasqal").mkdir(parents=True)
        text = "\n".join(f"{key} = {value}" for key, value in lines.items())
        (directory / ".pasqal" / "config").write_text(f"# an account\n[default]\n; {text}\n{text}\nunknown = 1\n")

    def test_in_the_home_directory(self, server: Site, tmp_path: Any) -> None:
        key, project = server.emulator.dialect.options.key, server.environment[f"{PREFIX}PROJECT_ID"]
        endpoint = server.environment[f"{PREFIX}AUTH_ENDPOINT"]
        self.write(
            tmp_path / "home",
            USERNAME="user@example.org",
            password=f'"{key}"',
            project_id=project,
            auth_endpoint=endpoint,
        )
        runs(pasqal(server, without=(*SERVICE, f"{PREFIX}PROJECT_ID", f"{PREFIX}AUTH_ENDPOINT")))

    @pytest.mark.parametrize("variable", ["PASQAL_CONFIG_ROOT", "qpu_PASQAL_CONFIG_ROOT", "block"])
    def test_in_a_directory_that_a_variable_names(
        self, server: Site, tmp_path: Any, variable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.write(tmp_path / "some where", token=server.emulator.dialect.options.key)
        monkeypatch.setenv("PLACE", "some")
        root = f"{tmp_path}/${{PLACE}} where"
        if variable == "block":
            runs(pasqal(server, without=SERVICE, PASQAL_CONFIG_ROOT=root))
        else:
            monkeypatch.setenv(variable, root)
            runs(pasqal(server, without=SERVICE))

    def test_variables_count_before_it(self, server: Site, tmp_path: Any) -> None:
        self.write(tmp_path / "home", client_secret="wrong", project_id="wrong")
        runs(pasqal(server))

    def test_comments_stand_on_lines_of_their_own(self, server: Site, tmp_path: Any) -> None:
        self.write(tmp_path / "home", token=f"{server.emulator.dialect.options.key} # mine")
        with pytest.raises(AuthenticationFailed):
            pasqal(server, without=SERVICE).submit(batch(1))

    @pytest.mark.parametrize("root", ["/tmp/${", "/tmp/${}", "/tmp/${A-B}"])
    def test_a_directory_that_is_written_wrongly(self, server: Site, root: str) -> None:
        with pytest.raises(ResourceUnavailable, match=r"qpu_PASQAL_CONFIG_ROOT of qpu .*\$\{NAME\}"):
            pasqal(server, PASQAL_CONFIG_ROOT=root).submit(batch(1))

    def test_a_directory_without_it(self, server: Site, tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
        runs(pasqal(server, PASQAL_CONFIG_ROOT=f"~/$$here{tmp_path}"))
        assert "no readable .pasqal/config in" in caplog.text


class TestTasks:
    def test_three_requests_for_a_batch_that_is_done_at_once(self, server: Site) -> None:
        resource = pasqal(server)
        runs(resource, 3)
        counters = server.emulator.counters
        resource.target()
        for _ in range(5):
            before = counters.total()
            task = resource.submit(batch(2))
            engine = server.emulator.device.resource
            while not engine.task_info(server.emulator.dialect._batches[task.id].task).status.is_final:
                threading.Event().wait(0.02)
            CASE.verify(task.result(PATIENCE).data, 2)
            assert counters.total() - before == 3

    def test_the_ids_of_a_closed_batch_are_listed_once(self, server: Site) -> None:
        resource = pasqal(server)
        task = resource.submit(PulserBatch(areas(), tuple(PulserJob(1, variables(0.0)) for _ in range(3))))
        assert isinstance(resource, BatchResource)
        listed = resource.batch_job_ids(task.id)
        before = server.emulator.counters.total()
        assert resource.batch_job_ids(task.id) == listed
        assert server.emulator.counters.total() == before
        assert [info.id for info in resource.batch_jobs(task.id)] == listed
        task.cancel()

    def test_usage(self, server: Site) -> None:
        info = pasqal(server).submit(batch(5)).wait(PATIENCE)
        assert (info.status, info.vendor_status, info.shots) == (TaskStatus.COMPLETED, "DONE", 15)
        assert info.created <= info.ended
        assert info.started <= info.ended
        assert info.qpu_seconds == pytest.approx(info.ended - info.started)

    def test_several_jobs_with_variables(self, server: Site) -> None:
        resource = pasqal(server)
        template = areas()
        jobs = tuple(
            PulserJob(20 + number, variables(area)) for number, area in enumerate([0.0, math.pi, math.tau, math.pi])
        )
        task = resource.submit(PulserBatch(template, jobs))
        told = json.loads(task.result(PATIENCE).data)["jobs"]
        assert [job["result"]["counter"] for job in told] == [{"0": 20}, {"1": 21}, {"0": 22}, {"1": 23}]
        assert [job["id"] for job in told] == [info.id for info in resource.batch_jobs(task.id)]

    def test_more_jobs_than_a_page_holds(self, server: Site) -> None:
        resource = pasqal(server)
        before = server.emulator.counters.requests["GET /core-fast/api/v2/jobs"]
        task = resource.submit(PulserBatch(areas(), tuple(PulserJob(1, variables(0.0)) for _ in range(103)), open=True))
        assert len({info.id for info in resource.batch_jobs(task.id)}) == 103
        assert server.emulator.counters.requests["GET /core-fast/api/v2/jobs"] == before + 2
        task.cancel()

    def test_an_emulator_for_one_batch(self, server: Site) -> None:
        text = rabi(math.pi).to_abstract_repr().encode()
        resource = pasqal(server)
        configuration = (
            EmulationConfig(observables=[BitStrings(num_shots=77), Occupation()]).to_abstract_repr().encode()
        )
        task = resource.submit(PulserBatch(text, (PulserJob(),), device_type="EMU_FREE", configuration=configuration))
        result = json.loads(task.result(PATIENCE).data)
        assert result["counter"] == {"1": 77}
        assert Results.from_abstract_repr(result["serialised_results"]).occupation[0] == pytest.approx([1.0], abs=1e-3)

    def test_an_emulator_as_the_device(self, server: Site) -> None:
        resource = pasqal(server, QRMI_DEVICE="EMU_FREE")
        assert resource.is_accessible()
        (entry,) = resource.target().json()
        assert entry["device_type"] == "FRESNEL"
        runs(resource, 3)

    def test_a_failed_job_tells_why(self, server: Site) -> None:
        resource = pasqal(server)
        sequence = json.loads(rabi(math.pi).to_abstract_repr())
        sequence["operations"][0]["ch"] = "no_such_channel"
        task = resource.submit(PulserBatch(json.dumps(sequence).encode(), (PulserJob(10),)))
        with pytest.raises(TaskFailed, match="the sequence cannot be read"):
            task.result(PATIENCE)
        assert task.info().vendor_status == "ERROR"

    def test_it_completes_when_one_job_does(self, server: Site) -> None:
        resource = pasqal(server)
        jobs = (PulserJob(5, variables(0.0)), PulserJob(5, b'{"area": "much"}'))
        task = resource.submit(PulserBatch(areas(), jobs))
        assert task.wait(PATIENCE).status is TaskStatus.COMPLETED
        first, second = json.loads(task.result().data)["jobs"]
        assert first["result"]["counter"] == {"0": 5}
        assert (second["status"], second["result"]) == ("failed", None)
        assert "area" in second["reason"] or "much" in second["reason"]

    def test_a_result_before_its_time(self, slow_server: Site) -> None:
        resource = pasqal(slow_server)
        task = resource.submit(batch(1))
        with pytest.raises(TaskNotReady):
            resource.task_result(task.id)
        task.cancel()

    def test_cancelling(self, slow_server: Site) -> None:
        resource = pasqal(slow_server)
        task = resource.submit(batch(1))
        task.cancel()
        ended = task.wait(PATIENCE)
        assert ended.status in {TaskStatus.CANCELLED, TaskStatus.COMPLETED}
        task.cancel()
        resource.task_stop(task.id)

    def test_cancelling_while_it_runs(self, server: Site) -> None:
        resource = pasqal(server)
        task = resource.submit(long_batch())
        task.cancel()
        assert task.wait(PATIENCE).status is TaskStatus.CANCELLED
        with pytest.raises(TaskCancelled):
            task.result()

    def test_cancelling_what_is_done(self, server: Site) -> None:
        resource = pasqal(server)
        task = resource.submit(batch(1))
        task.wait(PATIENCE)
        resource.task_stop(task.id)
        resource.batch_cancel_jobs(task.id, [info.id for info in resource.batch_jobs(task.id)])
        CASE.verify(task.result().data, 1)

    def test_unknown_tasks(self, server: Site) -> None:
        resource = pasqal(server)
        for call in (resource.task_info, resource.task_stop, resource.task_result, resource.batch_is_open):
            with pytest.raises(TaskNotFound, match="knows no task nothing"):
                call("nothing")

    def test_from_another_process(self, server: Site) -> None:
        task = pasqal(server).submit(batch(7))
        again = pasqal(server).task(task.id)
        CASE.verify(again.result(PATIENCE).data, 7)
        assert not pasqal(server).batch_is_open(task.id)

    def test_there_are_no_logs(self, server: Site) -> None:
        resource = pasqal(server)
        with pytest.raises(UnsupportedFunction, match="keeps no logs"):
            resource.task_logs(resource.submit(batch(1)).id)


class TestOpenBatches:
    def test_jobs_in_rounds(self, server: Site) -> None:
        resource = pasqal(server)
        task = resource.submit(PulserBatch(areas(), (), open=True))
        assert resource.task_info(task.id).status is TaskStatus.QUEUED
        (first,) = resource.batch_add(task.id, [PulserJob(3, variables(0.0))])
        resource.batch_wait(task.id, [first], timeout=PATIENCE)
        assert json.loads(resource.batch_job_output(task.id, first))["counter"] == {"0": 3}
        assert resource.task_info(task.id).status is TaskStatus.RUNNING
        assert resource.batch_is_open(task.id)
        more = resource.batch_add(task.id, [PulserJob(4, variables(math.pi)), PulserJob(5, variables(0.0))])
        assert [info.id for info in resource.batch_jobs(task.id)] == [first, *more]
        resource.batch_close(task.id)
        resource.batch_close(task.id)
        assert task.wait(PATIENCE).status is TaskStatus.COMPLETED
        assert [json.loads(resource.batch_job_output(task.id, job))["counter"] for job in more] == [{"1": 4}, {"0": 5}]

    def test_a_closed_one_takes_no_more(self, server: Site) -> None:
        resource = pasqal(server)
        task = resource.submit(PulserBatch(areas(), (PulserJob(3, variables(0.0)),)))
        with pytest.raises(InputError, match="is closed: open a new one"):
            resource.batch_add(task.id, [PulserJob(3, variables(0.0))])
        with pytest.raises(TaskNotFound):
            resource.batch_add("nothing", [PulserJob(3, variables(0.0))])

    def test_cancelling_some_jobs(self, server: Site) -> None:
        resource = pasqal(server)
        task = resource.submit(dataclasses.replace(long_batch(jobs=3), open=True))
        ids = [info.id for info in resource.batch_jobs(task.id)]
        resource.batch_cancel_jobs(task.id, [])
        assert not any(info.status is TaskStatus.CANCELLED for info in resource.batch_jobs(task.id))
        resource.batch_cancel_jobs(task.id, ids[1:])
        resource.batch_wait(task.id, ids[1:], timeout=PATIENCE)
        statuses = [info.status for info in resource.batch_jobs(task.id)]
        assert statuses[1:] == [TaskStatus.CANCELLED] * 2
        assert not statuses[0].is_final
        task.cancel()
        assert task.wait(PATIENCE).status is TaskStatus.CANCELLED

    @pytest.mark.parametrize("fault", ["error", "error_after", "reset_before", "reset_after", "cut_json", "truncated"])
    def test_jobs_are_added_once_whatever_the_answer(self, server: Site, fault: str) -> None:
        resource = pasqal(server)
        task = resource.submit(PulserBatch(areas(), (PulserJob(3, variables(0.0)),), open=True))
        before = server.emulator.device.runs
        server.emulator.faults.next_faults.append(("POST /core-fast/api/v2/batches/{batch}/jobs", fault))
        added = resource.batch_add(task.id, [PulserJob(6, variables(math.pi)), PulserJob(7, variables(math.pi))])
        assert server.emulator.device.runs == before + 2
        assert [info.shots for info in resource.batch_jobs(task.id)] == [3, 6, 7]
        assert [info.id for info in resource.batch_jobs(task.id)][1:] == list(added)
        task.cancel()

    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_each_job_is_added_once_under_rough_faults(self) -> None:
        seed = random.SystemRandom().randrange(2**32)
        faults = Faults(FaultRates.rough(), seed=seed)
        with CASE.start(faults=faults, options=DialectOptions(list_delay=2.0, seed=seed)) as running:
            resource = pasqal(running)
            task = resource.submit(PulserBatch(areas(), (), open=True))
            turns = iter(range(24))
            added: dict[int, str] = {}

            def work() -> None:
                for turn in turns:
                    (added[turn],) = resource.batch_add(task.id, [PulserJob(1 + turn, variables(0.0))])

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(240)
            resource.batch_close(task.id)
            task.wait(240)
            shots = {info.id: info.shots for info in resource.batch_jobs(task.id)}
            assert running.emulator.device.runs == 24, seed
            assert {turn: shots[job_id] for turn, job_id in added.items()} == {turn: 1 + turn for turn in range(24)}, (
                seed
            )
            counts = [json.loads(resource.batch_job_output(task.id, added[turn]))["counter"] for turn in range(24)]
            assert counts == [{"0": 1 + turn} for turn in range(24)], seed

    def test_from_several_threads(self, server: Site) -> None:
        resource = pasqal(server)
        task = resource.submit(PulserBatch(areas(), (), open=True))
        added: list[str] = []
        threads = [
            threading.Thread(target=lambda: added.extend(resource.batch_add(task.id, [PulserJob(3, variables(0.0))])))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        resource.batch_close(task.id)
        assert sorted(added) == sorted(info.id for info in resource.batch_jobs(task.id))
        assert len(set(added)) == 6
        task.wait(PATIENCE)


def hide(running: Site, batch_id: str, *places: int) -> list[Any]:
    """Let jobs of a batch appear in no list."""
    jobs = [running.emulator.dialect._batches[batch_id].jobs[place] for place in places]
    for job in jobs:
        job.listed_from = math.inf
    return jobs


def show(jobs: list[Any]) -> None:
    for job in jobs:
        job.listed_from = 0.0


class TestListsThatLag:
    @pytest.mark.parametrize("process", ["this", "another"])
    def test_a_batch_that_shows_no_job_has_not_ended(self, slow_server: Site, process: str) -> None:
        resource = pasqal(slow_server)
        task = resource.submit(batch(1))
        hide(slow_server, task.id, 0)
        reader = resource if process == "this" else pasqal(slow_server)
        for _ in range(2):
            assert reader.task_info(task.id).vendor_status in {"PENDING", "RUNNING"}
            assert not reader.task_info(task.id).status.is_final
        task.cancel()

    @pytest.mark.parametrize("process", ["this", "another"])
    def test_it_has_not_ended_with_the_jobs_that_it_shows(self, server: Site, process: str) -> None:
        resource = pasqal(server)
        task = resource.submit(long_batch(jobs=3))
        ids = [info.id for info in resource.batch_jobs(task.id)]
        resource.batch_cancel_jobs(task.id, ids[:1])
        resource.batch_wait(task.id, ids[:1], timeout=PATIENCE)
        hidden = hide(server, task.id, 1, 2)
        reader = resource if process == "this" else pasqal(server)
        assert reader.task_info(task.id).status is TaskStatus.RUNNING
        show(hidden)
        task.cancel()
        assert reader.task(task.id).wait(PATIENCE).status is TaskStatus.CANCELLED

    @pytest.mark.parametrize("process", ["this", "another"])
    def test_no_job_is_left_out_of_the_results(self, server: Site, process: str) -> None:
        resource = pasqal(server)
        task = resource.submit(PulserBatch(areas(), tuple(PulserJob(shots, variables(0.0)) for shots in (3, 4, 5))))
        hidden = hide(server, task.id, 1, 2)
        reader = resource if process == "this" else pasqal(server)
        assert reader.task(task.id).wait(PATIENCE).status is TaskStatus.COMPLETED
        with pytest.raises(ResultError, match="shows 1 of its 3 jobs: try again later"):
            reader.task_output(task.id)
        show(hidden)
        told = json.loads(reader.task_output(task.id))["jobs"]
        assert [job["result"]["counter"] for job in told] == [{"0": 3}, {"0": 4}, {"0": 5}]

    @pytest.mark.parametrize("process", ["this", "another"])
    def test_a_job_that_is_shown_late_is_not_one_that_was_added(self, server: Site, process: str) -> None:
        resource = pasqal(server)
        job = PulserJob(3, variables(0.0))
        task = resource.submit(PulserBatch(areas(), (job,), open=True))
        runs_before = server.emulator.device.runs
        timer = threading.Timer(0.5, show, [hide(server, task.id, 0)])
        timer.start()
        server.emulator.faults.next_faults.append(("POST /core-fast/api/v2/batches/{batch}/jobs", "reset_before"))
        added = (resource if process == "this" else pasqal(server)).batch_add(task.id, [job])
        timer.join()
        first, second = (info.id for info in resource.batch_jobs(task.id))
        assert (added, server.emulator.device.runs) == ((second,), runs_before + 1)
        assert first != second
        task.cancel()

    def test_an_open_batch_without_jobs_ends_when_the_vendor_says_so(self, server: Site) -> None:
        resource = pasqal(server)
        task = resource.submit(PulserBatch(areas(), (), open=True))
        assert not task.info().status.is_final
        task.cancel()
        assert task.wait(PATIENCE).status is TaskStatus.CANCELLED


class TestForks:
    def test_a_child_adds_jobs_while_its_parent_does(self, server: Site) -> None:
        resource = pasqal(server, QRMI_HTTP_READ_TIMEOUT="5")
        task = resource.submit(PulserBatch(areas(), (), open=True))
        with ThreadPoolExecutor(1) as threads, resource._known.of(task.id).adding:
            child = os.fork()
            if child == 0:
                threading.Timer(30, os._exit, [1]).start()
                try:
                    resource.batch_add(task.id, [PulserJob(3, variables(0.0))])
                    os._exit(0)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(threads.submit(os.waitpid, child, 0).result(PATIENCE)[1]) == 0
        assert [info.shots for info in resource.batch_jobs(task.id)] == [3]
        task.cancel()


class TestSubmission:
    @pytest.mark.parametrize("fault", ["error_after", "reset_after", "truncated", "cut_json"])
    def test_a_lost_answer_is_looked_up(self, server: Site, fault: str) -> None:
        resource = pasqal(server)
        before = server.emulator.device.runs
        server.emulator.faults.next_faults.append(("POST /core-fast/api/v1/batches", fault))
        runs(resource, 9)
        assert server.emulator.device.runs == before + 1

    def test_without_the_look_up_it_runs_twice(self, server: Site) -> None:
        resource = Blind.from_environment("qpu", {**server.environment, "QRMI_MIN_POLL": "0"}, CASE.context)
        before = server.emulator.device.runs
        server.emulator.faults.next_faults.append(("POST /core-fast/api/v1/batches", "reset_after"))
        runs(resource, 9)
        assert server.emulator.device.runs == before + 2

    def test_a_look_up_that_fails_leaves_it_open(self, server: Site) -> None:
        resource = pasqal(server, QRMI_HTTP_DEADLINE="1", QRMI_HTTP_READ_TIMEOUT="1")
        server.emulator.faults.next_faults += [
            ("POST /core-fast/api/v1/batches", "reset_after"),
            ("GET /core-fast/api/v1/batches", "hang"),
        ]
        with pytest.raises(SubmissionUncertain, match=r"looking it up failed too.*with the tag [0-9a-f-]{36}"):
            resource.submit(batch(1))

    def test_a_large_batch_is_sent_packed(self, server: Site) -> None:
        jobs = tuple(PulserJob(1, variables(0.1 * number)) for number in range(40))
        resource = pasqal(server)
        task = resource.submit(PulserBatch(areas(), jobs))
        assert len(resource.batch_jobs(task.id)) == 40
        task.cancel()


class TestRefusals:
    def test_an_unknown_device_type_lists_the_valid_ones(self, server: Site) -> None:
        valid = "FRESNEL, EMU_FREE, EMU_FRESNEL, EMU_MPS, EMU_SV"
        for call in (
            lambda: pasqal(server).submit(dataclasses.replace(batch(1), device_type="EMU_QUICK")),
            lambda: pasqal(server, QRMI_DEVICE="EMU_QUICK").submit(batch(1)),
            lambda: pasqal(server, QRMI_DEVICE="EMU_QUICK").status(),
        ):
            with pytest.raises(UnsupportedPayload, match=f"no device type EMU_QUICK; it has {valid}"):
                call()
        with pytest.raises(UnsupportedPayload, match=rf"no device type QPU; it has {valid}.*QRMI_DEVICE of qpu"):
            pasqal(server, without=("QRMI_DEVICE",)).target()

    def test_payload_of_another_vendor(self, server: Site) -> None:
        with pytest.raises(UnsupportedPayload, match="takes PulserBatch, not IQMServer"):
            pasqal(server).submit(IQMServer(b"{}", "circuit"))

    @pytest.mark.parametrize(
        ("changed", "text"),
        [
            ({"jobs": ()}, "needs a job at least"),
            ({"jobs": (PulserJob(),)}, "job 1: a QPU needs the number of shots"),
            ({"configuration": b"{}"}, "FRESNEL is no emulator"),
            ({"jobs": (PulserJob(1, b"{"),)}, "job 1: its variables are not JSON"),
        ],
    )
    def test_what_cannot_run_is_not_sent(self, server: Site, changed: dict[str, Any], text: str) -> None:
        before = server.emulator.counters.total()
        with pytest.raises(InputError, match=text):
            pasqal(server, without=()).submit(dataclasses.replace(batch(1), **changed))
        assert server.emulator.counters.total() == before

    def test_what_the_vendor_refuses_is_told_in_its_words(self, server: Site) -> None:
        with pytest.raises(QRMIError, match=r"answered 400.*2000000000 runs were asked for"):
            pasqal(server).submit(PulserBatch(batch(1).sequence, (PulserJob(2_000_000_000),)))

    def test_unreachable(self) -> None:
        values = {f"{PREFIX}BASE_URL": "http://127.0.0.1:9", "QRMI_HTTP_DEADLINE": "0.5"}
        with pytest.raises(VendorUnreachable, match="cannot be reached"):
            PasqalCloud.from_environment("qpu", values, CASE.context).status()

    def test_silence(self, server: Site) -> None:
        server.emulator.faults.next_faults.append(("GET /core-fast/api/v1/devices", "hang"))
        with pytest.raises(VendorUnreachable, match=r"was silent for 0\.5 s"):
            pasqal(server, QRMI_HTTP_READ_TIMEOUT="0.5").status()

    def test_an_unknown_region(self, server: Site) -> None:
        with pytest.raises(ResourceUnavailable, match=f"{PREFIX}REGION of qpu is 'mars': fr or sa was expected"):
            pasqal(server, **{f"{PREFIX}REGION": "mars"})


class TestWords:
    @pytest.mark.parametrize(
        ("word", "status"),
        [
            ("PENDING", TaskStatus.QUEUED),
            ("PAUSED", TaskStatus.QUEUED),
            ("RUNNING", TaskStatus.RUNNING),
            ("CANCELING", TaskStatus.RUNNING),
            ("MELTING", TaskStatus.RUNNING),
            ("DONE", TaskStatus.COMPLETED),
            ("ERROR", TaskStatus.FAILED),
            ("TIMED_OUT", TaskStatus.FAILED),
            ("CANCELED", TaskStatus.CANCELLED),
        ],
    )
    def test_of_jobs_and_their_batch(self, word: str, status: TaskStatus) -> None:
        info = job_info({"id": "1", "status": word}, "qpu")
        assert (info.status, info.vendor_status) == (status, word)
        of_batch = batch_info("b", [info], closed=True, word=None)
        assert (of_batch.status, of_batch.vendor_status) == (status, word)
        assert batch_info("b", [info], closed=False, word=None).status is (
            status if not status.is_final else TaskStatus.RUNNING
        )

    def test_a_time_out_says_so(self) -> None:
        with pytest.raises(TaskFailed, match="timed out"):
            job_info({"id": "1", "status": "TIMED_OUT"}, "qpu").raise_unless_completed("qpu")

    def test_errors_are_the_reason(self) -> None:
        info = job_info({"id": "1", "status": "ERROR", "errors": ["no atoms", "no light"]}, "qpu")
        assert info.reason == "no atoms; no light"

    def test_of_batches_without_jobs(self) -> None:
        assert batch_info("b", [], closed=True, word="CANCELED").status is TaskStatus.CANCELLED
        assert batch_info("b", [], closed=True, word="TIMED_OUT").status is TaskStatus.FAILED
        assert batch_info("b", [], closed=False, word="PENDING").status is TaskStatus.QUEUED
        assert batch_info("b", [], closed=True, word="MELTING").status is TaskStatus.RUNNING
        assert batch_info("b", [], closed=True, word=None).status is TaskStatus.RUNNING


class TestDevice:
    def test_status(self, server: Site) -> None:
        status = pasqal(server).status()
        assert (status.status, status.healthy, status.status_reason) == (ResourceStatusCode.ONLINE, True, None)

    @pytest.mark.parametrize(
        ("device_is", "status", "reason"),
        [
            ({"status": "DOWN", "availability": "ACTIVE"}, ResourceStatusCode.ONLINE, "FRESNEL is ACTIVE, DOWN"),
            ({"status": "UP", "availability": "INACTIVE"}, ResourceStatusCode.OFFLINE, "FRESNEL is INACTIVE, UP"),
        ],
    )
    def test_other_statuses(
        self,
        server: Site,
        device_is: dict[str, str],
        status: ResourceStatusCode,
        reason: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        resource = pasqal(server)
        monkeypatch.setattr(resource._cloud, "device", lambda _: device_is)
        assert (resource.status().status, resource.status().status_reason) == (status, reason)

    def test_target(self, server: Site) -> None:
        target = pasqal(server).target()
        assert [entry["device_type"] for entry in target.json()] == ["FRESNEL"]
        assert device(target) == FRESNEL
        assert characteristics(target).num_qubits == FRESNEL.max_atom_num

    def test_metadata_and_acquisition(self, server: Site) -> None:
        resource = pasqal(server)
        assert resource.metadata() == {"backend_name": "FRESNEL"}
        token = resource.acquire()
        assert token != resource.acquire()
        resource.release(token)

    def test_the_name_of_the_resource_is_the_device_where_none_is_named(self) -> None:
        assert PasqalCloud.from_environment("fresnel_can1", {}, CASE.context).device == "FRESNEL_CAN1"
        assert isinstance(PasqalCloud.from_environment("fresnel", {}, CASE.context), BatchResource)


def test_every_variable_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "vendors" / "pasqal-cloud.md").read_text()
    explained = re.findall(r"^\| `((?:QRMI|PASQAL)_\w+)`", page, flags=re.MULTILINE)
    assert sorted(explained) == sorted(variable.name for variable in PasqalCloud.variables)
