# SPDX-License-Identifier: Apache-2.0
"""Backends for these tests; paper_device is importable by them."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from paper_device import PaperDevice

from qrmi_qiskit import QRMIBackend, QRMIProvider


@pytest.fixture(scope="session")
def fez() -> dict[str, Any]:
    """The target of a 156-qubit processor, as `qrmi target` prints it."""
    snapshot = files("qiskit_ibm_runtime.fake_provider.backends") / "fez"
    return {
        "configuration": json.loads((snapshot / "conf_fez.json").read_text()),
        "properties": json.loads((snapshot / "props_fez.json").read_text()),
    }


@pytest.fixture
def device(fez: dict[str, Any]) -> PaperDevice:
    """A processor that does what the test writes down."""
    return PaperDevice("paper", fez)


@pytest.fixture(scope="session")
def paper(fez: dict[str, Any]) -> QRMIBackend:
    """A backend with that target."""
    return QRMIBackend.from_target(fez, name="paper")


@pytest.fixture(scope="session")
def ideal() -> QRMIBackend:
    """The simulator without noise."""
    return QRMIProvider().backend("aer_ideal")
