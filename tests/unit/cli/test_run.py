# SPDX-License-Identifier: Apache-2.0
"""`qrmi run`: the environment of a job, the program's exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from cli_site import SECONDS, Site

from qrmi_core.polling import wait_until

PYTHON = sys.executable

RUN_A_TASK = """
from qrmi_core import QiskitPrimitive, QRMIService
print(QRMIService().resource().submit(QiskitPrimitive("sampler", b'{"hello": 1}')).result(timeout=30).value)
"""

SUBMIT_A_LONG_TASK = """
import pathlib, sys
from qrmi_core import QiskitPrimitive, QRMIService
from qrmi_core.polling import wait_until
task = QRMIService().resource().submit(QiskitPrimitive("sampler", b'{"sleep": 60}'))
assert wait_until(lambda: task.status().value == "running", timeout=30)
pathlib.Path("task").write_text(task.id + "\\n")
"""


def status_of(site: Site, resource: str, task: str) -> str:
    """The word in the spool, without asking any process."""
    (state,) = (Path(site.environment["XDG_STATE_HOME"]) / "qrmi/tasks" / resource / task / "jobs").glob("*.state")
    word = json.loads(state.read_text())["status"]
    assert isinstance(word, str)
    return word


def test_the_program_sees_the_environment_of_a_job(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny,watched", "--", "env")
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert variables["QRMI_JOB_QPU_RESOURCES"] == "tiny,watched"
    assert variables["QRMI_JOB_QPU_TYPES"] == "tiny-simulator,watched"
    assert variables["QRMI_JOB_UID"] == str(os.getuid())
    tokens = {variables[f"{name}_QRMI_JOB_ACQUISITION_TOKEN"] for name in ("tiny", "watched")}
    assert len(tokens) == 2
    assert done.returncode == 0
    assert done.stderr == ""


def test_the_program_runs_a_task_on_its_only_qpu(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny", "--", PYTHON, site.script(RUN_A_TASK))
    assert json.loads(done.stdout)["hello"] == 1, done.stderr


def test_the_environment_block_of_a_configured_resource_reaches_the_program(site: Site) -> None:
    secret = site.script("13\n", "seed")
    block = {"QRMI_ENGINE_SEED": {"file": str(secret)}, "QRMI_ENGINE_LANES": "2"}
    entry = {"name": "mine", "type": "tiny-simulator", "environment": block}
    config = site.script(json.dumps({"resources": [entry]}), "qrmi_config.json")
    done = site.qrmi("run", "--qpu=mine", "--config", config, "--", PYTHON, site.script(RUN_A_TASK))
    assert json.loads(done.stdout)["seed"] == 13, done.stderr


@pytest.mark.parametrize("code", [0, 7])
def test_the_programs_exit_code_is_returned(site: Site, code: int) -> None:
    assert site.qrmi("run", "--qpu=tiny", "--", "sh", "-c", f"exit {code}").returncode == code


def test_a_program_that_a_signal_ended_gives_128_and_its_number(site: Site) -> None:
    assert site.qrmi("run", "--qpu=tiny", "--", "sh", "-c", "kill -SEGV $$").returncode == 128 + signal.SIGSEGV


@pytest.mark.parametrize("separator", [["--"], []])
def test_options_of_the_program_stay_its_own(site: Site, separator: list[str]) -> None:
    done = site.qrmi("run", "--qpu=tiny", *separator, "echo", "--help", "--qpu=other", "--", "-o")
    assert done.stdout == "--help --qpu=other -- -o\n"


def test_stdin_goes_to_the_program(site: Site) -> None:
    assert site.qrmi("run", "--qpu=tiny", "--", "cat", stdin="through\n").stdout == "through\n"


def test_the_program_is_not_left_with_signals_that_python_ignores(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny", "--", "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")
    masks = [int(mask, 16) for mask in re.findall(r"\t(\w+)", done.stdout)]
    ordinary = 0x7FFFFFFF  # the C library keeps the two above for itself
    assert [mask & ordinary for mask in masks] == [0, 0]


def test_what_the_program_leaves_unfinished_is_cancelled(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny", "--", PYTHON, site.script(SUBMIT_A_LONG_TASK))
    assert done.returncode == 0, done.stderr
    assert status_of(site, "tiny", site.wait_for_file("task")) == "cancelled"
    assert site.processes() == []


FAMILY = (
    SUBMIT_A_LONG_TASK
    + """
import signal, subprocess
IGNORE = "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
WAIT = "pathlib.Path(sys.argv[1]).write_text('here\\\\n'); time.sleep(300)"
if "stubborn" in sys.argv:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import pathlib, sys, time;" + WAIT, "grandchild"])
subprocess.Popen([sys.executable, "-c", IGNORE + WAIT, "stubborn_grandchild"])
subprocess.Popen([sys.executable, "-c", IGNORE + WAIT, "daemon"], start_new_session=True)
signal.pause()
"""
)


@pytest.mark.parametrize(
    ("number", "kind", "grace", "code"),
    [
        (signal.SIGTERM, "polite", 0.5, 128 + signal.SIGTERM),
        (signal.SIGHUP, "polite", 0.5, 128 + signal.SIGHUP),
        (signal.SIGINT, "polite", 0.5, 128 + signal.SIGINT),
        (signal.SIGTERM, "stubborn", 0.5, 128 + signal.SIGKILL),
    ],
)
def test_a_signal_leaves_no_process_and_no_running_task(
    site: Site, number: signal.Signals, kind: str, grace: float, code: int
) -> None:
    process = site.start("run", "--qpu=watched", f"--grace={grace}", "--", PYTHON, site.script(FAMILY), kind)
    for name in ("task", "grandchild", "stubborn_grandchild", "daemon"):
        site.wait_for_file(name)
    process.send_signal(number)
    asked = time.monotonic()
    assert process.wait(SECONDS) == code
    assert time.monotonic() - asked < 10
    assert site.processes() == []
    assert status_of(site, "watched", site.wait_for_file("task")) == "cancelled"
    assert site.acquisitions() == ["acquire watched", "release watched"]


def test_a_program_that_ends_in_time_is_not_killed(site: Site) -> None:
    tidy = "trap 'sleep 0.5; echo saved; exit 5' TERM; echo ready > ready; while :; do sleep 0.05; done"
    process = site.start("run", "--qpu=tiny", "--", "sh", "-c", tidy)
    site.wait_for_file("ready")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=SECONDS)[0] == "saved\n"
    assert process.returncode == 5


def test_other_signals_are_passed_on(site: Site) -> None:
    text = "trap 'echo checkpoint; exit 0' USR1; echo ready > ready; while :; do sleep 0.05; done"
    process = site.start("run", "--qpu=tiny", "--", "sh", "-c", text)
    site.wait_for_file("ready")
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=SECONDS)[0] == "checkpoint\n"


def test_nohup_is_respected(site: Site) -> None:
    process = site.start(
        "run", "--qpu=tiny", "--", "sh", "-c", "echo ready > ready; sleep 1; echo survived",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    site.wait_for_file("ready")
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=SECONDS)[0] == "survived\n"


def test_a_signal_during_the_acquisition_gives_back_what_was_acquired(site: Site) -> None:
    process = site.start("run", "--qpu=watched,slow_to_acquire", "--", "touch", "started")
    assert wait_until(lambda: "acquire slow_to_acquire" in site.acquisitions(), timeout=SECONDS)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert site.acquisitions() == ["acquire watched", "acquire slow_to_acquire", "release watched"]
    assert not (site.directory / "started").exists()
    assert site.processes() == []


def test_further_signals_do_not_hinder_giving_back(site: Site) -> None:
    process = site.start("run", "--qpu=slow_to_release,slow_to_acquire", "--", "true")
    assert wait_until(lambda: "acquire slow_to_acquire" in site.acquisitions(), timeout=SECONDS)
    process.send_signal(signal.SIGINT)
    assert wait_until(lambda: "release slow_to_release" in site.acquisitions(), timeout=SECONDS)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 128 + signal.SIGINT
    assert site.acquisitions()[-1] == "released slow_to_release"
    assert site.processes() == []


def test_all_qpus_or_none(site: Site) -> None:
    done = site.qrmi("run", "--qpu=watched,refusing", "--", "touch", "started")
    assert done.returncode == 1
    assert done.stderr == "qrmi: refusing could not be acquired: it is closed on Sundays\n"
    assert site.acquisitions() == ["acquire watched", "acquire refusing", "release watched"]
    assert not (site.directory / "started").exists()


def test_a_qpu_that_cannot_be_given_back_is_told_and_hides_no_exit_code(site: Site) -> None:
    done = site.qrmi("run", "--qpu=not_released", "--", "sh", "-c", "exit 4")
    assert done.returncode == 4
    assert "not_released: the vendor does not answer" in done.stderr
    assert site.acquisitions() == ["acquire not_released", "release not_released", "release not_released"]
    assert site.processes() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--", "true"], r"which QPU\? This is no job that has one: add --qpu=NAME"),
        (["--qpu=aer_fes", "--", "true"], r"no QPU named aer_fes: did you mean aer_fez.*`qrmi resources` lists all"),
        (["--qpu=tiny,,watched", "--", "true"], r"--qpu=tiny,,watched: a name is empty"),
        (["--qpu=tiny,tiny", "--", "true"], r"--qpu=tiny,tiny: tiny and tiny are the same QPU"),
        (["--qpu=watched", "--", "no_such_program"], r"no_such_program: there is no such command"),
        (["--qpu=watched", "--", "./not_executable"], r"\./not_executable: may not be executed"),
        (["--qpu=watched", "--", "/usr"], r"/usr: may not be executed; is it a program"),
        (["--qpu=tiny", "--", "./no_interpreter"], r"\./no_interpreter: is no program; a script needs a first line"),
        (["--qpu=tiny", "--config=missing.json", "--", "true"], r"missing\.json: it cannot be read: No such file"),
    ],
)
def test_bad_input_is_answered_in_one_line(site: Site, arguments: list[str], message: str) -> None:
    site.script("true", "not_executable")
    site.script("true", "no_interpreter").chmod(0o755)
    done = site.qrmi("run", *arguments)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert site.acquisitions() == []


LOOK_AT_IT = """
import pathlib
from qrmi_core import QRMIService
print(QRMIService().resource().task(pathlib.Path("task").read_text().strip()).status().value)
"""

NESTED = """
import subprocess, sys
subprocess.run(["qrmi", "run", *sys.argv[1:], "--", "env"], check=True)
"""


def test_inside_an_allocation_its_qpus_are_used(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny,watched", "--", PYTHON, site.script(NESTED))
    assert "QRMI_JOB_QPU_RESOURCES=tiny,watched\n" in done.stdout
    assert site.acquisitions() == ["acquire watched", "release watched"]


def test_inside_an_allocation_some_of_its_qpus_can_be_named(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny,watched", "--", PYTHON, site.script(NESTED), "--qpu=watched")
    assert "QRMI_JOB_QPU_RESOURCES=watched\n" in done.stdout
    assert re.search("^watched_QRMI_JOB_ACQUISITION_TOKEN=", done.stdout, re.MULTILINE)
    assert "tiny_QRMI" not in done.stdout
    assert site.acquisitions() == ["acquire watched", "release watched"]


def test_inside_an_allocation_tasks_go_on_until_it_ends(site: Site) -> None:
    """A part of the job that ends leaves alone what the job's other parts may still want."""
    inner = f"qrmi run -- {PYTHON} {site.script(SUBMIT_A_LONG_TASK)} && {PYTHON} {site.script(LOOK_AT_IT, 'look.py')}"
    done = site.qrmi("run", "--qpu=tiny", "--", "sh", "-c", inner)
    assert done.stdout == "running\n", done.stderr
    assert status_of(site, "tiny", site.wait_for_file("task")) == "cancelled"


def test_inside_an_allocation_other_qpus_are_refused(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny", "--", "qrmi", "run", "--qpu=watched", "--", "true")
    assert done.returncode == 2
    assert re.search("this job has no QPU named watched: there is tiny", done.stderr)
