# SPDX-License-Identifier: Apache-2.0
"""`qrmi --help` names every command."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cli_site import Site

COMMANDS = ("run", "resources", "target", "status", "check", "qpus", "leases", "usage", "release", "maintenance")
NOT_FOR_HELP = ["pydantic", "rich", "qiskit", "pulser", "numpy", "concurrent.futures", "qrmi_core.service"]


def test_help_names_every_command(site: Site) -> None:
    done = site.qrmi("--help")
    assert done.returncode == 0
    for command in (*COMMANDS, "task", "slurm", "gateway"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    "command", [*COMMANDS, "task", "task run", "slurm", "slurm files", "slurm configure", "slurm env"]
)
def test_every_command_has_help(site: Site, command: str) -> None:
    done = site.qrmi(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Usage: qrmi {command}" in done.stdout


def test_help_loads_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys; sys.argv = ['qrmi', '--help']; from qrmi_core.cli import main\n"
        "try: main()\nexcept SystemExit: print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30)
    loaded = done.stdout.split("LOADED", 1)[1].split()
    assert [name for name in NOT_FOR_HELP if name in loaded] == []
