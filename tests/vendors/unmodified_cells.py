# SPDX-License-Identifier: Apache-2.0
"""What the programs ibm_unmodified.py and pasqal_unmodified.py must get on each kind of QPU, feature by feature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["AER", "DEVICE", "IBM_COMPUTE", "IBM_SYSTEM", "LEARNED", "PASQAL_CLOUD", "PULSER", "WARDEN", "Checks"]

Checks = Mapping[str, Callable[[Any], None]]
"""Checks of what a program told, by the feature that each is about."""

DEVICE = "ibm_fez"
SHOTS = 500
MOSTLY = 0.8
"""The share of right results that a noisy device gives at least."""

LEARNED = [[0, 1], [0.125, 0.25]]
"""The qubits of the layer that a noise learner learns in these tests, and the rates of its errors."""


def refused(feature: str, kind: str, reason: str) -> Callable[[Any], None]:
    """The client raises an error of this kind, which tells the reason."""

    def check(got: Any) -> None:
        error = got[feature]["error"]
        assert error.startswith(f"{kind}: "), error
        assert reason in error

    return check


def right(counts: Mapping[str, int]) -> None:
    assert counts.get("01", 0) > MOSTLY * SHOTS, counts
    assert sum(counts.values()) == SHOTS, counts


def sampler(got: Any) -> None:
    _, counts = got["sampler"]
    right(counts)


def estimator(got: Any) -> None:
    _, value = got["estimator"]
    assert value > MOSTLY


def job_again(got: Any) -> None:
    status, backend, counts = got["job_again"]
    assert (status, backend) == ("DONE", got["device"][0])
    assert counts == got["sampler"][1]


def jobs(got: Any) -> None:
    for listed in got["jobs"]:
        assert {got["sampler"][0], got["estimator"][0]} <= set(listed), got["jobs"]


def session(got: Any) -> None:
    found, status = got["session"]
    assert len(found) == 2
    for counts in found:
        right(counts)
    assert status == "Closed"


def batch(got: Any) -> None:
    found, mode = got["batch"]
    assert len(found) == 2
    for counts in found:
        right(counts)
    assert mode == "batch"


def executor(got: Any) -> None:
    shape, (first, second) = got["executor"]
    assert shape == [SHOTS, 2]
    assert first > MOSTLY
    assert second < 1 - MOSTLY


def executor_sampler(got: Any) -> None:
    right(got["executor_sampler"])


def noise_learner(got: Any) -> None:
    assert got["noise_learner"] == LEARNED


_EVERYWHERE: Checks = {
    "SamplerV2": sampler,
    "EstimatorV2": estimator,
    "service.job(id)": job_again,
    "service.jobs()": jobs,
    "Session": session,
    "Batch": batch,
}
IBM_COMPUTE: Checks = {
    **_EVERYWHERE,
    "Executor": executor,
    "executor_sampler": executor_sampler,
    "noise-learner": noise_learner,
}
_ON_SITE = "it runs sampler and estimator programs (SamplerV2, EstimatorV2), and no "
IBM_SYSTEM: Checks = {
    **_EVERYWHERE,
    "Executor": refused("executor", "IBMRuntimeError", f"{_ON_SITE}executor"),
    "executor_sampler": refused("executor_sampler", "IBMRuntimeError", f"{_ON_SITE}executor"),
    "noise-learner": refused("noise_learner", "IBMRuntimeError", f"{_ON_SITE}noise-learner"),
}
AER: Checks = {
    **IBM_COMPUTE,
    "noise-learner": refused(
        "noise_learner", "IBMRuntimeError", "aer_fez runs the programs sampler, estimator, executor, not "
    ),
}


def parametrised(got: Any) -> None:
    results, again = got["qpu"]
    assert results == [{"0": 10}, {"1": 11}, {"1": 12}]
    assert again == results


def open_batch(got: Any) -> None:
    assert got["open_batch"] == [[{"1": 10}, {"0": 10}], "DONE"]


def emulator(got: Any) -> None:
    occupation, shots = got["emulator"]
    assert math.isclose(occupation, 0.5, abs_tol=0.01)
    assert shots == 200


PASQAL_CLOUD: Checks = {
    "QPU batch, several jobs, parametrised": parametrised,
    "open batch": open_batch,
    "emulator device types, observables": emulator,
}
PULSER = PASQAL_CLOUD
WARDEN: Checks = {
    **PASQAL_CLOUD,
    "emulator device types, observables": refused(
        "emulator", "BatchCreationError", "this job's QPU is FRESNEL at the site, which has no emulators"
    ),
}
