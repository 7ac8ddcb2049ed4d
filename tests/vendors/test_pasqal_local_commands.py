# SPDX-License-Identifier: Apache-2.0
"""`qrmi emulate` as Warden, and `qrmi run` on it: what a developer without a QPU does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from munge_daemon import Munged, libraries, munged

QRMI = str(Path(sys.executable).with_name("qrmi"))

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

PROGRAM = """
import math
from pulser import Pulse, QPUBackend, Register, Sequence
from qrmi_pulser import QRMIConnection

connection = QRMIConnection()
(device,) = connection.fetch_available_devices().values()
register = Register.from_coordinates([(0, 0), (30, 0)], prefix="q").with_automatic_layout(device)
sequence = Sequence(register, device)
sequence.declare_channel("rydberg", "rydberg_global")
sequence.add(Pulse.ConstantPulse(500, math.pi / 0.5, 0, 0), "rydberg")
print(QPUBackend(sequence, connection).run([{"runs": 20}], wait=True).results[0].final_bitstrings)
"""


@pytest.fixture
def daemons() -> Iterator[Munged]:
    with munged() as both:
        yield both


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": libraries()}


def test_a_program_runs_on_an_emulated_warden(tmp_path: Path, daemons: Munged, environment: dict[str, str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [QRMI, "emulate", "--dialect=pasqal-local", f"--munge-socket={daemons.socket}", "--without=cancel"]
    with subprocess.Popen([*command, "--name=warden"], env=environment, text=True, **PIPES) as server:
        try:
            assert server.stdout
            assert server.stderr
            printed = ""
            while not printed.rstrip().endswith("]\n}"):
                line = server.stdout.readline()
                assert line, f"the server ended: {printed}"
                printed += line
            config = tmp_path / "qrmi_config.json"
            config.write_text(printed)
            done = subprocess.run(
                [QRMI, "run", "--qpu=warden", "--", sys.executable, str(program)],
                env=environment | {"QRMI_CONFIG": str(config)},
                capture_output=True,
                text=True,
                timeout=100,
            )
        finally:
            server.send_signal(signal.SIGTERM)
        told = server.stderr.read()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Counter({'11': 20})"
    assert "1 tasks were run" in told
    assert 'DELETE /sessions/{session}: {"requests": 1, "answers": {"200": 1}' in told


def test_what_a_server_cannot_lack_is_refused(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [QRMI, "emulate", "--dialect=pasqal-local", "--without=sessions"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "every server of pasqal-local has that; it can lack cancel, logs" in " ".join(done.stderr.split())
