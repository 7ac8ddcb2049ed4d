# SPDX-License-Identifier: Apache-2.0
"""The gateway is told of a job's tasks, sooner or later: the real routes, munge, and files of the user's own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / "unit" / "gateway"), str(TESTS / "vendors")]

from gateway_case import Case  # noqa: E402
from munge_daemon import Munged, libraries, munged  # noqa: E402

from qrmi_core import polling  # noqa: E402
from qrmi_core.announcements import announce  # noqa: E402
from qrmi_core.leases import Holder, JobKey  # noqa: E402

ANNOUNCE = (
    "import sys; from qrmi_core.announcements import announce; [announce(*sys.argv[1:3], t) for t in sys.argv[3:]]"
)


@pytest.fixture(scope="module")
def daemons() -> Iterator[Munged]:
    libraries()
    with munged() as running:
        yield running


@pytest.fixture
def case(daemons: Munged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A gateway that does not run yet, which this process knows from client.json."""
    found = Case(tmp_path, daemons.socket)
    client = tmp_path / "client.json"
    client.write_text(json.dumps({"url": f"unix:{found.admin}", "munge_socket": daemons.socket}))
    monkeypatch.setenv("QRMI_CLIENT_CONFIG", str(client))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return found


@contextlib.contextmanager
def running(case: Case) -> Iterator[None]:
    """The gateway in this process; another may take its journal up afterwards."""
    with case.running():
        yield
    case.server.gateway.journal.close()


def granted(case: Case, *, uid: int | None = None, job: int = 42) -> str:
    """A lease of the simulator."""
    who = os.getuid() if uid is None else uid
    holder = Holder(JobKey("c", job, 1, 0), uid=who, user="me", account="", nodes=("n1",), ends=time.time() + 600)
    lease: str = case.server.gateway.keeper.grant(holder, {"aer": 1}, wait=1.0).id
    return lease


def told(case: Case, lease: str) -> list[tuple[str, str]]:
    return [(task.resource, task.task_id) for task in case.server.gateway.journal.tasks(lease)]


def soon(condition: Callable[[], bool]) -> bool:
    return polling.wait_until(condition, timeout=15)


def noted(case: Case, lease: str) -> list[Path]:
    directory = case.directory / "state" / "qrmi" / "announcements" / lease
    return [file for file in directory.iterdir() if not file.name.startswith(".")] if directory.is_dir() else []


def in_another_process(lease: str, *tasks: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ANNOUNCE, lease, "aer", *tasks], capture_output=True, text=True, timeout=60, check=True
    )


def test_tasks_are_told_and_no_file_is_left(case: Case) -> None:
    with running(case):
        lease = granted(case)
        for number in range(20):
            announce(lease, "aer", f"task-{number}")
        assert soon(lambda: len(told(case, lease)) == 20)
        assert {task for _, task in told(case, lease)} == {f"task-{number}" for number in range(20)}
        assert soon(lambda: noted(case, lease) == [])


def test_a_program_that_ends_at_once_has_told_its_tasks(case: Case) -> None:
    with running(case):
        lease = granted(case)
        done = in_another_process(lease, "task-1", "task-2")
        assert sorted(told(case, lease)) == [("aer", "task-1"), ("aer", "task-2")]
        assert done.stderr == ""
        assert not (case.directory / "state" / "qrmi" / "announcements" / lease).exists()


def test_to_tell_of_a_task_pydantic_is_not_imported(case: Case) -> None:
    """It costs more than all the rest, and a job may be killed a moment after its first submission."""
    program = "import sys; from qrmi_core.announcements import _client; _client(); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_while_the_gateway_is_away_tasks_are_noted_and_told_afterwards(case: Case) -> None:
    with running(case):
        lease = granted(case)
    announce(lease, "aer", "task-1")
    assert soon(lambda: bool(noted(case, lease)))
    assert [json.loads(file.read_text()) for file in noted(case, lease)] == [{"resource": "aer", "task": "task-1"}]
    with running(case):
        assert soon(lambda: told(case, lease) == [("aer", "task-1")])
        assert soon(lambda: noted(case, lease) == [])


def test_what_one_process_could_not_tell_the_next_one_does(case: Case) -> None:
    with running(case):
        lease = granted(case)
    begun = time.monotonic()
    done = in_another_process(lease, "task-1")
    assert time.monotonic() - begun < 10
    assert "the gateway is not told of this job's tasks yet" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(noted(case, lease)) == 1
    with running(case):
        in_another_process(lease, "task-2")
        assert sorted(told(case, lease)) == [("aer", "task-1"), ("aer", "task-2")]


def test_processes_of_one_job_do_not_stumble_over_each_others_files(case: Case) -> None:
    with running(case):
        lease = granted(case)
        command = [sys.executable, "-c", ANNOUNCE, lease, "aer"]
        names = [[f"task-{process}-{number}" for number in range(15)] for process in range(3)]
        processes = [subprocess.Popen([*command, *each], stderr=subprocess.PIPE, text=True) for each in names]
        said = [process.communicate(timeout=60)[1] for process in processes]
        assert said == ["", "", ""]
        # What a process had no time for, on a machine that is busy, the next one tells.
        announce(lease, "aer", "last")
        assert soon(lambda: len(told(case, lease)) == 46)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"task": "1"}', '{"resource": "aer"}'])
def test_a_file_that_was_broken_stops_nothing(case: Case, caplog: pytest.LogCaptureFixture, text: str) -> None:
    with running(case):
        lease = granted(case)
        directory = case.directory / "state" / "qrmi" / "announcements" / lease
        directory.mkdir(parents=True)
        (directory / "broken").write_text(text)
        announce(lease, "aer", "task-1")
        assert soon(lambda: told(case, lease) == [("aer", "task-1")] and noted(case, lease) == [])
    assert "broken names no task and is thrown away" in caplog.text


def test_what_the_gateway_refuses_is_told_once(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with running(case):
        of_another = granted(case, uid=os.getuid() + 1)
        announce(of_another, "aer", "task-1")
        assert soon(lambda: noted(case, of_another) == [])
        announce(granted(case, job=43), "Fez", "task-2")
        assert soon(lambda: caplog.text.count("as one of this job's") == 2)
        assert told(case, of_another) == []


def test_a_spool_that_cannot_be_written_stops_no_program(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (case.directory / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(case.directory / "file"))
    announce("1" * 32, "aer", "task-1")
    assert soon(lambda: "the task task-1 cannot be noted in" in caplog.text)
    assert "so the gateway will not cancel it when this job dies" in caplog.text
