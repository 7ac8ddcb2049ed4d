# SPDX-License-Identifier: Apache-2.0
"""What an import must not load, and what it may cost; `make bench` tells what it does cost."""

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


@pytest.mark.parametrize("package", ["qrmi_core", "qrmi_core.service", "qrmi_core.leases"])
def test_the_resource_layer_loads_no_framework(package: str) -> None:
    heavy = {"qiskit", "pulser", "numpy", "scipy", "pydantic", "rich", "typer", "requests"}
    assert loaded_by(package) & heavy == set()


def test_listing_the_qpus_loads_no_framework() -> None:
    program = "import sys; from qrmi_core import QRMIService; QRMIService().resources(); print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())
    assert loaded & {"qiskit", "qiskit_aer", "qiskit_ibm_runtime", "pulser", "numpy"} == set()


def least_seconds(*programs: str, turns: int) -> list[float]:
    """What each of some programs takes at least, tried in turns, since a machine's speed changes.

    Time on the processor, which is the time it takes unless other tests keep the processor busy.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def seconds(program: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    took = [[seconds(program) for program in programs] for _ in range(turns)]
    return [min(each) for each in zip(*took, strict=True)]


def test_the_resource_layer_is_imported_within_60_ms() -> None:
    empty, core = least_seconds("pass", "import qrmi_core", turns=5)
    assert core - empty <= 0.06


def test_the_qiskit_side_costs_little_more_than_qiskit() -> None:
    everything = "from qrmi_qiskit import EstimatorV2, QRMIProvider, SamplerV2"
    bare, ours = least_seconds("import qiskit", everything, turns=3)
    assert ours <= 1.3 * bare
