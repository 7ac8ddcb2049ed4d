# SPDX-License-Identifier: Apache-2.0
"""An unmodified program for qiskit-ibm-runtime on simulators, without an account."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from unmodified_run import PROGRAMS, environment, qrmi_run, told

pytestmark = pytest.mark.timeout(300)

MOSTLY = 0.8
"""The share of right results that a noisy device gives at least."""


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


def assert_right(counts: dict[str, int]) -> None:
    assert counts["01"] > MOSTLY * 500, counts
    assert sum(counts.values()) == 500


def test_one_instance_lists_every_simulator_and_the_device_that_it_imitates(got: Any) -> None:
    assert got["backends"] == ["aer_fez", "aer_ideal", "ibm_fez"]
    assert got["instances"] == ["emulator"]
    assert got["own name"] == 156
    assert got["device"] == ["ibm_fez", 156, True]


def test_sampler(got: Any) -> None:
    assert_right(got["sampler"])


def test_estimator(got: Any) -> None:
    assert got["estimator"] > MOSTLY


def test_a_job_again(got: Any) -> None:
    status, backend, counts = got["job"]
    assert (status, backend) == ("DONE", "ibm_fez")
    assert counts == got["sampler"]


def test_jobs(got: Any) -> None:
    assert got["jobs"] == [True, 2]


def test_session(got: Any) -> None:
    for counts in got["session"]:
        assert_right(counts)
    assert got["session status"] == "Closed"


def test_batch(got: Any) -> None:
    for counts in got["batch"]:
        assert_right(counts)
    assert got["batch mode"] == "batch"


def test_executor(got: Any) -> None:
    shape, (first, second) = got["executor"]
    assert shape == [500, 2]
    assert first > MOSTLY
    assert second < 1 - MOSTLY


def test_executor_sampler(got: Any) -> None:
    assert_right(got["executor_sampler"])


def test_a_second_simulator_of_the_same_instance(got: Any) -> None:
    assert got["ideal"].keys() == {"00", "11"}


def test_noise_learner_is_refused_with_the_reason(got: Any) -> None:
    assert got["noise learner"].startswith("IBMRuntimeError")
    assert "aer_fez runs the programs sampler, estimator, executor, not " in got["noise learner"]


BACKEND = """
from qiskit_ibm_runtime import QiskitRuntimeService
print([each.name for each in QiskitRuntimeService().backends()])
"""


def test_a_device_that_two_simulators_imitate_is_nobodys(tmp_path: Path) -> None:
    entries = [
        {"name": name, "type": "aer-simulator", "environment": {"QRMI_AER_SNAPSHOT": "manila"}} for name in ("a", "b")
    ]
    (tmp_path / "qrmi_config.json").write_text(json.dumps({"resources": entries}))
    own = environment(tmp_path, QRMI_CONFIG=str(tmp_path / "qrmi_config.json"))
    done = qrmi_run("--qpu=a,b", "--", sys.executable, "-c", BACKEND, environment=own)
    assert done.stdout == "['a', 'b']\n", done.stderr


def test_in_an_allocation_that_has_simulators_already(tmp_path: Path) -> None:
    """As in a job of Slurm, where the engine is of the allocation and `qrmi run` acquires nothing."""
    own = environment(
        tmp_path,
        QRMI_JOB_QPU_RESOURCES="practice",
        QRMI_JOB_QPU_TYPES="aer-simulator",
        practice_QRMI_AER_SNAPSHOT="manila",
        SLURM_JOB_ID="42",
    )
    done = qrmi_run("--", sys.executable, "-c", BACKEND, environment=own)
    assert done.stdout == "['practice', 'ibmq_manila']\n", done.stderr
