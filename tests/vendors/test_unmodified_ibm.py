# SPDX-License-Identifier: Apache-2.0
"""An unmodified program for qiskit-ibm-runtime on simulators, without an account."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from unmodified_cells import AER
from unmodified_run import PROGRAMS, environment, qrmi_run, told

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def got(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the program got; its user has an account of his own, a proxy that is dead, and another channel."""
    home = tmp_path_factory.mktemp("home")
    saved = {"channel": "ibm_cloud", "token": "mine", "url": "http://127.0.0.1:9", "is_default_account": True}
    (home / ".qiskit").mkdir()
    (home / ".qiskit" / "qiskit-ibm.json").write_text(json.dumps({"mine": saved}))
    own = environment(home, QISKIT_IBM_CHANNEL="local", QISKIT_IBM_TOKEN="mine", QISKIT_IBM_URL="http://127.0.0.1:9")
    return told(
        qrmi_run("--qpu=aer_fez,aer_ideal", "--", sys.executable, PROGRAMS / "ibm_unmodified.py", environment=own)
    )


def test_one_instance_lists_every_simulator_once_and_finds_the_device_that_it_imitates(got: Any) -> None:
    assert got["names"] == [["aer_fez", "aer_ideal"], ["emulator"]]
    assert got["own_name"] == 156
    assert got["device"] == ["ibm_fez", 156, True]


@pytest.mark.parametrize("feature", AER)
def test_it_got_what_it_must(got: Any, feature: str) -> None:
    AER[feature](got)


def test_a_second_simulator_of_the_same_instance(got: Any) -> None:
    assert got["second_simulator"].keys() == {"00", "11"}


BACKENDS = """
from qiskit_ibm_runtime import QiskitRuntimeService
service = QiskitRuntimeService()
print([each.name for each in service.backends()], service.backend("ibmq_vigo").name)
try:
    service.backend("ibmq_manila")
except Exception as error:
    print(type(error).__name__)
"""


def test_in_an_allocation_that_has_simulators_already(tmp_path: Path) -> None:
    """As in a job of Slurm, where `qrmi run` acquires nothing; a device that two of them imitate is nobody's."""
    own = environment(
        tmp_path,
        QRMI_JOB_QPU_RESOURCES="left,right,other",
        QRMI_JOB_QPU_TYPES="aer-simulator,aer-simulator,aer-simulator",
        left_QRMI_AER_SNAPSHOT="manila",
        right_QRMI_AER_SNAPSHOT="manila",
        other_QRMI_AER_SNAPSHOT="vigo",
        SLURM_JOB_ID="42",
    )
    done = qrmi_run("--", sys.executable, "-c", BACKENDS, environment=own)
    assert done.stdout == "['left', 'right', 'other'] ibmq_vigo\nQiskitBackendNotFoundError\n", done.stderr
