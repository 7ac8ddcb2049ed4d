# SPDX-License-Identifier: Apache-2.0
"""What the programs ibm_unmodified.py and pasqal_unmodified.py must get, feature by feature, wherever they run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["IBM", "PASQAL"]

SHOTS = 500
MOSTLY = 0.8
"""The share of right results that a noisy device gives at least."""


def right(counts: dict[str, int]) -> None:
    assert counts["01"] > MOSTLY * SHOTS, counts
    assert sum(counts.values()) == SHOTS, counts


def sampler(got: Any) -> None:
    right(got["sampler"])


def estimator(got: Any) -> None:
    assert got["estimator"] > MOSTLY


def job_again(got: Any) -> None:
    assert got["job"] == ["DONE", "ibm_fez", got["sampler"]]


def jobs(got: Any) -> None:
    assert got["jobs"] == [True, 2]


def session(got: Any) -> None:
    for counts in got["session"]:
        right(counts)
    assert got["session status"] == "Closed"


def batch(got: Any) -> None:
    for counts in got["batch"]:
        right(counts)
    assert got["batch mode"] == "batch"


def executor(got: Any) -> None:
    shape, (first, second) = got["executor"]
    assert shape == [SHOTS, 2]
    assert first > MOSTLY
    assert second < 1 - MOSTLY


def executor_sampler(got: Any) -> None:
    right(got["executor_sampler"])


def noise_learner(got: Any) -> None:
    assert got["noise learner"].startswith("IBMRuntimeError")
    assert "aer_fez runs the programs sampler, estimator, executor, not " in got["noise learner"]


IBM: dict[str, Callable[[Any], None]] = {
    "SamplerV2": sampler,
    "EstimatorV2": estimator,
    "service.job(id)": job_again,
    "service.jobs()": jobs,
    "Session": session,
    "Batch": batch,
    "Executor": executor,
    "executor_sampler": executor_sampler,
    "noise-learner": noise_learner,
}


def parametrised(got: Any) -> None:
    assert got["qpu"] == [{"0": 10}, {"1": 11}, {"1": 12}]
    assert got["again"] == got["qpu"]


def open_batch(got: Any) -> None:
    assert got["open"] == [{"1": 10}, {"0": 10}]
    assert got["open batch's end"] == "DONE"


def emulator(got: Any) -> None:
    occupation, shots = got["emulator"]
    assert math.isclose(occupation, 0.5, abs_tol=0.01)
    assert shots == 200


PASQAL: dict[str, Callable[[Any], None]] = {
    "QPU batch, several jobs, parametrised": parametrised,
    "open batch": open_batch,
    "emulator device types, observables": emulator,
}
