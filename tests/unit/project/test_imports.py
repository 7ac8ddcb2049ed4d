# SPDX-License-Identifier: Apache-2.0
"""What an import must not load; `make bench` tells what it costs."""

from __future__ import annotations

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
