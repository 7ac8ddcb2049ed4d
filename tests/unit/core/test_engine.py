# SPDX-License-Identifier: Apache-2.0
"""The machinery of engines: a host process, workers, the spool."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_watching import HERE, asked, client, host_pid, is_gone, running
from tiny_engine import BrokenEngine, SlowEngine, TinyEngine

from qrmi_core import (
    IQMServer,
    JobContext,
    ResourceStatusCode,
    ResourceUnavailable,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskStatus,
    UnsupportedPayload,
    WaitTimeout,
)
from qrmi_core.engines.address import HostAddress
from qrmi_core.engines.client import HostGone
from qrmi_core.engines.spool import Spool
from qrmi_core.polling import wait_until


def test_a_task_runs_in_a_process_of_its_own_and_gives_its_result(tiny: TinyEngine) -> None:
    task = tiny.submit(asked(hello=1))
    result = json.loads(task.result(timeout=20).data)
    assert result["hello"] == 1
    assert result["seed"] == 11
    assert result["pid"] not in {os.getpid(), host_pid(tiny)}
    info = task.info()
    assert info.program == "sampler"
    assert info.created is not None
    assert info.started is not None
    assert info.ended is not None
    assert info.created <= info.started <= info.ended


def test_eight_threads_get_each_their_own_result(tiny: TinyEngine) -> None:
    found: dict[int, int] = {}

    def work(number: int) -> None:
        found[number] = json.loads(tiny.submit(asked(number=number)).result(timeout=30).data)["number"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {number: number for number in range(8)}


def test_no_more_tasks_run_than_there_are_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    one_lane = TinyEngine("one_lane", {"QRMI_ENGINE_LANES": "1"}, JobContext())
    first, second = one_lane.submit(asked(sleep=60)), one_lane.submit(asked(sleep=60))
    running(first)
    assert second.status() is TaskStatus.QUEUED
    status = one_lane.status()
    assert status.busy
    assert status.pending_job_count == 1
    assert status.capacity is not None
    assert (status.capacity.max_slots, status.capacity.available_slots) == (1, 0)
    second.cancel()
    first.cancel()
    assert first.status() is second.status() is TaskStatus.CANCELLED


def test_cancelling_kills_the_worker_at_once(tiny: TinyEngine) -> None:
    task = tiny.submit(asked(sleep=60))
    worker = running(task)
    task.cancel()
    assert is_gone(worker)
    with pytest.raises(TaskCancelled, match="was cancelled: cancelled by its user"):
        task.result(timeout=5)
    task.cancel()


def test_a_cancelled_task_wakes_who_waits_for_it(tiny: TinyEngine) -> None:
    task = tiny.submit(asked(sleep=60))
    seen: list[TaskStatus] = []
    waiter = threading.Thread(target=lambda: seen.append(task.wait(timeout=30).status))
    waiter.start()
    running(task)
    tiny.task(task.id).cancel()
    waiter.join(10)
    assert seen == [TaskStatus.CANCELLED]


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ({"fail": "the moon is wrong"}, r"failed \(code 17\): the moon is wrong$"),
        ({"crash": "oh"}, "failed: RuntimeError: oh"),
        ({"exit": 3}, "ended with exit code 3 and without a result"),
    ],
)
def test_a_failure_tells_its_reason(tiny: TinyEngine, instruction: dict[str, Any], reason: str) -> None:
    with pytest.raises(TaskFailed, match=reason):
        tiny.submit(asked(**instruction)).result(timeout=20)


def test_a_worker_killed_from_outside_is_a_failed_task_with_a_reason(tiny: TinyEngine) -> None:
    task = tiny.submit(asked(sleep=60))
    os.kill(running(task), signal.SIGKILL)
    with pytest.raises(TaskFailed, match="killed by SIGKILL from outside"):
        task.result(timeout=20)


def test_a_task_that_needs_too_much_memory_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    small = TinyEngine("small", {"QRMI_ENGINE_MEMORY_MB": "200"}, JobContext())
    with pytest.raises(TaskFailed, match=r"more than the 200 MB that small allows.*QRMI_ENGINE_MEMORY_MB"):
        small.submit(asked(allocate=2**29)).result(timeout=20)
    assert small.submit(asked(allocate=2**26)).result(timeout=20)


def test_what_a_worker_prints_is_the_log(tiny: TinyEngine) -> None:
    task = tiny.submit(asked(print="line of the worker"))
    task.wait(timeout=20)
    assert task.logs().count("line of the worker") == 2
    quiet = tiny.submit(asked())
    quiet.wait(timeout=20)
    assert quiet.logs() == ""


def test_the_result_of_an_unfinished_task_is_refused(tiny: TinyEngine) -> None:
    task = tiny.submit(asked(sleep=60))
    running(task)
    with pytest.raises(TaskNotReady, match="is running: wait for it"):
        tiny.task_result(task.id)
    with pytest.raises(WaitTimeout, match=r"has not ended after 0\.05 s; it goes on"):
        task.result(timeout=0.05)
    task.cancel()


@pytest.mark.parametrize("task_id", ["", "nonsense", "../../etc", "0" * 32])
def test_an_unknown_task_is_not_found(tiny: TinyEngine, task_id: str) -> None:
    with pytest.raises(TaskNotFound, match="tiny has no task"):
        tiny.task(task_id)


def test_waiting_for_the_first_of_several(tiny: TinyEngine) -> None:
    slow, quick = tiny.submit(asked(sleep=60)), tiny.submit(asked(sleep=0.1))
    ended = tiny.task_wait([slow.id, quick.id], timeout=20, first=True)
    assert list(ended) == [quick.id]
    assert tiny.task_wait([slow.id], timeout=0) == {}
    slow.cancel()
    assert set(tiny.task_wait([slow.id, quick.id], timeout=20)) == {slow.id, quick.id}


def test_tasks_are_listed_the_newest_first(held: TinyEngine) -> None:
    tasks = [held.submit(asked(number=number)) for number in range(3)]
    assert held.task_ids()[:3] == [task.id for task in reversed(tasks)]


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(HERE), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SUBMIT = """
from tiny_engine import TinyEngine
from qrmi_core import JobContext, QiskitPrimitive
print(TinyEngine("tiny", {}, JobContext()).submit(QiskitPrimitive("sampler", b'{"sleep": 0.5}')).id)
"""


def test_one_process_submits_and_another_gets_the_result(tiny: TinyEngine) -> None:
    task_id = python(SUBMIT)
    assert json.loads(tiny.task(task_id).result(timeout=20).data)["sleep"] == 0.5


def test_a_killed_host_leaves_a_failed_task_and_the_next_task_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tiny = TinyEngine("tiny", {}, JobContext())
    task = tiny.submit(asked(sleep=60))
    worker = running(task)
    os.kill(host_pid(tiny), signal.SIGKILL)
    with pytest.raises(TaskFailed, match="the engine's process ended before the task did"):
        task.result(timeout=20)
    assert wait_until(lambda: is_gone(worker), timeout=5)
    assert tiny.submit(asked()).result(timeout=20)
    os.kill(host_pid(tiny), signal.SIGTERM)


def test_a_host_that_ends_before_it_takes_a_connection_is_gone(
    tiny: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tiny.submit(asked())
    task.wait(timeout=20)
    hosts = client(tiny)

    def connect_to_dying_host(_address: HostAddress, _timeout: float) -> socket.socket:
        ours, its = socket.socketpair()
        its.close()
        return ours

    monkeypatch.setattr(HostAddress, "connect", connect_to_dying_host)
    with pytest.raises(HostGone):
        hosts.wait("tiny", [task.id], deadline=None, first=False)
    with pytest.raises(HostGone):
        hosts.ask_running(op="status", resource="tiny")
    with pytest.raises(ResourceUnavailable, match="ends as soon as it is asked"):
        hosts.ask(op="status", resource="tiny")
    with pytest.raises(ResourceUnavailable, match="ends as soon as it is asked"):
        hosts.hold()
    monkeypatch.undo()


def test_releasing_cancels_what_runs_and_ends_the_host(tiny: TinyEngine) -> None:
    token = tiny.acquire()
    in_lease = TinyEngine("tiny", tiny.settings, JobContext(acquisition_token=token))
    task = in_lease.submit(asked(sleep=60))
    worker, host = running(task), host_pid(in_lease)
    host_files = client(in_lease).address.lock
    tiny.release(token)
    assert is_gone(worker)
    assert wait_until(lambda: is_gone(host), timeout=5)
    with pytest.raises(TaskCancelled, match="its allocation has ended"):
        task.result(timeout=5)
    assert not list(host_files.parent.glob(f"{host_files.stem}*"))
    tiny.release(token)


def test_releasing_does_not_wait_until_the_engine_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker module takes a minute to import."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    slow = SlowEngine("slow", {}, JobContext())
    token = slow.acquire()
    slow.release(token)
    assert slow._client(token).host_has_ended()


HOLD = """
import os, signal
from tiny_engine import TinyEngine
from qrmi_core import JobContext, QiskitPrimitive
holder = TinyEngine("tiny", {}, JobContext())
token = holder.acquire()
task = TinyEngine("tiny", {}, JobContext(acquisition_token=token)).submit(QiskitPrimitive("sampler", b'{"sleep": 60}'))
print(task.id, token, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_holder_takes_its_tasks_along(tiny: TinyEngine) -> None:
    holder = subprocess.run(
        [sys.executable, "-c", HOLD],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    task_id, _ = holder.stdout.split()
    with pytest.raises(TaskCancelled, match="its allocation has ended"):
        tiny.task(task_id).result(timeout=20)


def test_a_worker_that_cannot_be_imported_fails_its_tasks_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = BrokenEngine("broken", {}, JobContext())
    with pytest.raises(
        TaskFailed, match="cannot be started: ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    ):
        broken.submit(asked()).result(timeout=20)


def test_missing_packages_are_named_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyEngine, "requires", ("json", "no_such_package"))
    engine = TinyEngine("tiny", {}, JobContext())
    install = r"needs no_such_package: pip install 'qrmi-providers\[tiny\]'"
    with pytest.raises(ResourceUnavailable, match=install):
        engine.submit(asked())
    with pytest.raises(ResourceUnavailable, match=install):
        engine.acquire()
    status = engine.status()
    assert status.status is ResourceStatusCode.OFFLINE
    assert "no_such_package" in (status.status_reason or "")


def test_a_payload_of_the_wrong_kind_is_refused(tiny: TinyEngine) -> None:
    with pytest.raises(
        UnsupportedPayload, match=r"tiny \(tiny-simulator\) takes QiskitPrimitive or PulserBatch, not IQMServer"
    ):
        tiny.submit(IQMServer(b"{}", "circuit"))


@pytest.mark.parametrize(
    ("variable", "value"), [("QRMI_ENGINE_LANES", "0"), ("QRMI_ENGINE_SEED", "-1"), ("QRMI_ENGINE_MEMORY_MB", "lots")]
)
def test_a_setting_that_is_no_number_is_refused(variable: str, value: str) -> None:
    with pytest.raises(ResourceUnavailable, match=rf"tiny: {variable} is '{value}': a whole number of at least"):
        TinyEngine("tiny", {variable: value}, JobContext())


def test_a_spool_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ResourceUnavailable, match=r"tasks cannot be kept in .*; set XDG_STATE_HOME"):
        TinyEngine("tiny", {}, JobContext()).submit(asked())


def test_a_spool_with_a_long_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ("long" * 40)))
    tiny = TinyEngine("tiny", {}, JobContext())
    assert tiny.submit(asked()).result(timeout=20)
    os.kill(host_pid(tiny), signal.SIGTERM)


def test_the_spool_is_for_its_owner_alone(tiny: TinyEngine, spool: Path) -> None:
    tiny.submit(asked()).wait(timeout=20)
    assert spool.stat().st_mode & 0o777 == 0o700


def test_old_tasks_are_removed(tiny: TinyEngine, tmp_path: Path) -> None:
    store = Spool(tmp_path)
    task = store.create("tiny", "tiny-simulator", asked(), {}, "user", "here")
    store.remove_old(time.time() + 31 * 24 * 3600)
    assert task.path.exists(), "an unfinished task is kept"
    task.set_state(1, TaskStatus.COMPLETED)
    store.remove_old(time.time())
    assert task.path.exists()
    store.remove_old(time.time() + 31 * 24 * 3600)
    assert not task.path.exists()


@pytest.mark.parametrize("look", [TinyEngine.task_info, TinyEngine.task_logs, TinyEngine.task_stop])
def test_looking_at_a_task_starts_no_host(
    look: Callable[[TinyEngine, str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tiny = TinyEngine("tiny", {}, JobContext())
    task = Spool(tmp_path / "qrmi").create("tiny", tiny.type, asked(), {}, "user", socket.gethostname())
    look(tiny, task.id)
    assert not list((tmp_path / "qrmi" / "hosts").glob("*.lock"))


def own_spool(monkeypatch: pytest.MonkeyPatch, path: Path) -> TinyEngine:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("XDG_STATE_HOME", str(path))
    return TinyEngine("tiny", {}, JobContext())


def test_looking_at_a_task_that_is_being_submitted_does_not_fail_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = own_spool(monkeypatch, tmp_path)
    submitted = threading.Event()

    def look() -> None:
        while not submitted.is_set():
            for task_id in tiny.task_ids():
                tiny.task_info(task_id)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        task = tiny.submit(asked(number=1))
    finally:
        submitted.set()
        looker.join(20)
    assert task.result(timeout=20)
    os.kill(host_pid(tiny), signal.SIGTERM)


def test_a_new_host_does_not_hide_that_the_one_before_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = own_spool(monkeypatch, tmp_path)
    lost = tiny.submit(asked(sleep=60))
    running(lost)
    os.kill(host_pid(tiny), signal.SIGKILL)
    assert wait_until(client(tiny).host_has_ended, timeout=10)
    assert tiny.submit(asked()).result(timeout=20)
    assert lost.wait(timeout=10).status is TaskStatus.FAILED
    os.kill(host_pid(tiny), signal.SIGTERM)


def test_a_task_whose_client_died_before_it_told_the_host_runs_when_it_is_waited_for(tiny: TinyEngine) -> None:
    store = Spool(tiny._spool.root)
    orphan = store.create("tiny", tiny.type, asked(number=5), {}, client(tiny).address.key, socket.gethostname())
    assert tiny.task_status(orphan.id) is TaskStatus.QUEUED
    assert json.loads(tiny.task(orphan.id).result(timeout=20).data)["number"] == 5
    other = store.create("tiny", tiny.type, asked(number=5), {}, client(tiny).address.key, socket.gethostname())
    tiny.task_stop(other.id)
    assert tiny.task_status(other.id) is TaskStatus.CANCELLED


@pytest.mark.parametrize("text", ["x" * 200_000, "\N{SNOWMAN}" * 100_000])
def test_a_long_reason_is_cut(tiny: TinyEngine, text: str) -> None:
    with pytest.raises(TaskFailed, match=rf"RuntimeError: {text[:100]}.* \[cut\]$"):
        tiny.submit(asked(crash=text)).result(timeout=20)


def test_a_state_that_cannot_be_written_harms_no_other_task(tiny: TinyEngine) -> None:
    blocked, other = tiny.submit(asked(sleep=1)), tiny.submit(asked(sleep=1.5))
    running(blocked)
    jobs = tiny._task(blocked.id).path / "jobs"
    state = jobs / "0001.state"
    assert wait_until(lambda: "running" in state.read_text(), timeout=10)
    state.unlink()
    state.mkdir()
    assert other.result(timeout=20)
    state.rmdir()
    assert blocked.wait(timeout=20).status is TaskStatus.COMPLETED


def test_the_engine_of_a_lease_is_started_by_its_holder_only(tiny: TinyEngine) -> None:
    token = tiny.acquire()
    in_lease = TinyEngine("tiny", tiny.settings, JobContext(acquisition_token=token))
    assert in_lease.submit(asked()).result(timeout=20)
    os.kill(host_pid(in_lease), signal.SIGKILL)
    assert wait_until(client(in_lease).host_has_ended, timeout=10)
    with pytest.raises(ResourceUnavailable, match="the allocation that the engine was held for has ended"):
        in_lease.submit(asked())
    assert in_lease.task_status(in_lease.task_ids()[0]) is TaskStatus.FAILED
    tiny.release(token)
    tiny.release("no such token")
