# SPDX-License-Identifier: Apache-2.0
"""Resources and connections for the Pulser tests; all of them really run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from qrmi_pulser import QRMIConnection
from qrmi_pulser.engine import PulserSimulator

sys.path.insert(0, str(Path(__file__).parent))

from pulser_programs import engine

# qoolqit brings torch: only the environment that `make test-all` makes for the extra `emulators` has it.
collect_ignore = [] if importlib.util.find_spec("qoolqit") else ["test_qoolqit.py"]


@pytest.fixture(scope="session")
def resource(spool: Path) -> PulserSimulator:
    """A QPU that stands for AnalogDevice, with a seed."""
    return engine()


@pytest.fixture(scope="session")
def connection(resource: PulserSimulator) -> QRMIConnection:
    return QRMIConnection(resource)


@pytest.fixture(scope="session")
def digital_connection(spool: Path) -> QRMIConnection:
    """A QPU with local channels, digital ones, a detuning map and an SLM mask."""
    return QRMIConnection(engine("digital", QRMI_PULSER_DEVICE="DigitalAnalogDevice"))
