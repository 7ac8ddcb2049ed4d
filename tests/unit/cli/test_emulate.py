# SPDX-License-Identifier: Apache-2.0
"""`qrmi emulate`: what it prints is a configuration that works, and what it takes is checked."""

from __future__ import annotations

import errno
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_site import QRMI

from qrmi_core import QRMIService
from qrmi_core.engines import EngineResource
from qrmi_core.gateway.dialects import DIALECTS
from qrmi_core.gateway.dialects import dialect as find
from qrmi_core.polling import wait_until

FELIS = ("--dialect", "alice-bob-felis", "--name", "cat")


@contextmanager
def emulated(tmp_path: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The command, once its configuration is there."""
    config = tmp_path / "qrmi_config.json"
    process = subprocess.Popen(
        [QRMI, "emulate", "--output", str(config), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_until(config.exists, timeout=30), process.communicate(timeout=5)
        yield process, config
    finally:
        process.kill()
        process.communicate(timeout=10)


def run(*arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [QRMI, "emulate", *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=directory
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_its_configuration_reaches_it_and_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    options = ["--dialect", "alice-bob-felis", "--name", "cat", "--fault", "error=0.2", "--seed", "1"]
    with emulated(tmp_path, *options) as (process, config):
        answer = subprocess.run(
            [QRMI, "status", "cat", "--config", str(config), "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert json.loads(answer.stdout)["status"] == "online"
        process.send_signal(number)
        printed, told = process.communicate(timeout=20)
        assert (process.returncode, printed) == (0, "")
        assert "0 tasks were run" in told
        assert "GET /v1/targets/{target}/health: " in told


def test_without_a_file_its_configuration_is_printed() -> None:
    process = subprocess.Popen(
        [QRMI, "emulate", *FELIS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0
    )
    try:
        assert process.stderr is not None
        assert "listens at http://127.0.0.1:" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate(timeout=10)
    (entry,) = json.loads(printed)["resources"]
    assert (entry["name"], entry["type"]) == ("cat", "alice-bob-felis")


def test_the_file_is_private_and_there_at_once(tmp_path: Path) -> None:
    """It holds a key. What was there before is replaced as a whole, never emptied first."""
    config = tmp_path / "qrmi_config.json"
    config.write_text("{}")
    config.chmod(0o644)
    before = config.open()
    show = ["stat", "-c", "%a", str(config)]
    done = run(*FELIS, "--output", str(config), "--", *show)
    assert (done.returncode, done.stdout) == (0, "600\n"), done.stderr
    with before:
        assert before.read() == "{}"
    assert [entry["name"] for entry in json.loads(config.read_text())["resources"]] == ["cat"]
    assert list(tmp_path.iterdir()) == [config]


def test_a_command_finds_the_server_and_both_end(tmp_path: Path) -> None:
    program = (
        "import os, sys, qrmi_core as q; r = q.QRMIService().resource('cat'); print(r.status().status.value);"
        "print(os.environ['QRMI_CONFIG']); print(dict(r.values)['QRMI_AB_FELIS_BASE_ENDPOINT']); sys.exit(7)"
    )
    done = run(*FELIS, "--", sys.executable, "-c", program, directory=tmp_path)
    assert done.returncode == 7, done.stderr
    status, config, url = done.stdout.split()
    assert status == "online"
    assert not Path(config).parent.exists()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == errno.ECONNREFUSED
    assert list(tmp_path.iterdir()) == []


def test_a_program_acquires_the_qpu_that_is_emulated(tmp_path: Path) -> None:
    """A command of a command: what stands behind the second -- is not read by the first."""
    show = "import os; print(os.environ['QRMI_JOB_QPU_RESOURCES'])"
    done = run(*FELIS, "--", QRMI, "run", "--qpu=cat", "--", sys.executable, "-c", show, directory=tmp_path)
    assert (done.returncode, done.stdout) == (0, "cat\n"), done.stderr


def test_a_signal_reaches_the_command(tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    script = f"trap 'echo told > {ended}; exit 9' TERM; touch {started}; while :; do sleep 0.05; done"
    process = subprocess.Popen([QRMI, "emulate", *FELIS, "--", "bash", "-c", script], stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until(started.exists, timeout=30)
        process.terminate()
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert (process.returncode, ended.read_text()) == (9, "told\n"), told
    assert "qrmi" not in told


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(*FELIS, "--port", str(port))
    assert done.returncode == 2
    assert done.stderr == f"qrmi: port {port} is in use: choose another, or --port 0\n"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_engine_must_run_what_the_api_is_sent(dialect: str) -> None:
    resources = {each.name: each for each in QRMIService().resources() if isinstance(each, EngineResource)}
    takes = find(dialect).takes
    fitting = {name for name, resource in resources.items() if takes in resource.takes}
    assert find(dialect).engine in fitting
    other = min(set(resources) - fitting)
    done = run("--dialect", dialect, "--engine", other)
    assert done.returncode == 2
    told, _, listed = done.stderr.strip().partition("; these do: ")
    assert told == f"qrmi: --engine {other} does not run what programs for {dialect} send"
    assert set(listed.split(", ")) == fitting


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--dialect", "acme"], "there is no dialect acme; there are alice-bob-felis, "),
        (["--dialect", "iqm-server", "--name", "a b"], "--name 'a b': a name begins with a letter or _"),
        (["--dialect", "iqm-server", "--output", "/dev/null"], "/dev/null: is not a regular file"),
        (
            ["--dialect", "iqm-server", "--output", "/nowhere/at_all"],
            "/nowhere/at_all: cannot be written: No such",
        ),
        (["--dialect", "iqm-server", "--", "no-such-command"], "no-such-command: there is no such command"),
        (["--dialect", "iqm-server", "--engine", "nobody"], "has no QPU named nobody"),
        (["--dialect", "iqm-server", "--fault", "error"], "FAULT=SHARE was expected"),
        (["--dialect", "iqm-server", "--fault", "error=2"], "a share from 0 to 1 were expected"),
        (["--dialect", "iqm-server", "--fault", "flood=0.1"], "a fault (error, unavailable, "),
    ],
)
def test_what_it_does_not_take(options: list[str], text: str) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
