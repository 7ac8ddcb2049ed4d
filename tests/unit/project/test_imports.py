# SPDX-License-Identifier: Apache-2.0
"""What an import costs, and what it must not load."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest


def loaded_by(package: str) -> set[str]:
    program = f"import {package}, sys; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())


def seconds(program: str, *, times: int = 6) -> float:
    """The least time on the processor that a program takes: other tests may keep the processor busy meanwhile."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(times))


@pytest.mark.parametrize("package", ["qrmi_core", "qrmi_core.service", "qrmi_core.leases"])
def test_the_resource_layer_loads_no_framework(package: str) -> None:
    heavy = {"qiskit", "pulser", "numpy", "scipy", "pydantic", "rich", "typer", "requests"}
    assert loaded_by(package) & heavy == set()


def test_importing_the_resource_layer_takes_at_most_60_ms() -> None:
    assert seconds("import qrmi_core") - seconds("pass") <= 0.060


def test_importing_the_qiskit_side_takes_at_most_1_3_times_qiskit() -> None:
    everything = "from qrmi_qiskit import EstimatorV2, QRMIBackend, QRMIProvider, SamplerV2"
    assert seconds(everything, times=3) <= 1.3 * seconds("import qiskit", times=3)


def test_listing_the_qpus_loads_no_framework() -> None:
    program = "import sys; from qrmi_core import QRMIService; QRMIService().resources(); print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())
    assert loaded & {"qiskit", "qiskit_aer", "qiskit_ibm_runtime", "pulser", "numpy"} == set()
