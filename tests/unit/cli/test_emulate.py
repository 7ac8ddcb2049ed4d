# SPDX-License-Identifier: Apache-2.0
"""`qrmi emulate`: what it prints is a configuration that works, and what it takes is checked."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_site import QRMI

from qrmi_core.polling import wait_until


@contextmanager
def emulated(tmp_path: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The command, once its configuration is there."""
    config = tmp_path / "qrmi_config.json"

    def complete() -> bool:
        try:
            return bool(json.loads(config.read_text()))
        except ValueError:
            return False

    with config.open("w") as out:
        process = subprocess.Popen([QRMI, "emulate", *options], stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until(complete, timeout=30), process.communicate(timeout=5)
        yield process, config
    finally:
        process.kill()
        process.communicate(timeout=10)


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
        _, told = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "0 tasks were run" in told
        assert "GET /v1/targets/{target}/health: " in told
        json.loads(config.read_text())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--dialect", "acme"], "there is no dialect acme; there are alice-bob-felis, "),
        (["--dialect", "iqm-server", "--engine", "nobody"], "has no QPU named nobody"),
        (["--dialect", "iqm-server", "--fault", "error"], "FAULT=SHARE was expected"),
        (["--dialect", "iqm-server", "--fault", "error=2"], "a share from 0 to 1 were expected"),
        (["--dialect", "iqm-server", "--fault", "flood=0.1"], "a fault (error, unavailable, "),
    ],
)
def test_what_it_does_not_take(options: list[str], text: str) -> None:
    done = subprocess.run([QRMI, "emulate", *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
