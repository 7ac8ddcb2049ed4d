# SPDX-License-Identifier: Apache-2.0
"""`qrmi task run`: the result where it was asked for, an exit code for each kind of end."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from cli_site import SECONDS, Site

from qrmi_core.polling import wait_until


def payload(site: Site, **instruction: Any) -> Path:
    return site.script(json.dumps({"program_id": "sampler", "parameters": instruction}), "payload.json")


def tasks(site: Site) -> list[Path]:
    return list((Path(site.environment["XDG_STATE_HOME"]) / "qrmi" / "tasks").glob("*/*"))


def state_of_the_task(site: Site) -> str | None:
    for state in (Path(site.environment["XDG_STATE_HOME"]) / "qrmi" / "tasks").glob("*/*/jobs/*.state"):
        word = json.loads(state.read_text())["status"]
        assert isinstance(word, str)
        return word
    return None


def test_the_result_goes_to_stdout_and_everything_else_to_stderr(site: Site) -> None:
    done = site.qrmi("task", "run", "tiny", payload(site, print="from the worker"))
    assert done.returncode == 0
    assert json.loads(done.stdout)["print"] == "from the worker"
    assert re.match(r"qrmi: task \S+ on tiny is submitted\n(from the worker\n){2}$", done.stderr)


def test_a_payload_for_another_qpu_is_told_in_the_words_of_payload_files(site: Site) -> None:
    file = site.script(json.dumps({"human_qir": "", "input_params": {}}), "felis.json")
    done = site.qrmi("task", "run", "tiny", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "felis.json holds a program for Felis (keys human_qir, input_params), but tiny (tiny-simulator) takes "
        "an IBM program (keys program_id, parameters) or a Pulser sequence (keys job_runs, sequence): "
        "choose another QPU\n"
    )
    assert tasks(site) == []


def test_the_result_goes_to_a_file(site: Site) -> None:
    done = site.qrmi("task", "run", "tiny", payload(site, hello=1), "-o", "result.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((site.directory / "result.json").read_text())["hello"] == 1
    assert sorted(path.name for path in site.directory.iterdir()) == ["payload.json", "result.json"]


def test_an_old_result_is_replaced_through_a_link(site: Site) -> None:
    old = site.script("old", "old.json")
    (site.directory / "link.json").symlink_to(old)
    assert site.qrmi("task", "run", "tiny", payload(site, hello=1), "-o", "link.json").returncode == 0
    assert (site.directory / "link.json").is_symlink()
    assert json.loads(old.read_text())["hello"] == 1


def test_a_failed_task_is_told_with_its_reason_and_keeps_the_old_result(site: Site) -> None:
    old = site.script("old", "result.json")
    done = site.qrmi("task", "run", "tiny", payload(site, fail="too hot"), "-o", "result.json")
    assert done.returncode == 1
    assert re.search(r"^qrmi: task \S+ on tiny failed \(code 17\): too hot$", done.stderr, re.MULTILINE)
    assert old.read_text() == "old"
    assert sorted(path.name for path in site.directory.iterdir()) == ["payload.json", "result.json"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_the_task_first(site: Site, number: signal.Signals) -> None:
    process = site.start("task", "run", "tiny", payload(site, sleep=60), "-o", "result.json")
    assert wait_until(lambda: state_of_the_task(site) == "running", timeout=SECONDS)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=10)
    assert (process.returncode, stdout) == (3, "")
    assert re.search(rf"qrmi: task \S+ was cancelled\nqrmi: ended by {number.name}\n$", stderr)
    assert state_of_the_task(site) == "cancelled"
    assert not (site.directory / "result.json").exists()


def test_a_result_is_not_lost_when_its_directory_goes(site: Site) -> None:
    (site.directory / "out").mkdir()
    process = site.start("task", "run", "tiny", payload(site, sleep=1), "-o", "out/result.json")
    assert wait_until(lambda: state_of_the_task(site) == "running", timeout=SECONDS)
    shutil.rmtree(site.directory / "out")
    stdout, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert json.loads(stdout)["sleep"] == 1
    assert re.search(r"qrmi: out/result\.json: cannot be written any more: No such file.*goes to stdout", stderr)


DISK_FULL = """
import pathlib, resource, typer
from qrmi_core.cli.task import _destination
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    with _destination(pathlib.Path("result.json")) as write:
        write(b"x" * 1000)
except typer.Exit as end:
    print(end.exit_code)
"""


def test_a_result_is_not_lost_when_the_disk_is_full(site: Site) -> None:
    old = site.script("old", "result.json")
    assert site.python(DISK_FULL) == "x" * 1000 + "\n1\n"
    assert old.read_text() == "old"
    assert [path.name for path in site.directory.iterdir()] == ["result.json"]


def test_a_task_that_somebody_else_cancels(site: Site) -> None:
    process = site.start("task", "run", "tiny", payload(site, sleep=60))
    assert wait_until(lambda: state_of_the_task(site) == "running", timeout=SECONDS)
    (task,) = tasks(site)
    text = f"from qrmi_core import QRMIService; QRMIService().resource('tiny').task('{task.name}').cancel()"
    site.python(text)
    stderr = process.communicate(timeout=10)[1]
    assert process.returncode == 3
    assert re.search(r"qrmi: task \S+ on tiny was cancelled", stderr)


def test_being_continued_is_no_reason_to_cancel(site: Site) -> None:
    process = site.start("task", "run", "tiny", payload(site, sleep=1))
    assert wait_until(lambda: state_of_the_task(site) == "running", timeout=SECONDS)
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny", "payload.json"], r"has no QPU named tinny"),
        (["tiny", "none.json"], r"none\.json: there is no such file"),
        (["tiny", "broken.json"], r"broken\.json: line 2 column 1: not JSON"),
        (["tiny", "payload.json", "-o", "none/result.json"], r"none/result\.json: cannot be written: No such file"),
        (["tiny", "payload.json", "-o", "/proc/result.json"], r"/proc/result\.json: cannot be written: .*nothing was"),
        (["tiny", "payload.json", "-o", "payload.json/r"], r"payload\.json/r: cannot be written: Not a directory"),
        (["tiny", "payload.json", "-o", "."], r"\.: is not a regular file"),
        (["tiny", "payload.json", "-o", "/dev/null"], r"/dev/null: is not a regular file"),
    ],
)
def test_bad_input_is_found_before_anything_runs(site: Site, arguments: list[str], message: str) -> None:
    payload(site, hello=1)
    site.script('{"program_id": \n', "broken.json")
    done = site.qrmi("task", "run", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(message, done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert tasks(site) == []
    assert Path("/dev/null").is_char_device()
