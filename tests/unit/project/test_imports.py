# SPDX-License-Identifier: Apache-2.0
"""What an import must not load; `make bench` tells what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qrmi_core.gateway.doors.doors import DOORS


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


def test_a_gateway_that_starts_loads_what_it_listens_with(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps({"qrmi_config": "/q", "state_dir": "/s", "listen": {"admin": "/a.sock"}}))
    program = f"""
import sys, uvloop
from qrmi_core.cli import main

def run(serving):
    serving.close()
    print(*sys.modules)

uvloop.run = run
sys.argv = ["qrmi", "gateway", "serve", "--config", {str(file)!r}]
main()
"""
    command = [sys.executable, "-c", program]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())
    assert "qrmi_core.gateway.server" in loaded
    heavy = {"typer", "click", "rich", "pydantic", "requests", "boto3", "prometheus_client", "aiohttp.client"}
    doors = {f"qrmi_core.gateway.doors.{target.partition(':')[0]}" for target in DOORS.values()}
    assert loaded & (heavy | doors | {"qrmi_core.engines", "qrmi_core.drivers.ibm_compute"}) == set()
