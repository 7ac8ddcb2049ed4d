# SPDX-License-Identifier: Apache-2.0
"""What the resources that a gateway makes for its leases share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[2] / "vendors"), str(Path(__file__).parents[1] / "qiskit")]

from ibm_compute_case import CASE  # noqa: E402

from qrmi_core import QuantumResource  # noqa: E402
from qrmi_core.config import load_site  # noqa: E402
from qrmi_core.gateway.environments import Environments  # noqa: E402
from qrmi_core.leases import Holder, JobKey  # noqa: E402
from qrmi_core.sharing import Shared, shared  # noqa: E402


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[Environments, Callable[[int], QuantumResource]]]:
    def make(environment: dict[str, object], *names: str) -> tuple[Environments, Callable[..., QuantumResource]]:
        file = tmp_path / "qrmi_config.json"
        document = [{"name": name, "type": CASE.type, "environment": environment} for name in names or ("ibm_fez",)]
        file.write_text(json.dumps({"resources": document}))
        file.chmod(0o600)
        environments = Environments(load_site(file), str(file))

        def of_job(number: int, name: str = "ibm_fez") -> QuantumResource:
            resource = environments.make(name, Holder(JobKey("c", number, 1, 0), uid=1000), None, 20.0)
            assert resource is not None
            return resource

        return environments, of_job

    return make


def test_leases_share_a_bearer_token(made: Callable) -> None:
    with CASE.start() as vendor:
        _, of_job = made(dict(vendor.environment))
        for number in range(3):
            token = of_job(number).acquire()
            of_job(number).release(token)
        requests = vendor.emulator.counters.requests
    assert requests["POST /identity/token"] == 1
    assert requests["POST /api/v1/sessions"] == 3


def test_a_new_key_has_a_token_of_its_own(made: Callable, tmp_path: Path) -> None:
    key = tmp_path / "key"
    with CASE.start() as vendor:
        variable = "QRMI_IBM_QCS_IAM_APIKEY"
        key.write_text(vendor.environment[variable])
        key.chmod(0o600)
        _, of_job = made({**vendor.environment, variable: {"file": str(key)}})
        of_job(1).acquire()
        key.write_text("another")
        with pytest.raises(Exception, match="APIKEY"):
            of_job(2).acquire()
        assert vendor.emulator.counters.requests["POST /identity/token"] >= 2


def test_resources_share_no_token_with_others(made: Callable) -> None:
    with CASE.start() as vendor:
        _, of_job = made(dict(vendor.environment), "ibm_fez", "ibm_torino")
        of_job(1, "ibm_fez").acquire()
        of_job(2, "ibm_torino").acquire()
        assert vendor.emulator.counters.requests["POST /identity/token"] == 2


def test_nothing_is_shared_by_programs() -> None:
    assert shared("key", object) is not shared("key", object)


def test_what_is_made_may_share_in_its_turn() -> None:
    with Shared().in_use():
        first = shared("outer", lambda: [shared("inner", object)])
        assert shared("outer", list) is first
        assert shared("inner", object) is first[0]


def test_what_was_used_last_is_kept() -> None:
    known = Shared()
    kept = known.get("kept", object)
    for number in range(1000):
        known.get(number, object)
        assert known.get("kept", object) is kept
    first = object()
    assert known.get(0, lambda: first) is first
